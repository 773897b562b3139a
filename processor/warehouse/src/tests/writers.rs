//! Several writers and readers at the same time, and what stands beside the files in a commit.

use std::time::Duration;

use schemas::fold::measures::Metric;
use schemas::rollups::{ERROR, Grain, STREAM, STREAM_BINS};
use schemas::{Scope, Timestamp};

use super::conformance::{Setup, TOPIC, advance, at, delta};
use super::place::Place;
use crate::database::sql;
use crate::tables::QUARANTINE;
use crate::{
    AccessError, AdoptError, Commit, CommitError, CommitId, Delta, DeltaRow, FileName, MergeError, MergePolicy,
    NewIdRun, NewLog, OrderError, Origin, ReadError, RollupQuery, SkippedRecord, StateFile, restore,
};

pub(crate) async fn of_two_writers_of_one_partition_one_is_fenced(place: Place) {
    let setup = Setup::new(place).await;
    let other = setup.place.open().await;
    for from in 0..5 {
        let (one, two) = (setup.commit(from, 3, at(0)), setup.commit(from, 3, at(0)));
        let landed = tokio::join!(setup.warehouse.commit(&one), other.commit(&two));
        let ((Ok(_), Err(refused)) | (Err(refused), Ok(_))) = landed else { panic!("{landed:?}") };
        assert!(matches!(refused, CommitError::Fenced { log_partition: 0, expected, .. } if expected == from));
    }
    assert_eq!(setup.counted().await, (15, 15));
}

pub(crate) async fn writers_of_different_partitions_all_land_one_after_the_other(place: Place) {
    const WRITERS: u16 = 4;
    const ROUNDS: u64 = 8;
    let setup = Setup::new(place).await;
    setup.warehouse.checkpoints(TOPIC, WRITERS).await.unwrap();
    let first = setup.warehouse.newest_commit().borrow().0;
    let writing = (0..WRITERS).map(async |partition| {
        let warehouse = setup.place.open().await;
        let mut ids = Vec::new();
        for from in 0..ROUNDS {
            let commit = setup.commit_of(partition, from, 2, at(i64::from(partition)));
            ids.push(warehouse.commit(&commit).await.unwrap().id.0);
        }
        assert!(ids.is_sorted());
        ids
    });
    let mut ids = futures::future::join_all(writing).await.concat();
    ids.sort_unstable();
    let count = i64::from(WRITERS) * i64::try_from(ROUNDS).unwrap();
    assert_eq!(ids, (first + 1..=first + count).collect::<Vec<_>>());
    assert_eq!(setup.counted().await, (2 * count, 2 * count));
    // No row id twice, no file number twice.
    let ids = setup.ask(
        "SELECT count(DISTINCT row_id_start), count(DISTINCT data_file_id), max(row_id_start) FROM ducklake_data_file"
            .into(),
    );
    let ids = ids.await;
    assert_eq!((ids.get::<i64>(0), ids.get::<i64>(1), ids.get::<i64>(2)), (count, count, 2 * count - 2));
}

pub(crate) async fn readers_see_whole_commits_only_while_writers_run(place: Place) {
    let setup = Setup::new(place).await;
    let (one, two) = (setup.place.open().await, setup.place.open().await);
    let writing = |warehouse: crate::Warehouse, partition: u16| {
        let commits: Vec<Commit> = (0..15).map(|from| setup.commit_of(partition, from, 3, at(0))).collect();
        async move {
            for commit in commits {
                warehouse.commit(&commit).await.unwrap();
            }
        }
    };
    let writers = futures::future::join(writing(one, 0), writing(two, 1));
    let reading = async {
        let mut seen = CommitId(0);
        let mut rows = 0;
        while rows < 90 {
            let mut read = setup.warehouse.read().await.unwrap();
            assert!(read.commit() >= seen);
            seen = read.commit();
            let files = read.snapshot().await.unwrap().files(&QUARANTINE);
            rows = files.iter().map(|file| file.rows).sum();
            let positions: u64 = read.positions(TOPIC).await.unwrap().iter().sum();
            let query = RollupQuery::new(&schemas::rollups::USAGE, Grain::Day, "p", (Timestamp::MIN, Timestamp::MAX));
            let events: i64 = read.rollup(&query).await.unwrap().iter().map(|row| row.measures[0]).sum();
            // Files, sums and checkpoints of one commit.
            assert_eq!((rows, rows), (events, i64::try_from(positions * 3).unwrap()));
            assert!(read.snapshot().await.unwrap().files(&QUARANTINE).iter().all(|file| file.since <= seen));
        }
    };
    futures::future::join(writers, reading).await;
}

