//! `stream.*`: streams as the user arranges them and as the app watches them.

use super::declare::kinds;

kinds! {
    /// The app's judgement of a stream's health changed.
    "stream.health_changed" StreamHealthChanged {
        /// Before.
        from: word[HealthStatus],
        /// Now.
        to: word[HealthStatus],
        /// Health, 0 to 100.
        score: decimal[0.0, 100.0],
        /// Over how long it was judged, ms.
        window_ms: int[0, 86_400_000],
    }
    /// A stream went live, went offline, or its audience was read.
    "stream.status_changed" StreamStatusChanged {
        /// Whether it is live.
        live: bool,
        /// Viewers as the platform counts them.
        viewer_count: int[0, 2_147_483_647],
    }
    /// The app asked the platform for a stream's state.
    "stream.probe" StreamProbe {
        /// HTTP status; 0 if there was no answer.
        http_status: int[0, 599],
        /// How long the answer took, ms.
        response_ms: int[0, 60_000],
    }
    /// A stream was added to the layout.
    "stream.added" StreamAdded {
        /// The stream, `{platform}:{channel}`.
        stream_id: stream,
        /// The stream's platform.
        stream_platform: word[StreamPlatform],
        /// Its tile.
        slot: int[0, 63],
        /// Where it came from.
        source: word[StreamSource],
    }
    /// A stream was taken out of the layout.
    "stream.removed" StreamRemoved {
        /// Its tile.
        slot: int[0, 63],
        /// How long it was there, ms.
        dwell_ms: int[0, 2_592_000_000],
    }
    /// A stream changed its tile.
    "stream.moved" StreamMoved {
        /// Tile before.
        from_slot: int[0, 63],
        /// Tile now.
        to_slot: int[0, 63],
    }
    /// A stream was muted.
    "stream.muted" StreamMuted {}
    /// A stream was unmuted.
    "stream.unmuted" StreamUnmuted {}
    /// A stream got the focus.
    "stream.focused" StreamFocused {
        /// The stream that had it.
        previous: text[128],
    }
    /// A stream lost the focus.
    "stream.unfocused" StreamUnfocused {}
}
