//! The program: command line, configuration, wiring of the roles. The only code that knows all parts, reads the
//! environment and installs signal handlers.

mod auth;
mod cli;
mod client;
mod clock;
mod config;
mod data_dir;
mod serve;
mod telemetry;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(std::env::args_os(), std::env::vars().collect())
}
