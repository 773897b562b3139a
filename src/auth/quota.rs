//! How many requests without any key are taken.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A bucket holds what was not used in this many seconds: phones send what they kept while they were offline.
const BURST_S: f64 = 4.0;

/// A token bucket. Requests without a key belong to one project, so there is one.
#[derive(Debug)]
pub(super) struct Quota {
    /// At least 1, so a caller that is refused may come back after a second.
    per_second: f64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Quota {
    /// A full bucket.
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, bucket: Mutex::new(Bucket { tokens: per_second * BURST_S, filled: now }) }
    }

    /// Takes one; false if none is left.
    pub(super) fn take(&self, now: Instant) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = now.saturating_duration_since(bucket.filled).as_secs_f64() * self.per_second;
        bucket.tokens = (bucket.tokens + earned).min(self.per_second * BURST_S);
        bucket.filled = now;
        let is_left = bucket.tokens >= 1.0;
        if is_left {
            bucket.tokens -= 1.0;
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_the_rate() {
        let begin = Instant::now();
        let quota = Quota::new(50, begin);
        let taken = |at: Instant| (0..1_000).filter(|_| quota.take(at)).count();
        assert_eq!(taken(begin), 200);
        assert_eq!(taken(begin + Duration::from_secs(1)), 50);
        assert_eq!(taken(begin + Duration::from_secs(3_600)), 200);
    }
}
