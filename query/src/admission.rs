//! Who may run a query when: places are bounded, and no project takes them all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schemas::Problem;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// For each query that runs, so many places there are to run or to wait: a dashboard asks a dozen things at once.
const PLACES_PER_RUNNING: usize = 8;

/// The places of all projects.
#[derive(Debug)]
pub(crate) struct Admission {
    /// From the arrival of a query to its end, waiting included.
    timeout: Duration,
    concurrent: usize,
    all: Places,
    /// One entry for each project that ever asked: projects are few.
    projects: Mutex<HashMap<Arc<str>, Places>>,
}

#[derive(Debug, Clone)]
struct Places {
    /// To run or to wait.
    any: Arc<Semaphore>,
    /// To run.
    running: Arc<Semaphore>,
}

impl Places {
    fn new(any: usize, running: usize) -> Self {
        Self { any: Arc::new(Semaphore::new(any)), running: Arc::new(Semaphore::new(running.max(1))) }
    }

    async fn run(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        Arc::clone(&self.running).acquire_owned().await
    }
}

/// The right to run one query, given back when it is dropped: whoever does the work holds it.
#[derive(Debug)]
pub(crate) struct Permit {
    /// When the query is ended.
    pub(crate) deadline: Instant,
    _places: [OwnedSemaphorePermit; 4],
}

impl Admission {
    /// Places for `concurrent` queries that run. One project may have half of all places, and all but one of those
    /// that run, if there is more than one.
    pub(crate) fn new(concurrent: usize, timeout: Duration) -> Self {
        let all = Places::new(concurrent * PLACES_PER_RUNNING, concurrent);
        Self { timeout, concurrent, all, projects: Mutex::default() }
    }

    /// Waits until it is the project's turn.
    ///
    /// # Errors
    ///
    /// 429 if all places that it may have are taken, or if its turn does not come in time.
    pub(crate) async fn admit(&self, project: &Arc<str>) -> Result<Permit, Problem> {
        let deadline = Instant::now() + self.timeout;
        let own = self.of(project);
        let places = (Arc::clone(&own.any).try_acquire_owned(), Arc::clone(&self.all.any).try_acquire_owned());
        let (Ok(own_place), Ok(place)) = places else {
            return Err(Problem::new(429, "too_many_queries", "too many queries are waiting").retry_after(1));
        };
        // The project's own first: its queries do not stand in the way of others while they wait for one another.
        let turn = async { Ok::<_, AcquireError>((own.run().await?, self.all.run().await?)) };
        match tokio::time::timeout_at(deadline, turn).await {
            Ok(Ok((own_turn, turn))) => Ok(Permit { deadline, _places: [own_turn, turn, own_place, place] }),
            Ok(Err(_)) | Err(_) => {
                let detail = format!("the query waited for {} s, and others still run", self.timeout.as_secs());
                Err(Problem::new(429, "too_many_queries", detail).retry_after(5))
            }
        }
    }

    fn of(&self, project: &Arc<str>) -> Places {
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        let own = || Places::new(self.concurrent * PLACES_PER_RUNNING / 2, self.concurrent - 1);
        projects.entry(Arc::clone(project)).or_insert_with(own).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(admitted: Result<Permit, Problem>) -> u16 {
        admitted.map_or_else(|problem| problem.status, |_| 200)
    }

    #[tokio::test]
    async fn a_project_that_asks_without_end_leaves_room_for_others() {
        let admission = Arc::new(Admission::new(2, Duration::from_secs(60)));
        let (noisy, quiet): (Arc<str>, Arc<str>) = ("noisy".into(), "quiet".into());
        let running = admission.admit(&noisy).await.unwrap();
        let waiting: Vec<_> = (0..7)
            .map(|_| {
                let (admission, noisy) = (Arc::clone(&admission), Arc::clone(&noisy));
                tokio::spawn(async move { status(admission.admit(&noisy).await) })
            })
            .collect();
        tokio::task::yield_now().await;
        // Half of the 16 places are taken, and one of two turns.
        assert_eq!(status(admission.admit(&noisy).await), 429);
        assert_eq!(status(admission.admit(&quiet).await), 200);
        drop(running);
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap(), 200);
        }
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_to_come_back() {
        let admission = Admission::new(1, Duration::from_millis(20));
        let project: Arc<str> = "p".into();
        let _running = admission.admit(&project).await.unwrap();
        let problem = admission.admit(&project).await.unwrap_err();
        assert_eq!((problem.status, problem.code), (429, "too_many_queries"));
        assert!(problem.retry_after_s.is_some());
    }
}
