SELECT
  bucket_start AS day,
  device_platform,
  app_version,
  sum(n) AS starts,
  percentile_of_bins(bin, n, 0.5) AS startup_ms_p50,
  percentile_of_bins(bin, n, 0.95) AS startup_ms_p95,
  percentile_of_bins(bin, n, 0.99) AS startup_ms_p99
FROM rollup_release_bins_day
WHERE metric = 'startup_ms' AND bucket_start >= $1 AND bucket_start < $2
GROUP BY bucket_start, device_platform, app_version
HAVING sum(n) > 0
ORDER BY bucket_start DESC, device_platform, app_version
