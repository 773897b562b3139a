SELECT
  layout_type,
  sum(n) AS samples,
  percentile_of_bins(bin, n, 0.5) AS sync_spread_ms_p50,
  percentile_of_bins(bin, n, 0.95) AS sync_spread_ms_p95
FROM rollup_layout_bins_day
WHERE metric = 'sync_spread_ms' AND bucket_start >= $1 AND bucket_start < $2
GROUP BY layout_type
HAVING sum(n) > 0
ORDER BY layout_type
