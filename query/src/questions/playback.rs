//! What analysts ask about playback: tiles at once, causes of stalls, latency.

use super::{Question, questions};

pub(super) const QUESTIONS: &[Question] = questions! {
    16 "tiles" Project 7 [From, To]
        "Quality by the number of tiles at once: stalls, dropped frames, and what layouts ask of the connection."
        "WITH sums AS (SELECT tile_band, sum(rebuffer_ms)::double / nullif(sum(watch_ms_rebuffer_capable), 0) AS rebuffer_ratio, \
sum(any_stall_ms)::double / nullif(sum(viewer_ms + all_stall_ms), 0) AS any_stall_ratio, \
sum(dropped_frames)::double / nullif(sum(dropped_frames + rendered_frames), 0) AS dropped_ratio, \
sum(shifts_down) AS shifts_down, sum(shifts_down_tile_count) AS shifts_down_tile_count FROM rollup_layout_day \
WHERE bucket_start >= $1 AND bucket_start < $2 GROUP BY tile_band), \
demands AS (SELECT tile_band, percentile_of_bins(bin, n, 0.95) AS demand_pct_p95 FROM rollup_layout_bins_day \
WHERE metric = 'demand_pct' AND bucket_start >= $1 AND bucket_start < $2 GROUP BY tile_band) \
SELECT sums.tile_band, sums.rebuffer_ratio, sums.any_stall_ratio, sums.dropped_ratio, sums.shifts_down, \
sums.shifts_down_tile_count, demands.demand_pct_p95 FROM sums LEFT JOIN demands ON sums.tile_band = demands.tile_band \
ORDER BY sums.tile_band";
    16 "thermal" Project 7 [From, To]
        "Thermal states that devices told, by device platform."
        "SELECT device_platform, data ->> 'thermal' AS thermal, count(*) AS samples, count(DISTINCT install_id) AS installs \
FROM events WHERE type = 'device.performance_sampled' AND corrected_at >= $1 AND corrected_at < $2 \
GROUP BY 1, 2 ORDER BY 1, 2";
    17 "stall-causes" Project 7 [From, To]
        "Stalls of all tiles together (the device's connection) against those of a stream, by network."
        "SELECT network, sum(rebuffer_count) AS rebuffers, sum(client_rebuffers) AS of_the_client, \
sum(rebuffer_count - client_rebuffers) AS of_the_stream, \
sum(client_rebuffers)::double / nullif(sum(rebuffer_count), 0) AS client_share FROM slices \
WHERE bucket_start >= $1 AND bucket_start < $2 GROUP BY network HAVING sum(watch_ms) > 0 ORDER BY network";
    19 "latency" Project 7 [From, To]
        "Live latency by stream platform."
        "SELECT stream_platform, sum(n) AS samples, percentile_of_bins(bin, n, 0.5) AS latency_ms_p50, \
percentile_of_bins(bin, n, 0.95) AS latency_ms_p95, percentile_of_bins(bin, n, 0.99) AS latency_ms_p99 \
FROM rollup_stream_bins_day WHERE metric = 'latency_ms' AND bucket_start >= $1 AND bucket_start < $2 \
GROUP BY stream_platform HAVING sum(n) > 0 ORDER BY stream_platform";
    19 "sync" Project 7 [From, To]
        "How far the tiles of a layout are apart in live latency, by type of layout."
        "SELECT layout_type, sum(n) AS samples, percentile_of_bins(bin, n, 0.5) AS sync_spread_ms_p50, \
percentile_of_bins(bin, n, 0.95) AS sync_spread_ms_p95 FROM rollup_layout_bins_day \
WHERE metric = 'sync_spread_ms' AND bucket_start >= $1 AND bucket_start < $2 \
GROUP BY layout_type HAVING sum(n) > 0 ORDER BY layout_type";
};
