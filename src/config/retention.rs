//! How long what is kept: the settings, and what they mean.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use warehouse::{Kept, Retention, RetentionPolicy};

use super::of_project::{OfProject, Setting};

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetentionConfig {
    records: Days,
    events: Days,
    quarantine: Days,
    facts: Days,
    slices: Days,
    rollup_minutes: Days,
    rollup_hours: Days,
    rollup_days: Days,
    projects: Vec<OfProject<HowLong>>,
}

/// For how long something is kept, written as `90d`; empty is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Days(Option<u32>);

impl Days {
    fn parse(text: &str) -> Result<Self> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        let seconds = humantime::parse_duration(text).ok().map(|duration| duration.as_secs());
        let days = seconds.filter(|seconds| seconds.is_multiple_of(86_400)).map(|seconds| seconds / 86_400);
        let days = days.and_then(|days| u32::try_from(days).ok());
        Ok(Self(Some(days.with_context(|| format!("`{text}` is no number of whole days like 90d"))?)))
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |days| write!(f, "{days}d"))
    }
}

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Days {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How long one kind of data is kept.
#[derive(Debug, Clone, Copy)]
struct HowLong {
    kept: Kept,
    days: Days,
}

impl Setting for HowLong {
    const EXAMPLE: &str = "project.events=30d";

    fn parse(name: &str, value: &str) -> Result<Self> {
        let names = || Kept::ALL.map(Kept::as_str).join(", ");
        let kept = Kept::named(name).ok_or_else(|| anyhow!("what is kept is one of {}", names()))?;
        Ok(Self { kept, days: Days::parse(value)? })
    }
}

impl fmt::Display for HowLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kept, self.days)
    }
}

impl RetentionConfig {
    /// As processor and maintenance take them.
    pub(crate) fn policy(&self) -> RetentionPolicy {
        let mut default = Retention::default();
        for (kept, days) in [
            (Kept::Records, self.records),
            (Kept::Events, self.events),
            (Kept::Quarantine, self.quarantine),
            (Kept::Facts, self.facts),
            (Kept::Slices, self.slices),
            (Kept::RollupMinutes, self.rollup_minutes),
            (Kept::RollupHours, self.rollup_hours),
            (Kept::RollupDays, self.rollup_days),
        ] {
            default.set(kept, days.0);
        }
        let mut projects: HashMap<Arc<str>, Retention> = HashMap::new();
        for OfProject { project, setting } in &self.projects {
            let of_project = projects.entry(project.as_str().into()).or_insert_with(|| default.clone());
            of_project.set(setting.kept, setting.days.0);
        }
        RetentionPolicy { default, projects }
    }

    /// Refuses what would make promises false, with setting and rule.
    pub(super) fn check(&self) -> Result<()> {
        let RetentionPolicy { default, projects } = self.policy();
        default.check().map_err(|error| anyhow!("retention.{error}"))?;
        for (project, retention) in &projects {
            retention.check().map_err(|error| anyhow!("retention.projects: {project}.{error}"))?;
        }
        Ok(())
    }
}
