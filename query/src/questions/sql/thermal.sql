SELECT
  device_platform,
  data ->> 'thermal' AS thermal,
  count(*) AS samples,
  count(DISTINCT install_id) AS installs
FROM events
WHERE type = 'device.performance_sampled' AND corrected_at >= $1 AND corrected_at < $2
GROUP BY 1, 2
ORDER BY 1, 2
