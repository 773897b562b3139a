//! Which rollups exist: their keys and measures.
//!
//! A rollup is a sum of contributions of events, views and sessions to (project, minute, key). Every measure is an
//! integer that adds; hours and days are sums of minutes. The SQL tables, the API and the documentation are made from
//! these definitions.

mod derived;

pub use derived::{
    Derived, EBVS_RATE, FAILURE_RATE, Formula, HEALTH_SCORE, OF_VIEWS, REBUFFER_RATIO, REBUFFERS_PER_MIN,
    STARTUP_MS_P95, Sum,
};

use crate::fold::measures::MEASURES;

/// A rollup: what is counted, by what.
#[derive(Debug)]
pub struct Rollup {
    /// The name in `/v1/rollups/{name}` and `rollup_{name}_{grain}`.
    pub name: &'static str,
    /// What it answers.
    pub doc: &'static str,
    /// Which buckets exist, finest first: contributions come in the first.
    pub grains: &'static [Grain],
    /// The key columns after project and bucket, all text.
    pub keys: &'static [Column],
    /// The measures, all integers.
    pub measures: &'static [Column],
    /// What is computed of them when they are read.
    pub derived: &'static [Derived],
    /// The rollup that its distributions are, with the keys `metric` and `bin` after its own. They are stored in the rows of
    /// this one.
    pub bins: Option<&'static Rollup>,
}

impl Rollup {
    /// Whether it is distributions: its last two keys are metric and bin.
    #[must_use]
    pub fn is_distribution(&self) -> bool {
        self.keys.last().is_some_and(|key| key.name == BIN_KEY.name)
    }

    /// The rollup whose rows hold it: itself, or of distributions that of the sums.
    #[must_use]
    pub fn stored_with(&'static self) -> &'static Self {
        let is_of = |rollup: &&Self| rollup.bins.is_some_and(|bins| bins.name == self.name);
        ALL_STORED.into_iter().find(is_of).unwrap_or(self)
    }
}

/// A column of a rollup.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds: formula, input, unit.
    pub doc: &'static str,
}

/// Stored events by kind and feature, in the minute of their corrected time.
pub const USAGE: Rollup = Rollup {
    name: "usage",
    doc: "Stored events by kind and feature, in the minute of their corrected time.",
    grains: &Grain::ALL,
    keys: &[
        Column { name: "type", doc: "Kind of the event." },
        Column { name: "feature", doc: "data.feature of feature.used, else empty." },
    ],
    measures: &[
        Column { name: "events", doc: "Number of stored events." },
        Column { name: "late_events", doc: "Of these, how many arrived more than 1 h after they happened." },
    ],
    derived: &[],
    bins: None,
};

/// Received events by what became of them, in the minute of their arrival.
pub const QUALITY: Rollup = Rollup {
    name: "quality",
    doc: "Received events by format, kind, outcome and reason, in the minute of their arrival.",
    grains: &Grain::ALL,
    keys: &[
        Column { name: "format", doc: "How the event was written." },
        Column { name: "type", doc: "Kind of the event; empty where it could not be read." },
        Column { name: "outcome", doc: "stored, duplicate, quarantined or suppressed." },
        Column { name: "reason", doc: "Why, for quarantined and suppressed; else empty." },
    ],
    measures: &[
        Column { name: "events", doc: "Number of received events." },
        Column { name: "late_events", doc: "Of the stored ones, how many arrived more than 1 h after they happened." },
        Column {
            name: "clamped_events",
            doc: "Of the stored ones, how many claimed a time over 5 min after their arrival.",
        },
        Column {
            name: "offset_events",
            doc: "Of the stored ones, how many had their time corrected by a clock offset.",
        },
    ],
    derived: &[],
    bins: None,
};

/// The books: every received event, by what became of it, in the hour of its arrival. They must balance against the
/// rows of `records`, `events` and `quarantine`.
pub const LEDGER: Rollup = Rollup {
    name: "ledger",
    doc: "The books: received events by log partition, format, kind, outcome and reason, in the hour of their arrival.",
    grains: &[Grain::Hour],
    keys: &[
        Column { name: "log_partition", doc: "Partition of the log." },
        Column { name: "format", doc: "How the event was written." },
        Column { name: "type", doc: "Kind of the event; empty where it could not be read." },
        Column { name: "outcome", doc: "stored, duplicate, quarantined, suppressed or erased (after its retention)." },
        Column { name: "reason", doc: "Why, for quarantined, suppressed and erased; else empty." },
    ],
    measures: &[Column { name: "events", doc: "Number of received events." }],
    derived: &[],
    bins: None,
};

const STREAM_KEYS: [Column; 2] = [
    Column { name: "stream_id", doc: "The stream, platform:channel; empty if unknown." },
    Column { name: "stream_platform", doc: "Its platform; empty if unknown." },
];
const RELEASE_KEYS: [Column; 5] = [
    Column { name: "app_version", doc: "Version of the app; empty if unknown." },
    Column { name: "device_platform", doc: "Platform of the device; empty if unknown." },
    Column { name: "os_major", doc: "Major version of its system; empty if unknown." },
    Column { name: "device_class", doc: "phone, tablet, desktop or tv; empty if unknown." },
    Column { name: "network", doc: "wifi, cellular, ethernet, none or unknown; empty if not told." },
];
const LAYOUT_KEYS: [Column; 2] = [
    Column { name: "layout_type", doc: "How tiles are arranged; empty if unknown." },
    Column { name: "tile_band", doc: "Tiles at once: 1, 2, 3-4, 5-9, 10-16 or 17+; empty if unknown." },
];
const METRIC_KEY: Column = Column {
    name: "metric",
    doc: "startup_ms, rebuffer_ms, latency_ms, bitrate_kbps, sync_spread_ms, layout_first_ms, layout_focused_ms, layout_most_ms, layout_all_ms, demand_pct, session_ms, or tile_count (its bins are numbers of tiles).",
};
const BIN_KEY: Column =
    Column { name: "bin", doc: "Bin of a DDSketch with a relative error of 1 %: see docs/views.md." };
