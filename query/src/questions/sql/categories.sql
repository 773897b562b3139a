SELECT category, sum(playing_ms) AS tile_ms, sum(attempts) AS views
FROM slices
WHERE bucket_start >= $1 AND bucket_start < $2 AND category IS NOT NULL
GROUP BY category
HAVING sum(playing_ms) > 0
ORDER BY tile_ms DESC, category
