//! How long what is kept, by project: the policy, and which policies can work.
//!
//! Time is counted in whole days. What may be older stays until the end of its UTC day, and events, facts and slices stay
//! [`LATE_DAYS`] longer: an event that is just young enough to be taken in finds the rest of its session.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use schemas::Timestamp;
use schemas::rollups::Grain;
use thiserror::Error;

use crate::tables::{APP_SESSIONS, EVENTS, LAKE_TABLES, LakeTable, QUARANTINE, RECORDS, SLICES, VIEWS};

/// No retention is shorter, in days: phones come back after days, and what they bring must count.
pub(crate) const LEAST_DAYS: u32 = 7;

/// Records are kept at least this much longer than events, in days: a rebuild folds an event with what was before it.
pub(crate) const RECORDS_LEAD_DAYS: u32 = 7;

/// Rows that late events change stay this much longer than their retention says, in days.
pub(crate) const LATE_DAYS: u32 = 2;

const DAY_MS: i64 = 86_400_000;

/// What a retention is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kept {
    /// Rows of `records`, by arrival.
    Records,
    /// Rows of `events`, by corrected time.
    Events,
    /// Rows of `quarantine`, by arrival.
    Quarantine,
    /// Rows of `views` and `app_sessions`, by their beginning.
    Facts,
    /// Rows of `slices`, by their quarter of an hour.
    Slices,
    /// Minutes of rollups.
    RollupMinutes,
    /// Hours of rollups; the ledger's are kept for ever.
    RollupHours,
    /// Days of rollups.
    RollupDays,
}

impl Kept {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Records,
        Self::Events,
        Self::Quarantine,
        Self::Facts,
        Self::Slices,
        Self::RollupMinutes,
        Self::RollupHours,
        Self::RollupDays,
    ];

    /// The name of its setting.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Events => "events",
            Self::Quarantine => "quarantine",
            Self::Facts => "facts",
            Self::Slices => "slices",
            Self::RollupMinutes => "rollup_minutes",
            Self::RollupHours => "rollup_hours",
            Self::RollupDays => "rollup_days",
        }
    }

    /// That of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kept| kept.as_str() == name)
    }

    /// The buckets of rollups of a grain.
    pub(crate) const fn of_grain(grain: Grain) -> Self {
        match grain {
            Grain::Minute => Self::RollupMinutes,
            Grain::Hour => Self::RollupHours,
            Grain::Day => Self::RollupDays,
        }
    }

    /// The rows of a lake table.
    pub(crate) fn of_table(table: &LakeTable) -> Self {
        match table.id {
            id if id == EVENTS.id => Self::Events,
            id if id == QUARANTINE.id => Self::Quarantine,
            id if id == RECORDS.id => Self::Records,
            id if id == VIEWS.id || id == APP_SESSIONS.id => Self::Facts,
            id => {
                debug_assert_eq!(id, SLICES.id, "a table without retention");
                Self::Slices
            }
        }
    }

    /// The tables of the lake whose rows these are.
    pub(crate) fn tables(self) -> impl Iterator<Item = &'static LakeTable> {
        LAKE_TABLES.into_iter().filter(move |table| Self::of_table(table) == self)
    }

    /// Whether a late event may still change a row that is as old as the retention says.
    const fn is_changed_late(self) -> bool {
        matches!(self, Self::Events | Self::Facts | Self::Slices)
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a retention cannot work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field}: {rule}")]
pub struct RetentionError {
    /// Which setting.
    pub field: Kept,
    /// The rule that it breaks.
    pub rule: String,
}

/// How long the rows of one project are kept. Nothing said is for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention(HashMap<Kept, u32>);

impl Retention {
    /// With days for one of them; `None` is for ever.
    pub fn set(&mut self, kept: Kept, days: Option<u32>) {
        match days {
            Some(days) => self.0.insert(kept, days),
            None => self.0.remove(&kept),
        };
    }

    /// For how many days; `None` is for ever.
    #[must_use]
    pub fn days(&self, kept: Kept) -> Option<u32> {
        self.0.get(&kept).copied()
    }

    /// Events that happened before this are not taken in any more by a record of this log time.
    #[must_use]
    pub fn oldest_event(&self, log_time: Timestamp) -> Option<Timestamp> {
        self.days(Kept::Events).map(|days| log_time.plus_millis(-i64::from(days) * DAY_MS))
    }

    /// Rows of before this midnight (UTC) go, once everything up to this log time is in; `None` if none ever go.
    #[must_use]
    pub fn kept_from(&self, kept: Kept, complete_through: Timestamp) -> Option<Timestamp> {
        let days = i64::from(self.days(kept)?) + if kept.is_changed_late() { i64::from(LATE_DAYS) } else { 0 };
        Some(complete_through.plus_millis(-days * DAY_MS).floor(Grain::Day.length()))
    }

