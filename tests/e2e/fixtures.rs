//! Requests captured from real clients give the events their README states.

use chrono::{DateTime, SecondsFormat};
use rig::Server;
use serde_json::{Value, json};

use crate::{assert_books_balance, start};

/// Headers that describe the connection of the capture, not the request.
const CONNECTION_HEADERS: [&str; 5] = ["host", "connection", "content-length", "transfer-encoding", "authorization"];

/// Sends the requests of a file as they were captured; returns the statuses.
pub(crate) async fn replay(server: &Server, file: &str) -> Vec<u16> {
    let path = rig::server::repository().join("tests/fixtures").join(file);
    let requests: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut statuses = Vec::new();
    for captured in &requests {
        let received_at = DateTime::from_timestamp_millis(captured["t"].as_i64().unwrap()).unwrap();
        let target = format!("{}?key={}", captured["u"].as_str().unwrap(), server.upload_key);
        let mut request = server.request(captured["m"].as_str().unwrap(), &target);
        for (name, value) in captured["h"].as_object().unwrap() {
            if !CONNECTION_HEADERS.contains(&name.as_str()) && name != "content-encoding" {
                request = request.header(name, value.as_str().unwrap());
            }
        }
        let received_at = received_at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let body = captured["body"].as_str().unwrap().to_owned();
        let request = request.header("streamgauge-test-received-at", received_at);
        let request = if captured["h"].get("transfer-encoding").is_some() {
            let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
                body.as_bytes().chunks(100).map(|chunk| Ok(chunk.to_vec())).collect();
            request.body(reqwest::Body::wrap_stream(futures::stream::iter(chunks)))
        } else {
            request.body(body)
        };
        statuses.push(rig::server::send(request).await.unwrap().status);
    }
    server.settle().await;
    assert_books_balance(server).await;
    statuses
}

#[tokio::test]
async fn the_common_media_library_gives_twelve_records_of_one_view() {
    let server = start().test_clock().start().await.unwrap();
    assert_eq!(replay(&server, "cml-cmcd-2.7.0.json").await, [204; 4]);
    let rows = server
        .sql("SELECT type, seq, view_id, layout_id, slot, stream_id, format, flags, data FROM events ORDER BY seq")
        .await;
    let seqs: Vec<_> = rows.iter().map(|row| row["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, (0..12).collect::<Vec<_>>());
    let kinds: Vec<_> = rows.iter().map(|row| row["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[0], "cmcd.t");
    let views: std::collections::BTreeSet<_> = rows.iter().map(|row| row["view_id"].as_str()).collect();
    assert_eq!(views.len(), 1);
    assert!(rows.iter().all(|row| row["stream_id"] == "twitch:shroud" && row["slot"] == 2 && row["format"] == "cmcd2"));
    // The other layout holds for the custom event alone.
    let elsewhere: Vec<_> = rows.iter().filter(|row| row["layout_id"] == "lay_02").map(|row| &row["type"]).collect();
    assert_eq!(elsewhere, ["cmcd.ce"]);
    let error = rows.iter().find(|row| row["type"] == "cmcd.e").unwrap();
    let data: Value = serde_json::from_str(error["data"].as_str().unwrap()).unwrap();
    assert_eq!(data["ec"], json!(["HLS_404", "a \"quoted\" \\ err"]));
    let with_msd = server.number("SELECT count(*) FROM events WHERE json_get_int(data, 'msd') = 812").await;
    assert_eq!(with_msd, 1);
    let with_bsd = server.number("SELECT count(*) FROM events WHERE json_contains(data, 'bsd')").await;
    assert!(with_bsd > 1, "a persistent store repeats what it was told");
}

#[tokio::test]
async fn two_players_of_hls_js_give_sixty_one_records_of_two_views() {
    let server = start().test_clock().start().await.unwrap();
    assert_eq!(replay(&server, "hls-js-1.7.4.json").await, [204; 13]);
    let kinds = server.sql("SELECT type, count(*) AS n FROM events GROUP BY type ORDER BY type").await;
    let expected = [("cmcd.bc", 4), ("cmcd.ce", 1), ("cmcd.pr", 2), ("cmcd.ps", 10), ("cmcd.rr", 34), ("cmcd.t", 10)];
    assert_eq!(kinds, expected.map(|(kind, n)| json!({"type": kind, "n": n})));
    let views = server
        .sql("SELECT slot, stream_id, min(seq) AS least, max(seq) AS greatest, count(*) AS n FROM events GROUP BY 1, 2 ORDER BY 1")
        .await;
    assert_eq!(views[0], json!({"slot": 0, "stream_id": "twitch:chan0", "least": 0, "greatest": 31, "n": 32}));
    assert_eq!(views[1], json!({"slot": 1, "stream_id": "twitch:chan1", "least": 0, "greatest": 28, "n": 29}));
    // Requests are stamped when they start: time runs backwards along the numbers, and both are kept as sent.
    let times = server
        .sql("SELECT seq, to_unixtime(occurred_at) AS s FROM events WHERE slot = 0 AND seq IN (9, 10) ORDER BY seq")
        .await;
    assert_eq!(times.len(), 2);
    let backwards = server
        .number("SELECT count(*) FROM events a JOIN events b ON a.view_id = b.view_id AND b.seq = a.seq + 1 WHERE b.occurred_at < a.occurred_at")
        .await;
    assert!(backwards > 0);
    assert_eq!(server.number("SELECT count(*) FROM events WHERE time_quality <> 'device'").await, 0);
    let replayed = replay(&server, "hls-js-1.7.4.json").await;
    assert_eq!(replayed, [204; 13]);
    assert_eq!(server.number("SELECT count(*) FROM events").await, 61);
}

#[tokio::test]
async fn the_cloudevents_sdks_give_what_they_sent() {
    let server = start().test_clock().start().await.unwrap();
    assert_eq!(replay(&server, "cloudevents-js-10.0.0.json").await, [202; 2]);
    let rows =
        server.sql("SELECT type, session_id, format, flags, occurred_at FROM events ORDER BY log_position").await;
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert_eq!(row["type"], "app.streamyyy.playback.rebuffer_end");
        assert_eq!((&row["format"], &row["flags"]), (&json!("cloudevents"), &json!("unknown_type,partial")));
        assert!(!row["session_id"].is_null());
    }
    let server = start().test_clock().start().await.unwrap();
    assert_eq!(replay(&server, "cloudevents-py-2.2.0.json").await, [202; 2]);
    let rows = server.sql("SELECT type, occurred_at, flags FROM events").await;
    assert_eq!((rows.len(), &rows[0]["type"]), (1, &json!("app.streamyyy.layout.created")));
    assert_eq!(rows[0]["occurred_at"], "2026-11-23T08:56:11.176281Z");
    assert_eq!(server.number("SELECT sum(events) FROM ledger WHERE outcome = 'duplicate'").await, 1);
}
