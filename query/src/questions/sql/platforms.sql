WITH played AS (
  SELECT stream_platform, sum(playing_ms) AS tile_ms
  FROM slices
  WHERE bucket_start >= $1 AND bucket_start < $2 AND stream_platform IS NOT NULL
  GROUP BY stream_platform
  HAVING sum(playing_ms) > 0
)
SELECT stream_platform, tile_ms, tile_ms::double / sum(tile_ms) OVER () AS share
FROM played
ORDER BY tile_ms DESC, stream_platform
