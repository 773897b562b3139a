//! The command line.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use schemas::{Scope, Timestamp};
use warehouse::{Warehouse, WarehouseConfig};

use crate::client;
use crate::clock::Clock;
use crate::config::{Config, Flags, Loaded};
use crate::serve;
use crate::telemetry;

/// Event-sourced analytics for apps that play live streams. Without a command: serves all roles on the embedded default.
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
        output: Option<PathBuf>,
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
    /// Follow what arrives now.
    Tail {
        /// Print JSON lines.
        #[arg(long)]
        json: bool,
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
enum KeysVerb {
    /// Make a key, or import a chosen value.
    Create {
        /// What it is for.
        #[arg(long, default_value = "")]
        name: String,
        /// The project.
        #[arg(long, default_value = "default")]
        project: String,
        /// A chosen value, such as the constant built into an app.
        #[arg(long)]
        value: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List keys (never their values).
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key by its id.
    Revoke {
        /// The id that `list` shows.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
enum TokensVerb {
    /// Make a service token.
    Create {
        /// What it is for.
        #[arg(long, default_value = "")]
        name: String,
        /// The project.
        #[arg(long, default_value = "default")]
        project: String,
        /// What it may do: stats:read, sql:read, exports:write, pii:read, admin.
        #[arg(long, value_delimiter = ',', default_value = "stats:read,sql:read")]
        scopes: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List tokens (never their values).
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token by its id.
    Revoke {
        /// The id that `list` shows.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigVerb {
    /// Print all settings with their values; secrets are masked.
    Show,
    /// Say whether the settings can work.
    Check,
}

/// Fine, the check failed, wrong usage or configuration.
const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

/// Runs the program; returns its exit code.
#[expect(clippy::print_stderr, reason = "errors of a command go to the person who gave it")]
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>, environment: HashMap<String, String>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(WRONG_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let rust_log = environment.get("RUST_LOG").cloned();
    let verb = arguments.verb.unwrap_or(Verb::Serve { test_clock: false });
    let flags = Flags {
        file: arguments.config,
        data_dir: arguments.data_dir,
        test_clock: matches!(verb, Verb::Serve { test_clock: true }),
    };
    let loaded = match Config::load(&flags, environment) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("streamgauge: {error:#}");
            return ExitCode::from(WRONG_USAGE);
        }
    };
    match dispatch(verb, loaded, rust_log.as_deref()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("streamgauge: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn dispatch(verb: Verb, loaded: Loaded, rust_log: Option<&str>) -> Result<ExitCode> {
    let Loaded { config, warnings } = loaded;
    match verb {
        Verb::Serve { .. } => {
            telemetry::start(config.log_format, rust_log);
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            block_on(serve::serve(config))?;
        }
        Verb::Ingest | Verb::Processor | Verb::Query => return Ok(refuse_single_role()),
        Verb::Sql { sql, output, limit, as_of, json } => {
            block_on(client::sql(&config.data_dir, &client::Statement { sql, limit, as_of }, output.as_deref(), json))?;
        }
        Verb::Tail { json } => block_on(client::tail(&config.data_dir, json))?,
        Verb::Keys { verb } => block_on(keys(&config, verb))?,
        Verb::Tokens { verb } => block_on(tokens(&config, verb))?,
        Verb::Config { verb: ConfigVerb::Show } => print(&config.show()?),
        Verb::Config { verb: ConfigVerb::Check } => {
            for warning in &warnings {
                print(&format!("warning: {warning}"));
            }
            print("profile: embedded\nthe settings can work");
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "what a command says")]
fn print(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "errors of a command go to the person who gave it")]
fn refuse_single_role() -> ExitCode {
    eprintln!(
        "streamgauge: on the embedded profile one process holds the data directory, so all roles run in it: \
         start `streamgauge` without a role. Single roles belong to the cluster profile (Kafka, Postgres)."
    );
    ExitCode::from(WRONG_USAGE)
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    // Requests that inflate large bodies block their thread for a while: never all of them.
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).max(2);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}

/// Opens the warehouse beside a running server.
async fn open_warehouse(config: &Config) -> Result<(Warehouse, Timestamp)> {
    let warehouse_config = WarehouseConfig { database: config.database_file(), lake: config.lake_folder() };
    if !warehouse_config.database.exists() {
        bail!("there is no warehouse at `{}`: start the server first", warehouse_config.database.display());
    }
    let warehouse = Warehouse::open(&warehouse_config).await?;
    Ok((warehouse, Clock::System.now()))
}

async fn keys(config: &Config, verb: KeysVerb) -> Result<()> {
    let (warehouse, now) = open_warehouse(config).await?;
    match verb {
        KeysVerb::Create { name, project, value, json } => {
            let value = value.unwrap_or_else(|| serve::generate("sgk_"));
            let id = warehouse.create_upload_key(&project, &name, &value, now).await?;
            if json {
                print(&serde_json::json!({"id": id, "project": project, "key": value}).to_string());
            } else {
                print(&format!("{id}\n{value}\nthis value is shown only now"));
            }
        }
        KeysVerb::List { json } => {
            let keys = warehouse.upload_keys().await?;
            let rows = keys.iter().map(|key| Row {
                id: &key.key_id,
                project: &key.project,
                name: &key.name,
                scopes: String::new(),
                created_at: &key.created_at,
                revoked_at: key.revoked_at.as_deref(),
            });
            list(rows, json);
        }
        KeysVerb::Revoke { id } => warehouse.revoke(&id, now).await?,
    }
    warehouse.close().await;
    Ok(())
}

async fn tokens(config: &Config, verb: TokensVerb) -> Result<()> {
    let (warehouse, now) = open_warehouse(config).await?;
    match verb {
        TokensVerb::Create { name, project, scopes, json } => {
            let scopes =
                scopes.iter().map(|word| Scope::parse(word).with_context(|| format!("there is no scope `{word}`")));
            let scopes: Vec<Scope> = scopes.collect::<Result<_>>()?;
            let value = serve::generate("sgt_");
            let id = warehouse.create_service_token(&project, &name, &value, &scopes, now).await?;
            if json {
                print(&serde_json::json!({"id": id, "project": project, "token": value}).to_string());
            } else {
                print(&format!("{id}\n{value}\nthis value is shown only now"));
            }
        }
        TokensVerb::List { json } => {
            let tokens = warehouse.service_tokens().await?;
            let rows = tokens.iter().map(|token| Row {
                id: &token.token_id,
                project: &token.project,
                name: &token.name,
                scopes: token.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(","),
                created_at: &token.created_at,
                revoked_at: token.revoked_at.as_deref(),
            });
            list(rows, json);
        }
        TokensVerb::Revoke { id } => warehouse.revoke(&id, now).await?,
    }
    warehouse.close().await;
    Ok(())
}

/// A key or token without its value.
#[derive(Debug, serde::Serialize)]
struct Row<'a> {
    id: &'a str,
    project: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    scopes: String,
    created_at: &'a str,
    revoked_at: Option<&'a str>,
}

fn list<'a>(rows: impl Iterator<Item = Row<'a>>, json: bool) {
    for row in rows {
        if json {
            print(&serde_json::to_string(&row).unwrap_or_default());
        } else {
            let state = row.revoked_at.map_or_else(|| "active".to_owned(), |at| format!("revoked {at}"));
            print(&format!("{}  {}  {}  {}  {}  {state}", row.id, row.project, row.name, row.scopes, row.created_at));
        }
    }
}
