//! A process: opens what its role needs, binds, runs, drains.

mod admin;
mod banner;
mod credentials;
mod listen;
mod role;
mod roles;
mod startup;
mod tls;

pub(crate) use admin::OpenLog;
pub(crate) use credentials::{DEFAULT_PROJECT, generate};
pub(crate) use role::Role;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::middleware;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::auth::{Edge, UserTokens, authenticate, no_method, no_route};
use crate::config::Config;
use crate::data_dir::{DataDir, Run};
use listen::{Accepted, Acceptor, ListenConfig};
use roles::Roles;
use startup::Parts;
use tls::Reloading;

/// While draining, new requests are answered 503 for this long before the listener closes: load balancers must see it.
const DRAIN_NOTICE: Duration = Duration::from_millis(500);
/// From the signal to the end of the process, whatever happens: what starts and stops processes waits for 30 s.
const STOP_DEADLINE: Duration = Duration::from_secs(28);

/// Keys and certificates that the settings name. Read before anything is opened: what cannot be used is a wrong
/// configuration.
pub(crate) struct KeyMaterial {
    tls: Option<Reloading>,
    user_tokens: Option<UserTokens>,
}

impl KeyMaterial {
    /// Reads the files.
    pub(crate) fn load(config: &Config) -> Result<Self> {
        Ok(Self { tls: Reloading::load(config)?, user_tokens: UserTokens::new(&config.auth)? })
    }
}

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn serve(role: Role, config: Config, material: KeyMaterial) -> Result<()> {
    let data_dir = DataDir::take(&config.data_dir)?;
    // Ports are taken before any work is begun: a taken port is found out at once.
    let http = if role.listens() { Some(bind(config.http_addr).await?) } else { None };
    let admin = bind(config.admin_addr).await?;
    let KeyMaterial { tls, user_tokens } = material;
    let parts = Parts::open(role, &config, &data_dir, user_tokens).await?;
    let http_address = http.as_ref().map(TcpListener::local_addr).transpose()?;
    let run = Run { pid: std::process::id(), http: http_address, admin: Some(admin.local_addr()?), pgwire: None };
    let draining = Arc::new(AtomicBool::new(false));
    // In this order of ends: requests first, then what they feed.
    let stop_listening = CancellationToken::new();
    let stop_roles = CancellationToken::new();
    let listen = ListenConfig::from(&config.http);
    let accepted = Accepted::new(listen.clone());
    let serving = http.map(|listener| {
        let app = app(&config, &parts, &draining);
        let acceptor = Acceptor { listener, tls: tls.clone(), app, accepted: accepted.clone() };
        tokio::spawn(acceptor.run(stop_listening.clone()))
    });
    let state = admin::AdminState::new(&parts, Arc::clone(&draining), &config);
    let acceptor = Acceptor { listener: admin, tls: None, app: admin::router(state), accepted: Accepted::new(listen) };
    let admin_serving = tokio::spawn(acceptor.run(stop_roles.clone()));
    let roles = Roles::spawn(&config, &parts, tls, &stop_roles)?;
    if parts.clock.is_test() {
        tracing::warn!("the test clock is on: requests may say when they arrived");
    }
    // Before anybody can know whom to signal.
    let signalled = signalled()?;
    data_dir.write_run(&run)?;
    if role == Role::All {
        banner::print(&config, &data_dir, &run, parts.fresh_credentials.as_ref())?;
    }
    tracing::info!(role = role.as_str(), http = ?run.http, admin = ?run.admin, "ready");

    signalled.await;
    end_by(STOP_DEADLINE)?;
    tracing::info!("stopping: new requests are answered 503");
    draining.store(true, Ordering::Release);
    parts.closing.cancel();
    tokio::time::sleep(DRAIN_NOTICE).await;
    stop_listening.cancel();
    if let Some(serving) = serving {
        serving.await.context("the listener stopped")?;
    }
    data_dir.remove_run();
    accepted.drain(config.http.drain_timeout.0).await;
    // Nothing feeds the log any more: what it holds is committed, then everything is closed.
    stop_roles.cancel();
    roles.join().await;
    admin_serving.await.context("the admin listener stopped")?;
    parts.warehouse.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// The routes of the role, behind the edge.
fn app(config: &Config, parts: &Parts, draining: &Arc<AtomicBool>) -> Router {
    let edge = Edge {
        authentication: Arc::clone(&parts.authentication),
        clock: parts.clock.clone(),
        draining: Arc::clone(draining),
        body_limits: startup::ingest_config(config).body_limits(),
        metrics: parts.edge_metrics.clone(),
    };
    let mut router = Router::new();
    if let Some(ingest) = &parts.ingest {
        router = router.merge(ingest::router(ingest.clone()));
    }
    if let Some(query) = &parts.query {
        router = router.merge(query::router(query.clone()));
    }
    router
        .method_not_allowed_fallback({
            let edge = edge.clone();
            move |request| no_method(axum::extract::State(edge.clone()), request)
        })
        .fallback({
            let edge = edge.clone();
            move |request| no_route(axum::extract::State(edge.clone()), request)
        })
        .route_layer(middleware::from_fn_with_state(edge, authenticate))
}

/// Ends the process after this time, if it has not ended by itself. What was answered is durable, so nothing is lost:
/// the next start takes from the log what is not committed.
fn end_by(deadline: Duration) -> Result<()> {
    let end = move || {
        std::thread::sleep(deadline);
        tracing::error!(deadline_s = deadline.as_secs(), "the process does not end by itself, and is ended");
        std::process::exit(0);
    };
    std::thread::Builder::new().name("deadline".into()).spawn(end).context("start the deadline's thread")?;
    Ok(())
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))
}

/// From now on SIGTERM and SIGINT do not end the process, but the future that is returned.
fn signalled() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
