WITH seen AS (
  SELECT DISTINCT person_id, bucket_start
  FROM slices
  WHERE person_id IS NOT NULL
),
firsts AS (
  SELECT person_id, min(bucket_start) AS first_at
  FROM seen
  GROUP BY person_id
),
days AS (
  SELECT DISTINCT
    seen.person_id,
    date_trunc('day', local_time(seen.bucket_start, $3))::date
      - date_trunc('day', local_time(firsts.first_at, $3))::date AS day
  FROM seen JOIN firsts ON seen.person_id = firsts.person_id
  WHERE firsts.first_at >= $1 AND firsts.first_at < $2
),
users AS (
  SELECT DISTINCT person_id
  FROM events
  WHERE type = 'template.used' AND person_id IS NOT NULL
),
persons AS (
  SELECT
    days.person_id,
    users.person_id IS NOT NULL AS uses_templates,
    bool_or(day = 1) AS d1,
    bool_or(day = 7) AS d7,
    bool_or(day = 30) AS d30
  FROM days LEFT JOIN users ON days.person_id = users.person_id
  GROUP BY days.person_id, users.person_id
)
SELECT
  uses_templates,
  count(*) AS persons,
  avg(CASE WHEN d1 THEN 1.0 ELSE 0.0 END) AS d1,
  avg(CASE WHEN d7 THEN 1.0 ELSE 0.0 END) AS d7,
  avg(CASE WHEN d30 THEN 1.0 ELSE 0.0 END) AS d30
FROM persons
GROUP BY uses_templates
ORDER BY uses_templates
