//! Local days: where midnight is in the caller's zone.

use chrono::{
    DateTime, Datelike, Days, FixedOffset, LocalResult, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc,
};
use chrono_tz::Tz;
use schemas::{Problem, Timestamp};

/// Every local midnight is a multiple of this: the length of a slice.
pub(crate) const QUARTER: std::time::Duration = std::time::Duration::from_secs(900);

/// A time zone: a name of the IANA database, or an offset like `+05:45`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zone {
    Named(Tz),
    Fixed(FixedOffset),
}

impl Zone {
    pub(crate) const UTC: Self = Self::Named(Tz::UTC);

    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        // In a query string `+` reads as a blank.
        let text = text.trim();
        let sign_lost = text.starts_with(|first: char| first.is_ascii_digit());
        let as_offset = if sign_lost { format!("+{text}") } else { text.to_owned() };
        let unknown = || {
            Problem::new(400, "unknown_zone", "tz is a name like Europe/Berlin or an offset like +05:45")
                .at("tz", "zone")
        };
        if let Ok(named) = text.parse() {
            return Ok(Self::Named(named));
        }
        // Local days are added up from quarters of an hour, which every offset in use is made of.
        let fixed = as_offset.parse::<FixedOffset>().ok();
        fixed.filter(|offset| offset.local_minus_utc() % 900 == 0).map(Self::Fixed).ok_or_else(unknown)
    }

    /// The local date of an instant.
    pub(crate) fn date(self, at: Timestamp) -> NaiveDate {
        self.wall_clock(at).date()
    }

    /// What a clock on the wall shows at an instant.
    pub(crate) fn wall_clock(self, at: Timestamp) -> NaiveDateTime {
        let at = at.to_chrono();
        match self {
            Self::Named(zone) => at.with_timezone(&zone).naive_local(),
            Self::Fixed(offset) => at.with_timezone(&offset).naive_local(),
        }
    }

    /// The first instant of a local date: where a clock change skips midnight, the first that exists.
    pub(crate) fn midnight(self, date: NaiveDate) -> Timestamp {
        match self {
            Self::Named(zone) => first_instant(&zone, date),
            Self::Fixed(offset) => first_instant(&offset, date),
        }
    }
}

fn first_instant<Z: TimeZone>(zone: &Z, date: NaiveDate) -> Timestamp {
    // Clocks are set ahead by at most two hours, in steps of a quarter at least.
    let candidates = (0..=8).filter_map(|quarter| NaiveTime::from_hms_opt(quarter / 4, quarter % 4 * 15, 0));
    for time in candidates {
        match zone.from_local_datetime(&date.and_time(time)) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => return at.with_timezone(&Utc).into(),
            LocalResult::None => {}
        }
    }
    DateTime::<Utc>::from_naive_utc_and_offset(date.and_time(NaiveTime::MIN), Utc).into()
}

/// A range of instants, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
}

/// The app's ranges: today (from local midnight), week, month (back from now), custom.
pub(crate) fn named_range(
    name: &str,
    start: Option<&str>,
    end: Option<&str>,
    zone: Zone,
    now: Timestamp,
) -> Result<Range, Problem> {
    let time = |value: Option<&str>, parameter: &'static str| {
        value.and_then(Timestamp::parse_rfc3339).ok_or_else(|| {
            Problem::new(400, "bad_time", format!("{parameter} is an RFC 3339 time")).at(parameter, "rfc3339")
        })
    };
    let start = match name {
        "today" => zone.midnight(zone.date(now)),
        "week" => now.plus_millis(-7 * 86_400_000),
        "month" => (now.to_chrono() - Months::new(1)).into(),
        "custom" => {
            let range = Range { start: time(start, "start")?, end: time(end, "end")? };
            return if range.start <= range.end {
                Ok(range)
            } else {
                Err(Problem::new(400, "bad_range", "start lies after end").at("start", "before_end"))
            };
        }
        _ => {
            return Err(Problem::new(400, "bad_range", "range is today, week, month or custom").at("range", "one_of"));
        }
    };
    Ok(Range { start, end: now })
}

/// Starts of the app's usage periods: today, the week and the calendar month before today's midnight, all local.
pub(crate) fn usage_periods(zone: Zone, now: Timestamp) -> [Timestamp; 3] {
    let today = zone.date(now);
    let week = today.checked_sub_days(Days::new(7)).unwrap_or(today);
    let month = today.checked_sub_months(Months::new(1)).unwrap_or(today);
    debug_assert!(month.year() >= 1969);
    [zone.midnight(today), zone.midnight(week), zone.midnight(month)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn midnight_is_local_also_on_days_of_23_and_25_hours() {
        let berlin = Zone::parse("Europe/Berlin").unwrap();
        let midnight = |text: &str| berlin.midnight(berlin.date(at(text))).to_string();
        assert_eq!(midnight("2026-11-23T12:00:00Z"), "2026-11-22T23:00:00.000Z");
        assert_eq!(midnight("2026-03-29T12:00:00Z"), "2026-03-28T23:00:00.000Z");
        assert_eq!(midnight("2026-10-25T23:30:00Z"), "2026-10-25T23:00:00.000Z");
        // Midnight itself is skipped in Santiago when summer time begins.
        let santiago = Zone::parse("America/Santiago").unwrap();
        assert_eq!(
            santiago.midnight(santiago.date(at("2026-09-06T12:00:00Z"))).to_string(),
            "2026-09-06T04:00:00.000Z"
        );
        let nepal = Zone::parse("+05:45").unwrap();
        assert_eq!(nepal.midnight(nepal.date(at("2026-11-23T00:00:00Z"))).to_string(), "2026-11-22T18:15:00.000Z");
        assert_eq!(Zone::parse(" 05:45").unwrap(), nepal);
        assert!(Zone::parse("Mars/Olympus").is_err() && Zone::parse("+05:47").is_err());
    }

    #[test]
    fn usage_periods_begin_at_local_midnights() {
        let starts = usage_periods(Zone::UTC, at("2026-03-31T15:00:00Z")).map(|start| start.to_string());
        assert_eq!(starts, ["2026-03-31T00:00:00.000Z", "2026-03-24T00:00:00.000Z", "2026-02-28T00:00:00.000Z"]);
    }
}
