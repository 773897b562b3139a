SELECT
  bucket_start,
  sum(views_at_start) AS tiles,
  sum(viewers_at_start) AS viewers,
  sum(attempts) AS attempts,
  sum(started) AS started,
  sum(playback_failures) AS failures
FROM rollup_release_minute
WHERE bucket_start >= $1 AND bucket_start < $2
GROUP BY bucket_start
ORDER BY bucket_start DESC
