SELECT
  bucket_start AS hour,
  stream_platform,
  sum(rebuffer_ms)::double / nullif(sum(watch_ms_rebuffer_capable), 0) AS rebuffer_ratio,
  60000.0 * sum(rebuffer_count) / nullif(sum(watch_ms_rebuffer_capable), 0) AS rebuffers_per_min,
  sum(watch_ms) AS watch_ms
FROM rollup_stream_hour
WHERE bucket_start >= $1 AND bucket_start < $2
GROUP BY bucket_start, stream_platform
HAVING sum(watch_ms) > 0
ORDER BY bucket_start DESC, stream_platform
