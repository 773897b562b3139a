SELECT category
FROM slices
WHERE bucket_start >= $1 AND category IS NOT NULL
GROUP BY category
HAVING sum(playing_ms) > 0
ORDER BY sum(playing_ms) DESC, category
LIMIT 5
