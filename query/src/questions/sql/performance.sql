WITH happened AS (
  SELECT count(*) AS n
  FROM events
  WHERE corrected_at >= $1 AND corrected_at <= $2
),
played AS (
  SELECT
    coalesce(sum(rebuffer_count), 0) AS rebuffers,
    coalesce(sum(errors_fatal + errors_warning), 0) AS errors,
    coalesce(sum(rendition_changes), 0) AS renditions,
    coalesce(sum(rebuffer_ms), 0) AS rebuffer_ms
  FROM slices
  WHERE bucket_start >= $1 AND bucket_start < $2
)
SELECT
  n AS "totalEvents",
  rebuffers AS "bufferingEvents",
  errors AS "connectionErrors",
  renditions AS "qualityChanges",
  coalesce(rebuffer_ms / 1000.0 / nullif(rebuffers, 0), 0.0) AS "averageBufferTime",
  errors::double / greatest(n, 1) AS "errorRate",
  ((1 - 0.7 * errors / greatest(n, 1)) + (1 - 0.3 * rebuffers / greatest(n, 1))) / 2 AS "healthScore"
FROM happened CROSS JOIN played
ORDER BY 1
