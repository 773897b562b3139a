SELECT
  format,
  type,
  outcome,
  reason,
  sum(events) AS events,
  sum(late_events) AS late_events,
  sum(clamped_events) AS clamped_events,
  sum(offset_events) AS offset_events
FROM rollup_quality_hour
WHERE bucket_start >= $1 AND bucket_start < $2
GROUP BY format, type, outcome, reason
HAVING sum(events) > 0
ORDER BY events DESC, format, type, outcome, reason
