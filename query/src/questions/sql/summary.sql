WITH played AS (
  SELECT
    bucket_start >= $2 AS is_now,
    stream_id,
    stream_platform,
    sum(viewer_ms) AS viewer_ms,
    sum(playing_ms) AS tile_ms,
    sum(attempts + watch_ms + paused_ms) AS measured
  FROM slices
  WHERE bucket_start >= $1 AND bucket_start < $3
  GROUP BY 1, 2, 3
),
watched AS (
  SELECT
    CASE WHEN sum(measured) FILTER (WHERE is_now) > 0
      THEN sum(viewer_ms) FILTER (WHERE is_now) END AS viewer_ms,
    CASE WHEN sum(measured) FILTER (WHERE NOT is_now) > 0
      THEN sum(viewer_ms) FILTER (WHERE NOT is_now) END AS viewer_ms_before,
    CASE WHEN sum(measured) FILTER (WHERE is_now) > 0
      THEN sum(tile_ms) FILTER (WHERE is_now) END AS tile_ms,
    CASE WHEN sum(measured) FILTER (WHERE NOT is_now) > 0
      THEN sum(tile_ms) FILTER (WHERE NOT is_now) END AS tile_ms_before,
    count(DISTINCT stream_id) FILTER (WHERE is_now AND tile_ms > 0) AS streams,
    count(DISTINCT stream_id) FILTER (WHERE NOT is_now AND tile_ms > 0) AS streams_before,
    count(DISTINCT stream_platform) FILTER (WHERE is_now AND tile_ms > 0) AS platforms,
    count(DISTINCT stream_platform) FILTER (WHERE NOT is_now AND tile_ms > 0) AS platforms_before
  FROM played
),
sat AS (
  SELECT
    avg(duration_ms) FILTER (WHERE started_at >= $2) AS avg_session_ms,
    avg(duration_ms) FILTER (WHERE started_at < $2) AS avg_session_ms_before
  FROM app_sessions
  WHERE started_at >= $1 AND started_at < $3
)
SELECT watched.*, sat.avg_session_ms, sat.avg_session_ms_before
FROM watched CROSS JOIN sat
ORDER BY 1
