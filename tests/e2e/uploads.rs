//! What can be posted, and how it is answered.

use std::io::Write;

use chrono::Utc;
use rig::{Device, Reply, Server};
use serde_json::{Value, json};

use crate::{assert_books_balance, start};

#[tokio::test]
async fn a_batch_is_answered_by_index_and_found_in_every_place() {
    let server = start().start().await.unwrap();
    let mut device = Device::new();
    let good = device.event("feature.used", Utc::now(), json!({"feature": "share"}));
    let bad = rig::device::without(device.event("feature.used", Utc::now(), json!({"feature": "x"})), "source");
    let reply = server.upload(&[good.clone(), bad, good]).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    let results = reply.json()["results"].clone();
    let words: Vec<_> = results.as_array().unwrap().iter().map(|result| result["result"].clone()).collect();
    assert_eq!(words, ["accepted", "quarantined", "duplicate"]);
    server.settle().await;
    assert_eq!(server.number("SELECT count(*) FROM events").await, 1);
    assert_eq!(
        server.number("SELECT count(*) FROM quarantine WHERE reason = 'missing_attribute' AND field = 'source'").await,
        1
    );
    assert_eq!(server.get("/v1/stats/usage").await.json()["dailyEvents"], 1);
    let batch = server.get(&format!("/v1/batches/{}", reply.json()["batch_id"].as_str().unwrap())).await;
    let words: Vec<_> =
        batch.json()["results"].as_array().unwrap().iter().map(|result| result["result"].clone()).collect();
    assert_eq!(words, ["stored", "quarantined", "duplicate"]);
    assert_eq!(server.log_lines("ERROR"), Vec::<String>::new());
}

/// A CloudEvent with just what it needs, as bytes.
fn bare(id: &str, data: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"layout.saved","data":{data}}}"#)
}

async fn post(server: &Server, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
    let mut request = server.request("POST", path).header("x-api-key", &server.upload_key);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    rig::server::send(request.body(body)).await.unwrap()
}

#[tokio::test]
async fn every_shape_coding_and_label_of_a_body_is_understood() {
    let server = start().start().await.unwrap();
    let text = |id: &str| bare(id, "{}").into_bytes();
    let coded = |id: &str, coding: &str| -> Vec<u8> {
        let plain = format!("[{}]", bare(id, "{}"));
        let mut out = Vec::new();
        match coding {
            "gzip" => {
                let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
                encoder.write_all(plain.as_bytes()).unwrap();
                encoder.finish().unwrap();
            }
            "deflate" => {
                let mut encoder = flate2::write::ZlibEncoder::new(&mut out, flate2::Compression::fast());
                encoder.write_all(plain.as_bytes()).unwrap();
                encoder.finish().unwrap();
            }
            "zstd" => out = zstd::encode_all(plain.as_bytes(), 3).unwrap(),
            // Brotli, by hand: one uncompressed meta-block, then the empty last one (RFC 7932 §9.2).
            "br" => {
                let bits = (plain.len() - 1) << 4 | 1 << 20;
                out.extend_from_slice(&bits.to_le_bytes()[..3]);
                out.extend_from_slice(plain.as_bytes());
                out.push(3);
            }
            _ => unreachable!("a coding of the list"),
        }
        out
    };
    let mut sent = 0;
    for (headers, body, events) in [
        (
            vec![("content-type", "application/cloudevents-batch+json")],
            format!("[{},{}]", bare("a1", "{}"), bare("a2", "{}")).into_bytes(),
            2,
        ),
        (vec![("content-type", "application/cloudevents+json; charset=utf-8")], text("a3"), 1),
        (vec![("content-type", "application/x-ndjson")], [text("a4"), b"\r\n\n".to_vec(), text("a5")].concat(), 2),
        // Labels that are missing or wrong: the body's shape decides.
        (vec![], text("a6"), 1),
        (vec![("content-type", "text/plain")], [b"\xef\xbb\xbf [".to_vec(), text("a7"), b"]".to_vec()].concat(), 1),
        (
            vec![("content-type", "application/x-www-form-urlencoded")],
            [text("a8"), b"\n".to_vec(), text("a9")].concat(),
            2,
        ),
        (vec![("content-encoding", "gzip")], coded("b1", "gzip"), 1),
        (vec![("content-encoding", "deflate")], coded("b2", "deflate"), 1),
        (vec![("content-encoding", "zstd")], coded("b3", "zstd"), 1),
        (vec![("content-encoding", "br")], coded("b4", "br"), 1),
        (
            vec![("ce-specversion", "1.0"), ("ce-id", "c1"), ("ce-source", "/s"), ("ce-type", "layout.saved")],
            b"{\"x\":1}".to_vec(),
            1,
        ),
        (
            vec![("ce-specversion", "1.0"), ("ce-id", "c2"), ("ce-source", "/s"), ("ce-type", "layout.saved")],
            Vec::new(),
            1,
        ),
    ] {
        let reply = post(&server, "/v1/events", &headers, body).await;
        assert_eq!(reply.status, 202, "{headers:?}: {}", reply.text());
        let results = reply.json()["results"].as_array().unwrap().clone();
        assert_eq!(results.len(), events, "{headers:?}");
        assert!(results.iter().all(|result| result["result"] == "accepted"), "{results:?}");
        sent += i64::try_from(events).unwrap();
    }
    let slash = post(&server, "/v1/events/", &[("idempotency-key", "my-batch-7")], text("d1")).await;
    assert_eq!((slash.status, slash.json()["batch_id"].as_str()), (202, Some("my-batch-7")));
    server.settle().await;
    assert_eq!(server.number("SELECT count(*) FROM events").await, sent + 1);
    assert_eq!(server.get("/v1/batches/my-batch-7").await.json()["results"][0]["result"], "stored");
    assert_eq!(server.get("/v1/batches/never-sent").await.status, 404);
}

