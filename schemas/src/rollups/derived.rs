//! Columns that are computed when a rollup is read: ratios of its sums, and percentiles of its distributions.
//!
//! They are never stored, because ratios do not add. Whoever adds up buckets or keys adds the measures, and divides
//! after that.

use crate::fold::measures::{Measure, Metric};

/// A column that is computed at read.
#[derive(Debug, Clone, Copy)]
pub struct Derived {
    /// Its name.
    pub name: &'static str,
    /// What it tells: formula and unit. Without anything to divide by it is null.
    pub doc: &'static str,
    /// How it is computed.
    pub formula: Formula,
}

/// A sum of measures, each times a whole number.
pub type Sum = &'static [(i64, Measure)];

/// How a derived column is computed.
#[derive(Debug, Clone, Copy)]
pub enum Formula {
    /// One sum divided by another.
    Ratio(Sum, Sum),
    /// A measure in ms divided by the length of the bucket.
    OfTime(Measure),
    /// The value of a distribution that this share (0 to 1) of the values does not exceed, within 1 %.
    Quantile(Metric, f64),
}

impl Derived {
    /// Whether it comes from a distribution, and so is right within 1 % only.
    #[must_use]
    pub const fn is_percentile(&self) -> bool {
        matches!(self.formula, Formula::Quantile(..))
    }
}

const fn ratio(name: &'static str, doc: &'static str, part: Sum, whole: Sum) -> Derived {
    Derived { name, doc, formula: Formula::Ratio(part, whole) }
}

const fn percentile(name: &'static str, doc: &'static str, metric: Metric, share: f64) -> Derived {
    Derived { name, doc, formula: Formula::Quantile(metric, share) }
}

/// Failures of attempts.
pub const FAILURE_RATE: Derived = ratio(
    "failure_rate",
    "playback_failures / attempts.",
    &[(1, Measure::PlaybackFailures)],
    &[(1, Measure::Attempts)],
);
/// Attempts that were left while waiting.
pub const EBVS_RATE: Derived = ratio(
    "ebvs_rate",
    "ebvs / (attempts - abandoned_early - left_unstarted).",
    &[(1, Measure::Ebvs)],
    &[(1, Measure::Attempts), (-1, Measure::AbandonedEarly), (-1, Measure::LeftUnstarted)],
);
/// Stalled time.
pub const REBUFFER_RATIO: Derived = ratio(
    "rebuffer_ratio",
    "rebuffer_ms / watch_ms_rebuffer_capable.",
    &[(1, Measure::RebufferMs)],
    &[(1, Measure::WatchMsRebufferCapable)],
);
/// How often playback stalls.
pub const REBUFFERS_PER_MIN: Derived = ratio(
    "rebuffers_per_min",
    "60 000 x rebuffer_count / watch_ms_rebuffer_capable: stalls per minute of watch time.",
    &[(60_000, Measure::RebufferCount)],
    &[(1, Measure::WatchMsRebufferCapable)],
);
/// The health score.
pub const HEALTH_SCORE: Derived = ratio(
    "health_score",
    "Mean health score of ended attempts, 0 to 100.",
    &[(1, Measure::HealthSum)],
    &[(100, Measure::HealthN)],
);
/// Slow starts.
pub const STARTUP_MS_P95: Derived =
    percentile("startup_ms_p95", "95th percentile of startup times, ms, within 1 %.", Metric::StartupMs, 0.95);

