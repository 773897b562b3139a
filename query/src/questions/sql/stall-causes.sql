SELECT
  network,
  sum(rebuffer_count) AS rebuffers,
  sum(client_rebuffers) AS of_the_client,
  sum(rebuffer_count - client_rebuffers) AS of_the_stream,
  sum(client_rebuffers)::double / nullif(sum(rebuffer_count), 0) AS client_share
FROM slices
WHERE bucket_start >= $1 AND bucket_start < $2
GROUP BY network
HAVING sum(watch_ms) > 0
ORDER BY network