#[tokio::test]
async fn the_apps_feeds_are_answered_as_the_app_needs_it() {
    let server = start().start().await.unwrap();
    let event = json!([{"name": "stream_added", "properties": {"platform": "twitch"}, "timestamp": 817_116_961.25,
        "sessionId": "7F0C1A52-3B0E-4C55-9D6A-2A6E6C1B9E11", "isCritical": false}]);
    // Old builds send no key, and a placeholder as bearer.
    let request = server.request("POST", "/api/v1/analytics").bearer_auth("user_123").json(&event);
    assert_eq!(rig::server::send(request).await.unwrap().status, 200);
    // Whatever is no report at all is kept: anything but 200 would make the app send it for ever.
    for body in ["[{\"id\":\"9f\",\"error\":\"x\"}]", "torn [", "null", "17"] {
        let request = server.request("POST", "/api/v1/errors").body(body);
        assert_eq!(rig::server::send(request).await.unwrap().status, 200, "{body}");
    }
    server.settle().await;
    let row = &server
        .sql("SELECT type, occurred_at, trust, person_id, stream_platform FROM events WHERE type = 'stream.added'")
        .await[0];
    assert_eq!(row["occurred_at"], "2026-11-23T08:56:01.250Z");
    assert_eq!(
        (&row["trust"], &row["person_id"], &row["stream_platform"]),
        (&json!("anonymous"), &Value::Null, &json!("twitch"))
    );
    assert_books_balance(&server).await;
}

