#!/usr/bin/env bash
# Made the stream beside this file: 20 s of a test picture in segments of 2 s, H.264 in fragmented MP4, two renditions.
# It is checked in, so that tests need no encoder; run it again only to change the stream (ffmpeg 5.1).
set -euo pipefail
cd "$(dirname "$0")"

rendition() { # name, size, quality
    ffmpeg -hide_banner -loglevel error -y -f lavfi -i "testsrc=size=$2:rate=10:duration=20" \
        -map_metadata -1 -fflags +bitexact -flags:v +bitexact -threads 1 \
        -c:v libx264 -profile:v baseline -preset veryslow -pix_fmt yuv420p -crf "$3" -g 20 -keyint_min 20 -sc_threshold 0 \
        -f hls -hls_time 2 -hls_playlist_type vod -hls_segment_type fmp4 -hls_flags single_file+independent_segments \
        -hls_segment_filename "$1.mp4" "$1.m3u8"
}
rendition low 80x44 36
rendition high 160x90 32
cat > stream.m3u8 << END
#EXTM3U
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-STREAM-INF:BANDWIDTH=9000,RESOLUTION=80x44,CODECS="avc1.42c00a"
low.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=16500,RESOLUTION=160x90,CODECS="avc1.42c00c"
high.m3u8
END
