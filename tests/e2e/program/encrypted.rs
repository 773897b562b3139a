//! HTTPS without a proxy.

use std::path::Path;
use std::time::Duration;

use chrono::Utc;
use reqwest::Client;
use reqwest::tls::TlsInfo;
use rig::{Device, server};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::starting::printed_commands;
use super::{Connection, has, say, shell, within};
use crate::start;

/// Makes a self-signed certificate, replacing the one before.
async fn certify(folder: &Path) {
    let line = format!(
        "cd {} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=streamgauge.test \
         -addext subjectAltName=DNS:streamgauge.test,IP:127.0.0.1 -keyout new.key -out new.pem \
         && mv new.key server.key && mv new.pem server.pem",
        folder.display()
    );
    let said = shell(&line).await;
    assert_eq!(said.code, 0, "{said:?}");
}

/// The certificate that a new connection is shown.
async fn shown(https: &str) -> Vec<u8> {
    let client = Client::builder().no_proxy().danger_accept_invalid_certs(true).tls_info(true).build().unwrap();
    let response = client.get(format!("{https}/v1/stats/usage")).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 401);
    response.extensions().get::<TlsInfo>().unwrap().peer_certificate().unwrap().to_vec()
}

#[tokio::test]
async fn https_is_served_and_a_new_certificate_is_taken_up() {
    if !has("openssl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path()).await;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let server = start()
        .variable("STREAMGAUGE_TLS_CERT", path("server.pem"))
        .variable("STREAMGAUGE_TLS_KEY", path("server.key"))
        .variable("STREAMGAUGE_HTTP__HEADER_TIMEOUT", "2s")
        .start()
        .await
        .unwrap();
    let https = server.http.replace("http://", "https://");
    let first = shown(&https).await;
    let silent = Connection::open(&server.http).await.closed_after().await;
    assert!(silent.is_some_and(|after| after < Duration::from_secs(5)), "a silent handshake is ended: {silent:?}");

    let commands = printed_commands(&server.log());
    if has("curl") {
        let posted = shell(&commands[0]).await;
        assert!(posted.out.starts_with("HTTP/1.1 202"), "{posted:?}");
    }
    // The commands find the server and know its certificate.
    let said = say(server.start(), &["sql", "SELECT 41 + 1 AS answer", "--json"]).await;
    let answer: Value = serde_json::from_str(&said.out).unwrap_or_default();
    assert_eq!(answer["data"][0]["answer"], 42, "{said:?}");

    // A pair that does not fit leaves the old one in use, and is told once.
    std::fs::write(path("server.key"), "nonsense").unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(shown(&https).await, first);
    assert_eq!(server.log().matches("the old one holds").count(), 1, "{}", server.log());
    certify(folder.path()).await;
    assert!(within(Duration::from_secs(5), async || shown(&https).await != first).await);
    assert!(say(server.start(), &["sql", "SELECT 1"]).await.code == 0, "the commands know the new certificate");
}

#[tokio::test]
async fn sql_and_tail_print_what_the_running_server_says() {
    let server = start().start().await.unwrap();
    let mut tail = server.start().command();
    let mut tail = tail.args(["tail", "--json"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let next = async || {
        // It may have begun after the first event.
        let event = Device::new().event("feature.used", Utc::now(), json!({"feature": "share"}));
        assert_eq!(server.upload(&[event]).await.status, 202);
        true
    };
    let posting = within(Duration::from_secs(20), async || {
        next().await && {
            tokio::time::sleep(Duration::from_millis(200)).await;
            false
        }
    });
    let line = tokio::select! {
        line = lines.next_line() => line.unwrap().unwrap(),
        _ = posting => panic!("tail says nothing"),
    };
    let told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&told["type"], &told["verdict"]), (&json!("feature.used"), &json!("stored")), "{line}");
    tail.kill().await.unwrap();

    server.settle().await;
    let table = say(server.start(), &["sql", "SELECT DISTINCT type FROM events"]).await;
    assert!(table.code == 0 && table.out.contains("| feature.used |"), "{table:?}");
    let refused = say(server.start(), &["sql", "DELETE FROM events"]).await;
    assert!(refused.code == 1 && refused.err.contains("400"), "{refused:?}");
    let folder = tempfile::tempdir().unwrap();
    for (ending, begins) in [("csv", "type\n"), ("json", "{\"data\""), ("ndjson", "{\"type\""), ("parquet", "PAR1")] {
        let file = folder.path().join("result").with_extension(ending);
        let file_name = file.display().to_string();
        let said = say(server.start(), &["sql", "SELECT DISTINCT type FROM events", "-o", &file_name]).await;
        assert_eq!(said.code, 0, "{said:?}");
        let bytes = std::fs::read(&file).unwrap();
        assert!(bytes.starts_with(begins.as_bytes()), "{ending}: {}", String::from_utf8_lossy(&bytes));
    }
    let limited = say(server.start(), &["sql", "SELECT 1 UNION ALL SELECT 2", "--limit", "1"]).await;
    assert!(limited.code == 0 && limited.err.contains("there are more rows"), "{limited:?}");
    assert_eq!(server::send(server.request("GET", "/v1/tail")).await.unwrap().status, 401);
}
