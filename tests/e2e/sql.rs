//! SQL over HTTP: what it may do, what it must not, and what the answers look like.

mod hostile;

use std::io::Cursor;
use std::time::Duration;

use arrow::ipc::reader::StreamReader;
use chrono::{TimeDelta, Utc};
use rig::device::with;
use rig::{Device, Reply, Server};
use serde_json::{Value, json};

use crate::start;

/// Some events of a device, committed.
async fn fill(server: &Server, count: usize) {
    let mut device = Device::new();
    let at = Utc::now() - TimeDelta::minutes(1);
    let events: Vec<Value> = (0..count).map(|_| device.heartbeat("view-1", at)).collect();
    assert_eq!(server.upload(&events).await.status, 202);
    server.settle().await;
}

async fn ask(server: &Server, accept: &str, statement: &Value) -> Reply {
    let request = server.request("POST", "/v1/sql").bearer_auth(&server.read_token).header("accept", accept);
    rig::server::send(request.json(statement)).await.unwrap()
}

#[tokio::test]
async fn an_answer_that_a_crash_cuts_off_is_not_taken_for_a_whole_one() {
    let mut server = start().start().await.unwrap();
    fill(&server, 400).await;
    // More than the buffers of a connection hold.
    let sql = "SELECT one.event_id, other.event_id AS of, other.data FROM events one CROSS JOIN events other";
    let statement = json!({ "sql": sql, "limit": 100_000 });
    for accept in ["text/csv", "application/x-ndjson", "application/vnd.apache.arrow.stream"] {
        let request = server.request("POST", "/v1/sql").bearer_auth(&server.read_token).header("accept", accept);
        let mut response = request.json(&statement).send().await.unwrap();
        assert!(response.status().is_success(), "{accept}");
        response.chunk().await.unwrap().unwrap();
        let crashed = server.kill().await;
        let rest = loop {
            match response.chunk().await {
                Ok(Some(_)) => {}
                ended => break ended,
            }
        };
        assert!(rest.is_err(), "{accept}: an answer that was cut off ends like a whole one");
        server = crashed.start().await.unwrap();
        assert_eq!(server.number("SELECT count(*) FROM events").await, 400);
    }
}

#[tokio::test]
async fn an_answer_can_be_read_in_every_format() {
    let server = start().start().await.unwrap();
    fill(&server, 3).await;
    let statement = json!({ "sql": "SELECT seq, event_id, '=1+1' AS cell FROM events ORDER BY seq" });
    let json = ask(&server, "application/json", &statement).await;
    let ids: Vec<String> = server
        .sql("SELECT event_id FROM events ORDER BY seq")
        .await
        .iter()
        .map(|row| row["event_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(json.json()["data"][2], json!({"seq": 2, "event_id": ids[2], "cell": "=1+1"}));
    assert!(json.json()["meta"]["commit"].as_i64() > Some(0));
    let lines = ask(&server, "application/x-ndjson", &statement).await.text();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(Value::Array(lines), json.json()["data"]);
    let csv = ask(&server, "text/csv;q=0.9, text/html;q=0.1", &statement).await;
    // Raw cells: a program reads them.
    let expected: String = (0..3).map(|n| format!("{n},{},=1+1\n", ids[n])).collect();
    assert_eq!(csv.text(), format!("seq,event_id,cell\n{expected}"));
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8; header=present");
    let stream = ask(&server, "application/vnd.apache.arrow.stream", &statement).await;
    let reader = StreamReader::try_new(Cursor::new(stream.bytes), None).unwrap();
    assert_eq!(
        reader.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["seq", "event_id", "cell"]
    );
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 3);
    let parquet = ask(&server, "application/vnd.apache.parquet", &statement).await;
    assert!(parquet.bytes.starts_with(b"PAR1") && parquet.bytes.ends_with(b"PAR1"));
    for reply in [&json, &csv, &parquet] {
        assert_eq!((reply.status, reply.header("streamgauge-truncated")), (200, "false"));
        assert_eq!(reply.header("streamgauge-commit"), json.json()["meta"]["commit"].to_string());
    }
    // Without rows there is still a header, a schema, an empty list.
    let nothing = json!({ "sql": "SELECT seq FROM events WHERE false" });
    assert_eq!(ask(&server, "text/csv", &nothing).await.text(), "seq\n");
    assert_eq!(ask(&server, "*/*", &nothing).await.json()["data"], json!([]));
    let refused = ask(&server, "text/html", &nothing).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (406, Some("not_acceptable")));
    // A union can be written as Arrow alone, a list not as CSV; what cannot be written is named.
    let union = json!({ "sql": "SELECT data -> 'state' AS state FROM events" });
    for (accept, status) in [("application/json", 400), ("text/csv", 400), ("application/vnd.apache.arrow.stream", 200)]
    {
        let reply = ask(&server, accept, &union).await;
        assert_eq!(reply.status, status, "{accept}: {}", reply.text());
        assert!(status == 200 || reply.json()["detail"].as_str().unwrap().contains("`state`"));
    }
    let list = json!({ "sql": "SELECT string_to_array('a,b', ',') AS items" });
    assert_eq!(ask(&server, "text/csv", &list).await.json()["code"], "column_not_writable");
    assert_eq!(ask(&server, "application/json", &list).await.json()["data"], json!([{"items": ["a", "b"]}]));
}

