SELECT
  time_quality,
  count(*) AS events,
  min(skew_ms) AS skew_ms_min,
  median(skew_ms) AS skew_ms_p50,
  max(skew_ms) AS skew_ms_max
FROM events
WHERE corrected_at >= $1 AND corrected_at < $2
GROUP BY time_quality
ORDER BY time_quality
