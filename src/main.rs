//! The program: command line, configuration, wiring of the roles. The only code that knows all parts, reads the
//! environment and installs signal handlers.

mod adopt;
mod audit;
mod auth;
mod backup;
mod cli;
mod client;
mod clock;
mod config;
mod data_dir;
mod disk;
mod doctor;
mod event;
mod maintenance;
mod partitions;
mod rebuild;
mod serve;
mod simulate;
mod stores;
mod telemetry;

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// What waits for a commit is allocated event by event and let go of at once (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    // One implementation of cryptography for everything that speaks TLS. An error means that it is set already.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    cli::run(std::env::args_os(), std::env::vars_os().collect())
}