pub(crate) async fn merging_beside_writers_changes_no_answer(place: Place) {
    let setup = Setup::new(place).await;
    let (other, merger) = (setup.place.open().await, setup.place.open().await);
    let commits: Vec<Commit> = (0..24).map(|from| setup.commit(from, 3, at(0))).collect();
    let writing = async {
        for commit in &commits {
            setup.warehouse.commit(commit).await.unwrap();
        }
    };
    let policy = MergePolicy { fan_in: 4, ..MergePolicy::default() };
    let merging = async |warehouse: &crate::Warehouse| {
        while setup.counted().await.0 < 72 {
            match warehouse.merge_once(policy, at(1)).await {
                Ok(_) | Err(MergeError::Elsewhere) => {}
                Err(error) => panic!("{error}"),
            }
            warehouse.merge_rollups(at(1000), Duration::ZERO).await.unwrap();
        }
    };
    tokio::join!(writing, merging(&other), merging(&merger));
    assert_eq!(setup.counted().await, (72, 72));
    setup.warehouse.merge_rollups(at(1000), Duration::ZERO).await.unwrap();
    assert_eq!(setup.ask("SELECT count(*) FROM usage_delta".into()).await.get::<i64>(0), 0);
    assert_eq!(setup.counted().await, (72, 72));
    assert_eq!(setup.warehouse.read().await.unwrap().books().await.unwrap().quarantine_rows, 72);
}

pub(crate) async fn id_runs_and_state_files_are_listed_with_their_commit_and_fenced_by_the_checkpoint(place: Place) {
    let setup = Setup::new(place).await;
    let run = |from: u64, level: u32| NewIdRun {
        log_partition: 0,
        level,
        path: format!("ids/{}", FileName::new(Origin::Commit { partition: 0, from }, at(0)).path("ids")),
        offset_bytes: 7,
        keys: 5,
    };
    let state = |position: u64| StateFile { log_partition: 0, position, path: format!("state/{position}") };
    for from in 0..2 {
        let mut commit = setup.commit(from, 1, at(0));
        commit.id_runs = vec![run(from, 0)];
        commit.state_files = vec![state(from + 1)];
        assert_eq!(setup.warehouse.commit(&commit).await.unwrap().id_runs[0].run, commit.id_runs[0]);
    }
    let listed = setup.warehouse.id_runs(0).await.unwrap();
    assert_eq!(listed.iter().map(|run| run.run.keys).collect::<Vec<_>>(), [5, 5]);
    assert_eq!(setup.warehouse.state_file(0).await.unwrap(), Some(state(2)));
    assert_eq!(setup.warehouse.state_file(1).await.unwrap(), None);
    // Whoever merges runs as of a position that has been passed has lost the partition.
    let ids: Vec<i64> = listed.iter().map(|run| run.run_id).collect();
    let late = setup.warehouse.replace_id_runs(&ids, &run(1, 1), at(1)).await.unwrap_err();
    assert!(matches!(late, CommitError::Fenced { log_partition: 0, expected: 1, .. }), "{late}");
    let merged = setup.warehouse.replace_id_runs(&ids, &run(2, 1), at(1)).await.unwrap();
    assert_eq!(setup.warehouse.id_runs(0).await.unwrap(), [merged]);
    let waiting = "SELECT count(*) FROM ducklake_files_scheduled_for_deletion WHERE path IN ";
    let paths = format!("{waiting} ('{}', '{}')", listed[0].run.path, listed[1].run.path);
    assert_eq!(setup.ask(paths).await.get::<i64>(0), 2);
    assert!(setup.warehouse.replace_id_runs(&ids, &run(2, 1), at(1)).await.is_err(), "they are gone");
    // A commit of another partition by somebody who had this one: the newer state stays.
    let mut other = setup.commit_of(1, 0, 1, at(0));
    other.state_files = vec![state(1)];
    setup.warehouse.commit(&other).await.unwrap();
    assert_eq!(setup.warehouse.state_file(0).await.unwrap(), Some(state(2)));
    // Ticks: only the checkpoint.
    let before = *setup.warehouse.newest_commit().borrow();
    setup.warehouse.advance(&[advance(1, 1, 9)]).await.unwrap();
    assert!(matches!(setup.warehouse.advance(&[advance(1, 1, 9)]).await, Err(CommitError::Fenced { .. })));
    let checkpoints = setup.warehouse.checkpoints(TOPIC, 3).await.unwrap();
    assert_eq!(checkpoints.iter().map(|checkpoint| checkpoint.position).collect::<Vec<_>>(), [2, 9, 0]);
    let mut read = setup.warehouse.read().await.unwrap();
    assert_eq!(read.commit(), before);
    assert_eq!(read.commit_of(0, 1).await.unwrap(), Some(CommitId(before.0 - 1)));
    assert_eq!(read.commit_of(0, 2).await.unwrap(), None);
    let rows = read.commits(2).await.unwrap();
    assert_eq!(rows.iter().map(|row| (row.log_partition, row.to_position)).collect::<Vec<_>>(), [(1, 1), (0, 2)]);
    assert_eq!(rows[0].committed_at, at(0).to_sql());
}

