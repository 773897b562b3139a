WITH played AS (
  SELECT
    date_trunc('day', local_time(bucket_start, $3))::date AS day,
    stream_id,
    sum(viewer_ms) AS viewer_ms,
    sum(playing_ms) AS tile_ms,
    sum(attempts + watch_ms + paused_ms) AS measured
  FROM slices
  WHERE bucket_start >= $1 AND bucket_start < $2
  GROUP BY 1, 2
),
watched AS (
  SELECT
    day,
    CASE WHEN sum(measured) > 0 THEN sum(viewer_ms) END AS viewer_ms,
    CASE WHEN sum(measured) > 0 THEN sum(tile_ms) END AS tile_ms,
    count(stream_id) FILTER (WHERE tile_ms > 0) AS streams
  FROM played
  GROUP BY day
),
sat AS (
  SELECT
    date_trunc('day', local_time(started_at, $3))::date AS day,
    count(*) AS sessions,
    avg(duration_ms) AS avg_session_ms
  FROM app_sessions
  WHERE started_at >= $1 AND started_at < $2
  GROUP BY 1
)
SELECT
  coalesce(watched.day, sat.day) AS day,
  watched.viewer_ms,
  watched.tile_ms,
  coalesce(watched.streams, 0) AS streams,
  coalesce(sat.sessions, 0) AS sessions,
  sat.avg_session_ms
FROM watched FULL JOIN sat ON watched.day = sat.day
ORDER BY 1
