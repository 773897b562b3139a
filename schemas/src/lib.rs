//! The contracts of Streamgauge: what an event is, what makes it valid, when it happened, and what became of it.
//!
//! Everything here is pure. Functions take bytes, values and times, and return values; the crate never reads a file,
//! a socket, the environment or the system clock, and never depends on a runtime, a database or a query engine. That
//! is what lets ingest (for the receipt) and the processor (for the truth) call the same [`validate`] and agree.
//!
//! The path of an event through this crate:
//!
//! 1. [`wire`]: the bytes of one event in one of the wire formats become an [`Event`] or a [`Rejection`];
//! 2. [`kinds`]: its data is held against the vocabulary, out-of-range fields become null;
//! 3. [`record`]: the bytes (never the verdict) travel through the log inside a [`record::Record`];
//! 4. [`dedup`]: a 16-byte key says which events are copies of each other;
//! 5. [`clock`]: the offset of the device's clock, and with it the corrected time;
//! 6. [`outcome`]: what became of it, in a closed set of words.

// Every byte here comes from a stranger: a panic would take the whole service down for one event.
#![deny(clippy::unwrap_used, clippy::expect_used)]

pub mod clock;
pub mod dedup;
pub mod digest;
pub mod event;
pub mod fold;
pub mod json;
pub mod kinds;
pub mod outcome;
pub mod partition;
pub mod principal;
pub mod problem;
pub mod receipt;
pub mod record;
pub mod rollups;
pub mod time;
pub mod wire;

pub use event::{Event, Flag, Flags, Format, Rejection, TimeQuality, Trust};
pub use outcome::{Outcome, Reason};
pub use principal::{Principal, Scope};
pub use problem::Problem;
pub use time::Timestamp;
pub use wire::{Received, Verdict, Wire, validate};