pub(crate) async fn a_log_is_bound_once_records_were_taken_in(place: Place) {
    let setup = Setup::new(place).await;
    setup.warehouse.bind_log(TOPIC, "one").await.unwrap();
    setup.warehouse.bind_log(TOPIC, "two").await.unwrap();
    // A look ties nothing.
    setup.warehouse.check_log(TOPIC, "one").await.unwrap();
    setup.land(0, 1, at(0)).await;
    setup.warehouse.check_log(TOPIC, "two").await.unwrap();
    assert!(matches!(setup.warehouse.check_log(TOPIC, "one").await, Err(ReadError::OtherLog { .. })));
    setup.warehouse.bind_log(TOPIC, "two").await.unwrap();
    assert!(matches!(setup.warehouse.bind_log(TOPIC, "one").await, Err(ReadError::OtherLog { .. })));
}

pub(crate) async fn another_log_goes_on_where_the_one_before_was_taken_in_to(place: Place) {
    let setup = Setup::new(place).await;
    let warehouse = &setup.warehouse;
    let positions = async || {
        let checkpoints = warehouse.checkpoints(TOPIC, 2).await.unwrap();
        checkpoints.iter().map(|checkpoint| checkpoint.position).collect::<Vec<_>>()
    };
    let new = |identity, instead_of| NewLog { identity, low: vec![0, 0], instead_of };
    assert!(warehouse.bind_log(TOPIC, "one").await.unwrap().is_empty());
    let refused = warehouse.adopt_log(TOPIC, &new("two", "one")).await;
    assert!(matches!(refused, Err(AdoptError::NothingTakenIn)), "{refused:?}");
    for from in 0..3 {
        setup.land(from, 1, at(0)).await;
    }
    // A processor that stands still with what it took of the first log.
    let frozen = setup.commit(3, 1, at(1));
    let refused = warehouse.adopt_log(TOPIC, &new("two", "other")).await.unwrap_err().to_string();
    assert_eq!(refused, "the warehouse follows log `one`, and not `other`");
    let narrow = NewLog { low: vec![0], ..new("two", "one") };
    let refused = warehouse.adopt_log(TOPIC, &narrow).await;
    assert!(matches!(refused, Err(AdoptError::Partitions { found: 1, wanted: 2 })), "{refused:?}");
    let refused = warehouse.adopt_log(TOPIC, &new("one", "one")).await;
    assert!(matches!(refused, Err(AdoptError::Known { .. })), "{refused:?}");
    assert_eq!((positions().await, warehouse.bind_log(TOPIC, "one").await.unwrap()), (vec![3, 0], vec![]));

    warehouse.adopt_log(TOPIC, &new("two", "one")).await.unwrap();
    assert_eq!((positions().await, warehouse.bind_log(TOPIC, "two").await.unwrap()), (vec![4, 1], vec![4, 1]));
    assert!(matches!(warehouse.commit(&frozen).await, Err(CommitError::Fenced { expected: 3, .. })));
    let said = warehouse.still_follows(TOPIC, "one").await.unwrap_err().to_string();
    assert!(said.contains("of log `two`, and this one is `one`"), "{said}");
    warehouse.still_follows(TOPIC, "two").await.unwrap();
    assert!(matches!(warehouse.bind_log(TOPIC, "one").await, Err(ReadError::OtherLog { .. })));
    // A version that knows of one log only knows of none.
    let mut read = warehouse.shared.database.read().await.unwrap();
    assert_eq!(sql("SELECT count(*) FROM log_identity").value::<i64>(&mut read).await.unwrap(), 0);
    drop(read);
    setup.land(4, 1, at(2)).await;

    // Once more, with a log whose beginning is gone.
    let refused = warehouse.adopt_log(TOPIC, &new("one", "two")).await;
    assert!(matches!(refused, Err(AdoptError::Known { .. })), "{refused:?}");
    let three = NewLog { low: vec![10, 0], ..new("three", "two") };
    warehouse.adopt_log(TOPIC, &three).await.unwrap();
    assert_eq!((positions().await, warehouse.bind_log(TOPIC, "three").await.unwrap()), (vec![16, 2], vec![6, 2]));
    // It is all in a backup.
    let folder = setup.place.folder().join("set");
    let set = warehouse.back_up(&folder, Vec::new(), at(9)).await.unwrap().set;
    assert_eq!((set.taken_in[0].identity.as_deref(), &set.taken_in[0].bases[..]), (Some("three"), &[6, 2][..]));
    let another = setup.place.another().await;
    restore(&folder, &set, &another.config()).await.unwrap();
    let restored = another.open().await;
    assert_eq!(restored.bind_log(TOPIC, "three").await.unwrap(), [6, 2]);
    let rows = sql("SELECT log_partition, base, identity FROM adopted_log ORDER BY log_partition, base");
    let rows = rows.rows(&mut restored.shared.database.read().await.unwrap()).await.unwrap();
    let rows: Vec<(i64, i64, String)> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let expected = [(0, 0, "one"), (0, 4, "two"), (0, 6, "three"), (1, 0, "one"), (1, 1, "two"), (1, 2, "three")];
    assert_eq!(rows, expected.map(|(partition, base, identity)| (partition, base, identity.to_owned())));
}

