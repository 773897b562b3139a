//! Who asks decides what is counted: a user's token the own person, any token the own project.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use query::questions::{ALL, Asks, SHAPED};
use rig::server::{send, wait_until};
use rig::{Device, Reply, Server};
use serde_json::{Value, json};

use super::{Asking, rows, shaped};
use crate::program::has;
use crate::program::people::{Pair, claims};
use crate::start;
use crate::views::{base, session};

const FROM: &str = "2026-03-02T00:00:00.000Z";
const TO: &str = "2026-03-02T18:00:00.000Z";
const BEFORE: &str = "2026-03-01T06:00:00.000Z";

/// The whole project, asked with its first token.
fn asking(server: &Server) -> Asking<'_> {
    let token = &server.read_token;
    Asking { server, token, sql_token: token, from: FROM, to: TO, before: BEFORE, person: None }
}

/// Uploads events as of an instant of the test clock.
async fn upload(server: &Server, bearer: &str, events: &[Value], at: DateTime<Utc>) -> Reply {
    let stamp = at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let request = server.request("POST", "/v1/events").bearer_auth(bearer);
    let request = request.header("content-type", "application/cloudevents-batch+json");
    let request = request.header("streamgauge-test-received-at", &stamp).header("streamgauge-sent-at", &stamp);
    send(request.body(json!(events).to_string())).await.unwrap()
}

/// Uploads sessions, then, three hours later, something of many installs, so that the sessions are over.
async fn report(server: &Server, bearer: &str, sessions: &[Vec<Value>], passing: &[Value]) {
    for (events, n) in sessions.iter().zip(0..) {
        let at = base() + TimeDelta::minutes(5 + n);
        assert_eq!(upload(server, bearer, events, at).await.status, 202);
    }
    if !passing.is_empty() {
        assert_eq!(upload(server, bearer, passing, base() + TimeDelta::hours(3)).await.status, 202);
    }
    server.settle().await;
}

/// What many installs do so that log time passes in every partition.
fn passing() -> Vec<Value> {
    let at = base() + TimeDelta::hours(3);
    (0..64).map(|_| Device::new().event("settings.changed", at, json!({}))).collect()
}

#[tokio::test]
async fn a_users_token_is_answered_of_the_own_person_whatever_the_question() {
    if !has("openssl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::new(folder.path(), jsonwebtoken::Algorithm::ES256).await;
    let server = pair.start().test_clock().start().await.unwrap();
    let tokens = ["alice", "bob"].map(|subject| pair.sign(&claims(subject)));
    let later = |minutes: i64| base() + TimeDelta::minutes(minutes);
    // Bob watches on two days of his, and a guest does, too.
    report(&server, &tokens[0], &[session(&mut Device::new(), base())], &[]).await;
    let of_bob = [session(&mut Device::new(), base()), session(&mut Device::new(), later(-70))];
    report(&server, &tokens[1], &of_bob, &[]).await;
    report(&server, &server.upload_key, &[session(&mut Device::new(), later(1))], &passing()).await;

    let now = base() + TimeDelta::hours(3);
    for ((person, token), sessions) in ["alice", "bob"].into_iter().zip(&tokens).zip([1, 2]) {
        let asking = Asking { token, person: Some(person), ..asking(&server) };
        for question in ALL {
            let by_endpoint = asking.endpoint(question).await;
            if question.asks == Asks::Project {
                let code = by_endpoint.json()["code"].clone();
                assert_eq!((by_endpoint.status, &code), (403, &json!("project_only")), "{}", question.name);
                continue;
            }
            let of_person = rows(&by_endpoint);
            assert_eq!(of_person, rows(&asking.text(question).await), "{} of {person}", question.name);
            let of_all = rows(&Asking { token: &server.read_token, ..asking }.endpoint(question).await);
            assert_ne!(of_person, of_all, "{} of {person}", question.name);
        }
        for shaped in SHAPED.iter().filter(|shaped| shaped.asks == Asks::App) {
            let rows = shaped::hold(&asking, shaped, now).await;
            assert!(!rows.is_empty(), "{} of {person}", shaped.name);
        }
        let summary = asking.get(&format!("/v1/stats/summary?from={FROM}&to={TO}")).await.json()["data"][0].clone();
        assert_eq!((&summary["viewer_ms"], &summary["streams"]), (&json!(196_100 * sessions), &json!(1)), "{person}");
        for path in ["usage", "streams", "performance", "export", "habits"] {
            let refused = asking.get(&format!("/v1/stats/{path}?person=carol")).await;
            assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("person_not_yours")), "{path}");
        }
        assert_eq!(asking.get("/v1/health/streams").await.status, 403);
    }
}

/// A new credential of another project, once the server knows it.
async fn made(server: &Server, what: &str, scopes: &[&str]) -> String {
    let mut command = server.start().command();
    let output = command.args([what, "create", "--project", "other", "--json"]).args(scopes).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    made["key"].as_str().or(made["token"].as_str()).unwrap().to_owned()
}

#[tokio::test]
async fn a_project_is_answered_as_if_it_were_the_only_one() {
    let (shared, alone) = (start().test_clock(), start().test_clock());
    let (shared, alone) = (shared.start().await.unwrap(), alone.start().await.unwrap());
    let key = made(&shared, "keys", &[]).await;
    let token = made(&shared, "tokens", &["--scopes", "stats:read,sql:read"]).await;
    let known =
        async || shared.request("GET", "/v1/stats/summary").bearer_auth(&token).send().await.unwrap().status() == 200;
    wait_until(Duration::from_secs(20), || "the token is not known".to_owned(), known).await;
    let knows = async || upload(&shared, &key, &[], base()).await.status != 401;
    wait_until(Duration::from_secs(20), || "the key is not known".to_owned(), knows).await;

    // The other project's neighbour does the same and more.
    let (sessions, passing) = (vec![session(&mut Device::new(), base())], passing());
    let more = [sessions[0].clone(), session(&mut Device::new(), base()), session(&mut Device::new(), base())];
    report(&shared, &shared.upload_key, &more, &[]).await;
    report(&shared, &key, &sessions, &passing).await;
    report(&alone, &alone.upload_key, &sessions, &passing).await;

    let of_other = Asking { token: &token, sql_token: &token, ..asking(&shared) };
    for question in ALL.iter().filter(|question| question.is_steady) {
        let answer = rows(&of_other.endpoint(question).await);
        assert_eq!(answer, rows(&of_other.text(question).await), "{}", question.name);
        assert_eq!(answer, rows(&asking(&alone).endpoint(question).await), "{}", question.name);
    }
    let now = base() + TimeDelta::hours(3);
    for shaped in SHAPED {
        let (of_other, of_alone) =
            (shaped::hold(&of_other, shaped, now).await, shaped::hold(&asking(&alone), shaped, now).await);
        assert_eq!(of_other, of_alone, "{}", shaped.name);
    }
    let watched = async |asking: Asking<'_>| {
        asking.get(&format!("/v1/stats/summary?from={FROM}&to={TO}")).await.json()["data"][0]["viewer_ms"].clone()
    };
    assert_eq!((watched(of_other).await, watched(asking(&shared)).await), (json!(196_100), json!(3 * 196_100)));
}
