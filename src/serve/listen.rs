//! The accept loop: every wait of a connection has an end.
//!
//! axum's own serve installs no timers (tokio-rs/axum 2741) and hyper's version sniffing waits for ever (hyper 3756), so
//! connections are served here: the first byte, the TLS handshake, the headers and every pause have a deadline, and
//! connections are counted. Without TLS we speak HTTP/1.1, with TLS what the client chose in its handshake.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Uri};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::tls::Reloading;
use crate::config::HttpConfig;

/// Bounds of connections.
#[derive(Debug, Clone)]
pub(super) struct ListenConfig {
    max_connections: usize,
    max_connections_per_address: usize,
    header_timeout: Duration,
    idle_timeout: Duration,
}

impl From<&HttpConfig> for ListenConfig {
    fn from(config: &HttpConfig) -> Self {
        Self {
            max_connections: config.max_connections,
            max_connections_per_address: config.max_connections_per_address,
            header_timeout: config.header_timeout.0,
            idle_timeout: config.idle_timeout.0,
        }
    }
}

/// The open connections.
#[derive(Clone)]
pub(super) struct Accepted {
    config: ListenConfig,
    graceful: Arc<Mutex<Option<GracefulShutdown>>>,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Accepted {
    pub(super) fn new(config: ListenConfig) -> Self {
        Self { config, graceful: Arc::new(Mutex::new(Some(GracefulShutdown::new()))), by_address: Arc::default() }
    }

    /// Waits until requests under way are answered, at most this long.
    pub(super) async fn drain(&self, limit: Duration) {
        let graceful = lock(&self.graceful).take();
        if let Some(graceful) = graceful
            && timeout(limit, graceful.shutdown()).await.is_err()
        {
            tracing::warn!("some requests were cut off at the end of the drain time");
        }
    }

    fn admit(&self, address: IpAddr) -> Option<Admitted> {
        let mut by_address = lock(&self.by_address);
        let all: usize = by_address.values().sum();
        let own = by_address.entry(address).or_default();
        if all >= self.config.max_connections || *own >= self.config.max_connections_per_address {
            return None;
        }
        *own += 1;
        Some(Admitted { address, by_address: Arc::clone(&self.by_address) })
    }

    fn watcher(&self) -> Option<Watcher> {
        lock(&self.graceful).as_ref().map(GracefulShutdown::watcher)
    }
}

/// A counted connection.
struct Admitted {
    address: IpAddr,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut by_address = lock(&self.by_address);
        if let Some(own) = by_address.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Accepts connections and serves them.
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Reloading>,
    pub(super) app: Router,
    pub(super) config: ListenConfig,
    pub(super) accepted: Accepted,
}

impl Acceptor {
    /// Until told to stop; open connections go on.
    pub(super) async fn run(self, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => self.spawn(stream, peer),
                Err(error) => {
                    // Out of descriptors, most likely: give others time to end.
                    tracing::warn!(error = %error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn spawn(&self, stream: TcpStream, peer: SocketAddr) {
        let (Some(admitted), Some(watcher)) = (self.accepted.admit(peer.ip()), self.accepted.watcher()) else { return };
        let _ = stream.set_nodelay(true);
        let (tls, app, config) = (self.tls.clone(), self.app.clone(), self.config.clone());
        tokio::spawn(async move {
            let _admitted = admitted;
            // Whatever ends a connection early is the peer's business.
            let _ = match tls {
                None => plain(stream, app, &config, watcher).await,
                Some(tls) => encrypted(stream, &tls, app, &config, watcher).await,
            };
        });
    }
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn plain(stream: TcpStream, app: Router, config: &ListenConfig, watcher: Watcher) -> Ended {
    // A peer that connects and says nothing.
    timeout(config.header_timeout, stream.peek(&mut [0])).await??;
    serve_http1(stream, app, config, watcher).await
}

async fn encrypted(stream: TcpStream, tls: &Reloading, app: Router, config: &ListenConfig, watcher: Watcher) -> Ended {
    let stream = timeout(config.header_timeout, tls.acceptor().accept(stream)).await??;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(128)
            .keep_alive_interval(config.idle_timeout / 2)
            .keep_alive_timeout(config.header_timeout)
            .max_header_list_size(64 * 1024);
        let io = TokioIo::new(Box::pin(bounded(stream, config)));
        let connection = builder.serve_connection(io, service_fn(move |request| call(app.clone(), request)));
        return watcher.watch(connection).await.map_err(Into::into);
    }
    serve_http1(stream, app, config, watcher).await
}

async fn serve_http1<S>(stream: S, app: Router, config: &ListenConfig, watcher: Watcher) -> Ended
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_headers(128)
        .max_buf_size(64 * 1024);
    let io = TokioIo::new(Box::pin(bounded(stream, config)));
    let connection = builder.serve_connection(io, service_fn(move |request| call(app.clone(), request)));
    watcher.watch(connection).await.map_err(Into::into)
}

/// A stream on which every pause has an end, also one of a peer that does not read its answer.
fn bounded<S: AsyncRead + AsyncWrite>(stream: S, config: &ListenConfig) -> TimeoutStream<S> {
    let mut bounded = TimeoutStream::new(stream);
    bounded.set_read_timeout(Some(config.idle_timeout));
    bounded.set_write_timeout(Some(config.idle_timeout));
    bounded
}

async fn call(app: Router, request: Request<Incoming>) -> Result<axum::response::Response, std::convert::Infallible> {
    app.oneshot(without_trailing_slash(request.map(Body::new))).await
}

/// Clients post to `/v1/events` and `/v1/events/` alike.
fn without_trailing_slash(mut request: Request<Body>) -> Request<Body> {
    let path = request.uri().path();
    if path.len() > 1 && path.ends_with('/') {
        let trimmed = path.trim_end_matches('/');
        let target = match request.uri().query() {
            Some(query) => format!("{trimmed}?{query}"),
            None => trimmed.to_owned(),
        };
        if let Ok(uri) = target.parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    request
}
