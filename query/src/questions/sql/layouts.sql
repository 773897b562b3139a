WITH sums AS (
  SELECT
    layout_type,
    sum(viewer_ms) AS viewer_ms,
    sum(playing_ms) AS tile_ms,
    sum(layouts_opened) AS layouts_opened
  FROM rollup_layout_day
  WHERE bucket_start >= $1 AND bucket_start < $2
  GROUP BY layout_type
),
tiles AS (
  SELECT layout_type, sum(bin::bigint * n)::double / nullif(sum(n), 0) AS mean_tiles
  FROM rollup_layout_bins_day
  WHERE metric = 'tile_count' AND bucket_start >= $1 AND bucket_start < $2
  GROUP BY layout_type
),
watched AS (
  SELECT session_id, coalesce(layout_type, '') AS layout_type
  FROM slices
  WHERE bucket_start >= $1 AND bucket_start < $2 AND session_id IS NOT NULL
  GROUP BY session_id, coalesce(layout_type, '')
  HAVING sum(viewer_ms) > 0
),
viewers AS (
  SELECT layout_type, count(*) AS sessions
  FROM watched
  GROUP BY layout_type
),
everyone AS (
  SELECT count(DISTINCT session_id) AS sessions
  FROM watched
)
SELECT
  sums.layout_type,
  coalesce(viewers.sessions, 0) AS sessions,
  coalesce(viewers.sessions, 0)::double / nullif(everyone.sessions, 0) AS share_of_sessions,
  tiles.mean_tiles,
  sums.viewer_ms,
  sums.viewer_ms::double / nullif(sum(sums.viewer_ms) OVER (), 0) AS share_of_viewer_time,
  sums.tile_ms,
  sums.layouts_opened,
  3600000.0 * sums.layouts_opened / nullif(sums.viewer_ms, 0) AS opened_per_viewer_hour
FROM sums
  LEFT JOIN tiles ON sums.layout_type = tiles.layout_type
  LEFT JOIN viewers ON sums.layout_type = viewers.layout_type
  CROSS JOIN everyone
ORDER BY sums.viewer_ms DESC, sums.layout_type
