//! A rebuild that is killed around the renaming that decides: a start finds the old set or the new one, whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rig::Server;
use rig::server::Start;
use serde_json::Value;

use super::{assert_same, eventful, rebuild};
use crate::{copy_folder, numbers};

type Numbers = BTreeMap<&'static str, Vec<Value>>;

const LIVE: &str = "warehouse.db";
const NEXT: &str = "warehouse.db.rebuild";

/// Files below a folder, by their paths in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in next.read_dir().unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found
}

/// The newest commit that moved a checkpoint or replaced files.
async fn newest(server: &Server) -> i64 {
    server.number("SELECT max(commit_id) FROM commits").await
}

/// Starts, and asserts that everything of one of the two is there; returns the newest commit.
async fn assert_whole(stopped: &Start, before: &Numbers) -> (Start, i64) {
    let server = stopped.start().await.unwrap();
    let commit = newest(&server).await;
    assert_same(&server, before).await;
    assert!(!stopped.data_dir().join(NEXT).exists(), "what was left behind is still there");
    server.settle().await;
    assert_eq!(server.metric("streamgauge_missing_files").await, Some(0.0));
    assert_eq!(server.log_lines("ERROR"), Vec::<String>::new());
    let (_, stopped) = server.stop().await;
    let audit = stopped.command().arg("audit").output().await.unwrap();
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stdout));
    (stopped, commit)
}

#[tokio::test]
async fn a_rebuild_that_ends_at_any_step_of_the_renaming_leaves_the_old_set_or_the_new_one() {
    let server = eventful().await;
    let (before, old_commit) = (numbers(&server).await, newest(&server).await);
    let (_, stopped) = server.stop().await;
    let folders = tempfile::tempdir().unwrap();
    let (old, new) = (folders.path().join("old"), folders.path().join("new"));
    copy_folder(&stopped.data_dir(), &old);
    assert!(rebuild(&stopped).await.status.success());
    copy_folder(&stopped.data_dir(), &new);
    let leftovers: Vec<PathBuf> =
        files(&old.join("lake")).into_iter().filter(|file| !new.join("lake").join(file).exists()).collect();
    assert!(leftovers.len() > 10 && new.join(LIVE).exists() && !new.join(NEXT).exists());

    // What a kill leaves on the disk, step by step. The lake has the files of both all the time, until the old ones go.
    type Step<'a> = (&'a str, bool, Box<dyn Fn(&Path) + 'a>);
    let place = |from: &Path, name: &str, to: &Path| {
        fs::copy(from.join(LIVE), to.join(name)).unwrap();
    };
    let collect = |data: &Path, every: usize| {
        for file in leftovers.iter().step_by(every) {
            fs::remove_file(data.join("lake").join(file)).unwrap();
        }
    };
    let steps: [Step<'_>; 5] = [
        (
            "the new database is complete and not closed",
            false,
            Box::new(|data| {
                place(&new, NEXT, data);
                fs::write(data.join(format!("{NEXT}-wal")), b"").unwrap();
                fs::write(data.join(format!("{NEXT}-shm")), vec![0; 32_768]).unwrap();
            }),
        ),
        ("both are closed", false, Box::new(|data| place(&new, NEXT, data))),
        ("it is renamed", true, Box::new(|data| place(&new, LIVE, data))),
        (
            "half of the old files are collected",
            true,
            Box::new(|data| {
                place(&new, LIVE, data);
                collect(data, 2);
            }),
        ),
        (
            "all of them are",
            true,
            Box::new(|data| {
                place(&new, LIVE, data);
                collect(data, 1);
            }),
        ),
    ];
    let mut stopped = stopped;
    for (step, is_new, make) in steps {
        let data = stopped.data_dir();
        fs::remove_dir_all(&data).unwrap();
        copy_folder(&old, &data);
        copy_folder(&new.join("lake"), &data.join("lake"));
        make(&data);
        let commit;
        (stopped, commit) = assert_whole(&stopped, &before).await;
        assert_eq!(commit > old_commit, is_new, "{step}: commit {commit} after {old_commit}");
    }
}

#[tokio::test]
async fn a_rebuild_that_is_killed_while_the_databases_are_closed_and_renamed_changes_nothing() {
    let server = eventful().await;
    let before = numbers(&server).await;
    let (_, mut stopped) = server.stop().await;
    // From the moment on at which the new database is closed: its log goes then, and the renaming is next.
    for delay_us in [0, 300, 1_000, 3_000, 10_000] {
        let mut child = stopped.command().args(["rebuild", "--json"]).spawn().unwrap();
        let log = stopped.data_dir().join(format!("{NEXT}-wal"));
        let patience = Instant::now() + Duration::from_secs(60);
        for is_there in [true, false] {
            while log.exists() != is_there {
                assert!(child.try_wait().unwrap().is_none() || !is_there, "it was over before it began");
                assert!(Instant::now() < patience);
                std::thread::yield_now();
            }
        }
        std::thread::sleep(Duration::from_micros(delay_us));
        child.kill().await.unwrap();
        (stopped, _) = assert_whole(&stopped, &before).await;
    }
}
