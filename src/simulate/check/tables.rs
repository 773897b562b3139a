//! The tables that are sums: their keys and measures.

use crate::simulate::timeline::{DAY_MS, HOUR_MS, MINUTE_MS, Ms};

/// A family of rollup tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct RollupTable {
    pub(super) name: &'static str,
    pub(super) keys: &'static [&'static str],
    pub(super) measures: &'static [&'static str],
}

/// How long buckets are.
pub(super) const GRAINS: [(&str, Ms); 3] = [("minute", MINUTE_MS), ("hour", HOUR_MS), ("day", DAY_MS)];

/// Every measure of the rollups of views and sessions.
pub(super) const MEASURES: &[&str] = &[
    "attempts",
    "started",
    "startup_valid",
    "startup_failures",
    "startup_business",
    "ebvs",
    "abandoned_early",
    "left_unstarted",
    "playback_failures",
    "errors_fatal",
    "errors_warning",
    "rebuffer_count",
    "client_rebuffers",
    "sustained_rebuffers",
    "seeks",
    "rendition_changes",
    "shifts_up",
    "shifts_down",
    "dropped_frames",
    "rendered_frames",
    "join_ms",
    "playing_ms",
    "rebuffer_ms",
    "seek_ms",
    "paused_ms",
    "watch_ms",
    "watch_ms_rebuffer_capable",
    "media_ms",
    "bitrate_ms",
    "rated_media_ms",
    "focus_ms",
    "audible_ms",
    "attention_ms",
    "attention_rebuffer_ms",
    "latency_ms_sum",
    "latency_n",
    "views_ended",
    "views_with_rebuffer",
    "rebuffer_capable_views",
    "success_sum",
    "success_n",
    "startup_sum",
    "startup_n",
    "smoothness_sum",
    "smoothness_n",
    "video_quality_sum",
    "video_quality_n",
    "health_sum",
    "health_n",
    "health_healthy",
    "health_good",
    "health_warning",
    "health_error",
    "health_unknown",
    "views_at_start",
    "viewers_at_start",
    "viewer_ms",
    "sessions",
    "crashed_sessions",
    "failed_sessions",
    "stalled_sessions",
    "layouts_opened",
    "any_stall_ms",
    "all_stall_ms",
    "shifts_down_tile_count",
];

/// Measures that depend on where in a minute or hour something happens: unknown where a clock is wrong.
pub(super) const OF_THE_CLOCK: &[&str] = &["views_at_start", "viewers_at_start", "late_events"];

pub(super) const STREAM: RollupTable =
    RollupTable { name: "stream", keys: &["stream_id", "stream_platform"], measures: MEASURES };
pub(super) const RELEASE: RollupTable = RollupTable {
    name: "release",
    keys: &["app_version", "device_platform", "os_major", "device_class", "network"],
    measures: MEASURES,
};
pub(super) const LAYOUT: RollupTable =
    RollupTable { name: "layout", keys: &["layout_type", "tile_band"], measures: MEASURES };
pub(super) const USAGE: RollupTable =
    RollupTable { name: "usage", keys: &["type", "feature"], measures: &["events", "late_events"] };
pub(super) const ERROR: RollupTable = RollupTable {
    name: "error",
    keys: &["origin", "code", "domain", "severity", "app_version"],
    measures: &["errors"],
};

/// Received events by what became of them.
const OUTCOMES: &[&str] = &["format", "type", "outcome", "reason"];

/// A table as the database has it: merged rows by grain, and deltas.
#[derive(Debug)]
pub(super) struct StoredTable {
    pub(super) name: String,
    pub(super) columns: Vec<&'static str>,
    pub(super) grains: &'static [(&'static str, Ms)],
}

impl StoredTable {
    /// What readers call it.
    pub(super) fn view(&self, grain: &str) -> String {
        if self.name == "ledger" { self.name.clone() } else { format!("rollup_{}_{grain}", self.name) }
    }
}

/// All tables of sums that are compared.
pub(super) fn stored() -> Vec<StoredTable> {
    let columns = |keys: &[&'static str], more: &[&'static str]| [keys, more].concat();
    let sums = [USAGE, ERROR, STREAM, RELEASE, LAYOUT].map(|table| StoredTable {
        name: table.name.to_owned(),
        columns: columns(table.keys, table.measures),
        grains: &GRAINS,
    });
    let bins = [STREAM, RELEASE, LAYOUT].map(|table| StoredTable {
        name: format!("{}_bins", table.name),
        columns: columns(table.keys, &["metric", "bin", "n"]),
        grains: &GRAINS,
    });
    let books = [("quality", &GRAINS[2..]), ("ledger", &GRAINS[1..2])].map(|(name, grains)| StoredTable {
        name: name.to_owned(),
        columns: columns(OUTCOMES, &["events"]),
        grains,
    });
    sums.into_iter().chain(bins).chain(books).collect()
}
