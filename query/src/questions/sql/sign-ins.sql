WITH guests AS (
  SELECT anon_id, min(corrected_at) AS first_at
  FROM events
  WHERE anon_id IS NOT NULL
  GROUP BY anon_id
),
signed AS (
  SELECT anon_id, min(corrected_at) AS signed_at
  FROM events
  WHERE type = 'identity.signed_in' AND anon_id IS NOT NULL
  GROUP BY anon_id
)
SELECT
  count(*) AS guests,
  count(signed.signed_at)
    FILTER (WHERE signed.signed_at < guests.first_at + INTERVAL '7 days') AS signed_in
FROM guests LEFT JOIN signed ON guests.anon_id = signed.anon_id
WHERE guests.first_at >= $1 AND guests.first_at < $2
ORDER BY 1
