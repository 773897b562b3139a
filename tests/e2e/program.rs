//! The program: how it starts, what it says, who may do what, how its connections end, and how it ends itself.

mod access;
mod connections;
mod encrypted;
mod ending;
mod observed;
pub(crate) mod people;
mod starting;

use std::time::{Duration, Instant};

use rig::Server;
use rig::server::Start;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a command said, and its exit code.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

/// Runs a command of the program with this start's environment and data directory.
async fn say(start: &Start, arguments: &[&str]) -> Said {
    let output = start.command().args(arguments).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// Runs a line of a shell.
async fn shell(line: &str) -> Said {
    let output = tokio::process::Command::new("sh").args(["-c", line]).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Whether a tool is there; says so if not.
#[expect(clippy::print_stdout, reason = "a test that is left out says so")]
pub(crate) fn has(tool: &str) -> bool {
    let found =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|path| path.join(tool).exists());
    if !found {
        println!("skipped: there is no {tool}");
    }
    found
}

/// Asks again until the answer is as wanted, for as long as the product may take to follow a change.
async fn within<F: Future<Output = bool>>(limit: Duration, mut is_so: impl FnMut() -> F) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if is_so().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

/// A connection that a test speaks by hand.
struct Connection(TcpStream);

impl Connection {
    async fn open(base: &str) -> Self {
        Self(TcpStream::connect(base.strip_prefix("http://").unwrap()).await.unwrap())
    }

    async fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Asks for a path and keeps the connection.
    async fn ask(&mut self, path: &str, headers: &str) -> (u16, String) {
        self.write(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n")).await;
        self.answer().await
    }

    /// The status and everything of the next answer, whose body must have a stated length.
    async fn answer(&mut self) -> (u16, String) {
        let mut text = Vec::new();
        loop {
            let seen = String::from_utf8_lossy(&text).into_owned();
            if let Some((head, body)) = seen.split_once("\r\n\r\n") {
                let head = head.to_ascii_lowercase();
                let length = head.split_once("content-length: ").map_or("0", |(_, rest)| rest.lines().next().unwrap());
                if body.len() >= length.parse().unwrap() {
                    return (head.split(' ').nth(1).unwrap().parse().unwrap(), seen);
                }
            }
            let read = self.0.read_buf(&mut text).await.unwrap();
            assert!(read > 0, "the connection ended after: {seen}");
        }
    }

    /// How long until the server closes the connection; `None` if it does not within 10 s.
    async fn closed_after(&mut self) -> Option<Duration> {
        let begun = Instant::now();
        let mut rest = Vec::new();
        // An error is an end too.
        let ended = tokio::time::timeout(Duration::from_secs(10), self.0.read_to_end(&mut rest)).await;
        ended.is_ok().then(|| begun.elapsed())
    }
}

/// The head of an upload of this many bytes.
fn upload_head(server: &Server, bytes: usize) -> String {
    format!(
        "POST /v1/events HTTP/1.1\r\nHost: test\r\nX-API-Key: {}\r\nContent-Type: application/cloudevents+json\r\n\
         Content-Length: {bytes}\r\n\r\n",
        server.upload_key
    )
}

/// The member `code` of a problem.
fn code(text: &str) -> String {
    let body = text.split_once("\r\n\r\n").map_or(text, |(_, body)| body);
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    problem["code"].as_str().unwrap_or_default().to_owned()
}
