//! One budget of bytes for all bodies in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The budget.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    used_bytes: AtomicUsize,
    limit_bytes: usize,
}

/// The budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Budget {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { state: Arc::new(State { used_bytes: AtomicUsize::new(0), limit_bytes }) }
    }

    /// A reservation of nothing, to grow.
    pub(crate) fn reserve(&self) -> Reservation {
        Reservation { budget: self.clone(), bytes: 0 }
    }

    /// Bytes in flight.
    pub(crate) fn used_bytes(&self) -> usize {
        self.state.used_bytes.load(Ordering::Relaxed)
    }
}

/// Bytes taken from the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Budget,
    bytes: usize,
}

impl Reservation {
    /// Takes more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let state = &self.budget.state;
        if state.used_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes > state.limit_bytes {
            state.used_bytes.fetch_sub(bytes, Ordering::AcqRel);
            return Err(Exhausted);
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.state.used_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_bounded_and_given_back() {
        let budget = Budget::new(100);
        let mut one = budget.reserve();
        assert_eq!(one.grow(60), Ok(()));
        let mut other = budget.reserve();
        assert_eq!(other.grow(41), Err(Exhausted));
        assert_eq!(other.grow(40), Ok(()));
        drop(one);
        assert_eq!(other.grow(60), Ok(()));
        drop(other);
        assert_eq!(budget.used_bytes(), 0);
    }
}
