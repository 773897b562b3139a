//! The time of inputs along one order, from clocks that may be set back, or begin anew with a boot.

use serde::{Deserialize, Serialize};

use crate::fold::input::Input;

/// A wall clock that falls by more than this began a new epoch (the clock model's figure).
const STEP_BACK_MS: i64 = 2_000;
/// Boots whose offset is remembered per unit; further ones get a new offset each time they come back.
const BOOTS_MAX: usize = 16;
/// The time of inputs along one order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct UnitClock {
    /// Offsets of boots; the empty name is the wall clock.
    offsets: Vec<(Box<str>, i64)>,
    boot: Option<Box<str>>,
    highest_ms: i64,
    now_ms: i64,
}

impl UnitClock {
    /// Takes in an input; its time, ms.
    pub(super) fn advance(&mut self, input: &Input, has_step_back: bool) -> i64 {
        let boot = input.about.boot.as_deref().unwrap_or_default();
        let is_wall = boot.is_empty();
        let is_same = self.boot.as_deref() == Some(boot)
            && !(is_wall && has_step_back && input.clock_ms + STEP_BACK_MS < self.highest_ms);
        if is_same {
            self.highest_ms = self.highest_ms.max(input.clock_ms);
            self.now_ms = self.now_ms.max(input.clock_ms + self.offset(boot));
            return self.now_ms;
        }
        let offset = input.corrected_ms - input.clock_ms;
        // A wall clock that was set back, or comes back after a boot, is another clock.
        self.offsets.retain(|(known, _)| !(is_wall && known.is_empty()));
        if !self.offsets.iter().any(|(known, _)| &**known == boot) {
            if self.offsets.len() == BOOTS_MAX {
                self.offsets.remove(0);
            }
            self.offsets.push((boot.into(), offset));
        }
        self.boot = Some(boot.into());
        self.highest_ms = input.clock_ms;
        self.now_ms = input.clock_ms + self.offset(boot);
        self.now_ms
    }

    fn offset(&self, boot: &str) -> i64 {
        self.offsets.iter().find(|(known, _)| &**known == boot).map_or(0, |(_, offset)| *offset)
    }
}
