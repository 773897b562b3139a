SELECT
  extract(isodow FROM local_time(bucket_start, $3)) AS weekday,
  extract(hour FROM local_time(bucket_start, $3)) AS hour,
  sum(viewer_ms) AS viewer_ms
FROM slices
WHERE bucket_start >= $1 AND bucket_start < $2
GROUP BY 1, 2
HAVING sum(viewer_ms) > 0
ORDER BY 1, 2
