//! The accept loop: every wait of a connection has an end.
//!
//! axum's own serve installs no timers (tokio-rs/axum 2741), so connections are served here. A TLS handshake has a
//! deadline, and so have the headers of a request, counted from when one could begin: a peer that connects and says
//! nothing, one that says it slowly and one that stays after its answer are closed alike. Bodies are bounded by who
//! reads them. An answer may take as long as it takes (a tail never ends), but a peer must take what was written of it.
//!
//! We speak HTTP/1.1 only, also in TLS. In HTTP/2 neither the client's preface nor a connection without streams has a
//! deadline in hyper (3756; its pings are answered by any client that lives), so a few thousand silent peers would hold
//! all connections for ever. Whoever wants HTTP/2 to the outside has a proxy do it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::tls::Reloading;
use crate::config::HttpConfig;
use crate::telemetry::Repeated;

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
    counts: Arc<Mutex<Counts>>,
}

/// Open connections, all and by address; no address has none.
#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Accepted {
    pub(super) fn new(config: ListenConfig) -> Self {
        Self { config, graceful: Arc::new(Mutex::new(Some(GracefulShutdown::new()))), counts: Arc::default() }
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
        let mut counts = lock(&self.counts);
        let own = counts.by_address.get(&address).copied().unwrap_or(0);
        if counts.all >= self.config.max_connections || own >= self.config.max_connections_per_address {
            return None;
        }
        counts.all += 1;
        counts.by_address.insert(address, own + 1);
        Some(Admitted { address, counts: Arc::clone(&self.counts) })
    }

    /// `None` once draining has begun.
    fn watcher(&self) -> Option<Watcher> {
        lock(&self.graceful).as_ref().map(GracefulShutdown::watcher)
    }
}

/// A counted connection.
struct Admitted {
    address: IpAddr,
    counts: Arc<Mutex<Counts>>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        counts.all -= 1;
        if let Some(own) = counts.by_address.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts connections and serves them.
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Reloading>,
    pub(super) app: Router,
    pub(super) accepted: Accepted,
}

impl Acceptor {
    /// Until told to stop; open connections go on.
    pub(super) async fn run(self, stop: CancellationToken) {
        let accepting = Repeated::new("accepting connections");
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepting.note(accepted) {
                Some((stream, peer)) => self.spawn(stream, peer),
                // Out of descriptors, most likely: give others time to end.
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn spawn(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(admitted) = self.accepted.admit(peer.ip()) else { return };
        let _ = stream.set_nodelay(true);
        let (tls, app, accepted) = (self.tls.clone(), self.app.clone(), self.accepted.clone());
        tokio::spawn(async move {
            let _admitted = admitted;
            // Whatever ends a connection early is the peer's business.
            let _ = match tls {
                None => serve(stream, app, &accepted).await,
                Some(tls) => encrypted(stream, &tls, app, &accepted).await,
            };
        });
    }
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn encrypted(stream: TcpStream, tls: &Reloading, app: Router, accepted: &Accepted) -> Ended {
    let stream = timeout(accepted.config.header_timeout, tls.acceptor().accept(stream)).await??;
    serve(stream, app, accepted).await
}

async fn serve<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S, app: Router, accepted: &Accepted) -> Ended {
    let Some(watcher) = accepted.watcher() else { return Ok(()) };
    let mut bounded = TimeoutStream::new(stream);
    bounded.set_write_timeout(Some(accepted.config.idle_timeout));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(accepted.config.header_timeout)
        .max_headers(128)
        .max_buf_size(64 * 1024);
    let io = TokioIo::new(Box::pin(bounded));
    let connection = builder.serve_connection(io, service_fn(move |request| call(app.clone(), request)));
    watcher.watch(connection).await.map_err(Into::into)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_and_refused_addresses_leave_nothing_behind() {
        let second = Duration::from_secs(1);
        let config = ListenConfig {
            max_connections: 3,
            max_connections_per_address: 2,
            header_timeout: second,
            idle_timeout: second,
        };
        let accepted = Accepted::new(config);
        let address = |last| IpAddr::from([10, 0, 0, last]);
        let open: Vec<_> = [1, 1, 2].into_iter().map(|last| accepted.admit(address(last)).unwrap()).collect();
        assert!((0..=255).all(|last| accepted.admit(address(last)).is_none()));
        assert_eq!(lock(&accepted.counts).by_address.len(), 2);
        drop(open);
        assert_eq!(lock(&accepted.counts).by_address.len(), 0);
        let _open = [accepted.admit(address(1)).unwrap(), accepted.admit(address(1)).unwrap()];
        assert!(accepted.admit(address(1)).is_none(), "one address may not have all");
        assert!(accepted.admit(address(2)).is_some());
    }
}
