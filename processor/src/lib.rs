//! The processor: log in, warehouse out, each event counted exactly once.
//!
//! The path of a record: [`member`] polls it from the log and hands it to [`assignment`], [`fold`] decodes and judges its events, asks [`dedup`] which
//! of them are copies, corrects their clocks and adds up their contributions; [`units`] folds them into views and
//! sessions, reading late ones back through [`history`]; [`rows`] turns all of it into columns, and one commit of the
//! warehouse makes it durable together with the position in the log.
//!
//! [`rebuild()`] does the same with the records that the lake kept ([`stored_log`]), into an empty warehouse.
//!
//! A log that lost its end and went on is put in order by [`mend()`].
//!
//! Invariants:
//!
//! - the fold is pure: the same records in the same order give the same rows, whatever the time of day; time enters
//!   through the log only;
//! - everything in memory is derived and may be lost at any moment: what counts is what was committed;
//! - a bad record never stops a partition: it is quarantined like a bad event;
//! - a commit that is fenced drops all state and starts anew from the checkpoint.
//!
//! It never answers anybody, and never asks the system clock what an event means.

mod assignment;
mod dedup;
mod files;
mod fold;
mod history;
mod maintenance;
mod member;
mod mend;
mod metrics;
mod opening;
mod rebuild;
mod rows;
mod runner;
mod stored_log;
mod tallies;
mod units;

pub use maintenance::{Maintenance, MaintenanceConfig};
pub use mend::{MendError, Mended, mend};
pub use metrics::ProcessorMetrics;
pub use rebuild::{RebuildError, Rebuilt, rebuild};
pub use runner::{Processor, ProcessorConfig, RunError, Step};

/// The topic of usage and health events.
pub const EVENTS_TOPIC: &str = "events";
