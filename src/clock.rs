//! The only place that reads the system's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use schemas::Timestamp;
use schemas::time::Now;

/// The server's clock.
#[derive(Debug, Clone)]
pub(crate) enum Clock {
    /// The system's.
    System,
    /// The newest time that a request of a test said, in microseconds; the system's before the first.
    Test(Arc<AtomicI64>),
}

impl Clock {
    pub(crate) fn new(is_test: bool) -> Self {
        if is_test { Self::Test(Arc::new(AtomicI64::new(i64::MIN))) } else { Self::System }
    }

    pub(crate) fn now(&self) -> Timestamp {
        match self {
            Self::System => system(),
            Self::Test(newest) => match newest.load(Ordering::Acquire) {
                i64::MIN => system(),
                us => Timestamp::from_micros(us),
            },
        }
    }

    /// What a tick says. Of a test none before its first request: log time never falls, and the test's days may be past.
    pub(crate) fn tick(&self) -> Option<Timestamp> {
        match self {
            Self::System => Some(system()),
            Self::Test(newest) => {
                Some(newest.load(Ordering::Acquire)).filter(|us| *us != i64::MIN).map(Timestamp::from_micros)
            }
        }
    }

    /// A request of a test arrived at this time.
    pub(crate) fn advance(&self, at: Timestamp) {
        if let Self::Test(newest) = self {
            newest.fetch_max(at.micros(), Ordering::AcqRel);
        }
    }

    pub(crate) const fn is_test(&self) -> bool {
        matches!(self, Self::Test(_))
    }

    /// The clock as what other crates take.
    pub(crate) fn as_now(&self) -> Now {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the place")]
fn system() -> Timestamp {
    chrono::Utc::now().into()
}
