WITH named AS (
  SELECT
    *,
    CASE
      WHEN type = 'playback.view_started' THEN 'stream_start'
      WHEN type = 'playback.view_ended' THEN 'stream_end'
      WHEN type = 'playback.rendition_changed' THEN 'quality_change'
      WHEN type = 'playback.rebuffer_ended' AND json_get_int(data, 'duration_ms') >= 250 THEN 'buffering_event'
      WHEN type = 'playback.error' AND (data ->> 'severity' = 'fatal' OR data ->> 'domain' = 'network')
        THEN 'connection_error'
      WHEN type = 'playback.mode_changed' AND data ->> 'mode' = 'pip' THEN 'pip_toggle'
      WHEN type = 'playback.mode_changed' THEN 'fullscreen_toggle'
      WHEN type = 'playback.audio_changed' AND json_get_bool(data, 'muted') IS NULL
        AND json_get_float(data, 'volume') IS NOT NULL THEN 'volume_change'
      WHEN type = 'playback.audio_changed' THEN 'mute_toggle'
    END AS event
  FROM events
  WHERE corrected_at >= $1 AND corrected_at <= $2
)
SELECT
  event_id AS id,
  to_char(corrected_at, '%Y-%m-%dT%H:%M:%SZ') AS timestamp,
  event,
  CASE event
    WHEN 'stream_end' THEN coalesce(json_get_int(data, 'playing_ms'), 0) / 1000.0
    WHEN 'quality_change' THEN coalesce(json_get_float(data, 'to_kbps'), 0.0)
    WHEN 'buffering_event' THEN json_get_int(data, 'duration_ms') / 1000.0
    WHEN 'connection_error' THEN 1.0
    WHEN 'pip_toggle' THEN 1.0
    WHEN 'fullscreen_toggle' THEN CASE WHEN data ->> 'mode' = 'fullscreen' THEN 1.0 ELSE 0.0 END
    WHEN 'volume_change' THEN json_get_float(data, 'volume')
    WHEN 'mute_toggle' THEN CASE WHEN json_get_bool(data, 'muted') THEN 1.0 ELSE 0.0 END
    ELSE 0.0
  END AS value,
  type AS kind,
  stream_id
FROM named
WHERE event IS NOT NULL
ORDER BY corrected_at, log_partition, log_position, log_index
