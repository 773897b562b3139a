WITH by_category AS (
  SELECT
    stream_id,
    stream_platform,
    category,
    sum(playing_ms) AS tile_ms,
    sum(attempts) AS views
  FROM slices
  WHERE bucket_start >= $1 AND bucket_start <= $2 AND stream_id IS NOT NULL
  GROUP BY stream_id, stream_platform, category
)
SELECT
  stream_id,
  stream_platform,
  first_value(category ORDER BY category IS NULL, by_category.tile_ms DESC, category) AS category,
  sum(by_category.tile_ms) AS tile_ms,
  sum(by_category.views) AS views
FROM by_category
GROUP BY stream_id, stream_platform
HAVING sum(by_category.tile_ms) > 0 OR sum(by_category.views) > 0
ORDER BY 4 DESC, 1, 2
