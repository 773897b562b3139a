//! How much a project may post: the settings, and what they mean.

use std::fmt;

use anyhow::{Context, Result, ensure};
use ingest::QuotaPolicy;

use super::IngestConfig;
use super::of_project::Setting;

/// Events per second that one project may post; 0 is without a limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventsPerSecond(u32);

impl Setting for EventsPerSecond {
    const EXAMPLE: &str = "project.events_per_second=200";

    fn parse(name: &str, value: &str) -> Result<Self> {
        ensure!(name == "events_per_second", "what is set for a project is events_per_second");
        Ok(Self(value.parse().ok().with_context(|| format!("{value} is no number of events"))?))
    }
}

impl fmt::Display for EventsPerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "events_per_second={}", self.0)
    }
}

impl IngestConfig {
    /// As ingest takes them.
    pub(crate) fn quotas(&self) -> QuotaPolicy {
        let of_project = self.projects.iter().map(|of| (of.project.as_str().into(), of.setting.0));
        QuotaPolicy { default: self.events_per_second, projects: of_project.collect() }
    }
}
