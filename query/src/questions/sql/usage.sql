WITH counted AS (
  SELECT
    count(*) FILTER (WHERE corrected_at >= $1) AS "dailyEvents",
    count(*) FILTER (WHERE corrected_at >= $2) AS "weeklyEvents",
    count(*) AS "monthlyEvents"
  FROM events
  WHERE corrected_at >= $3
),
played AS (
  SELECT
    sum(viewer_ms) FILTER (WHERE bucket_start >= $1) AS daily_ms,
    sum(attempts + watch_ms + paused_ms) FILTER (WHERE bucket_start >= $1) AS daily_measured,
    sum(viewer_ms) FILTER (WHERE bucket_start >= $2) AS weekly_ms,
    sum(attempts + watch_ms + paused_ms) FILTER (WHERE bucket_start >= $2) AS weekly_measured,
    sum(viewer_ms) AS viewer_ms,
    sum(playing_ms) AS tile_ms,
    sum(attempts + watch_ms + paused_ms) AS measured
  FROM slices
  WHERE bucket_start >= $3
)
SELECT
  counted.*,
  CASE WHEN daily_measured > 0 THEN daily_ms / 1000.0 END AS "dailyWatchTime",
  CASE WHEN weekly_measured > 0 THEN weekly_ms / 1000.0 END AS "weeklyWatchTime",
  CASE WHEN measured > 0 THEN viewer_ms / 1000.0 END AS "monthlyWatchTime",
  CASE WHEN measured > 0 THEN viewer_ms / 1000.0 END AS "viewerTime",
  CASE WHEN measured > 0 THEN tile_ms / 1000.0 END AS "tileTime"
FROM counted CROSS JOIN played
ORDER BY 1
