SELECT
  date_trunc('hour', records.received_at) AS hour,
  count(*) AS records,
  median(extract(epoch FROM commits.committed_at) - extract(epoch FROM records.received_at)) AS freshness_s_p50,
  max(extract(epoch FROM commits.committed_at) - extract(epoch FROM records.received_at)) AS freshness_s_max
FROM records JOIN commits ON records.log_partition = commits.log_partition
  AND records.log_position >= commits.from_position
  AND records.log_position < commits.to_position
WHERE commits.lane = 'events' AND records.received_at >= $1 AND records.received_at < $2
GROUP BY 1
ORDER BY 1 DESC
