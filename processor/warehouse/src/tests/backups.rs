//! Backup and restore on either database, and the turn at files that protects them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::conformance::{Setup, TOPIC, at};
use super::place::Place;
use crate::database::Task;
use crate::{
    BackupError, BackupSet, Commit, DatabaseKind, MergeError, MergePolicy, StateFile, Warehouse, find_place, restore,
};

pub(crate) async fn at_the_files_is_one_process_at_a_time(place: Place) {
    let setup = Setup::new(place).await;
    for from in 0..4 {
        setup.land(from, 1, at(0)).await;
    }
    let other = setup.place.open().await;
    let turn = other.shared.database.take(Task::Files).await.unwrap().unwrap();
    let policy = MergePolicy { fan_in: 4, ..MergePolicy::default() };
    assert!(matches!(setup.warehouse.merge_once(policy, at(1)).await, Err(MergeError::Elsewhere)));
    assert!(setup.warehouse.expire(at(1), Duration::ZERO, Duration::ZERO).await.unwrap().is_elsewhere);
    assert!(setup.warehouse.collect_orphans(Duration::ZERO).await.unwrap().is_elsewhere);
    let folder = setup.place.folder().join("set");
    let refused = setup.warehouse.back_up(&folder, Vec::new(), at(1)).await;
    assert!(matches!(refused, Err(BackupError::Elsewhere)));
    // A patient one waits, but not for ever.
    setup.warehouse.be_patient(Duration::from_secs(30));
    let third = setup.place.open().await;
    third.be_patient(Duration::from_millis(300));
    assert!(matches!(third.merge_once(policy, at(1)).await, Err(MergeError::Elsewhere)));
    let release = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        turn.end().await;
    };
    let (merged, ()) = tokio::join!(setup.warehouse.merge_once(policy, at(1)), release);
    assert!(merged.unwrap().is_some());
    assert!(third.merge_once(policy, at(1)).await.unwrap().is_none(), "nothing is left");
}

/// A warehouse with merged files, key runs and a file of state, which the lake has.
async fn eventful(place: Place) -> Setup {
    let setup = Setup::new(place).await;
    setup.warehouse.bind_log(TOPIC, "the log").await.unwrap();
    for from in 0..5 {
        setup.land(from, 2, at(0)).await;
    }
    let policy = MergePolicy { fan_in: 4, ..MergePolicy::default() };
    assert!(setup.warehouse.merge_once(policy, at(1)).await.unwrap().is_some());
    let path = "state/2026-11-23/c-0-5-x.state".to_owned();
    setup.warehouse.lake().write(&path, b"state").unwrap();
    let state_files = vec![StateFile { log_partition: 0, position: 6, path }];
    let commit = Commit { state_files, ..setup.commit(5, 2, at(2)) };
    setup.warehouse.commit(&commit).await.unwrap();
    setup.warehouse.create_project("p", false, at(0)).await.unwrap();
    setup.warehouse.create_upload_key("p", "", "the key", at(0)).await.unwrap();
    setup
}

fn files_of(warehouse: &Warehouse) -> BTreeSet<(String, u64)> {
    warehouse.lake().list().unwrap().into_iter().map(|file| (file.path, file.bytes)).collect()
}

