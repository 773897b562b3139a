//! Keys, tokens, projects: made and revoked beside a running server.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rig::{Device, Reply, Server, server};
use serde_json::{Value, json};

use super::{code, say, within};
use crate::start;

/// A running server follows a change of keys and tokens within this.
const FOLLOWED: Duration = Duration::from_secs(2);

async fn upload_with(server: &Server, name: &str, value: &str) -> Reply {
    let event = Device::new().event("layout.saved", Utc::now(), json!({}));
    let request = server.request("POST", "/v1/events").header(name, value);
    server::send(request.header("content-type", "application/json").body(event.to_string())).await.unwrap()
}

async fn read_with(server: &Server, path: &str, token: &str) -> Reply {
    server::send(server.request("GET", path).bearer_auth(token)).await.unwrap()
}

async fn made(server: &Server, arguments: &[&str]) -> Value {
    let said = say(server.start(), arguments).await;
    assert_eq!(said.code, 0, "{said:?}");
    serde_json::from_str(&said.out).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is not in {value}"))
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked_beside_the_server() {
    let server = start().start().await.unwrap();
    let chosen = made(&server, &["keys", "create", "--name", "app", "--value", "constant-of-the-app", "--json"]).await;
    assert_eq!((text(&chosen, "project"), text(&chosen, "key")), ("default", "constant-of-the-app"));
    assert_eq!(chosen["project_created"], false);
    let other = made(&server, &["keys", "create", "--project", "other-1", "--json"]).await;
    assert_eq!(other["project_created"], true);
    assert!(text(&other, "key").starts_with("sgk_"));
    let accepted = async |value: &str| upload_with(&server, "x-api-key", value).await.status == 202;
    assert!(within(FOLLOWED, || accepted("constant-of-the-app")).await);
    assert!(within(FOLLOWED, || accepted(text(&other, "key"))).await);

    let listed = say(server.start(), &["keys", "list"]).await;
    assert!(listed.out.contains(text(&other, "id")) && listed.out.contains("other-1"), "{listed:?}");
    assert!(!listed.out.contains("constant-of-the-app") && !listed.out.contains(text(&other, "key")), "{listed:?}");
    let again = say(server.start(), &["keys", "create", "--value", "constant-of-the-app"]).await;
    assert!(again.code == 1 && again.err.contains("in use already"), "{again:?}");

    assert_eq!(say(server.start(), &["keys", "revoke", text(&chosen, "id")]).await.code, 0);
    let refused = async || upload_with(&server, "x-api-key", "constant-of-the-app").await.status == 401;
    assert!(within(FOLLOWED, refused).await);
    assert!(accepted(text(&other, "key")).await, "the other key still holds");
    assert_eq!(say(server.start(), &["keys", "revoke", text(&chosen, "id")]).await.code, 1, "it is revoked already");
    let listed = say(server.start(), &["keys", "list", "--json"]).await;
    let rows: Vec<Value> = listed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.iter().filter(|row| row["revoked_at"].is_string()).count(), 1, "{rows:?}");
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked_beside_the_server() {
    let server = start().start().await.unwrap();
    let made = made(&server, &["tokens", "create", "--scopes", "stats:read", "--project", "other", "--json"]).await;
    let token = text(&made, "token");
    assert!(token.starts_with("sgt_") && made["project_created"] == true, "{made}");
    assert!(within(FOLLOWED, async || read_with(&server, "/v1/stats/usage", token).await.status == 200).await);
    let beyond = server.request("POST", "/v1/sql").bearer_auth(token).json(&json!({"sql": "SELECT 1"}));
    assert_eq!(server::send(beyond).await.unwrap().status, 403, "it has no scope for that");
    let listed = say(server.start(), &["tokens", "list"]).await;
    assert!(listed.out.contains("stats:read") && !listed.out.contains(token), "{listed:?}");
    assert_eq!(say(server.start(), &["tokens", "revoke", text(&made, "id")]).await.code, 0);
    assert!(within(FOLLOWED, async || read_with(&server, "/v1/stats/usage", token).await.status == 401).await);
}

#[tokio::test]
async fn preset_credentials_hold_from_the_first_start_and_a_revoked_one_stays_revoked() {
    let preset = start()
        .variable("STREAMGAUGE_UPLOAD_KEY", "0012345678")
        .variable("STREAMGAUGE_READ_TOKEN", "a-read-token-of-ours");
    let server = preset.start().await.unwrap();
    assert_eq!((server.upload_key.as_str(), server.read_token.as_str()), ("0012345678", "a-read-token-of-ours"));
    assert_eq!(upload_with(&server, "x-api-key", "0012345678").await.status, 202);
    assert_eq!(server.get("/v1/stats/usage").await.status, 200);
    let listed = say(server.start(), &["keys", "list", "--json"]).await;
    let key: Value = serde_json::from_str(listed.out.lines().next().unwrap()).unwrap();
    assert_eq!(say(server.start(), &["keys", "revoke", text(&key, "id")]).await.code, 0);
    let server = server.crash_and_restart().await;
    assert_eq!(upload_with(&server, "x-api-key", "0012345678").await.status, 401);
    assert!(server.log().contains("was revoked and has no effect"), "{}", server.log());
}

#[tokio::test]
async fn every_way_to_show_a_key_is_taken_and_reading_needs_a_token() {
    let server = start().start().await.unwrap();
    let basic = |user: &str| {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:")))
    };
    for (name, value) in [
        ("x-api-key", server.upload_key.clone()),
        ("authorization", format!("Bearer {}", server.upload_key)),
        ("authorization", basic(&server.upload_key)),
    ] {
        assert_eq!(upload_with(&server, name, &value).await.status, 202, "{name}");
    }
    let event = Device::new().event("layout.saved", Utc::now(), json!({})).to_string();
    let by_query = server.request("POST", &format!("/v1/events?key={}", server.upload_key)).header("x-api-key", "");
    assert_eq!(server::send(by_query.body(event)).await.unwrap().status, 202);
    assert_eq!(upload_with(&server, "x-api-key", "sgk_unknown").await.status, 401);
    // The old feeds' Basic user counts, their Bearer does not.
    let legacy = async |authorization: &str| {
        let request = server.request("POST", "/api/v1/errors").header("authorization", authorization).body("[]");
        server::send(request).await.unwrap().status
    };
    assert_eq!(legacy(&basic("sgk_unknown")).await, 401);
    assert_eq!(legacy("Bearer user_123").await, 200);

    server.settle().await;
    let read = server.get("/v1/events").await;
    assert_eq!(read.status, 200, "the path of uploads is also one of reads: {}", read.text());
    assert_eq!(read_with(&server, "/v1/events", &server.upload_key).await.status, 401);
    assert_eq!(upload_with(&server, "authorization", &format!("Bearer {}", server.read_token)).await.status, 401);
}

#[tokio::test]
async fn uploads_without_a_key_have_a_quota_of_their_own() {
    let server = start().variable("STREAMGAUGE_INGEST__KEYLESS_REQUESTS_PER_SECOND", "1").start().await.unwrap();
    let post = async || server::send(server.request("POST", "/api/v1/errors").body("[]")).await.unwrap();
    let replies = futures::future::join_all((0..20).map(|_| post())).await;
    let taken = replies.iter().filter(|reply| reply.status == 200).count();
    assert!((4..=6).contains(&taken), "{taken} were taken");
    for refused in replies.iter().filter(|reply| reply.status != 200) {
        assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
        assert_eq!(code(&refused.text()), "keyless_quota");
    }
    assert_eq!(upload_with(&server, "x-api-key", &server.upload_key).await.status, 202, "others are not concerned");
    let counted = server.metric("streamgauge_edge_refused_total{code=\"keyless_quota\"}").await;
    assert_eq!(counted, Some(f64::from(u32::try_from(20 - taken).unwrap())));
}

/// Three seconds of one upload after the other; what became of each.
async fn flood(server: &Server, key: &str, events: usize) -> Vec<Reply> {
    let mut device = Device::new();
    let mut replies = Vec::new();
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        let events: Vec<Value> = (0..events).map(|_| device.event("layout.saved", Utc::now(), json!({}))).collect();
        let request = server.request("POST", "/v1/events").header("x-api-key", key);
        replies.push(server::send(request.json(&events)).await.unwrap());
    }
    replies
}

