//! Instants: microseconds since the Unix epoch, UTC.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// An instant, in microseconds since 1970-01-01T00:00:00Z.
///
/// Times that devices send are kept between [`Timestamp::MIN`] and [`Timestamp::MAX`], the years 1970 to 9999: what
/// RFC 3339, Parquet, SQLite, Postgres and DuckDB all can hold and print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const MIN: Self = Self(0);
    /// 9999-12-31T23:59:59.999999Z.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// An instant from microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(us: i64) -> Self {
        Self(us)
    }

    /// An instant from milliseconds since the Unix epoch, `None` outside [`Self::MIN`]..=[`Self::MAX`].
    #[must_use]
    pub fn from_millis(ms: i64) -> Option<Self> {
        ms.checked_mul(1000).map(Self).filter(|at| at.in_range())
    }

    /// An instant from seconds since the Unix epoch with a fraction, rounded to the nearest microsecond; `None` if it
    /// is not finite or outside [`Self::MIN`]..=[`Self::MAX`].
    #[must_use]
    pub fn from_secs_f64(seconds: f64) -> Option<Self> {
        let us = (seconds * 1e6).round();
        #[expect(clippy::cast_possible_truncation, reason = "guarded: below 2^53")]
        (us.is_finite() && us.abs() < 9e15).then_some(Self(us as i64)).filter(|at| at.in_range())
    }

    /// Parses an RFC 3339 time; a fraction beyond microseconds is cut. `None` if it is malformed or outside
    /// [`Self::MIN`]..=[`Self::MAX`].
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let at = DateTime::parse_from_rfc3339(text).ok()?;
        Some(Self(at.timestamp_micros())).filter(|at| at.in_range())
    }

    /// Parses what [`Self::to_sql`] prints.
    #[must_use]
    pub fn parse_sql(text: &str) -> Option<Self> {
        let at = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z").ok()?;
        Some(Self(at.timestamp_micros()))
    }

    const fn in_range(self) -> bool {
        self.0 >= Self::MIN.0 && self.0 <= Self::MAX.0
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The start of the span of `length` that contains this instant, counted from the Unix epoch.
    #[must_use]
    pub fn floor(self, length: Duration) -> Self {
        let length_us = i64::try_from(length.as_micros()).unwrap_or(i64::MAX).max(1);
        Self(self.0.div_euclid(length_us) * length_us)
    }

    /// The start of the next bucket of that length; itself if it is one.
    #[must_use]
    pub fn ceil(self, length: Duration) -> Self {
        let floor = self.floor(length);
        if floor == self { self } else { floor + length }
    }

    /// Days since 1970-01-01, UTC.
    #[must_use]
    pub const fn utc_day(self) -> i64 {
        self.0.div_euclid(86_400_000_000)
    }

    /// `self − earlier` in milliseconds, rounded down; negative if `earlier` is later.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> i64 {
        (self.0.saturating_sub(earlier.0)).div_euclid(1000)
    }

    /// This instant moved by `ms` milliseconds, held within [`Self::MIN`]..=[`Self::MAX`].
    #[must_use]
    pub fn plus_millis(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1000)).clamp(Self::MIN.0, Self::MAX.0))
    }

    /// As a calendar time.
    #[must_use]
    pub fn to_chrono(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// `2026-11-23 11:20:36.465265+00`, the form DuckLake keeps statistics and snapshot times in.
    #[must_use]
    pub fn to_sql(self) -> String {
        self.to_chrono().format("%Y-%m-%d %H:%M:%S%.6f+00").to_string()
    }
}

/// The server's clock, handed to whoever needs it. Only the program's root makes one: the system's, or one that tests
/// set.
pub type Now = std::sync::Arc<dyn Fn() -> Timestamp + Send + Sync>;

impl From<DateTime<Utc>> for Timestamp {
    fn from(at: DateTime<Utc>) -> Self {
        Self(at.timestamp_micros())
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// RFC 3339 in UTC with `Z`: milliseconds, or microseconds where they are needed.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.0 % 1000 == 0 { SecondsFormat::Millis } else { SecondsFormat::Micros };
        f.write_str(&self.to_chrono().to_rfc3339_opts(digits, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse_rfc3339(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time from 1970 to 9999"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_is_parsed_with_any_zone_and_printed_in_utc() {
        let at = Timestamp::parse_rfc3339("2026-11-23T10:56:01.250+02:00").unwrap();
        assert_eq!(at.to_string(), "2026-11-23T08:56:01.250Z");
        assert_eq!(at.to_sql(), "2026-11-23 08:56:01.250000+00");
        assert_eq!(Timestamp::parse_sql(&at.to_sql()), Some(at));
        assert_eq!(
            Timestamp::parse_rfc3339("2026-11-23T08:56:01.123456789Z").unwrap().to_string(),
            "2026-11-23T08:56:01.123456Z"
        );
    }

    #[test]
    fn years_before_1970_and_nonsense_are_refused() {
        for text in ["1969-12-31T23:59:59Z", "2026-13-01T00:00:00Z", "2026-11-23", "", "now", "10000-01-01T00:00:00Z"] {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
        assert_eq!(Timestamp::from_secs_f64(f64::NAN), None);
        assert_eq!(Timestamp::from_secs_f64(1e300), None);
        assert_eq!(Timestamp::from_millis(i64::MAX), None);
    }

    #[test]
    fn floor_counts_from_the_epoch_also_before_it() {
        let minute = Duration::from_secs(60);
        assert_eq!(Timestamp::from_micros(61_000_000).floor(minute).micros(), 60_000_000);
        assert_eq!(Timestamp::from_micros(-1).floor(minute).micros(), -60_000_000);
    }
}