pub(crate) async fn projects_keys_and_tokens_are_kept_and_revoked(place: Place) {
    let setup = Setup::new(place).await;
    let warehouse = &setup.warehouse;
    assert!(warehouse.create_project("p", true, at(0)).await.unwrap());
    assert!(!warehouse.create_project("p", false, at(1)).await.unwrap());
    let key = warehouse.create_upload_key("p", "phone", "secret", at(2)).await.unwrap();
    let token = warehouse.create_service_token("p", "panel", "token", &[Scope::SqlRead], at(3)).await.unwrap();
    let taken = warehouse.create_upload_key("p", "again", "secret", at(4)).await;
    assert!(matches!(taken, Err(AccessError::ValueTaken)), "{taken:?}");
    let nowhere = warehouse.create_upload_key("q", "phone", "another", at(4)).await;
    assert!(matches!(nowhere, Err(AccessError::NoSuchProject(_))), "{nowhere:?}");
    let access = warehouse.access().await.unwrap();
    assert!(access.projects["p"].keyless_legacy);
    assert_eq!(access.upload_key("secret").as_deref(), Some("p"));
    assert_eq!(&*access.service_token("token").unwrap().1, [Scope::SqlRead]);
    warehouse.revoke(&key, at(5)).await.unwrap();
    assert!(matches!(warehouse.revoke(&key, at(6)).await, Err(AccessError::NoSuchCredential(_))));
    assert_eq!(warehouse.access().await.unwrap().upload_key("secret"), None);
    let keys = warehouse.upload_keys().await.unwrap();
    assert_eq!((&keys[0].created_at, &keys[0].revoked_at), (&at(2).to_sql(), &Some(at(5).to_sql())));
    assert_eq!(warehouse.service_tokens().await.unwrap()[0].token_id, token);
    assert_eq!(warehouse.read().await.unwrap().project_count().await.unwrap(), 1);
}

