//! The command line.

mod access;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::adopt::{self, AdoptOptions};
use crate::audit;
use crate::backup::{self, BackupOptions, RestoreOptions};
use crate::client;
use crate::config::{Config, Flags, Loaded, Profile};
use crate::doctor;
use crate::event::{self, EventOptions};
use crate::maintenance::{self, CollectOptions, CompactOptions, ExpireOptions};
use crate::partitions::{self, PartitionsOptions};
use crate::rebuild::{self, RebuildOptions};
use crate::serve::{self, KeyMaterial, Role};
use crate::simulate;
use crate::stores;
use crate::telemetry;
use access::{KeysVerb, TokensVerb};

/// Event-sourced analytics for apps that play live streams. Without a command: serves all roles.
#[derive(Debug, Parser)]
#[command(name = "streamgauge", version)]
struct Arguments {
    /// Settings file (TOML); `streamgauge config show` prints all settings.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve all roles in this process (the same as no command).
    Serve {
        /// Let requests say when they arrived. For tests only.
        #[arg(long)]
        test_clock: bool,
    },
    /// Serve one role (cluster profile only).
    Ingest,
    /// Serve one role (cluster profile only).
    Processor,
    /// Serve one role (cluster profile only).
    Query,
    /// Run SQL on the running server.
    Sql {
        /// The statement.
        sql: String,
        /// Write the result to this file: .csv, .json, .ndjson, .arrow or .parquet.
        #[arg(short, long, value_name = "FILE")]
        output: Option<client::OutputFile>,
        /// At most that many rows.
        #[arg(long)]
        limit: Option<usize>,
        /// As of this commit.
        #[arg(long, value_name = "COMMIT")]
        as_of: Option<i64>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Tell everything that is known about one event.
    Event {
        #[command(flatten)]
        options: EventOptions,
    },
    /// Follow what arrives now.
    Tail {
        /// Print JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// Merge small files and fold rollup deltas, until nothing is left to do.
    Compact {
        #[command(flatten)]
        options: CompactOptions,
    },
    /// Take old commits out of the catalogue, and delete files that only they listed.
    Expire {
        #[command(flatten)]
        options: ExpireOptions,
    },
    /// Delete files that no commit lists.
    Collect {
        #[command(flatten)]
        options: CollectOptions,
    },
    /// Copy database and lake into a folder, with everything acknowledged so far.
    Backup {
        #[command(flatten)]
        options: BackupOptions,
    },
    /// Put a backup where nothing is.
    Restore {
        #[command(flatten)]
        options: RestoreOptions,
    },
    /// Let a new log take the place of one that is lost.
    Adopt {
        #[command(flatten)]
        options: AdoptOptions,
    },
    /// The log's partitions: how far they were taken in, and orders about them.
    Partitions {
        #[command(flatten)]
        options: PartitionsOptions,
    },
    /// Fold all kept records again: while no server runs, or beside a cluster into another place.
    Rebuild {
        #[command(flatten)]
        options: RebuildOptions,
    },
    /// Compare everything that must agree: records, events, ledger, rollups.
    Audit {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look at every setting and dependency, and say what to do.
    Doctor {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let simulated devices post, and hold the answers against the truth.
    Simulate {
        #[command(flatten)]
        options: simulate::Options,
    },
    /// Upload keys.
    Keys {
        #[command(subcommand)]
        verb: KeysVerb,
    },
    /// Service tokens.
    Tokens {
        #[command(subcommand)]
        verb: TokensVerb,
    },
    /// Settings.
    Config {
        #[command(subcommand)]
        verb: ConfigVerb,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigVerb {
    /// Print all settings with their values; secrets are masked.
    Show,
    /// Say whether the settings can work.
    Check,
}

/// Exit codes beside 0: the check failed, wrong usage or configuration.
const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

/// Runs the program; returns its exit code.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>, environment: HashMap<OsString, OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(WRONG_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let rust_log = environment.get(OsStr::new("RUST_LOG")).and_then(|filter| filter.to_str()).map(str::to_owned);
    let verb = arguments.verb.unwrap_or(Verb::Serve { test_clock: false });
    let flags = Flags {
        file: arguments.config,
        data_dir: arguments.data_dir,
        test_clock: matches!(verb, Verb::Serve { test_clock: true }),
    };
    let done = match Config::load(&flags, environment) {
        Ok(loaded) => dispatch(verb, loaded, rust_log.as_deref()),
        Err(error) => Ok(refuse(&error)),
    };
    done.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::from(FAILED)
    })
}

fn dispatch(verb: Verb, loaded: Loaded, rust_log: Option<&str>) -> Result<ExitCode> {
    let Loaded { config, warnings } = loaded;
    match verb {
        Verb::Serve { .. } => return serve(Role::All, config, &warnings, rust_log),
        Verb::Ingest => return serve(Role::Ingest, config, &warnings, rust_log),
        Verb::Processor => return serve(Role::Processor, config, &warnings, rust_log),
        Verb::Query => return serve(Role::Query, config, &warnings, rust_log),
        Verb::Sql { sql, output, limit, as_of, json } => {
            block_on(client::sql(
                &config,
                &client::Statement { limit, as_of, ..client::Statement::of(sql) },
                output.as_ref(),
                json,
            ))?;
        }
        Verb::Event { options } => block_on(event::event(&config, &options))?,
        Verb::Tail { json } => block_on(client::tail(&config, json))?,
        Verb::Rebuild { options } => {
            let target = match rebuild::target(&config, &options) {
                Ok(target) => target,
                Err(error) => return Ok(refuse(&error)),
            };
            telemetry::start(config.log_format, rust_log.or(Some("warn")));
            block_on(rebuild::rebuild(&config, target, &options))?;
        }
        Verb::Compact { options } => block_on(maintenance::compact(&config, &options))?,
        Verb::Expire { options } => block_on(maintenance::expire(&config, &options))?,
        Verb::Collect { options } => {
            telemetry::start(config.log_format, rust_log.or(Some("warn")));
            if !block_on(maintenance::collect(&config, &options))? {
                return Ok(ExitCode::from(FAILED));
            }
        }
        Verb::Backup { options } => {
            telemetry::start(config.log_format, rust_log.or(Some("warn")));
            block_on(backup::backup(&config, &options))?;
        }
        Verb::Restore { options } => {
            let place = match block_on(backup::find_place(&config, &options)) {
                Ok(place) => place,
                Err(error) => return Ok(refuse(&error)),
            };
            block_on(backup::restore(&config, &options, place))?;
        }
        Verb::Adopt { options } => {
            telemetry::start(config.log_format, rust_log.or(Some("warn")));
            block_on(adopt::adopt(&config, &options))?;
        }
        Verb::Partitions { options } => block_on(partitions::partitions(&config, options))?,
        Verb::Audit { json } => {
            if !block_on(audit::audit(&config, json))? {
                return Ok(ExitCode::from(FAILED));
            }
        }
        Verb::Doctor { json } => {
            if !block_on(doctor::doctor(&config, &warnings, json))? {
                return Ok(ExitCode::from(FAILED));
            }
        }
        Verb::Simulate { options } => {
            if !block_on(simulate::simulate(&config, &options))? {
                return Ok(ExitCode::from(FAILED));
            }
        }
        Verb::Keys { verb } => block_on(access::keys(&config, verb))?,
        Verb::Tokens { verb } => block_on(access::tokens(&config, verb))?,
        Verb::Config { verb: ConfigVerb::Show } => print(&config.show()?)?,
        Verb::Config { verb: ConfigVerb::Check } => {
            if let Err(error) = usable(&config) {
                return Ok(refuse(&error));
            }
            for warning in &warnings {
                print(&format!("warning: {warning}"))?;
            }
            print(&format!("profile: {}\nthe settings can work", config.profile()?.as_str()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn serve(role: Role, config: Config, warnings: &[String], rust_log: Option<&str>) -> Result<ExitCode> {
    if role != Role::All && config.profile()? == Profile::Embedded {
        return Ok(refuse(&anyhow::anyhow!(
            "on the embedded profile one process holds the data directory, so all roles run in it: \
             start `streamgauge` without a role. Single roles belong to the cluster profile (Kafka, Postgres)."
        )));
    }
    let material = match usable(&config) {
        Ok(material) => material,
        Err(error) => return Ok(refuse(&error)),
    };
    telemetry::start(config.log_format, rust_log);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    block_on(serve::serve(role, config, material))?;
    Ok(ExitCode::SUCCESS)
}

/// Looks at what the settings name, before anything is opened. What is refused here is refused by a start and by
/// `config check` alike.
fn usable(config: &Config) -> Result<KeyMaterial> {
    stores::warehouse_config(config)?;
    stores::check_log(config)?;
    KeyMaterial::load(config)
}

/// Says what is wrong with the usage or the configuration.
fn refuse(error: &anyhow::Error) -> ExitCode {
    complain(error);
    ExitCode::from(WRONG_USAGE)
}

#[expect(clippy::print_stderr, reason = "errors of a command go to the person who gave it")]
fn complain(error: &anyhow::Error) {
    eprintln!("streamgauge: {error:#}");
}

/// What a command says. Fails where nobody reads any more.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}")?;
    Ok(output.flush()?)
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    // Requests that inflate large bodies block their thread for a while: never all of them.
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).max(2);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).thread_name("http").enable_all().build()?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}
