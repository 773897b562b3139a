//! Facts: what is known of a part of a view, and of an app session, once it is over.

use std::sync::Arc;

use super::measures::Dims;
use super::scores::Scores;

/// One part of a view that had an attempt and is over. Columns of `views` have these names.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewFact {
    /// Its dimensions.
    pub dims: Arc<Dims>,
    /// Time of the attempt, ms since the Unix epoch.
    pub started_ms: i64,
    /// Time of its last input, ms.
    pub ended_ms: i64,
    /// `played`, `startup_failure`, `startup_business`, `ebvs`, `abandoned_early`, `left_unstarted` or `playback_failure`.
    pub outcome: &'static str,
    /// What ended it.
    pub exit_reason: Box<str>,
    /// Whether a first frame was shown.
    pub started: bool,
    /// Whether a technical error ended it.
    pub playback_failure: bool,
    /// From the start to the first frame, ms.
    pub startup_ms: Option<i64>,
    /// The same as the player measured it, ms.
    pub reported_startup_ms: Option<i64>,
    /// Whether the player could tell of stalls.
    pub is_rebuffer_capable: bool,
    /// Time in states, ms.
    pub join_ms: i64,
    /// Playing, ms.
    pub playing_ms: i64,
    /// Stalled, ms.
    pub rebuffer_ms: i64,
    /// Seeking, ms.
    pub seek_ms: i64,
    /// Paused, ms.
    pub paused_ms: i64,
    /// All but paused, ms.
    pub watch_ms: i64,
    /// Stalls of at least 250 ms.
    pub rebuffer_count: i64,
    /// The longest, ms.
    pub max_rebuffer_ms: i64,
    /// Stalls of at least 1000 ms.
    pub sustained_rebuffers: i64,
    /// Seeks.
    pub seeks: i64,
    /// Changes of the bitrate.
    pub rendition_changes: i64,
    /// To a higher one.
    pub shifts_up: i64,
    /// To a lower one.
    pub shifts_down: i64,
    /// Media played, ms.
    pub media_ms: i64,
    /// Media played while the bitrate was known, ms.
    pub rated_media_ms: i64,
    /// Its bitrate times that, kbit/s times ms.
    pub bitrate_ms: i64,
    /// Upscaling: greatest, and mean over playing time.
    pub upscales: Option<(f64, f64)>,
    /// Frames dropped.
    pub dropped_frames: i64,
    /// Frames shown.
    pub rendered_frames: i64,
    /// Playing with the focus, ms.
    pub focus_ms: i64,
    /// Playing audibly, ms.
    pub audible_ms: i64,
    /// Playing with either, ms.
    pub attention_ms: i64,
    /// Sum of live latencies, ms.
    pub latency_ms_sum: i64,
    /// Their number.
    pub latency_n: i64,
    /// The greatest, ms.
    pub latency_ms_max: Option<i64>,
    /// Their median, ms, within 1 %.
    pub latency_ms_p50: Option<f64>,
    /// Their 95th percentile, ms, within 1 %.
    pub latency_ms_p95: Option<f64>,
    /// Fatal errors.
    pub errors_fatal: i64,
    /// Warnings.
    pub errors_warning: i64,
    /// Scores.
    pub scores: Scores,
}

/// One app session that is over. Columns of `app_sessions` have these names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFact {
    /// Dimensions at its last input.
    pub dims: Arc<Dims>,
    /// Its number among the app sessions of the session id.
    pub part: u32,
    /// Its first input, ms since the Unix epoch.
    pub started_ms: i64,
    /// Its last, ms.
    pub ended_ms: i64,
    /// Viewer time, ms.
    pub viewer_ms: i64,
    /// Tile time, ms.
    pub tile_ms: i64,
    /// Attempts.
    pub views: i64,
    /// Layouts it had on screen.
    pub layouts: i64,
    /// What ended it.
    pub exit_reason: Box<str>,
}
