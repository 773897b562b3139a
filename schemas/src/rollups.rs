//! Which rollups exist: their keys and measures.
//!
//! A rollup is a sum of contributions of single events to (project, minute, key). Every measure is an integer that
//! adds; hours and days are sums of minutes. The SQL tables, the API and the documentation are made from these
//! definitions.

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
}

/// A column of a rollup.
#[derive(Debug)]
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
        Column { name: "outcome", doc: "stored, duplicate, quarantined or suppressed." },
        Column { name: "reason", doc: "Why, for quarantined and suppressed; else empty." },
    ],
    measures: &[Column { name: "events", doc: "Number of received events." }],
};

/// What is kept like a rollup in the database: the rollups and the books.
pub const ALL_STORED: [&Rollup; 3] = [&USAGE, &QUALITY, &LEDGER];

/// The rollups that are served.
pub const ALL: [&Rollup; 2] = [&USAGE, &QUALITY];

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