pub(crate) async fn keys_of_any_text_are_added_up_and_read_back_in_the_order_of_their_bytes(place: Place) {
    let setup = Setup::new(place).await;
    let codes = ["", "\t", "\n\r", "A", "B", "\\.", "\\N", "a", "ä", "日本", "🎬"];
    for from in 0..2 {
        let row = |code: &&str| DeltaRow {
            project: "p".into(),
            bucket: at(0).floor(Grain::Minute.length()),
            keys: ["o", code, "d", "s", "1"].map(str::to_owned).to_vec(),
            measures: vec![i64::MAX / 4],
            bins: Vec::new(),
        };
        let mut commit = setup.commit(from, 1, at(0));
        commit.deltas = vec![Delta { rollup: &ERROR, rows: codes.iter().map(row).collect() }, delta(at(0), 1)];
        setup.warehouse.commit(&commit).await.unwrap();
        setup.warehouse.merge_rollups(at(1), Duration::ZERO).await.unwrap();
        let mut read = setup.warehouse.read().await.unwrap();
        let all = RollupQuery::new(&ERROR, Grain::Hour, "p", (Timestamp::MIN, Timestamp::MAX));
        let by_code = RollupQuery { group_by: vec!["code"], limit: 7, ..all };
        let first = read.rollup(&by_code).await.unwrap();
        let last = first.last().map(|row| (row.bucket_start, row.keys.clone()));
        let rest = read.rollup(&RollupQuery { after: last, ..by_code }).await.unwrap();
        let rows: Vec<_> = first.into_iter().chain(rest).collect();
        assert_eq!(rows.iter().map(|row| row.keys[0].as_str()).collect::<Vec<_>>(), codes);
        let sum = i64::MAX / 4 * i64::try_from(from + 1).unwrap();
        assert!(rows.iter().all(|row| row.measures == [sum]), "{rows:?}");
        let changed = crate::ChangedQuery {
            rollup: &ERROR,
            grain: Grain::Hour,
            project: "p",
            since: CommitId(0),
            from: Timestamp::MIN,
            to: Timestamp::MAX,
            limit: 10,
        };
        let changed = read.changed_buckets(&changed).await.unwrap();
        assert_eq!(changed.iter().map(|bucket| bucket.commit).collect::<Vec<_>>(), [read.commit()]);
    }
}

pub(crate) async fn distributions_add_up_merged_or_not(place: Place) {
    let setup = Setup::new(place).await;
    let bins = |minute: u64, stream: &str, bins: &[(Metric, i32, i64)]| DeltaRow {
        project: "p".into(),
        bucket: at(0).floor(Grain::Day.length()) + Duration::from_secs(60 * minute),
        keys: vec![stream.to_owned(), "twitch".to_owned()],
        measures: vec![0; STREAM.measures.len()],
        bins: bins.to_vec(),
    };
    let (startup, latency) = (Metric::StartupMs, Metric::LatencyMs);
    let told = [
        vec![bins(0, "x", &[(startup, 300, 1), (latency, 400, 2)]), bins(59, "x", &[(latency, 400, 3)])],
        vec![
            bins(0, "x", &[(startup, 300, -1), (latency, -7, 5)]),
            bins(61, "\"'%ä", &[(latency, 9, 1), (latency, 10, 1)]),
        ],
        vec![bins(0, "x", &[(latency, 400, 1)])],
    ];
    let expected = |grain: Grain| {
        let hour: &[(&str, &str, &str, i64)] = &[("x", "latency_ms", "-7", 5), ("x", "latency_ms", "400", 6)];
        let next: &[(&str, &str, &str, i64)] = &[("\"'%ä", "latency_ms", "10", 1), ("\"'%ä", "latency_ms", "9", 1)];
        match grain {
            Grain::Minute => {
                [&hour[..1], &[("x", "latency_ms", "400", 3)], &[("x", "latency_ms", "400", 3)], next].concat()
            }
            Grain::Hour => [hour, next].concat(),
            Grain::Day => [next, hour].concat(),
        }
    };
    for (from, rows) in (0..).zip(told) {
        let mut commit = setup.commit(from, 1, at(0));
        commit.deltas = vec![Delta { rollup: &STREAM, rows }, delta(at(0), 1)];
        setup.warehouse.commit(&commit).await.unwrap();
        // The last commit's are not merged at first, and then added to what was merged before.
        if from == 1 {
            setup.warehouse.merge_rollups(at(1), Duration::ZERO).await.unwrap();
        }
    }
    for _ in 0..2 {
        let mut read = setup.warehouse.read().await.unwrap();
        for grain in Grain::ALL {
            let all = RollupQuery::new(&STREAM_BINS, grain, "p", (Timestamp::MIN, Timestamp::MAX));
            let all = RollupQuery { group_by: vec!["stream_id", "metric", "bin"], ..all };
            let rows = read.rollup(&all).await.unwrap();
            let rows: Vec<_> =
                rows.iter().map(|row| (&*row.keys[0], &*row.keys[1], &*row.keys[2], row.measures[0])).collect();
            assert_eq!(rows, expected(grain), "{grain:?}");
            let by_metric =
                RollupQuery { group_by: vec!["metric"], only: vec![("bin", vec!["400".into()])], as_one: true, ..all };
            let rows = read.rollup(&by_metric).await.unwrap();
            assert_eq!(
                rows.iter().map(|row| (&*row.keys[0], row.measures[0])).collect::<Vec<_>>(),
                [("latency_ms", 6)]
            );
        }
        drop(read);
        assert!(setup.warehouse.merge_rollups(at(2), Duration::ZERO).await.unwrap().deltas <= 2);
    }
}

