//! From SIGTERM to the end.

use std::time::{Duration, Instant};

use chrono::Utc;
use rig::{Device, Server};
use serde_json::json;

use super::{Connection, code, upload_head};
use crate::start;

#[tokio::test]
async fn an_upload_under_way_is_answered_and_a_new_request_is_put_off() {
    let server = start().start().await.unwrap();
    let (mut kept, mut uploading) = (Connection::open(&server.http).await, Connection::open(&server.http).await);
    let authorization = format!("Authorization: Bearer {}\r\n", server.read_token);
    assert_eq!(kept.ask("/v1/stats/usage", &authorization).await.0, 200);
    let event = Device::new().event("layout.saved", Utc::now(), json!({})).to_string();
    let (half, rest) = event.split_at(100);
    uploading.write(&(upload_head(&server, event.len()) + half)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;

    let admin = server.admin.clone();
    let begun = Instant::now();
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let (status, answer) = kept.ask("/v1/stats/usage", &authorization).await;
        assert_eq!((status, code(&answer).as_str()), (503, "draining"), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("retry-after: 1"), "{answer}");
        let (status, answer) = Connection::open(&admin).await.ask("/readyz", "").await;
        assert!(status == 503 && answer.contains("draining"), "{answer}");
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        uploading.write(rest).await;
        assert_eq!(uploading.answer().await.0, 202);
    };
    let ((status, stopped), ()) = tokio::join!(server.stop(), meanwhile);
    assert_eq!(status.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    assert!(!stopped.data_dir().join("run.json").exists());
    let server = stopped.start().await.unwrap();
    server.settle().await;
    assert_eq!(server.number("SELECT count(*) FROM events").await, 1);
    assert_eq!(server.log_lines("ERROR"), Vec::<String>::new());
}

/// Uploads at the least rate that is allowed, until the server ends it.
async fn upload_slowly(server: &Server) -> impl Future<Output = ()> + use<> {
    let mut connection = Connection::open(&server.http).await;
    connection.write(&upload_head(server, 10_000_000)).await;
    async move {
        use tokio::io::AsyncWriteExt;
        while connection.0.write_all(&[b' '; 4096]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

#[tokio::test]
async fn what_takes_longer_than_the_drain_time_is_cut_off() {
    let server = start().variable("STREAMGAUGE_HTTP__DRAIN_TIMEOUT", "1s").start().await.unwrap();
    let uploading = upload_slowly(&server).await;
    let begun = Instant::now();
    let ((status, _), ()) = tokio::join!(server.stop(), uploading);
    assert_eq!(status.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_process_ends_within_30_s_whatever_its_settings_say() {
    let server = start().variable("STREAMGAUGE_HTTP__DRAIN_TIMEOUT", "10m").start().await.unwrap();
    let log_file = server.start().data_dir().with_file_name("server.log");
    let uploading = upload_slowly(&server).await;
    let begun = Instant::now();
    let ((status, _stopped), ()) = tokio::join!(server.stop(), uploading);
    assert_eq!(status.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let log = std::fs::read_to_string(log_file).unwrap();
    assert!(log.contains("does not end by itself"), "{log}");
}
