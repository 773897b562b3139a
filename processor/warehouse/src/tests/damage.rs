//! A file that cannot be read: what depends on it waits for somebody to look, and nothing else does.

use std::time::Duration;

use super::conformance::{DAY, Setup, advance, at};
use super::place::Place;
use crate::tables::QUARANTINE;
use crate::{Kept, MergeError, MergePolicy, Retention, RetentionPolicy};

impl Setup {
    /// Damages the file that was listed first.
    async fn damage(&self) {
        let files = self.warehouse.read().await.unwrap().snapshot().await.unwrap().files(&QUARANTINE);
        let path = self.place.folder().join("lake").join(&files[0].path);
        std::fs::write(path, b"no file of ours").unwrap();
    }
}

pub(crate) async fn other_files_are_merged(place: Place) {
    let setup = Setup::new(place).await;
    // The damaged one is in the larger group, which comes first.
    for n in 0..7 {
        setup.land(n, 3, at(0) + DAY * u32::from(n > 3)).await;
    }
    setup.damage().await;
    let policy = MergePolicy { fan_in: 2, ..MergePolicy::default() };
    let (_, merged) = setup.warehouse.merge_once(policy, at(20)).await.unwrap().unwrap();
    assert_eq!((merged.sources, merged.rows), (3, 9));
    let refused = setup.warehouse.merge_once(policy, at(21)).await.unwrap_err();
    assert!(matches!(refused, MergeError::Rewrite { table: "quarantine", .. }), "{refused}");
}

pub(crate) async fn other_rows_are_taken_away(place: Place) {
    let setup = Setup::new(place).await;
    let later = at(0) + DAY * 100;
    // Files of tests are of one, sums of the other.
    for project in ["x", "p"] {
        setup.warehouse.create_project(project, false, at(0)).await.unwrap();
    }
    setup.land(0, 3, at(0)).await;
    let mut commit = setup.commit(1, 3, later);
    commit.advances.push(advance(1, 0, 1));
    commit.advances.iter_mut().for_each(|advance| advance.log_time = later);
    setup.warehouse.commit(&commit).await.unwrap();
    setup.warehouse.merge_rollups(later + DAY, Duration::ZERO).await.unwrap();
    setup.damage().await;
    let mut of_project = Retention::default();
    of_project.set(Kept::Quarantine, Some(7));
    of_project.set(Kept::RollupMinutes, Some(8));
    let mut policy = RetentionPolicy::default();
    policy.projects.insert("x".into(), of_project.clone());
    policy.projects.insert("p".into(), of_project);
    let minutes = async || {
        let minutes = "SELECT count(*) FROM usage_merged WHERE grain = 'minute'";
        setup.ask(minutes.into()).await.get::<i64>(0)
    };
    assert_eq!(minutes().await, 2);
    let refused = setup.warehouse.retain(later, &policy).await.unwrap_err();
    assert!(matches!(refused, MergeError::Rewrite { table: "quarantine", .. }), "{refused}");
    assert_eq!(minutes().await, 1, "the minutes of the first day are gone");
}
