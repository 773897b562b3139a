//! Every wait of a connection has an end, but an answer may take its time.

use std::time::Duration;

use chrono::Utc;
use rig::server::Start;
use rig::{Device, server};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::{Connection, upload_head};
use crate::{assert_books_balance, start};

fn impatient() -> Start {
    start().variable("STREAMGAUGE_HTTP__HEADER_TIMEOUT", "1s").variable("STREAMGAUGE_HTTP__IDLE_TIMEOUT", "1s")
}

fn is_about_a_second(closed_after: Option<Duration>) -> bool {
    closed_after.is_some_and(|after| after > Duration::from_millis(500) && after < Duration::from_secs(4))
}

#[tokio::test]
async fn silent_slow_and_idle_connections_are_closed() {
    let server = impatient().start().await.unwrap();
    let silent = async {
        let closed_after = Connection::open(&server.http).await.closed_after().await;
        assert!(is_about_a_second(closed_after), "nothing sent: {closed_after:?}");
    };
    let slow = async {
        let (mut reading, mut writing) = Connection::open(&server.http).await.0.into_split();
        let head = "GET /v1/events HTTP/1.1\r\nHost: test\r\nX-Padding: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        let dripping = async {
            use tokio::io::AsyncWriteExt;
            for byte in head.bytes() {
                if writing.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let (begun, mut rest) = (std::time::Instant::now(), Vec::new());
        tokio::select! {
            _ = reading.read_to_end(&mut rest) => {}
            () = dripping => {}
        }
        assert!(is_about_a_second(Some(begun.elapsed())), "slow headers: {:?}", begun.elapsed());
    };
    let idle = async {
        let mut kept = Connection::open(&server.http).await;
        assert_eq!(kept.ask("/v1/stats/usage", "").await.0, 401);
        assert_eq!(kept.ask("/v1/stats/usage", "").await.0, 401, "it is kept for more than one request");
        let closed_after = kept.closed_after().await;
        assert!(is_about_a_second(closed_after), "idle after an answer: {closed_after:?}");
    };
    tokio::join!(silent, slow, idle);
}

#[tokio::test]
async fn an_answer_that_never_ends_is_not_cut() {
    let server = impatient().start().await.unwrap();
    let request = server.request("GET", "/v1/tail").bearer_auth(&server.read_token);
    let mut tail = request.send().await.unwrap();
    assert_eq!(tail.status().as_u16(), 200);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let event = Device::new().event("layout.saved", Utc::now(), json!({}));
    assert_eq!(server.upload(&[event]).await.status, 202);
    let told = tokio::time::timeout(Duration::from_secs(10), tail.chunk()).await.unwrap().unwrap().unwrap();
    assert!(String::from_utf8_lossy(&told).contains("layout.saved"), "{told:?}");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_cut_off() {
    const REQUESTS: usize = 4_000;
    let server = impatient().start().await.unwrap();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let address = server.admin.strip_prefix("http://").unwrap().parse().unwrap();
    let mut connection = Connection(socket.connect(address).await.unwrap());
    connection.write(&"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n".repeat(REQUESTS)).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut answers = Vec::new();
    // An error is an end too.
    let _ = tokio::time::timeout(Duration::from_secs(10), connection.0.read_to_end(&mut answers)).await.unwrap();
    let answered = String::from_utf8_lossy(&answers).matches("HTTP/1.1 200").count();
    assert!(answered < REQUESTS, "all {answered} were answered");
}

#[tokio::test]
async fn who_hangs_up_before_the_answer_sends_again_and_is_counted_once() {
    const SENDERS: usize = 60;
    let server = start().start().await.unwrap();
    let mut device = Device::new();
    let feature = |_| device.event("feature.used", Utc::now(), json!({ "feature": "search" }));
    let events: Vec<Value> = (0..SENDERS).map(feature).collect();
    for (number, event) in events.iter().enumerate() {
        let body = event.to_string();
        let mut connection = Connection::open(&server.http).await;
        // Every third one hangs up in the middle of the body.
        let sent = if number % 3 == 0 { &body[..body.len() / 2] } else { &body };
        connection.write(&(upload_head(&server, body.len()) + sent)).await;
        if number % 2 == 0 {
            // With a reset: the server cannot even say its answer.
            connection.0.set_zero_linger().unwrap();
        }
    }
    for event in &events {
        assert_eq!(server.upload(std::slice::from_ref(event)).await.status, 202);
    }
    server.settle().await;
    let all = i64::try_from(SENDERS).unwrap();
    assert_eq!(server.number("SELECT count(*) FROM events").await, all);
    assert_eq!(server.number("SELECT count(DISTINCT event_id) FROM events").await, all);
    let copies = server.number("SELECT coalesce(sum(duplicate), 0) FROM records").await;
    assert!(copies > 0 && copies <= all * 2 / 3, "{copies} came twice: what was whole may count, what was cut may not");
    assert_books_balance(&server).await;
    assert_eq!(server.log_lines("ERROR"), Vec::<String>::new());
}

#[tokio::test]
async fn pages_of_other_origins_may_ask_before_they_post_and_read_refusals() {
    let server = start().start().await.unwrap();
    let preflight = server
        .request("OPTIONS", "/cmcd/event-mode")
        .header("origin", "https://player.test")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type");
    let reply = server::send(preflight).await.unwrap();
    assert_eq!(reply.status, 204, "{}", reply.text());
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    assert_eq!(reply.header("access-control-allow-methods"), "POST, OPTIONS");
    let allowed = reply.header("access-control-allow-headers").to_ascii_lowercase();
    for name in ["content-type", "authorization", "content-encoding", "cmcd-request", "cmcd-object", "cmcd-status"] {
        assert!(allowed.split(", ").any(|of| of == name), "{name} is not in {allowed}");
    }
    let refused = server::send(server.request("POST", "/cmcd/event-mode").body("e=ps")).await.unwrap();
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("access-control-allow-origin"), "*");
    assert_eq!(refused.header("access-control-expose-headers"), "retry-after");
    for (method, path, status, code) in [
        ("GET", "/no/such/path", 404, "no_such_path"),
        ("DELETE", "/v1/sql", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/sql", 405, "method_not_allowed"),
    ] {
        let request = server.request(method, path).bearer_auth(&server.read_token);
        let reply = server::send(request).await.unwrap();
        assert_eq!((reply.status, reply.json()["code"].as_str()), (status, Some(code)), "{method} {path}");
        assert_eq!(reply.header("content-type"), "application/problem+json");
    }
}