#[tokio::test]
async fn limits_parameters_and_older_commits_hold() {
    let server = start().variable("STREAMGAUGE_QUERY__MAX_RESULT_BYTES", "64KiB").start().await.unwrap();
    fill(&server, 30).await;
    let some = server.try_sql(&json!({ "sql": "SELECT seq FROM events ORDER BY seq", "limit": 3 })).await;
    assert_eq!(
        (some.json()["data"].clone(), some.header("streamgauge-truncated")),
        (json!([{"seq": 0}, {"seq": 1}, {"seq": 2}]), "true")
    );
    let all = server.try_sql(&json!({ "sql": "SELECT seq FROM events", "limit": 30 })).await;
    assert_eq!(all.header("streamgauge-truncated"), "false");
    // Few bytes in memory can be many when they are written: control characters are six each in JSON.
    let wide =
        json!({ "sql": "SELECT $1 AS a, $1 AS b, $1 AS c FROM events LIMIT 4", "params": ["\u{1}".repeat(1000)] });
    let too_much = server.try_sql(&wide).await;
    assert_eq!(
        (too_much.status, too_much.json()["code"].as_str()),
        (422, Some("result_too_large")),
        "{}",
        too_much.text()
    );

    let with_params = json!({ "sql": "SELECT count(*) AS n FROM events WHERE seq < $1 AND type = $2 AND $3", "params": [7, "playback.heartbeat", true] });
    assert_eq!(server.try_sql(&with_params).await.json()["data"], json!([{"n": 7}]));
    let long = server.try_sql(&json!({ "sql": "SELECT $1", "params": ["x".repeat(4097)] })).await;
    assert_eq!((long.status, long.json()["errors"][0]["pointer"].as_str()), (400, Some("/params/0")));
    let repeated = json!({ "sql": format!("SELECT {}", (0..20).map(|n| format!("$1 AS c{n}")).collect::<Vec<_>>().join(", ")), "params": ["x".repeat(4096)] });
    assert_eq!(server.try_sql(&repeated).await.json()["errors"][0]["rule"], "max_constants");
    let missing = server.try_sql(&json!({ "sql": "SELECT $1" })).await;
    assert_eq!(missing.status, 400, "{}", missing.text());

    let newest = all.json()["meta"]["commit"].as_i64().unwrap();
    let now = server.try_sql(&json!({ "sql": "SELECT count(*) AS n FROM events", "as_of": newest })).await.json();
    assert_eq!(now["data"], json!([{"n": 30}]));
    let first = server.try_sql(&json!({ "sql": "SELECT count(*) AS n FROM events", "as_of": 1 })).await.json();
    assert_eq!(first["data"], json!([{"n": 0}]));
    // How complete an older commit was is not known, and not guessed.
    assert_eq!((&first["meta"]["complete_through"], &first["meta"]["lag_ms"]), (&Value::Null, &Value::Null));
    let rollup = server.try_sql(&json!({ "sql": "SELECT * FROM rollup_usage_day", "as_of": 1 })).await.json();
    assert_eq!(
        (rollup["code"].as_str(), rollup["detail"].as_str().unwrap().contains("rollup_usage_day")),
        (Some("not_as_of"), true)
    );
    // A CTE of that name is none of the database's tables.
    let cte = json!({ "sql": "WITH ledger AS (SELECT 1 AS x) SELECT x FROM ledger", "as_of": 1 });
    assert_eq!(server.try_sql(&cte).await.json()["data"], json!([{"x": 1}]));
    // A value that cannot be cast is told to the caller, and not to the log.
    let cast = server.try_sql(&json!({ "sql": "SELECT seq FROM events WHERE CAST(event_id AS bigint) = 1" })).await;
    assert_eq!((cast.status, cast.json()["code"].as_str()), (400, Some("sql_failed")));
    assert_eq!(server.log_lines("ERROR"), Vec::<String>::new());
}

