//! `playback.*`: one playback attempt of one stream in one tile. Every kind needs `viewid`.

use super::declare::kinds;

/// Greatest duration or total of a view, ms: 30 days. Ours; the vocabulary only says that durations are whole and not
/// negative.
const TOTAL_MS_MAX: i64 = 2_592_000_000;
/// Greatest playhead, ms: the end of the year 9999, since the playhead of a live stream is Unix time.
const PLAYHEAD_MS_MAX: i64 = 253_402_300_799_999;
/// Greatest counter. Ours: what an i64 sum of 4 billion events still holds.
const COUNT_MAX: i64 = 2_147_483_647;

kinds! {
    /// The player was told to play.
    "playback.view_started" PlaybackViewStarted {
        /// The stream, `{platform}:{channel}`.
        stream_id: stream required,
        /// The stream's platform.
        stream_platform: word[StreamPlatform],
        /// Channel name.
        channel: text[128],
        /// Live or recorded.
        content_type: word[ContentType],
        /// Category of the content, as its platform names it.
        category: text[128],
        /// Whether it started without the user's doing.
        autoplay: bool,
        /// Why it was started.
        intent: word[ViewIntent],
        /// What plays it.
        player: word[Player],
        /// How much the player tells.
        telemetry_level: word[TelemetryLevel],
        /// Tile width in pixels.
        tile_width_px: int[1, 16_384],
        /// Tile height in pixels.
        tile_height_px: int[1, 16_384],
    }
    /// The first frame was shown.
    "playback.first_frame" PlaybackFirstFrame {
        /// From the order to play to the first frame, ms, as the player measured it.
        startup_ms: int[0, 600_000],
        /// Bitrate of the first rendition, kbit/s.
        bitrate_kbps: int[0, 200_000],
        /// Width of the video, pixels.
        width_px: int[1, 16_384],
        /// Height of the video, pixels.
        height_px: int[1, 16_384],
    }
    /// The buffer ran dry while playing.
    "playback.rebuffer_started" PlaybackRebufferStarted {
        /// Buffer left, ms.
        buffer_ms: int[0, 600_000],
        /// What made it run dry.
        cause: word[RebufferCause],
    }
    /// The rebuffer is over.
    "playback.rebuffer_ended" PlaybackRebufferEnded {
        /// How long it took, ms.
        duration_ms: int[0, 3_600_000],
        /// What ended it.
        ended_by: word[RebufferEnd],
    }
    /// Playback was paused.
    "playback.paused" PlaybackPaused {
        /// Why.
        reason: word[PauseReason],
    }
    /// Playback was resumed.
    "playback.resumed" PlaybackResumed {
        /// Why.
        reason: word[PauseReason],
    }
    /// A seek began.
    "playback.seek_started" PlaybackSeekStarted {
        /// Playhead before, ms.
        from_ms: int[0, PLAYHEAD_MS_MAX],
        /// Playhead wanted, ms.
        to_ms: int[0, PLAYHEAD_MS_MAX],
    }
    /// A seek is over.
    "playback.seek_ended" PlaybackSeekEnded {
        /// Playhead before, ms.
        from_ms: int[0, PLAYHEAD_MS_MAX],
        /// Playhead now, ms.
        to_ms: int[0, PLAYHEAD_MS_MAX],
        /// How long it took, ms.
        duration_ms: int[0, 600_000],
    }
    /// Another rendition is shown.
    "playback.rendition_changed" PlaybackRenditionChanged {
        /// Bitrate before, kbit/s.
        from_kbps: int[0, 200_000],
        /// Bitrate now, kbit/s.
        to_kbps: int[0, 200_000],
        /// Width of the video, pixels.
        width_px: int[1, 16_384],
        /// Height of the video, pixels.
        height_px: int[1, 16_384],
        /// Frames per second.
        fps: int[0, 240],
        /// Name of the quality.
        quality: word[Quality],
        /// Why it changed.
        reason: word[RenditionReason],
    }
    /// Playback failed, or nearly.
    "playback.error" PlaybackError {
        /// The player's code.
        code: text[64] required,
        /// Whether it ended playback.
        severity: word[Severity] required,
        /// Where it came from.
        domain: word[ErrorDomain],
        /// The player's text.
        message: text[512],
        /// HTTP status behind it; 0 if there was no answer.
        http_status: int[0, 599],
    }
    /// What has added up since the view started, and how it stands now.
    "playback.heartbeat" PlaybackHeartbeat {
        /// How often heartbeats are sent, ms.
        period_ms: int[1, 300_000],
        /// Playing since the view started, ms.
        playing_ms: int[0, TOTAL_MS_MAX],
        /// Rebuffering since the view started, ms.
        rebuffer_ms: int[0, TOTAL_MS_MAX],
        /// Rebuffers since the view started.
        rebuffer_count: int[0, COUNT_MAX],
        /// Seeking since the view started, ms.
        seek_ms: int[0, TOTAL_MS_MAX],
        /// Paused since the view started, ms.
        paused_ms: int[0, TOTAL_MS_MAX],
        /// Frames dropped since the view started.
        dropped_frames: int[0, COUNT_MAX],
        /// Frames shown since the view started.
        rendered_frames: int[0, COUNT_MAX],
        /// What the player is doing.
        state: word[PlayerState],
        /// Playhead, ms; Unix time for live.
        playhead_ms: int[0, PLAYHEAD_MS_MAX],
        /// Buffer, ms.
        buffer_ms: int[0, 600_000],
        /// Bitrate shown, kbit/s.
        bitrate_kbps: int[0, 200_000],
        /// Throughput measured, kbit/s.
        throughput_kbps: int[0, 10_000_000],
        /// Delay behind live, ms; negative where clocks disagree.
        latency_ms: int[-10_000, 600_000],
        /// Playback rate, 1 = normal.
        playback_rate: decimal[0.0, 16.0],
        /// Whether the tile is muted.
        muted: bool,
        /// Whether the tile has the focus.
        focused: bool,
        /// Whether the tile is on screen.
        visible: bool,
        /// Tiles of the layout.
        tile_count: int[0, 64],
    }
    /// Frames were dropped.
    "playback.frames_dropped" PlaybackFramesDropped {
        /// How many.
        dropped: int[1, COUNT_MAX],
        /// Within how long, ms.
        window_ms: int[0, TOTAL_MS_MAX],
    }
    /// The delay behind live was measured.
    "playback.latency_sampled" PlaybackLatencySampled {
        /// Delay, ms; negative where clocks disagree.
        latency_ms: int[-10_000, 600_000],
        /// The player's target, ms.
        target_ms: int[0, 600_000],
    }
    /// The tile is shown in another way.
    "playback.mode_changed" PlaybackModeChanged {
        /// How.
        mode: word[PlaybackMode],
        /// Tile width in pixels.
        tile_width_px: int[1, 16_384],
        /// Tile height in pixels.
        tile_height_px: int[1, 16_384],
    }
    /// Sound changed.
    "playback.audio_changed" PlaybackAudioChanged {
        /// Whether the tile is muted.
        muted: bool,
        /// Whether it can be heard.
        audible: bool,
        /// Volume, 0 to 1.
        volume: decimal[0.0, 1.0],
    }
    /// The view is over.
    "playback.view_ended" PlaybackViewEnded {
        /// Why.
        reason: word[ViewExit],
        /// Playing since the view started, ms.
        playing_ms: int[0, TOTAL_MS_MAX],
        /// Rebuffering since the view started, ms.
        rebuffer_ms: int[0, TOTAL_MS_MAX],
        /// Rebuffers since the view started.
        rebuffer_count: int[0, COUNT_MAX],
        /// Seeking since the view started, ms.
        seek_ms: int[0, TOTAL_MS_MAX],
        /// Paused since the view started, ms.
        paused_ms: int[0, TOTAL_MS_MAX],
        /// Frames dropped since the view started.
        dropped_frames: int[0, COUNT_MAX],
        /// Frames shown since the view started.
        rendered_frames: int[0, COUNT_MAX],
    }
}
