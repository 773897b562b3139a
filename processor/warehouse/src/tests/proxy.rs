//! A connection to Postgres that breaks at the moment of a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to the next commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Trouble {
    /// Nothing.
    None,
    /// It reaches the server, its answer does not reach the client.
    AnswerLost,
    /// The client is cut off, and the commit reaches the server later.
    CommitLate,
    /// The client is cut off, and the server does not notice.
    CommitLost,
}

impl Trouble {
    pub(crate) const fn lands(self) -> bool {
        !matches!(self, Self::CommitLost)
    }
}

/// Stands between a client and the server.
pub(crate) struct Proxy {
    /// Of the same database, by way of this.
    pub(crate) url: String,
    trouble: Arc<AtomicU8>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    pub(crate) async fn start(url: &str) -> Self {
        let (before, rest) = url.split_once("127.0.0.1:").expect("the tests' server is on this machine");
        let port: u16 = rest[..rest.find('/').unwrap()].parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{before}{}{}", listener.local_addr().unwrap(), &rest[rest.find('/').unwrap()..]);
        let trouble = Arc::new(AtomicU8::new(Trouble::None as u8));
        let shared = Arc::clone(&trouble);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&shared)));
            }
        });
        Self { url, trouble, accepting }
    }

    pub(crate) fn make(&self, trouble: Trouble) {
        self.trouble.store(trouble as u8, Ordering::SeqCst);
    }
}

async fn pass(client: TcpStream, server: TcpStream, trouble: Arc<AtomicU8>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
        let is_commit = bytes[..count].windows(7).any(|window| window == b"COMMIT\0");
        let trouble = trouble.load(Ordering::SeqCst);
        if !is_commit || trouble == Trouble::None as u8 {
            if to_server.write_all(&bytes[..count]).await.is_err() {
                break;
            }
            continue;
        }
        answers.abort();
        let _ = answers.await;
        drop(from_client);
        if trouble == Trouble::CommitLate as u8 {
            // Longer than the client needs to come back and ask.
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        if trouble != Trouble::CommitLost as u8 {
            to_server.write_all(&bytes[..count]).await.unwrap();
        }
        // The server sees a connection that is open and silent.
        tokio::time::sleep(Duration::from_secs(60)).await;
        return;
    }
    answers.abort();
}