async fn created(server: &Server, arguments: &[&str]) -> Value {
    let output = server.start().command().args(arguments).arg("--json").output().await.unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// What the authentication knows is read every second.
async fn wait_for_credentials() {
    tokio::time::sleep(Duration::from_millis(1200)).await;
}

#[tokio::test]
async fn the_senders_bytes_are_for_those_who_may_see_them() {
    let server = start().start().await.unwrap();
    let token = created(&server, &["tokens", "create", "--scopes", "sql:read,pii:read"]).await;
    wait_for_credentials().await;
    let secret = "bytes-of-the-sender-5d1f";
    let event = Device::new().event("layout.saved", Utc::now(), json!({ "note": secret }));
    server.upload(&[event, json!({ "id": secret, "secret": secret })]).await;
    server.settle().await;
    let asked = async |token: &str, sql: &str| {
        let request = server.request("POST", "/v1/sql").bearer_auth(token).header("accept", "application/x-ndjson");
        rig::server::send(request.json(&json!({ "sql": sql }))).await.unwrap()
    };
    for (column, table) in [("body", "records"), ("raw", "quarantine")] {
        let named = format!("SELECT encode({column}, 'hex') AS bytes FROM {table}");
        let hidden = asked(&server.read_token, &named).await;
        assert_eq!((hidden.status, hidden.json()["code"].as_str()), (400, Some("sql_invalid")), "{}", hidden.text());
        let shown = asked(token["token"].as_str().unwrap(), &named).await.text();
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(shown.contains(&hex), "{shown}");
        let everything = asked(&server.read_token, &format!("SELECT * FROM {table}")).await;
        assert!(everything.status == 200 && everything.json()[column].is_null());
        let described = format!(
            "SELECT count(*) AS n FROM information_schema.columns WHERE table_name = '{table}' AND column_name = '{column}'"
        );
        assert_eq!(asked(&server.read_token, &described).await.json()["n"], 0);
        assert_eq!(asked(token["token"].as_str().unwrap(), &described).await.json()["n"], 1);
    }
}

#[tokio::test]
async fn bodies_and_paths_that_cannot_be_read_are_problems() {
    let server = start().start().await.unwrap();
    let post = |token: &str, body: Vec<u8>| {
        let request = server.request("POST", "/v1/sql").bearer_auth(token.to_owned());
        rig::server::send(request.header("content-type", "application/json").body(body))
    };
    let statement = |filler: usize| format!("{{\"sql\": \"SELECT 1\"{}}}", " ".repeat(filler)).into_bytes();
    assert_eq!(post(&server.read_token, statement(0)).await.unwrap().status, 200);
    let large = post(&server.read_token, statement(2 << 20)).await.unwrap();
    assert_eq!((large.status, large.json()["code"].as_str()), (413, Some("body_too_large")));
    let token = created(&server, &["tokens", "create", "--scopes", "stats:read"]).await;
    wait_for_credentials().await;
    // The permission is looked at before the body.
    let forbidden = post(token["token"].as_str().unwrap(), statement(2 << 20)).await.unwrap();
    assert_eq!((forbidden.status, forbidden.json()["code"].as_str()), (403, Some("scope_missing")));
    for body in [&b"SELECT 1"[..], b"{\"sql\": 1}", b"{\"sql\": \"SELECT 1\", \"other\": 1}", b""] {
        let reply = post(&server.read_token, body.to_vec()).await.unwrap();
        assert_eq!((reply.status, reply.json()["code"].as_str()), (400, Some("bad_statement")));
    }
    for path in ["/v1/batches/%ff", "/v1/rollups/%ff", "/v1/rollups/none", "/v1/batches/none"] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.header("content-type")), (404, "application/problem+json"), "{path}");
    }
}