/// What is computed for the rollups of views and sessions, in the order of the columns: ratios, then percentiles.
pub const OF_VIEWS: &[Derived] = &[
    FAILURE_RATE,
    EBVS_RATE,
    ratio(
        "start_success_rate",
        "started / (attempts - abandoned_early - left_unstarted - startup_business).",
        &[(1, Measure::Started)],
        &[
            (1, Measure::Attempts),
            (-1, Measure::AbandonedEarly),
            (-1, Measure::LeftUnstarted),
            (-1, Measure::StartupBusiness),
        ],
    ),
    REBUFFER_RATIO,
    REBUFFERS_PER_MIN,
    ratio(
        "attention_rebuffer_ratio",
        "Of the time in which a tile that is focused or audible should play: attention_rebuffer_ms / \
         (attention_ms + attention_rebuffer_ms).",
        &[(1, Measure::AttentionRebufferMs)],
        &[(1, Measure::AttentionMs), (1, Measure::AttentionRebufferMs)],
    ),
    ratio(
        "any_stall_ratio",
        "any_stall_ms / (viewer_ms + all_stall_ms).",
        &[(1, Measure::AnyStallMs)],
        &[(1, Measure::ViewerMs), (1, Measure::AllStallMs)],
    ),
    ratio(
        "all_stall_ratio",
        "all_stall_ms / (viewer_ms + all_stall_ms).",
        &[(1, Measure::AllStallMs)],
        &[(1, Measure::ViewerMs), (1, Measure::AllStallMs)],
    ),
    ratio(
        "avg_bitrate_kbps",
        "Mean bitrate over media played while it was known: bitrate_ms / rated_media_ms, kbit/s.",
        &[(1, Measure::BitrateMs)],
        &[(1, Measure::RatedMediaMs)],
    ),
    ratio(
        "dropped_ratio",
        "dropped_frames / (dropped_frames + rendered_frames).",
        &[(1, Measure::DroppedFrames)],
        &[(1, Measure::DroppedFrames), (1, Measure::RenderedFrames)],
    ),
    ratio(
        "latency_ms_mean",
        "Mean live latency: latency_ms_sum / latency_n, ms.",
        &[(1, Measure::LatencyMsSum)],
        &[(1, Measure::LatencyN)],
    ),
    ratio(
        "success_score",
        "Mean playback success score of ended attempts, 0 to 100.",
        &[(1, Measure::SuccessSum)],
        &[(100, Measure::SuccessN)],
    ),
    ratio(
        "startup_score",
        "Mean startup score of ended attempts, 0 to 100.",
        &[(1, Measure::StartupSum)],
        &[(100, Measure::StartupN)],
    ),
    ratio(
        "smoothness_score",
        "Mean smoothness score of ended attempts, 0 to 100.",
        &[(1, Measure::SmoothnessSum)],
        &[(100, Measure::SmoothnessN)],
    ),
    ratio(
        "video_quality_score",
        "Mean video quality score of ended attempts, 0 to 100.",
        &[(1, Measure::VideoQualitySum)],
        &[(100, Measure::VideoQualityN)],
    ),
    HEALTH_SCORE,
    Derived {
        name: "mean_concurrent_views",
        doc: "Tiles that played at once, on average over the whole bucket: playing_ms / length of the bucket.",
        formula: Formula::OfTime(Measure::PlayingMs),
    },
    percentile("startup_ms_p50", "Median of startup times, ms, within 1 %.", Metric::StartupMs, 0.5),
    STARTUP_MS_P95,
    percentile("startup_ms_p99", "99th percentile of startup times, ms, within 1 %.", Metric::StartupMs, 0.99),
    percentile("rebuffer_ms_p95", "95th percentile of durations of stalls, ms, within 1 %.", Metric::RebufferMs, 0.95),
    percentile("latency_ms_p50", "Median of live latencies, ms, within 1 %.", Metric::LatencyMs, 0.5),
    percentile("latency_ms_p95", "95th percentile of live latencies, ms, within 1 %.", Metric::LatencyMs, 0.95),
    percentile(
        "bitrate_kbps_p50",
        "Median of bitrates that players told, kbit/s, within 1 %.",
        Metric::BitrateKbps,
        0.5,
    ),
    percentile(
        "layout_first_ms_p95",
        "95th percentile of the time until the first tile of a layout plays, ms, within 1 %.",
        Metric::LayoutFirstMs,
        0.95,
    ),
    percentile(
        "layout_all_ms_p95",
        "95th percentile of the time until all tiles of a layout play, ms, within 1 %.",
        Metric::LayoutAllMs,
        0.95,
    ),
    percentile(
        "sync_spread_ms_p95",
        "95th percentile of the difference of latencies within a layout, ms, within 1 %.",
        Metric::SyncSpreadMs,
        0.95,
    ),
    percentile(
        "demand_pct_p95",
        "95th percentile of the bitrates of tiles that play at once in percent of the throughput, within 1 %.",
        Metric::DemandPct,
        0.95,
    ),
];
