WITH models AS (
  SELECT session_id, max(data ->> 'device_model') AS device_model
  FROM events
  WHERE type IN ('device.context', 'session.started') AND session_id IS NOT NULL
    AND corrected_at >= $1::timestamptz - INTERVAL '1 day' AND corrected_at < $2
  GROUP BY session_id
)
SELECT
  models.device_model,
  slices.tile_band,
  sum(slices.watch_ms) AS watch_ms,
  sum(slices.rebuffer_ms)::double / nullif(sum(slices.watch_ms_rebuffer_capable), 0) AS rebuffer_ratio,
  sum(slices.dropped_frames)::double
    / nullif(sum(slices.dropped_frames + slices.rendered_frames), 0) AS dropped_ratio
FROM slices LEFT JOIN models ON slices.session_id = models.session_id
WHERE slices.bucket_start >= $1 AND slices.bucket_start < $2
GROUP BY models.device_model, slices.tile_band
HAVING sum(slices.watch_ms) > 0
ORDER BY models.device_model, slices.tile_band
