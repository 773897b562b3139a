SELECT
  waited_from_ms,
  count(*) AS attempts,
  sum(CASE WHEN outcome = 'ebvs' THEN 1 ELSE 0 END) AS ebvs,
  avg(CASE WHEN outcome = 'ebvs' THEN 1.0 ELSE 0.0 END) AS ebvs_rate
FROM (
  SELECT
    outcome,
    CASE
      WHEN join_ms < 500 THEN 0
      WHEN join_ms < 1000 THEN 500
      WHEN join_ms < 2000 THEN 1000
      WHEN join_ms < 4000 THEN 2000
      WHEN join_ms < 8000 THEN 4000
      ELSE 8000
    END AS waited_from_ms
  FROM views
  WHERE started_at >= $1 AND started_at < $2 AND outcome NOT IN ('abandoned_early', 'left_unstarted')
)
GROUP BY waited_from_ms
ORDER BY waited_from_ms
