WITH happened AS (
  SELECT
    count(*) AS n,
    count(*) FILTER (WHERE type = 'playback.error') AS errors,
    count(*) FILTER (WHERE type = 'playback.rendition_changed') AS renditions
  FROM events
  WHERE corrected_at >= $1 AND corrected_at <= $2
),
stalled AS (
  SELECT
    count(*) AS rebuffers,
    coalesce(sum(json_get_int(data, 'duration_ms')), 0) AS rebuffer_ms
  FROM events
  WHERE corrected_at >= $1 AND corrected_at <= $2
    AND type = 'playback.rebuffer_ended' AND json_get_int(data, 'duration_ms') >= 250
)
SELECT
  n AS "totalEvents",
  rebuffers AS "bufferingEvents",
  errors AS "connectionErrors",
  renditions AS "qualityChanges",
  coalesce(rebuffer_ms / 1000.0 / nullif(rebuffers, 0), 0.0) AS "averageBufferTime",
  errors::double / greatest(n, 1) AS "errorRate",
  ((1 - 0.7 * errors / greatest(n, 1)) + (1 - 0.3 * rebuffers / greatest(n, 1))) / 2 AS "healthScore"
FROM happened CROSS JOIN stalled
ORDER BY 1
