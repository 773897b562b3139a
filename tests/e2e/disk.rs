//! A disk that fills up: uploads end before it does, and nothing that was acknowledged is lost.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use chrono::Utc;
use rig::server::{Start, wait_until};
use rig::{Device, Server};
use serde_json::{Value, json};

use crate::backup::succeed;
use crate::{ALONE, assert_books_balance, start};

/// A disk of its own in memory, in the place of a server's data directory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn of(start: &Start, size: &str) -> Option<Self> {
        let folder = start.data_dir();
        fs::create_dir_all(&folder).unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&folder).output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(Self(folder));
        }
        println!("skipped: no disk of its own can be mounted here");
        None
    }

    /// Writes a file that leaves so many bytes.
    fn leave(&self, bytes: u64) {
        let mut file = File::create(self.filler()).unwrap();
        let chunk = vec![7; 1 << 16];
        while free(&self.0) > bytes && file.write_all(&chunk).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn free(folder: &Path) -> u64 {
    let space = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(folder).output().unwrap();
    let space = String::from_utf8(space.stdout).unwrap();
    space.split_whitespace().map(|number| number.parse::<u64>().unwrap()).product()
}

/// Posts until an upload is refused; the ids that were acknowledged, and the problem.
async fn post_until_refused(server: &Server) -> (BTreeSet<String>, Value) {
    let (mut device, mut acked) = (Device::new(), BTreeSet::new());
    for _ in 0..10_000 {
        // Not to be compressed.
        let data = || json!({ "layout_id": "x", "note": (0..40).map(|_| uuid::Uuid::new_v4().to_string()).collect::<String>() });
        let events: Vec<Value> = (0..100).map(|_| device.event("layout.saved", Utc::now(), data())).collect();
        let reply = server.upload(&events).await;
        match reply.status {
            202 => acked.extend(events.iter().map(|event| event["id"].as_str().unwrap().to_owned())),
            503 => return (acked, reply.json()),
            other => panic!("{other}: {}", reply.text()),
        }
    }
    panic!("the disk takes everything");
}

/// Waits until uploads are taken again, and asserts that everything acknowledged is there once.
async fn goes_on(server: &Server, acked: &BTreeSet<String>) {
    wait_until(
        Duration::from_secs(10),
        || server.log(),
        async || server.upload(&[Device::new().event("layout.saved", Utc::now(), json!({}))]).await.status == 202,
    )
    .await;
    server.settle().await;
    let statement = json!({ "sql": "SELECT event_id, count(*) AS n FROM events GROUP BY 1", "limit": 1_000_000 });
    let stored = server.try_sql(&statement).await.json()["data"].as_array().cloned().unwrap();
    assert!(stored.iter().all(|row| row["n"] == 1));
    let stored: BTreeSet<String> = stored.iter().map(|row| row["event_id"].as_str().unwrap().to_owned()).collect();
    let lost: Vec<_> = acked.difference(&stored).take(3).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert_books_balance(server).await;
    succeed(server.start(), &["audit"]).await;
}

#[tokio::test]
async fn uploads_end_before_the_disk_is_full_and_what_was_taken_is_committed() {
    let _alone = ALONE.lock().await;
    let start = start().variable("STREAMGAUGE_LOG__DISK_RESERVE", "64MiB");
    let Some(disk) = SmallDisk::of(&start, "512m") else { return };
    let server = start.start().await.unwrap();
    disk.leave(80 << 20);
    let (acked, problem) = post_until_refused(&server).await;
    assert_eq!(problem["code"], "log_unavailable");
    assert!(!acked.is_empty());
    // What is in the log is committed although nothing more is taken.
    let stored = async || server.number("SELECT count(*) FROM events").await;
    wait_until(
        Duration::from_secs(30),
        || server.log(),
        async || stored().await == i64::try_from(acked.len()).unwrap(),
    )
    .await;
    assert!(free(&disk.0) > 0);
    disk.make_room();
    goes_on(&server, &acked).await;
    // Room comes and goes a little while files are written.
    let errors = server.log_lines("ERROR");
    assert!(!errors.is_empty() && errors.iter().all(|line| line.contains("until there is room")), "{errors:?}");
}

#[tokio::test]
async fn a_disk_that_is_full_to_the_last_byte_loses_nothing() {
    let _alone = ALONE.lock().await;
    let start = start().variable("STREAMGAUGE_LOG__DISK_RESERVE", "0B");
    let Some(disk) = SmallDisk::of(&start, "512m") else { return };
    let server = start.start().await.unwrap();
    disk.leave(4 << 20);
    let (acked, problem) = post_until_refused(&server).await;
    assert!(
        ["log_unavailable", "log_read_only", "overloaded"].contains(&problem["code"].as_str().unwrap()),
        "{problem}"
    );
    disk.make_room();
    // A write to the log has failed: it is opened again, as the operator is told to.
    let server = server.crash_and_restart().await;
    goes_on(&server, &acked).await;
}
