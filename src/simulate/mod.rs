//! `simulate`: a fleet of devices that post over HTTP as real ones do, and a truth to hold the answers against.
//!
//! ```text
//! seed → plan (timelines) → wire (events) → loss → delivery (uploads, disturbed) → post (HTTP)
//!                      └→ truth (sums) ←────┘                                          │
//!                              └──────────────── check (over HTTP) ←───────────────────┘
//! ```
//!
//! Truth and events are made from the same timelines, neither from the other, and nothing here calls the server's own
//! code. The server must run on a test clock (`serve --test-clock`) and a fresh project.

mod check;
mod delivery;
mod loss;
mod plan;
mod post;
mod random;
mod timeline;
mod truth;
mod wire;

use std::collections::BTreeSet;
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
use check::{OverHttp, Reader, ThroughDuckDb};
use delivery::{Delivery, Disturbance, Order};
use plan::Wish;
use post::{Books, Door, Sender};
use random::Random;
use timeline::HOUR_MS;
use truth::Truth;

/// What to simulate.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The server, `http://host:port`; without it the one that runs on the data directory.
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// Upload key; without it the one in credentials.json.
    #[arg(long)]
    key: Option<String>,
    /// Service token with scope sql:read; without it the one in credentials.json.
    #[arg(long)]
    token: Option<String>,
    /// Number of devices.
    #[arg(long, default_value_t = 50)]
    devices: u32,
    /// Number of days, up to 2026-03-02 UTC.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=365))]
    days: u32,
    /// The same seed gives the same fleet and the same uploads.
    #[arg(long, default_value_t = 1)]
    seed: u64,
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
    let Run { senders, deliveries, last, truth } = prepare(options, disturbances);
    if let Some(file) = &options.truth {
        let text = serde_json::to_vec(&truth.to_json())?;
        std::fs::write(file, text).with_context(|| format!("write `{}`", file.display()))?;
    }
    let distinct: usize = senders.iter().map(|sender| sender.events.len()).sum();
    let begun = std::time::Instant::now();
    let books = post::all(&door, &senders, &deliveries).await?;
    let posted_s = begun.elapsed().as_secs_f64();
    if !options.json {
        print(&summary(options, &books, distinct, posted_s))?;
    }
    let distinct = i64::try_from(distinct)?;
    let mut reports = Vec::new();
    if options.check {
        check::settle(&reader, distinct, last).await?;
        reports.push(("check", check::all(&reader, &truth, &books, distinct).await?));
        if let Some(attach) = &options.catalogue {
            let catalogue = open_catalogue(config, options, attach, &reader).await?;
            reports.push(("catalogue", check::all(&catalogue, &truth, &books, distinct).await?));
        }
    }
    let is_right = !reports.iter().any(|(_, report)| report.has_differences());
    if options.json {
        let mut said = json!({ "seed": options.seed, "books": books, "distinct": distinct, "check": null });
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
async fn open_catalogue(config: &Config, options: &Options, attach: &str, reader: &Reader) -> Result<Reader> {
    let attach = match attach {
        "" => format!("ducklake:sqlite:{}", config.data_dir.join("warehouse.db").display()),
        attach => attach.to_owned(),
    };
    let project = reader.project().await?;
    Ok(Reader::Catalogue(ThroughDuckDb::open(&options.duckdb, &attach, &project).await?))
}

/// Everything that is known before the first upload.
struct Run {
    senders: Vec<Sender>,
    /// By rising arrival.
    deliveries: Vec<Delivery>,
    /// The last arrival.
    last: timeline::Ms,
    truth: Truth,
}

fn prepare(options: &Options, disturbances: Vec<Disturbance>) -> Run {
    let wish = Wish {
        seed: options.seed,
        devices: options.devices,
        days: options.days,
        wrong_clocks: disturbances.contains(&Disturbance::Clocks),
    };
    let order = Order { disturbances, repeat: options.repeat, shuffle: options.shuffle };
    let calm = Order { disturbances: Vec::new(), repeat: 1, shuffle: false };
    let random = Random::new(options.seed.rotate_left(32));
    let mut run = Run { senders: Vec::new(), deliveries: Vec::new(), last: plan::END, truth: Truth::default() };
    for device in plan::fleet(&wish).devices {
        run.add(device, &order, &random);
    }
    // Units are over an hour after their last arrival. Others have to arrive before the log knows that.
    for device in plan::closing(options.seed, run.last + 3 * HOUR_MS) {
        run.add(device, &calm, &random);
    }
    run.deliveries.sort_by_key(|delivery| delivery.received);
    run
}

impl Run {
    fn add(&mut self, device: timeline::Device, order: &Order, random: &Random) {
        let number = self.senders.len();
        let mut random = random.part(number as u64);
        // Numbered as if nothing was lost.
        let mut events = wire::events(&device, &mut random);
        let lost = if order.has(Disturbance::Lost) { loss::draw(&device, &mut random) } else { BTreeSet::new() };
        events.retain(|event| !lost.contains(&event.at));
        let deliveries = delivery::plan(number, &device, &events, order, &mut random);
        self.truth.add(&device, &lost);
        let copies = delivery::copies(&deliveries);
        for (event, received) in delivery::first_arrivals(&deliveries) {
            self.truth.add_event(&events[event], &device, copies[&event], received);
        }
        self.last = deliveries.iter().map(|delivery| delivery.received).max().unwrap_or(self.last).max(self.last);
        self.deliveries.extend(deliveries);
        self.senders.push(Sender { device, events });
    }
}

/// Where to post, and whom to ask.
fn connect(config: &Config, options: &Options) -> Result<(Door, Reader)> {
    let (base, client) = match &options.target {
        // A server that is named may be anywhere.
        Some(target) => (target.trim_end_matches('/').to_owned(), Client::new()),
        None => {
            let server = Server::find(config)?;
            (server.base, server.client)
        }
    };
    let known = read_credentials(&config.data_dir)?;
    let stored = |of: fn(crate::data_dir::Credentials) -> String| known.clone().map(of);
    let key = options.key.clone().or_else(|| stored(|known| known.upload_key)).context("give an upload key: --key")?;
    let token = options.token.clone().or_else(|| stored(|known| known.read_token)).context("give a token: --token")?;
    let door = Door { base: base.clone(), key, client: client.clone() };
    Ok((door, Reader::Server(OverHttp { base, token, client })))
}

fn summary(options: &Options, books: &Books, distinct: usize, posted_s: f64) -> String {
    format!(
        "seed {}: {} devices, {} days, {distinct} events\n{} uploads in {posted_s:.1} s: {} events sent, {} accepted, \
         {} duplicate within an upload, {} quarantined; {} attempts refused, {} without an answer",
        options.seed,
        options.devices,
        options.days,
        books.uploads,
        books.sent,
        books.accepted,
        books.duplicate,
        books.quarantined,
        books.refused,
        books.unanswered
    )
}
