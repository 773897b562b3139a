//! From stored events to views, sessions and sums: the rules of `docs/views.md`.
//!
//! [`Input::of`] makes an input of a stored event and says which [`Unit`] it belongs to; a unit folds its inputs in the
//! sender's order into [`Folded`]: contributions to minutes, and facts about what is over. Pure: what a set of inputs
//! gives depends on nothing else, so it can be computed again, with and without a late input, and the difference is
//! what the late input changes.

mod errors;
pub mod facts;
pub mod input;
pub mod measures;
mod opening;
pub mod scores;
mod session_time;
pub mod sketch;
mod together;
mod unit;
mod unit_key;
pub mod view;

pub use errors::{error_keys, is_error};
pub use facts::{SessionFact, ViewFact};
pub use input::{Input, Place, Stored};
pub use unit::{Folded, StoredUnits, Unit, VIEW_SILENCE_MS, is_silent, units_from_bytes, units_to_bytes};
pub use unit_key::{Order, UnitKey, UnitName};
pub use view::State;

#[cfg(test)]
mod tests;
