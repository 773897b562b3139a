WITH looks AS (
  SELECT
    install_id,
    session_id,
    bool_or(type = 'template.used') AS has_used,
    bool_or(type = 'layout.created' AND data ->> 'from_template' IS NOT NULL) AS has_made
  FROM events
  WHERE type IN ('template.viewed', 'template.used', 'layout.created')
    AND corrected_at >= $1 AND corrected_at < $2
  GROUP BY install_id, session_id
  HAVING bool_or(type LIKE 'template.%')
)
SELECT
  count(*) AS sessions,
  count(*) FILTER (WHERE has_used) AS used,
  count(*) FILTER (WHERE has_used OR has_made) AS converted,
  count(*) FILTER (WHERE has_used OR has_made)::double / nullif(count(*), 0) AS conversion
FROM looks
ORDER BY 1
