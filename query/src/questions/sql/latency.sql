SELECT
  stream_platform,
  sum(n) AS samples,
  percentile_of_bins(bin, n, 0.5) AS latency_ms_p50,
  percentile_of_bins(bin, n, 0.95) AS latency_ms_p95,
  percentile_of_bins(bin, n, 0.99) AS latency_ms_p99
FROM rollup_stream_bins_day
WHERE metric = 'latency_ms' AND bucket_start >= $1 AND bucket_start < $2
GROUP BY stream_platform
HAVING sum(n) > 0
ORDER BY stream_platform
