WITH sums AS (
  SELECT
    stream_id,
    stream_platform,
    coalesce(sum(views_at_start) FILTER (WHERE bucket_start = $3), 0) AS views_now,
    sum(attempts) AS attempts,
    sum(watch_ms) AS watch_ms,
    sum(playback_failures) AS failures,
    sum(playback_failures)::double / nullif(sum(attempts), 0) AS failure_rate,
    sum(ebvs)::double / nullif(sum(attempts - abandoned_early - left_unstarted), 0) AS ebvs_rate,
    sum(rebuffer_ms)::double / nullif(sum(watch_ms_rebuffer_capable), 0) AS rebuffer_ratio,
    60000.0 * sum(rebuffer_count) / nullif(sum(watch_ms_rebuffer_capable), 0) AS rebuffers_per_min,
    sum(health_sum) / 100.0 / nullif(sum(health_n), 0) AS health_score
  FROM rollup_stream_minute
  WHERE bucket_start >= $1 AND bucket_start < $2
  GROUP BY stream_id, stream_platform
),
starts AS (
  SELECT stream_id, stream_platform, percentile_of_bins(bin, n, 0.95) AS startup_ms_p95
  FROM rollup_stream_bins_minute
  WHERE metric = 'startup_ms' AND bucket_start >= $1 AND bucket_start < $2
  GROUP BY stream_id, stream_platform
),
judged AS (
  SELECT
    *,
    CASE
      WHEN attempts <= 0 AND watch_ms <= 0 THEN 'unknown'
      WHEN failure_rate > 0.1 THEN 'error'
      WHEN rebuffer_ratio > 0.3 THEN 'warning'
      WHEN failures <= 0 AND coalesce(rebuffer_ratio, 0.0) < 0.1 THEN 'healthy'
      ELSE 'good'
    END AS status
  FROM sums
)
SELECT
  judged.stream_id,
  judged.stream_platform,
  status,
  views_now,
  attempts,
  failure_rate,
  ebvs_rate,
  rebuffer_ratio,
  rebuffers_per_min,
  startup_ms_p95,
  health_score
FROM judged LEFT JOIN starts
  ON judged.stream_id = starts.stream_id AND judged.stream_platform = starts.stream_platform
ORDER BY
  CASE status WHEN 'error' THEN 0 WHEN 'warning' THEN 1 WHEN 'good' THEN 2 WHEN 'healthy' THEN 3 ELSE 4 END,
  coalesce(rebuffer_ratio, 0.0) DESC,
  judged.stream_id,
  judged.stream_platform
