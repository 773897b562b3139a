WITH played AS (
  SELECT local_time(bucket_start, $3) AS at, stream_id, viewer_ms, playing_ms
  FROM slices
  WHERE bucket_start >= $1 AND bucket_start < $2
),
streams AS (
  SELECT count(*) AS streams
  FROM (
    SELECT stream_id FROM played WHERE stream_id IS NOT NULL GROUP BY stream_id HAVING sum(playing_ms) > 0
  )
),
weekdays AS (
  SELECT first_value(weekday ORDER BY ms DESC, weekday) AS favourite_weekday
  FROM (
    SELECT extract(isodow FROM at) AS weekday, sum(viewer_ms) AS ms
    FROM played
    GROUP BY 1
    HAVING sum(viewer_ms) > 0
  )
),
hours AS (
  SELECT first_value(hour ORDER BY ms DESC, hour) AS peak_hour
  FROM (
    SELECT extract(hour FROM at) AS hour, sum(viewer_ms) AS ms
    FROM played
    GROUP BY 1
    HAVING sum(viewer_ms) > 0
  )
),
days AS (
  SELECT avg(ms) AS viewer_ms_per_day
  FROM (
    SELECT date_trunc('day', at) AS day, sum(viewer_ms) AS ms
    FROM played
    GROUP BY 1
    HAVING sum(viewer_ms) > 0
  )
),
sat AS (
  SELECT count(*) AS sessions, avg(duration_ms) AS avg_session_ms, max(duration_ms) AS longest_session_ms
  FROM app_sessions
  WHERE started_at >= $1 AND started_at < $2
)
SELECT sat.*, streams.streams, weekdays.favourite_weekday, hours.peak_hour, days.viewer_ms_per_day
FROM sat CROSS JOIN streams CROSS JOIN weekdays CROSS JOIN hours CROSS JOIN days
ORDER BY 1
