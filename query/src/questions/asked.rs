//! The twenty questions, as they are asked.

/// One of the twenty questions.
#[derive(Debug)]
pub struct Asked {
    /// From 1 to 20, in order.
    pub number: u8,
    /// Who asks it.
    pub by: &'static str,
    /// The question.
    pub question: &'static str,
    /// What of it is not answered, or with a limit; empty if nothing.
    pub limits: &'static str,
}

const fn asked(number: u8, by: &'static str, question: &'static str) -> Asked {
    Asked { number, by, question, limits: "" }
}

impl Asked {
    const fn but(self, limits: &'static str) -> Self {
        Self { limits, ..self }
    }
}

/// All of them.
pub const ASKED: [Asked; 20] = [
    asked(1, "app", "My watch time today, of a week and of a month, viewer and tile time, with event counts"),
    asked(2, "app", "My top 10 streams by watch time in a range"),
    asked(3, "app", "My top 5 categories and platform shares"),
    asked(4, "app", "Average and longest session, streams watched, favourite weekday, peak hour, in my time zone"),
    asked(5, "app", "Performance report for a range"),
    asked(6, "app", "Health of the streams in my layout, last 5 min, worst first"),
    asked(7, "app", "Export my events as JSON, CSV or report; totals equal question 1").but(
        "An export is answered at once, with at most 100 000 rows. Jobs with a status and a download are not there yet.",
    ),
    asked(8, "dashboard", "Concurrent viewers and tiles, starts, failures per minute"),
    asked(9, "dashboard", "Startup p50, p95, p99 by platform and app version, day over day"),
    asked(10, "dashboard", "Stalled ratio and rebuffers per minute by stream platform and hour; streams above a threshold"),
    asked(11, "dashboard", "Release health: a new version against the previous one"),
    asked(12, "dashboard", "Rate of exits before the first frame by the time waited"),
    asked(13, "dashboard", "Error codes: top N, affected persons, first and last seen, versions"),
    asked(14, "dashboard", "Daily, weekly, monthly active; guests against signed-in; new against returning"),
    asked(15, "dashboard", "Layout types: share of sessions, mean tiles, viewer time, switch rate; templates to layouts"),
    asked(16, "analyst", "Quality by tile count and device model: stalled, dropped, thermal").but(
        "There: stalls and dropped frames by tiles and model, thermal states by platform. CMCD tells no model. Thermal states by \
         number of tiles are left to a later part: samples do not tell of tiles.",
    ),
    asked(17, "analyst", "Client-wide against stream-specific stalls per network type").but(
        "There: native sessions, whose tiles have an order in common. CMCD views stand alone: their stalls count as the stream's, \
         under no network, until a later part folds the tiles of a CMCD session together.",
    ),
    asked(18, "analyst", "Retention D1, D7, D30 of template users against others; guests who sign in within 7 days").but(
        "There: both, of persons as they are told. A guest and the account it signs in to are two persons until a later part links \
         them, so a guest who signs in counts as one who did not come back.",
    ),
    asked(19, "analyst", "Latency distribution by platform; sync spread within layouts"),
    asked(
        20,
        "operator",
        "Data quality: events by format and type, duplicates, late, clock offsets, gaps, quarantine, freshness",
    ),
];
