WITH sums AS (
  SELECT
    tile_band,
    sum(rebuffer_ms)::double / nullif(sum(watch_ms_rebuffer_capable), 0) AS rebuffer_ratio,
    sum(any_stall_ms)::double / nullif(sum(viewer_ms + all_stall_ms), 0) AS any_stall_ratio,
    sum(dropped_frames)::double / nullif(sum(dropped_frames + rendered_frames), 0) AS dropped_ratio,
    sum(shifts_down) AS shifts_down,
    sum(shifts_down_tile_count) AS shifts_down_tile_count
  FROM rollup_layout_day
  WHERE bucket_start >= $1 AND bucket_start < $2
  GROUP BY tile_band
),
demands AS (
  SELECT tile_band, percentile_of_bins(bin, n, 0.95) AS demand_pct_p95
  FROM rollup_layout_bins_day
  WHERE metric = 'demand_pct' AND bucket_start >= $1 AND bucket_start < $2
  GROUP BY tile_band
)
SELECT sums.*, demands.demand_pct_p95
FROM sums LEFT JOIN demands ON sums.tile_band = demands.tile_band
ORDER BY sums.tile_band