const BIN_MEASURES: &[Column] =
    &[Column { name: "n", doc: "Number of values in the bin; for tile_count the time of that many tiles, ms." }];

/// Declares the two rollups of views and sessions by some keys: their measures, and their distributions.
macro_rules! view_rollups {
    ($(#[doc = $doc:literal] $sums:ident $name:literal $bins:ident $bins_name:literal [$($key:expr),+]);+ $(;)?) => {$(
        #[doc = $doc]
        pub const $sums: Rollup = Rollup {
            name: $name,
            doc: $doc,
            grains: &Grain::ALL,
            keys: &[$($key),+],
            measures: MEASURES,
            derived: OF_VIEWS,
            bins: Some(&$bins),
        };
        #[doc = $doc]
        #[doc = " Distributions."]
        pub const $bins: Rollup = Rollup {
            name: $bins_name,
            doc: concat!($doc, " Distributions."),
            grains: &Grain::ALL,
            keys: &[$($key,)+ METRIC_KEY, BIN_KEY],
            measures: BIN_MEASURES,
            derived: &[],
            bins: None,
        };
    )+};
}

view_rollups! {
    #[doc = "Views and sessions by stream."]
    STREAM "stream" STREAM_BINS "stream_bins" [STREAM_KEYS[0], STREAM_KEYS[1]];
    #[doc = "Views and sessions by version of the app and device."]
    RELEASE "release" RELEASE_BINS "release_bins"
        [RELEASE_KEYS[0], RELEASE_KEYS[1], RELEASE_KEYS[2], RELEASE_KEYS[3], RELEASE_KEYS[4]];
    #[doc = "Views and sessions by layout and number of tiles."]
    LAYOUT "layout" LAYOUT_BINS "layout_bins" [LAYOUT_KEYS[0], LAYOUT_KEYS[1]];
}

/// Errors by origin, code, domain, severity and version of the app, in the minute of their corrected time.
pub const ERROR: Rollup = Rollup {
    name: "error",
    doc: "Errors by origin, code, domain, severity and version of the app, in the minute of their corrected time.",
    grains: &Grain::ALL,
    keys: &[
        Column { name: "origin", doc: "playback, or app (errors and crashes of the app itself)." },
        Column { name: "code", doc: "Code of the error; of a crash its signature." },
        Column { name: "domain", doc: "Where it came from; empty if not told." },
        Column { name: "severity", doc: "fatal or warning; empty if not told." },
        Column { name: "app_version", doc: "Version of the app; empty if unknown." },
    ],
    measures: &[Column { name: "errors", doc: "Number of stored error events." }],
    derived: &[],
    bins: None,
};

/// What is stored, each with its distributions: the rollups and the books.
pub const ALL_STORED: [&Rollup; 7] = [&USAGE, &QUALITY, &STREAM, &RELEASE, &LAYOUT, &ERROR, &LEDGER];

/// The rollups that are served.
pub const ALL: [&Rollup; 9] =
    [&USAGE, &QUALITY, &STREAM, &STREAM_BINS, &RELEASE, &RELEASE_BINS, &LAYOUT, &LAYOUT_BINS, &ERROR];

/// The rollup of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Rollup> {
    ALL.into_iter().find(|rollup| rollup.name == name)
}

/// How long a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grain {
    /// 60 s.
    Minute,
    /// 3600 s.
    Hour,
    /// 86 400 s of UTC.
    Day,
}

impl Grain {
    /// All of them, finest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// The word in table names and in the parameter `grain`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// The grain of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grain| grain.as_str() == word)
    }

    /// Length of a bucket.
    #[must_use]
    pub const fn length(self) -> std::time::Duration {
        std::time::Duration::from_secs(match self {
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollup_names_a_column_once_and_its_distributions_have_its_keys() {
        for rollup in ALL.into_iter().chain([&LEDGER]) {
            let columns = rollup.keys.iter().chain(rollup.measures).map(|column| column.name);
            let names: Vec<&str> = columns.chain(rollup.derived.iter().map(|derived| derived.name)).collect();
            let distinct: std::collections::BTreeSet<_> = names.iter().collect();
            assert_eq!(distinct.len(), names.len(), "{}", rollup.name);
            assert!(rollup.derived.iter().all(|derived| !derived.is_percentile()) || rollup.bins.is_some());
            if let Some(bins) = rollup.bins {
                let keys = rollup.keys.iter().map(|key| key.name).chain(["metric", "bin"]);
                assert!(bins.keys.iter().map(|key| key.name).eq(keys), "{}", rollup.name);
                assert!(bins.is_distribution() && bins.stored_with().name == rollup.name);
            }
        }
    }
}
