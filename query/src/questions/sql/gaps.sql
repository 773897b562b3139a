SELECT
  format,
  count(*) AS sessions,
  sum(missing) AS missing,
  count(*) FILTER (WHERE missing > 0) AS with_gaps
FROM (
  SELECT format, source, session_id, max(seq) - min(seq) + 1 - count(DISTINCT seq) AS missing
  FROM events
  WHERE corrected_at >= $1 AND corrected_at < $2 AND seq IS NOT NULL AND session_id IS NOT NULL
  GROUP BY format, source, session_id
)
GROUP BY format
ORDER BY format
