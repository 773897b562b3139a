//! All roles in one process on the embedded profile: open, bind, run, drain.

mod admin;
mod listen;
mod roles;
mod startup;
mod tls;

pub(crate) use startup::generate;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::middleware;
use ingest::BodyLimits;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::auth::{Edge, authenticate, no_method, no_route};
use crate::config::Config;
use crate::data_dir::{DataDir, Run};
use listen::{Accepted, Acceptor, ListenConfig};
use startup::Parts;

/// While draining, new requests are answered 503 for this long before the listener closes: load balancers need to see it.
const DRAIN_NOTICE: Duration = Duration::from_millis(500);

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn serve(config: Config) -> Result<()> {
    let data_dir = DataDir::take(&config.data_dir)?;
    // Ports are taken before any work is begun: a taken port is found out at once.
    let http = bind(config.http_addr).await?;
    let admin = bind(config.admin_addr).await?;
    let tls = tls::Reloading::load(&config)?;
    let parts = Parts::open(&config, &data_dir).await?;
    let draining = Arc::new(AtomicBool::new(false));
    // In this order of ends: requests first, then what they feed.
    let stop_listening = CancellationToken::new();
    let stop_roles = CancellationToken::new();

    let edge = Edge {
        authentication: Arc::clone(&parts.authentication),
        clock: parts.clock.clone(),
        draining: Arc::clone(&draining),
        body_limits: BodyLimits { max_bytes: config.ingest.max_body_bytes.0, deadline: config.ingest.body_deadline.0 },
    };
    let app = Router::new()
        .merge(ingest::router(parts.ingest.clone()))
        .merge(query::router(parts.query.clone()))
        .method_not_allowed_fallback({
            let edge = edge.clone();
            move |request| no_method(axum::extract::State(edge.clone()), request)
        })
        .fallback({
            let edge = edge.clone();
            move |request| no_route(axum::extract::State(edge.clone()), request)
        })
        .route_layer(middleware::from_fn_with_state(edge, authenticate));
    let listen = ListenConfig::from(&config.http);
    let run =
        Run { pid: std::process::id(), http: Some(http.local_addr()?), admin: Some(admin.local_addr()?), pgwire: None };
    let accepted = Accepted::new(listen.clone());
    let serving = tokio::spawn(
        Acceptor { listener: http, tls: tls.clone(), app, config: listen.clone(), accepted: accepted.clone() }
            .run(stop_listening.clone()),
    );
    let state = admin::AdminState::new(&parts, Arc::clone(&draining));
    let admin_accepted = Accepted::new(listen.clone());
    let admin_serving = tokio::spawn(
        Acceptor {
            listener: admin,
            tls: None,
            app: admin::router(state),
            config: listen,
            accepted: admin_accepted.clone(),
        }
        .run(stop_roles.clone()),
    );
    let roles = roles::spawn(&config, &parts, tls, &stop_roles)?;
    if parts.clock.is_test() {
        tracing::warn!("the test clock is on: requests may say when they arrived");
    }
    data_dir.write_run(&run)?;
    startup::banner(&config, &data_dir, &run, parts.fresh_credentials.as_ref());

    wait_for_signal().await?;
    tracing::info!("stopping: new requests are answered 503");
    draining.store(true, Ordering::Release);
    parts.closing.cancel();
    tokio::time::sleep(DRAIN_NOTICE).await;
    stop_listening.cancel();
    serving.await.context("the listener stopped")?;
    accepted.drain(config.http.drain_timeout.0).await;
    // Nothing feeds the log any more: what it holds is committed, then everything is closed.
    stop_roles.cancel();
    roles.join().await;
    admin_serving.await.context("the admin listener stopped")?;
    data_dir.remove_run();
    parts.warehouse.close().await;
    tracing::info!("stopped");
    Ok(())
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))
}

async fn wait_for_signal() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
