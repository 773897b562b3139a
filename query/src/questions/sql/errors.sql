SELECT
  type,
  coalesce(data ->> 'code', data ->> 'signature') AS code,
  data ->> 'domain' AS domain,
  count(*) AS errors,
  count(DISTINCT person_id) AS persons,
  min(corrected_at) AS first_seen,
  max(corrected_at) AS last_seen,
  count(DISTINCT app_version) AS versions
FROM events
WHERE type IN ('playback.error', 'app.error', 'app.crashed') AND corrected_at >= $1 AND corrected_at < $2
GROUP BY 1, 2, 3
ORDER BY errors DESC, 1, 2, 3
