//! Facts: what is known of a part of a view, and of an app session, once it is over.

use std::sync::Arc;

use super::measures::{Dims, Measure, Values};
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
    /// Its measures: times in states, stalls, seeks, renditions, media, frames, attention, latencies and errors. The others
    /// are 0.
    pub values: Box<Values>,
    /// The longest stall, ms.
    pub max_rebuffer_ms: i64,
    /// Upscaling: greatest, and mean over playing time.
    pub upscales: Option<(f64, f64)>,
    /// The greatest live latency, ms.
    pub latency_ms_max: Option<i64>,
    /// Their median, ms, within 1 %.
    pub latency_ms_p50: Option<f64>,
    /// Their 95th percentile, ms, within 1 %.
    pub latency_ms_p95: Option<f64>,
    /// Scores.
    pub scores: Scores,
}

impl ViewFact {
    /// One of its measures.
    #[must_use]
    pub fn of(&self, measure: Measure) -> i64 {
        self.values[measure as usize]
    }
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
