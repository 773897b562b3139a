//! `doctor` looks at all settings and dependencies, says what to do, and makes nothing.

use rig::server::Start;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::audit::run;
use crate::cluster::cluster;
use crate::start;

/// What the doctor found in one of its checks.
fn check(said: &Value, name: &str) -> Value {
    let checks = said["checks"].as_array().unwrap().clone();
    checks.into_iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {said}"))
}

/// Outcome and words of one check.
fn found(said: &Value, name: &str) -> (String, String) {
    let check = check(said, name);
    let text = |key: &str| check[key].as_str().unwrap().to_owned();
    (text("outcome"), text("said"))
}

#[tokio::test]
async fn the_doctor_looks_at_all_parts_and_says_what_to_do() {
    let server = start().start().await.unwrap();
    server.settle().await;
    let (code, said) = run(server.start(), "doctor").await;
    assert_eq!((code, &said["well"]), (0, &json!(true)), "{said}");
    for name in ["settings", "keys", "data directory", "server", "warehouse", "books", "lake"] {
        assert_eq!(found(&said, name).0, "ok", "{said}");
    }
    assert_eq!(found(&said, "user tokens").0, "skipped", "{said}");
    assert_eq!(server.metric("streamgauge_log_brokers{state=\"up\"}").await, None, "there are none");
    let start = server.stop().await.1;
    let (code, said) = run(&start, "doctor").await;
    assert_eq!((code, found(&said, "log").0.as_str()), (0, "ok"), "{said}");

    // What a killed one said of itself is believed by nobody.
    let killed = start.start().await.unwrap().kill().await;
    assert!(killed.data_dir().join("run.json").is_file());
    let (code, said) = run(&killed, "doctor").await;
    let (outcome, words) = found(&said, "server");
    assert!(code == 0 && outcome == "skipped" && words.ends_with("ended without a word"), "{said}");
    assert_eq!(found(&said, "log").0, "ok", "{said}");

    let broken = killed.variable("STREAMGAUGE_WAREHOUSE_URL", "sqlite:/nowhere/warehouse.db");
    let (code, said) = run(&broken, "doctor").await;
    let warehouse = check(&said, "warehouse");
    assert_eq!((code, &warehouse["outcome"]), (1, &json!("failed")));
    assert!(warehouse["said"].as_str().unwrap().contains("/nowhere/warehouse.db"), "{said}");
    assert!(warehouse["remedy"].as_str().is_some_and(|remedy| remedy.contains("warehouse_url")), "{said}");
}

/// The keys of an issuer, one of a kind that nobody knows, and where they are answered for.
async fn issuer() -> String {
    let keys = json!({ "keys": [
        { "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "one", "n": "sXchNw", "e": "AQAB" },
        { "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "two", "n": "sXchNw", "e": "AQAB" },
        { "kty": "EC", "use": "sig", "alg": "ES256", "kid": "three", "crv": "P-256", "x": "sXchNw", "y": "sXchNw" },
    ]});
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let read = connection.read(&mut request).await.unwrap();
            let is_there = request[..read].starts_with(b"GET /jwks ");
            let (status, body) = if is_there { ("200 OK", keys.to_string()) } else { ("404 Not Found", String::new()) };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            connection.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn the_doctor_asks_the_issuer_for_its_keys() {
    let server = start().start().await.unwrap();
    let (_, start) = server.stop().await;
    let issuer = issuer().await;
    let with = |path: &str, algorithms: &str| {
        start
            .clone()
            .variable("STREAMGAUGE_AUTH__ISSUER", "https://issuer.test")
            .variable("STREAMGAUGE_AUTH__JWKS_URL", format!("{issuer}{path}"))
            .variable("STREAMGAUGE_AUTH__ALGORITHMS", algorithms)
    };
    let ask = async |start: Start| {
        let (code, said) = run(&start, "doctor").await;
        let check = check(&said, "user tokens");
        (code, check["said"].as_str().unwrap().to_owned(), check["remedy"].as_str().unwrap_or_default().to_owned())
    };
    let (code, said, _) = ask(with("/jwks", "RS256")).await;
    assert!(code == 0 && said.starts_with("2 of the issuer's keys"), "{said}");
    let (_, said, _) = ask(with("/jwks", "RS256,ES256")).await;
    assert!(said.starts_with("3 of the issuer's keys"), "{said}");
    let (code, said, remedy) = ask(with("/jwks", "EdDSA")).await;
    assert!(code == 1 && said.contains("no key for [EdDSA]") && remedy.contains("auth.algorithms"), "{said} {remedy}");
    let (code, said, remedy) = ask(with("/elsewhere", "RS256")).await;
    assert!(code == 1 && said.contains("404") && remedy.contains("auth.jwks_url"), "{said} {remedy}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_of_a_cluster_makes_no_topic_and_tells_a_new_cluster_from_a_lost_topic() {
    let Some((cluster, _alone)) = cluster().await else { return };
    let role = cluster.role("serve");
    // Twice: the first look has not made it.
    for _ in 0..2 {
        let (code, said) = run(&role, "doctor").await;
        let (outcome, words) = found(&said, "log");
        assert_eq!((code, outcome.as_str()), (0, "skipped"), "{said}");
        assert!(words.contains(".events` is missing: the first process"), "{words}");
    }
    let server = role.start().await.unwrap();
    server.settle().await;
    let (code, said) = run(&role, "doctor").await;
    assert_eq!((code, found(&said, "log").0.as_str()), (0, "ok"), "{said}");
    assert!(server.stop().await.0.success());

    let elsewhere = role.clone().variable("STREAMGAUGE_KAFKA__TOPIC_PREFIX", "mistyped.");
    let (code, said) = run(&elsewhere, "doctor").await;
    let (outcome, words) = found(&said, "log");
    assert_eq!((code, outcome.as_str()), (1, "failed"), "{said}");
    assert!(words.contains("topic `mistyped.events` is missing, and its records were taken in"), "{words}");
    let more = role.variable("STREAMGAUGE_LOG__PARTITIONS", "7");
    let (code, said) = run(&more, "doctor").await;
    let (outcome, words) = found(&said, "log");
    assert_eq!((code, outcome.as_str()), (1, "failed"), "{said}");
    assert!(words.contains("has partitions 4, and the configuration says 7"), "{words}");
    cluster.end().await.unwrap();
}
