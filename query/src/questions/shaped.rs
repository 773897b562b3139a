//! Questions that endpoints with a shape of their own answer, most of them the app's. Their texts give the same numbers:
//! `tests/e2e/questions` holds one against the other.

use super::Asks;

/// What `$1`, `$2`, .. of a text stand for: instants that the endpoint finds from its own parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Local midnight of today.
    Today,
    /// Local midnight seven days before.
    Week,
    /// Local midnight a calendar month before.
    Month,
    /// Start of the range.
    Start,
    /// End of the range, included.
    End,
    /// Start of the window: as many whole minutes before the one under way as it has.
    WindowStart,
    /// End of the minute under way, excluded.
    WindowEnd,
    /// Start of the newest minute that is complete.
    Minute,
}

/// A question whose answer has a shape of its own.
#[derive(Debug)]
pub struct Shaped {
    /// Name of its text.
    pub name: &'static str,
    /// Its number among the twenty questions.
    pub number: u8,
    /// Path of its endpoint.
    pub path: &'static str,
    /// Who may ask.
    pub asks: Asks,
    /// What is answered, as a sentence.
    pub sentence: &'static str,
    /// What the text's parameters are, in their order.
    pub params: &'static [Bound],
    /// Its columns are the fields of the answer.
    pub sql: &'static str,
}

macro_rules! shaped {
    ($($constant:ident = $number:literal $name:literal $path:literal $asks:ident [$($bound:ident),*] $sentence:literal;)+) => {
        $(pub(crate) const $constant: Shaped = Shaped {
            name: $name,
            number: $number,
            path: $path,
            asks: Asks::$asks,
            sentence: $sentence,
            params: &[$(Bound::$bound),*],
            sql: include_str!(concat!("sql/", $name, ".sql")),
        };)+

        /// All of them, in the order of their numbers.
        pub const SHAPED: &[Shaped] = &[$($constant),+];
    };
}

shaped! {
    USAGE = 1 "usage" "/v1/stats/usage" App [Today, Week, Month]
        "UsageStats: stored events and watch times, s; those without a period in their name are of the month.";
    TOP_CATEGORIES = 1 "top-categories" "/v1/stats/usage" App [Month]
        "`topCategories` of UsageStats.";
    STREAMS = 2 "streams" "/v1/stats/streams" App [Start, End]
        "Streams by tile time over the quarters of an hour that a range touches, each with the category in which most of it was watched.";
    PERFORMANCE = 5 "performance" "/v1/stats/performance" App [Start, End]
        "PerformanceReport of a range of whole quarters of an hour: what was played, however it was reported.";
    PERFORMANCE_OF_EVENTS = 5 "performance-of-events" "/v1/stats/performance" App [Start, End]
        "PerformanceReport of any other range: what single events tell, without following playback from one to the next.";
    HEALTH = 6 "health" "/v1/health/streams" Project [WindowStart, WindowEnd, Minute]
        "Streams over the last minutes, worst first; the answer below is of one session of two views.";
    EXPORT = 7 "export" "/v1/stats/export" App [Start, End]
        "Rows of the app's own export; `kind` and `stream_id` are its metadata.";
}