#[tokio::test]
async fn a_project_is_not_told_of_others_by_positions_in_the_log() {
    let server = start().start().await.unwrap();
    fill(&server, 2).await;
    let told = "SELECT count(from_position) AS a, count(to_position) AS b, count(events) AS c FROM commits";
    let alone = &server.sql(told).await[0];
    assert!(alone["a"].as_i64() > Some(0) && alone["a"] == alone["b"] && alone["b"] == alone["c"]);
    created(&server, &["keys", "create", "--project", "other"]).await;
    assert_eq!(server.sql(told).await, [json!({"a": 0, "b": 0, "c": 0})]);
}

#[tokio::test]
async fn a_retry_does_not_hide_what_became_of_an_upload() {
    let server = start().start().await.unwrap();
    let mut device = Device::new();
    let good = device.event("layout.saved", Utc::now(), json!({}));
    let bad = rig::device::without(device.event("layout.saved", Utc::now(), json!({})), "source");
    for _ in 0..2 {
        let request = server.request("POST", "/v1/events").header("x-api-key", &server.upload_key);
        let request = request.header("idempotency-key", "attempt-7").json(&[&good, &bad]);
        assert_eq!(rig::server::send(request).await.unwrap().status, 202);
        server.settle().await;
        let receipt = server.get("/v1/batches/attempt-7").await;
        assert_eq!(receipt.status, 200, "{}", receipt.text());
        let results = receipt.json()["results"].as_array().unwrap().clone();
        let words: Vec<&str> = results.iter().map(|result| result["result"].as_str().unwrap()).collect();
        assert_eq!(words, ["stored", "quarantined"]);
    }
}

#[tokio::test]
async fn the_tail_tells_five_hundred_events_of_a_commit_and_how_many_more() {
    let server = start().start().await.unwrap();
    let request = server.request("GET", "/v1/tail").bearer_auth(&server.read_token);
    let mut tail = request.send().await.unwrap();
    fill(&server, 620).await;
    let mut text = String::new();
    // The upload may be cut into records, but it is small enough for one commit.
    let reading = async {
        while let Some(chunk) = tail.chunk().await.unwrap() {
            text.push_str(&String::from_utf8_lossy(&chunk));
            if text.contains("event: more") && text.ends_with("\n\n") {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("the rest is told");
    let lines = |event: &str| text.matches(&format!("event: {event}\n")).count();
    assert_eq!((lines("event"), lines("more")), (500, 1));
    assert!(text.contains("{\"events\":120,\"verdict\":\"stored\"}"), "{text}");
}

#[tokio::test]
async fn statistics_name_categories_by_tile_time() {
    let server = start().start().await.unwrap();
    let mut device = Device::new();
    let at = Utc::now() - TimeDelta::minutes(1);
    let mut view = |view: &str, category: &str, from_s: i64, to_s: i64| {
        let started = json!({ "stream_id": "twitch:a", "stream_platform": "twitch", "category": category });
        let (from, to) = (at + TimeDelta::seconds(from_s), at + TimeDelta::seconds(to_s));
        [
            device.view_event(view, "playback.view_started", from, started),
            device.view_event(view, "playback.first_frame", from, json!({})),
            device.view_event(view, "playback.view_ended", to, json!({ "reason": "completed" })),
        ]
    };
    // Two views of little, one of much.
    let events = [view("v1", "chess", 0, 1), view("v2", "chess", 2, 3), view("v3", "music", 4, 9)].concat();
    assert_eq!(server.upload(&events).await.status, 202);
    let odd = with(Device::new().event("feature.used", at, json!({ "feature": "=1+1" })), "id", "odd");
    assert_eq!(server.upload(&[odd]).await.status, 202);
    server.settle().await;
    assert_eq!(server.get("/v1/stats/usage").await.json()["topCategories"], json!(["music", "chess"]));
    let csv = async |raw: &str| {
        let path = format!("/v1/rollups/usage?format=csv&group_by=feature&measures=events{raw}");
        server.get(&path).await.text()
    };
    assert!(csv("").await.contains(",'=1+1,1\n") && csv("&raw=true").await.contains(",=1+1,1\n"));
    let fine = server.get("/v1/rollups/usage?grain=day&tz=Australia/Lord_Howe&from=2026-01-01T00:00:00Z").await;
    assert_eq!(fine.status, 200, "{}", fine.text());
}