    /// Refuses what would make promises false.
    ///
    /// # Errors
    ///
    /// [`RetentionError`], with the setting and the rule.
    pub fn check(&self) -> Result<(), RetentionError> {
        let refuse = |field, rule: String| Err(RetentionError { field, rule });
        for kept in Kept::ALL {
            if self.days(kept).is_some_and(|days| days < LEAST_DAYS) {
                return refuse(
                    kept,
                    format!("at least {LEAST_DAYS}d, or events of devices that were offline are lost"),
                );
            }
        }
        for (longer, shorter, by, why) in [
            (Kept::Records, Kept::Events, RECORDS_LEAD_DAYS, "a rebuild folds them again from what came before them"),
            (Kept::Records, Kept::Quarantine, 0, "a rebuild makes them again"),
            (Kept::Facts, Kept::Events, 0, "late events change them"),
            (Kept::Slices, Kept::Events, 0, "late events change them"),
            (Kept::RollupHours, Kept::RollupMinutes, 0, "they are what remains of them"),
            (Kept::RollupDays, Kept::RollupHours, 0, "they are what remains of them"),
        ] {
            let Some(days) = self.days(longer) else { continue };
            if self.days(shorter).is_none_or(|least| days < least.saturating_add(by)) {
                let more = if by > 0 { format!("{by}d longer than") } else { "as long as".to_owned() };
                return refuse(longer, format!("kept at least {more} {shorter}: {why}"));
            }
        }
        Ok(())
    }
}

/// How long rows are kept, by project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Of projects that have none of their own, and of what belongs to none.
    pub default: Retention,
    /// Of the others, by name.
    pub projects: HashMap<Arc<str>, Retention>,
}

impl RetentionPolicy {
    /// That of a project.
    #[must_use]
    pub fn of(&self, project: &str) -> &Retention {
        self.projects.get(project).unwrap_or(&self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retention(days: &[(Kept, u32)]) -> Retention {
        let mut retention = Retention::default();
        for (kept, days) in days {
            retention.set(*kept, Some(*days));
        }
        retention
    }

    #[test]
    fn a_policy_that_would_break_a_promise_is_refused_with_setting_and_rule() {
        use Kept::{Events, Facts, Quarantine, Records, RollupDays, RollupHours, RollupMinutes, Slices};
        let refused = |days: &[(Kept, u32)]| retention(days).check().unwrap_err().to_string();
        assert!(refused(&[(Events, 6)]).starts_with("events: at least 7d"));
        assert!(refused(&[(Records, 90)]).starts_with("records: kept at least 7d longer than events"));
        assert!(refused(&[(Records, 36), (Events, 30)]).starts_with("records: kept at least 7d longer than events"));
        assert!(refused(&[(Records, 37), (Events, 30)]).starts_with("records: kept at least as long as quarantine"));
        assert!(refused(&[(Facts, 29), (Events, 30)]).starts_with("facts: kept at least as long as events"));
        assert!(refused(&[(Slices, 30)]).starts_with("slices: kept at least as long as events"));
        assert!(refused(&[(RollupHours, 30)]).starts_with("rollup_hours: kept at least as long as rollup_minutes"));
        assert!(refused(&[(RollupDays, 9), (RollupMinutes, 8)]).starts_with("rollup_days: "));
        let fine = [
            (Records, 37),
            (Events, 30),
            (Quarantine, 37),
            (Facts, 400),
            (Slices, 30),
            (RollupMinutes, 7),
            (RollupHours, 90),
        ];
        assert_eq!(retention(&fine).check(), Ok(()));
        assert_eq!(Retention::default().check(), Ok(()));
    }

    #[test]
    fn rows_go_by_whole_days_and_later_than_events_are_refused() {
        let at = |text| Timestamp::parse_rfc3339(text).unwrap();
        let now = at("2026-11-23T08:00:00Z");
        let of = retention(&[(Kept::Records, 20), (Kept::Events, 10), (Kept::RollupMinutes, 10)]);
        assert_eq!(of.oldest_event(now), Some(at("2026-11-13T08:00:00Z")));
        assert_eq!(of.kept_from(Kept::Events, now), Some(at("2026-11-11T00:00:00Z")));
        assert_eq!(of.kept_from(Kept::Records, now), Some(at("2026-11-03T00:00:00Z")));
        assert_eq!(of.kept_from(Kept::RollupMinutes, now), Some(at("2026-11-13T00:00:00Z")));
        assert_eq!((of.kept_from(Kept::Slices, now), Retention::default().oldest_event(now)), (None, None));
    }
}