#[tokio::test]
async fn hostile_bodies_get_an_answer_that_names_the_rule_and_cost_their_neighbours_nothing() {
    let server = start().start().await.unwrap();
    // What is not decodable at all is refused as a whole.
    for (headers, body, status, code) in [
        (vec![], &b""[..], 400, "empty_body"),
        (vec![], b"  \n ", 400, "empty_body"),
        (vec![], b"[{\"torn\":", 400, "undecodable_body"),
        (vec![], b"hello", 400, "undecodable_body"),
        (vec![("content-encoding", "gzip")], b"not gzip", 400, "corrupt_encoding"),
        (vec![("content-encoding", "gzip, gzip")], b"x", 415, "unsupported_encoding"),
        (vec![("content-encoding", "compress")], b"x", 415, "unsupported_encoding"),
    ] {
        let reply = post(&server, "/v1/events", &headers, body.to_vec()).await;
        assert_eq!(
            (reply.status, reply.json()["code"].as_str()),
            (status, Some(code)),
            "{}",
            String::from_utf8_lossy(body)
        );
        assert_eq!(reply.header("content-type"), "application/problem+json");
        assert!(reply.json()["errors"][0]["rule"].is_string(), "{}", reply.text());
    }
    let zeros = format!("[{}0]", "0,".repeat(2_000_000));
    let reply = post(&server, "/v1/events", &[], zeros.into_bytes()).await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (413, Some("too_many_events")));

    // One bad event beside a good one: the good one is stored, the bad one kept with its reason.
    let deep = format!("{}1{}", "[".repeat(300), "]".repeat(300));
    let long = format!("{{\"x\":\"{}\"}}", "y".repeat(1_000_000));
    let cases = [
        (bare("h0", "{\"x\":NaN}"), "invalid_json", None),
        (bare("h1", "{\"x\":1e999}"), "invalid_json", None),
        (bare("h2", "{\"x\":\"\\ud800\"}"), "invalid_json", None),
        (bare("h3", "{\"x\":\"\\u0000\"}"), "invalid_text", None),
        (bare("h4", &format!("{{\"x\":{deep}}}")), "invalid_json", None),
        (bare("h5", &long), "too_large", None),
        (bare("h6", "{}").replace("\"1.0\"", "\"9.9\""), "missing_attribute", Some("specversion")),
        (bare("h7", "{}").replace("layout.saved", "playback.paused"), "missing_attribute", Some("viewid")),
        (bare("h8", "{}").replacen("\"id\"", "\"id\":\"x\",\"id\"", 1), "duplicate_attribute", Some("id")),
        ("null".to_owned(), "invalid_json", None),
        ("17".to_owned(), "invalid_json", None),
    ];
    for (n, (bad, reason, field)) in cases.iter().enumerate() {
        let body = format!("[{},{bad}]", bare(&format!("good-{n}"), "{}"));
        let reply = post(&server, "/v1/events", &[], body.into_bytes()).await;
        let results = reply.json()["results"].clone();
        assert_eq!((reply.status, &results[0]["result"]), (202, &json!("accepted")), "{reason}");
        assert_eq!(
            (results[1]["result"].as_str(), results[1]["reason"].as_str()),
            (Some("quarantined"), Some(*reason)),
            "{results}"
        );
        if field.is_some() {
            assert_eq!(results[1]["field"].as_str(), *field);
        }
    }
    // Invalid UTF-8, and times at both ends of what can be kept.
    let raw = [b"[".to_vec(), bare("good-utf8", "{}").into_bytes(), b",{\"id\":\"\xff\xfe\"}]".to_vec()].concat();
    assert_eq!(post(&server, "/v1/events", &[], raw).await.json()["results"][1]["reason"], "invalid_json");
    for (id, time) in
        [("t1", "1970-01-01T00:00:00Z"), ("t2", "9999-12-31T23:59:59.999999Z"), ("t3", "1969-12-31T23:59:59Z")]
    {
        let event = bare(id, "{}").replacen('{', &format!("{{\"time\":\"{time}\","), 1);
        assert_eq!(
            post(&server, "/v1/events", &[], event.into_bytes()).await.json()["results"][0]["result"],
            "accepted",
            "{time}"
        );
    }
    server.settle().await;
    assert_eq!(server.number("SELECT count(*) FROM events WHERE event_id LIKE 'good-%'").await, 12);
    assert_eq!(server.number("SELECT count(*) FROM quarantine").await, 12);
    let future =
        server.sql("SELECT flags, corrected_at <= received_at AS held FROM events WHERE event_id = 't2'").await;
    assert_eq!(future[0]["held"], true);
    assert_books_balance(&server).await;
    assert_eq!([server.log_lines("WARN"), server.log_lines("ERROR")].concat(), Vec::<String>::new());
}