pub(crate) async fn what_is_restored_is_what_was_backed_up(place: Place) {
    let setup = eventful(place).await;
    let folder = setup.place.folder().join("set");
    let backed_up = setup.warehouse.back_up(&folder, vec![("more".into(), b"text".to_vec())], at(9)).await.unwrap();
    // What lands later is not in it.
    setup.land(6, 2, at(10)).await;
    let set = BackupSet::read(&folder).unwrap();
    assert_eq!(set, backed_up.set);
    assert_eq!((set.taken_in[0].identity.as_deref(), &set.taken_in[0].positions[..]), (Some("the log"), &[6, 0][..]));
    set.verify(&folder).unwrap();
    // Where something is, it is not restored.
    let refused = find_place(&set, &setup.place.config()).await;
    assert!(matches!(refused, Err(BackupError::NotEmpty { .. })), "{refused:?}");

    let another = setup.place.another().await;
    let later = BackupSet { version: set.version + 1, ..set.clone() };
    let refused = find_place(&later, &another.config()).await;
    assert!(matches!(refused, Err(BackupError::Later { .. })), "{refused:?}");
    let kind = if set.database == DatabaseKind::Sqlite { DatabaseKind::Postgres } else { DatabaseKind::Sqlite };
    let refused = find_place(&BackupSet { database: kind, ..set.clone() }, &another.config()).await;
    assert!(matches!(refused, Err(BackupError::OtherDatabase { .. })), "{refused:?}");
    restore(&folder, &set, &another.config()).await.unwrap();
    let restored = Setup { warehouse: another.open().await, place: another };
    assert_eq!(restored.warehouse.newest_commit().borrow().0, set.commit);
    assert_eq!(restored.counted().await, (12, 12));
    assert!(restored.warehouse.access().await.unwrap().upload_key("the key").is_some());
    assert_eq!(restored.warehouse.state_file(0).await.unwrap(), setup.warehouse.state_file(0).await.unwrap());
    assert!(restored.warehouse.bind_log(TOPIC, "another log").await.is_err());
    restored.warehouse.follow_log(TOPIC, "another log").await.unwrap();
    restored.warehouse.bind_log(TOPIC, "another log").await.unwrap();
    // All that its catalogue lists is there, also for older commits; and it goes on.
    assert_eq!(restored.warehouse.collect_orphans(Duration::ZERO).await.unwrap().missing, 0);
    assert!(files_of(&restored.warehouse).is_subset(&files_of(&setup.warehouse)));
    restored.land(6, 2, at(11)).await;
    assert_eq!(restored.counted().await, (14, 14));
    assert!(matches!(find_place(&set, &restored.place.config()).await, Err(BackupError::NotEmpty { .. })));
}

fn files_below(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.insert(path.to_string_lossy().into_owned());
        }
    }
    found
}

pub(crate) async fn a_second_backup_copies_what_is_new_and_leaves_nothing_of_the_first(place: Place) {
    let setup = eventful(place).await;
    let folder = setup.place.folder().join("set");
    // What one that was killed at its very beginning leaves.
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("streamgauge-backup.new"), b"A ba").unwrap();
    let first = setup.warehouse.back_up(&folder, Vec::new(), at(9)).await.unwrap();
    assert_eq!(first.copied_bytes, first.set.bytes());
    setup.land(6, 2, at(10)).await;
    // What a backup that was cut off may have left.
    std::fs::create_dir_all(folder.join("database/cut-off")).unwrap();
    std::fs::write(folder.join("database/cut-off/warehouse.db"), b"half").unwrap();
    std::fs::write(folder.join("lake/half.new"), b"half").unwrap();
    first.set.verify(&folder).unwrap();
    let second = setup.warehouse.back_up(&folder, Vec::new(), at(11)).await.unwrap();
    assert!(second.set.commit > first.set.commit);
    let of_lake =
        |set: &BackupSet| set.files.iter().filter(|file| file.path.starts_with("lake/")).cloned().collect::<Vec<_>>();
    let new: u64 =
        of_lake(&second.set).iter().filter(|file| !first.set.files.contains(file)).map(|file| file.bytes).sum();
    let database: u64 =
        second.set.files.iter().filter(|file| file.path.starts_with("database/")).map(|file| file.bytes).sum();
    assert_eq!(second.copied_bytes, new + database);
    second.set.verify(&folder).unwrap();
    let mut expected: BTreeSet<String> =
        second.set.files.iter().map(|file| folder.join(&file.path).to_string_lossy().into_owned()).collect();
    expected
        .extend(["manifest.json", "streamgauge-backup"].map(|name| folder.join(name).to_string_lossy().into_owned()));
    assert_eq!(files_below(&folder), expected);

    // A folder with something else in it is left alone.
    let others = setup.place.folder().join("lake");
    let refused = setup.warehouse.back_up(&others, Vec::new(), at(12)).await;
    assert!(matches!(refused, Err(BackupError::NotOurs { .. })), "{refused:?}");
}