pub(crate) async fn a_paused_partition_is_moved_by_nobody_and_only_then_a_record_is_left_out(place: Place) {
    let setup = Setup::new(place).await;
    let warehouse = &setup.warehouse;
    warehouse.commit(&setup.commit(0, 2, at(0))).await.unwrap();
    let record = |position| SkippedRecord { log_partition: 0, position, ordered_at: at(3), because: "broken".into() };
    let refused = warehouse.skip(TOPIC, &record(1)).await.unwrap_err();
    assert!(matches!(refused, OrderError::NotPaused { log_partition: 0 }), "{refused}");
    let refused = warehouse.pause(TOPIC, 2, "there are two", at(1)).await.unwrap_err();
    assert!(matches!(refused, OrderError::NoSuchPartition { log_partition: 2, partitions: 2 }), "{refused}");

    warehouse.pause(TOPIC, 0, "looked at", at(1)).await.unwrap();
    warehouse.pause(TOPIC, 0, "again", at(2)).await.unwrap();
    let paused = warehouse.paused(TOPIC).await.unwrap();
    assert_eq!((paused.len(), paused[0].since, &*paused[0].because), (1, at(1), "looked at"));
    let refused = warehouse.commit(&setup.commit(1, 2, at(2))).await.unwrap_err();
    assert!(matches!(refused, CommitError::Paused { log_partition: 0, .. }), "{refused}");
    let refused = warehouse.advance(&[advance(0, 1, 2)]).await.unwrap_err();
    assert!(matches!(refused, CommitError::Paused { .. }), "{refused}");
    warehouse.commit(&setup.commit_of(1, 0, 2, at(2))).await.unwrap();

    let refused = warehouse.skip(TOPIC, &record(0)).await.unwrap_err();
    assert!(matches!(refused, OrderError::TakenIn { position: 0, next: 1, .. }), "{refused}");
    warehouse.skip(TOPIC, &record(1)).await.unwrap();
    warehouse.skip(TOPIC, &record(1)).await.unwrap();
    assert_eq!(warehouse.skipped(TOPIC).await.unwrap(), [record(1)]);
    warehouse.resume(TOPIC, 0).await.unwrap();
    // Who read the checkpoint before the pause may know nothing of the order.
    let mut commit = setup.commit(1, 2, at(4));
    let refused = warehouse.commit(&commit).await.unwrap_err();
    assert!(matches!(refused, CommitError::Paused { .. }), "{refused}");
    let checkpoint = warehouse.checkpoints(TOPIC, 2).await.unwrap()[0];
    assert_eq!((checkpoint.position, checkpoint.is_paused, checkpoint.pauses), (1, false, 1));
    commit.advances[0].pauses = 1;
    warehouse.commit(&commit).await.unwrap();
    assert_eq!(setup.counted().await, (6, 6));
}

pub(crate) async fn records_that_the_log_has_not_any_more_are_given_up_by_order_only(place: Place) {
    let setup = Setup::new(place).await;
    let warehouse = &setup.warehouse;
    warehouse.commit(&setup.commit(0, 2, at(0))).await.unwrap();
    let give_up = async |low| warehouse.give_up_lost(TOPIC, 0, low, "retention was too short", at(2)).await;
    assert!(matches!(give_up(5).await.unwrap_err(), OrderError::NotPaused { log_partition: 0 }));
    warehouse.pause(TOPIC, 0, "it stopped", at(1)).await.unwrap();
    let refused = give_up(1).await.unwrap_err();
    assert!(matches!(refused, OrderError::NothingLost { next: 1, low: 1, .. }), "{refused}");
    let skipped = SkippedRecord { log_partition: 0, position: 1, ordered_at: at(1), because: "it stops".into() };
    warehouse.skip(TOPIC, &skipped).await.unwrap();
    assert_eq!(give_up(5).await.unwrap(), 1..5);
    let kept = &warehouse.skipped(TOPIC).await.unwrap()[0];
    let because = "1 to 4 were gone from the log and were given up: retention was too short";
    assert_eq!((kept.log_partition, kept.position, kept.because.as_str()), (0, 1, because));
    warehouse.resume(TOPIC, 0).await.unwrap();
    let mut commit = setup.commit(5, 2, at(3));
    commit.advances[0].pauses = 1;
    warehouse.commit(&commit).await.unwrap();
    assert_eq!(setup.counted().await, (4, 4));
}
