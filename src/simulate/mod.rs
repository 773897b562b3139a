//! `simulate`: a fleet of devices that post over HTTP as real ones do, and a truth to hold the answers against.
//!
//! ```text
//! seed → plan (timelines) → wire (events) → loss → delivery (uploads, disturbed)
//!                      └→ truth (sums) ←────┘               │
//!                              │     the same events again, session by session (fleet) → post or load (HTTP)
//!                              └── check (over HTTP, and through DuckDB) ←── books ──────────────┘
//! ```
//!
//! Truth and events are made from the same timelines, neither from the other, and nothing here calls the server's own
//! code. The server must run on a test clock (`serve --test-clock`) and a fresh project.

mod books;
mod check;
mod delivery;
mod fleet;
mod histogram;
mod load;
mod loss;
mod plan;
mod post;
mod random;
mod sign_in;
mod timeline;
mod truth;
mod wire;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use reqwest::Client;
use serde_json::json;

use crate::cli::print;
use crate::client::Server;
use crate::config::Config;
use crate::data_dir::read_credentials;
use books::{Counts, Ledger};
use check::{OverHttp, Reader, ThroughDuckDb};
use delivery::Order;
use fleet::Fleet;
use load::Load;
use plan::Wish;
use post::Door;
use sign_in::Issuer;
use truth::Truth;

/// What to simulate.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Servers that take uploads, `http://host:port`, separated by commas; without it the one that runs on the data
    /// directory. A device keeps to one of them while it answers.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    target: Vec<String>,
    /// The server that answers, where it is another than the first that takes uploads.
    #[arg(long, value_name = "URL")]
    reader: Option<String>,
    /// Upload key; without it the one in credentials.json.
    #[arg(long)]
    key: Option<String>,
    /// Service token with scope sql:read; without it the one in credentials.json.
    #[arg(long)]
    token: Option<String>,
    /// Lets some users sign in, with tokens of `auth.issuer` that this private key signs: PEM, P-256 or RSA. The servers
    /// must trust it; without it all are guests.
    #[arg(long, value_name = "FILE")]
    user_key: Option<PathBuf>,
    /// Number of devices.
    #[arg(long, default_value_t = 50)]
    devices: u32,
    /// Number of days, up to 2026-03-02 UTC.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=365))]
    days: u32,
    /// The same seed gives the same fleet and the same uploads.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Post so many events a second, whatever becomes of them; without it as fast as they are taken.
    #[arg(long, value_name = "EVENTS_PER_S", value_parser = rate)]
    rate: Option<f64>,
    /// Compare what the server answers with the truth; exit code 1 if it differs.
    #[arg(long)]
    check: bool,
    /// Compare once more through DuckDB, attached to this catalogue for reading only: `ducklake:sqlite:FILE` or
    /// `ducklake:postgres:..`. Without a value the one in the data directory.
    #[arg(long, value_name = "ATTACH", requires = "check", num_args = 0..=1, default_missing_value = "")]
    catalogue: Option<String>,
    /// The command `duckdb`, or a program that behaves as it does: `tests/clients/setup.sh` makes one.
    #[arg(long, value_name = "PROGRAM", default_value = "duckdb")]
    duckdb: OsString,
    /// Write the truth to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// Send everything so many times, cut anew each time.
    #[arg(long, default_value_t = 1)]
    repeat: u32,
    /// Let uploads arrive in any order.
    #[arg(long)]
    shuffle: bool,
    /// What goes wrong: duplicates, recut, reorder, offline, clocks, lost. Empty for nothing.
    #[arg(long, value_delimiter = ',', default_value = "duplicates,recut,reorder,offline")]
    disturb: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Simulates; says whether the check succeeded.