#[tokio::test]
async fn a_project_beyond_its_quota_waits_and_the_others_are_not_concerned() {
    let limited = start()
        .variable("STREAMGAUGE_INGEST__EVENTS_PER_SECOND", "50")
        .variable("STREAMGAUGE_INGEST__PROJECTS", "default.events_per_second=0");
    let server = limited.start().await.unwrap();
    let other = made(&server, &["keys", "create", "--project", "other", "--json"]).await;
    let key = text(&other, "key");
    assert!(within(FOLLOWED, async || upload_with(&server, "x-api-key", key).await.status == 202).await);

    let (noisy, quiet) = tokio::join!(flood(&server, key, 90), flood(&server, &server.upload_key, 90));
    assert!(quiet.iter().all(|reply| reply.status == 202), "all of the project without a limit is taken");
    let refused: Vec<&Reply> = noisy.iter().filter(|reply| reply.status != 202).collect();
    for reply in &refused {
        assert_eq!((reply.status, code(&reply.text()).as_str()), (429, "project_quota"));
        let wait_s: u32 = reply.header("retry-after").parse().unwrap();
        assert!((1..=2).contains(&wait_s), "at most 90 events are lent at 50 a second: {wait_s}");
    }
    // 200 at once and 150 in three seconds, one more that was in flight; and each time up to 89 are lent.
    let taken = noisy.len() - refused.len();
    assert!((3..=5).contains(&taken) && refused.len() > 10, "{taken} were taken, {} refused", refused.len());
    let counted = server.metric("streamgauge_ingest_refused_total{reason=\"quota\"}").await;
    assert_eq!(counted, Some(f64::from(u32::try_from(refused.len()).unwrap())));

    server.settle().await;
    let rows = server.sql("SELECT count(*) AS events FROM events").await;
    assert_eq!(rows[0]["events"], json!(quiet.len() * 90), "nothing that was taken is lost");
}

#[tokio::test]
async fn only_the_test_clock_lets_a_request_say_when_it_arrived() {
    const SAID: &str = "2031-05-06T07:08:09Z";
    for (arguments, is_heard) in [(&["serve"][..], false), (&["serve", "--test-clock"], true)] {
        let server = start().arguments(arguments).start().await.unwrap();
        assert_eq!(upload_with(&server, "x-api-key", &server.upload_key).await.status, 202);
        let event = Device::new().event("layout.saved", Utc::now(), json!({}));
        let request = server.request("POST", "/v1/events").header("streamgauge-test-received-at", SAID);
        let request = request.header("x-api-key", &server.upload_key).body(event.to_string());
        assert_eq!(server::send(request).await.unwrap().status, 202);
        server.settle().await;
        let rows = server.sql("SELECT max(received_at) AS newest FROM events").await;
        let newest: DateTime<Utc> = text(&rows[0], "newest").parse().unwrap();
        assert_eq!(newest == SAID.parse::<DateTime<Utc>>().unwrap(), is_heard, "{arguments:?}: {newest}");
        assert_eq!(server.log().contains("the test clock is on"), is_heard);
    }
}
