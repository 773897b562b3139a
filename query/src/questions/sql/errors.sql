WITH told AS (
  SELECT
    CASE format WHEN 'cmcd2' THEN 'playback.error' ELSE type END AS type,
    coalesce(data ->> 'code', data ->> 'signature', json_get_str(data, 'ec', 0)) AS code,
    data ->> 'domain' AS domain,
    person_id,
    corrected_at,
    app_version
  FROM events
  WHERE corrected_at >= $1 AND corrected_at < $2
    AND (type IN ('playback.error', 'app.error', 'app.crashed')
      OR format = 'cmcd2' AND json_get_str(data, 'ec', 0) IS NOT NULL)
)
SELECT
  type,
  code,
  domain,
  count(*) AS errors,
  count(DISTINCT person_id) AS persons,
  min(corrected_at) AS first_seen,
  max(corrected_at) AS last_seen,
  count(DISTINCT app_version) AS versions
FROM told
GROUP BY type, code, domain
ORDER BY errors DESC, type, code, domain
