SELECT
  stream_id,
  stream_platform,
  sum(attempts) AS attempts,
  sum(rebuffer_ms)::double / nullif(sum(watch_ms_rebuffer_capable), 0) AS rebuffer_ratio,
  60000.0 * sum(rebuffer_count) / nullif(sum(watch_ms_rebuffer_capable), 0) AS rebuffers_per_min
FROM rollup_stream_hour
WHERE bucket_start >= $1 AND bucket_start < $2
GROUP BY stream_id, stream_platform
HAVING sum(attempts) >= $3
ORDER BY rebuffer_ratio DESC NULLS LAST, stream_id, stream_platform
