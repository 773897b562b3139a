WITH persons AS (
  SELECT person_id, min(bucket_start) AS first_at, max(bucket_start) AS last_at
  FROM slices
  WHERE bucket_start < $1 AND person_id IS NOT NULL
  GROUP BY person_id
),
spans AS (
  SELECT days, $1::timestamptz - length AS since
  FROM (
    VALUES (1, INTERVAL '1 day'), (7, INTERVAL '7 days'), (30, INTERVAL '30 days')
  ) AS lengths(days, length)
)
SELECT
  days,
  count(*) AS persons,
  count(*) FILTER (WHERE person_id LIKE 'anon:%') AS guests,
  count(*) FILTER (WHERE person_id NOT LIKE 'anon:%') AS signed_in,
  count(*) FILTER (WHERE first_at >= since) AS new,
  count(*) FILTER (WHERE first_at < since) AS returning
FROM persons CROSS JOIN spans
WHERE last_at >= since
GROUP BY days
ORDER BY days