pub(crate) async fn simulate(config: &Config, options: &Options) -> Result<bool> {
    let words = options.disturb.iter().filter(|word| !word.is_empty());
    let disturbances = words.map(|word| word.parse().map_err(anyhow::Error::msg)).collect::<Result<Vec<_>>>()?;
    let (door, reader) = connect(config, options)?;
    let catalogue = open_catalogue(config, options).await?;
    let wish = Wish {
        seed: options.seed,
        devices: options.devices,
        days: options.days,
        wrong_clocks: disturbances.contains(&delivery::Disturbance::Clocks),
        users: door.issuer.is_some(),
    };
    let order = Order { disturbances, repeat: options.repeat, shuffle: options.shuffle };
    let (mut truth, mut ledger) = (Truth::default(), Ledger::default());
    let fleet = Fleet::draw(&wish, &order, &mut truth, &mut ledger.ids);
    if let Some(file) = &options.truth {
        let text = serde_json::to_vec(&truth.to_json())?;
        std::fs::write(file, text).with_context(|| format!("write `{}`", file.display()))?;
    }
    let last = fleet.last;
    let begun = std::time::Instant::now();
    let load = match options.rate {
        Some(rate) => Some(load::all(door, fleet.uploads(), rate, &mut ledger).await?),
        None => {
            post::all(&door, fleet.uploads(), &mut ledger).await?;
            None
        }
    };
    let posted_s = begun.elapsed().as_secs_f64();
    if !options.json {
        print(&summary(options, &ledger, posted_s))?;
        if let Some(load) = &load {
            print(&load.to_text())?;
        }
    }
    let mut reports = Vec::new();
    if options.check {
        check::settle(&reader, i64::try_from(ledger.ids.len())?, last).await?;
        reports.push(("check", check::all(&reader, &truth, &ledger).await?));
        if let Some(catalogue) = catalogue {
            catalogue.pin(&reader.project().await?).await?;
            let catalogue = Reader::Catalogue(catalogue);
            reports.push(("catalogue", check::all(&catalogue, &truth, &ledger).await?));
        }
    }
    let is_right = !reports.iter().any(|(_, report)| report.has_differences());
    if options.json {
        let mut said = json!({
            "seed": options.seed,
            "books": ledger.to_json(),
            "distinct": ledger.ids.len(),
            "load": load.as_ref().map(Load::to_json),
            "check": null,
        });
        for (name, report) in &reports {
            said[*name] = report.to_json();
        }
        print(&said.to_string())?;
    } else {
        for (name, report) in &reports {
            print(if *name == "check" {
                "what the server answers:"
            } else {
                "what DuckDB reads through the catalogue:"
            })?;
            print(&report.to_text())?;
        }
        if options.check {
            print(if is_right { "the answers are the truth" } else { "the answers differ from the truth" })?;
        }
    }
    Ok(is_right)
}

/// DuckDB on the catalogue that is asked for, or on the one in the data directory.
async fn open_catalogue(config: &Config, options: &Options) -> Result<Option<ThroughDuckDb>> {
    let attach = match options.catalogue.as_deref() {
        None => return Ok(None),
        Some("") => format!("ducklake:sqlite:{}", config.data_dir.join("warehouse.db").display()),
        Some(attach) => attach.to_owned(),
    };
    Ok(Some(ThroughDuckDb::open(&options.duckdb, &attach).await?))
}

/// A rate that can be kept: more than no event a second.
fn rate(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0).ok_or("a rate is a number above 0")
}

/// Where to post, and whom to ask.
fn connect(config: &Config, options: &Options) -> Result<(Door, Reader)> {
    let address = |url: &String| url.trim_end_matches('/').to_owned();
    let (targets, client) = if options.target.is_empty() {
        let server = Server::find(config)?;
        (vec![server.base], server.client)
    } else {
        // A server that is named may be anywhere.
        (options.target.iter().map(address).collect(), Client::new())
    };
    let base = options.reader.as_ref().map_or_else(|| targets[0].clone(), address);
    let known = read_credentials(&config.data_dir)?;
    let stored = |of: fn(crate::data_dir::Credentials) -> String| known.clone().map(of);
    let key = options.key.clone().or_else(|| stored(|known| known.upload_key)).context("give an upload key: --key")?;
    let token = options.token.clone().or_else(|| stored(|known| known.read_token)).context("give a token: --token")?;
    let issuer = options.user_key.as_ref().map(|file| Issuer::new(&config.auth, file)).transpose()?;
    let door = Door { targets, key, issuer, client: client.clone() };
    Ok((door, Reader::Server(OverHttp { base, token, client })))
}

fn summary(options: &Options, ledger: &Ledger, posted_s: f64) -> String {
    let Ledger { books, ids } = ledger;
    let Counts { sent, acked, refused, .. } = ids.counts();
    format!(
        "seed {}: {} devices, {} days, {} events: {sent} sent, {acked} answered with 2xx, {refused} of which an attempt failed\n{} uploads in {posted_s:.1} s: \
         {} events sent, copies included, {} accepted, {} duplicate within an upload, {} quarantined; {} attempts refused, \
         {} without an answer",
        options.seed,
        options.devices,
        options.days,
        ids.len(),
        books.uploads,
        books.sent,
        books.accepted,
        books.duplicate,
        books.quarantined,
        books.refused,
        books.unanswered
    )
}
