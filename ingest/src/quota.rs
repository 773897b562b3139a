//! How much may be posted per second: by those without a key, and by each project.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What was not used in this time may be used at once: phones send what they kept while they were offline.
const BURST: Duration = Duration::from_secs(4);
/// Nobody is told to wait longer, however much is owed.
const WAIT_MAX_S: u32 = 300;
/// How often the log names a project that goes on posting too much.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// A token bucket that lends: whoever finds anything left takes all it needs, and what is owed has to be earned before
/// the next is let in. So no upload is too large for a quota, and the average is kept all the same.
#[derive(Debug)]
pub struct Quota {
    per_second: f64,
    /// Below zero is owed.
    left: f64,
    filled: Instant,
}

/// There is nothing left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Until there is something again, in whole seconds, 1 to 300.
    pub retry_after_s: u32,
}

impl Quota {
    /// A full bucket. `per_second` is at least 1.
    #[must_use]
    pub fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { per_second, left: per_second * BURST.as_secs_f64(), filled: now }
    }

    /// Takes `amount`; taking nothing asks whether anything is left.
    ///
    /// # Errors
    ///
    /// If nothing is left. Then nothing was taken.
    pub fn take(&mut self, amount: usize, now: Instant) -> Result<(), Spent> {
        let earned = now.saturating_duration_since(self.filled).as_secs_f64() * self.per_second;
        self.left = (self.left + earned).min(self.per_second * BURST.as_secs_f64());
        self.filled = now;
        if self.left < 1.0 {
            let seconds = ((1.0 - self.left) / self.per_second).ceil();
            return Err(Spent { retry_after_s: whole(seconds) });
        }
        self.left -= f64::from(u32::try_from(amount).unwrap_or(u32::MAX));
        Ok(())
    }
}

/// Seconds to wait.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between 1 and WAIT_MAX_S")]
fn whole(seconds: f64) -> u32 {
    seconds.clamp(1.0, f64::from(WAIT_MAX_S)) as u32
}

/// Events per second that projects may post to this process. Zero is without a limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuotaPolicy {
    /// Of every project that has none of its own.
    pub default: u32,
    /// Of single projects.
    pub projects: HashMap<Arc<str>, u32>,
}

/// The quotas of all projects.
#[derive(Debug)]
pub(crate) struct Quotas {
    policy: QuotaPolicy,
    /// Of those projects that posted. Who posts was vouched for, so there are no more than there are projects.
    projects: Mutex<HashMap<Arc<str>, OfProject>>,
}

#[derive(Debug)]
struct OfProject {
    quota: Quota,
    /// When it was last logged that there was nothing left.
    told: Option<Instant>,
}

impl Quotas {
    pub(crate) fn new(policy: QuotaPolicy) -> Self {
        Self { policy, projects: Mutex::default() }
    }

    /// Takes from a project's quota, if it has one: see [`Quota::take`].
    pub(crate) fn take(&self, project: &Arc<str>, events: usize, now: Instant) -> Result<(), Spent> {
        let per_second = self.policy.projects.get(project).copied().unwrap_or(self.policy.default);
        if per_second == 0 {
            return Ok(());
        }
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = || OfProject { quota: Quota::new(per_second, now), told: None };
        let of = projects.entry(Arc::clone(project)).or_insert_with(begin);
        let taken = of.quota.take(events, now);
        if taken.is_err() && of.told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY) {
            of.told = Some(now);
            tracing::warn!(%project, per_second, "a project posts more events than its quota: it is answered 429");
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_the_rate() {
        let begin = Instant::now();
        let mut quota = Quota::new(50, begin);
        let mut taken = |at: Instant| (0..1_000).filter(|_| quota.take(1, at).is_ok()).count();
        assert_eq!(taken(begin), 200);
        assert_eq!(taken(begin + Duration::from_secs(1)), 50);
        assert_eq!(taken(begin + Duration::from_secs(3_600)), 200);
    }

    #[test]
    fn what_is_taken_beyond_the_quota_is_owed() {
        let begin = Instant::now();
        let mut quota = Quota::new(100, begin);
        assert_eq!(quota.take(1_400, begin), Ok(()), "400 are there, 1000 are lent");
        assert_eq!(quota.take(0, begin), Err(Spent { retry_after_s: 11 }));
        assert_eq!(quota.take(1, begin + Duration::from_secs(9)), Err(Spent { retry_after_s: 2 }));
        assert_eq!(quota.take(0, begin + Duration::from_secs(11)), Ok(()));
        assert_eq!(quota.take(1_000_000, begin + Duration::from_secs(11)), Ok(()));
        assert_eq!(quota.take(0, begin + Duration::from_secs(12)), Err(Spent { retry_after_s: WAIT_MAX_S }));
    }

    #[test]
    fn projects_have_a_quota_each_or_none() {
        let now = Instant::now();
        let policy = QuotaPolicy { default: 1, projects: HashMap::from([("wide".into(), 0), ("kiosk".into(), 2)]) };
        let quotas = Quotas::new(policy);
        let is_taken = |project: &str| quotas.take(&project.into(), 6, now).is_ok();
        assert!((0..100).all(|_| is_taken("wide")));
        assert!(is_taken("one") && !is_taken("one"), "it is the same quota the second time");
        assert!(is_taken("another"), "of another project");
        assert!(is_taken("kiosk") && is_taken("kiosk") && !is_taken("kiosk"), "8 at once, not 4");
    }
}
