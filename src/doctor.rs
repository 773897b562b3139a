//! `doctor`: looks at every setting and every dependency, and says what to do about what it does not like.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use event_log::records_behind;
use processor::EVENTS_TOPIC;
use reqwest::Client;
use serde::Serialize;
use serde_json::{Value, json};
use warehouse::Warehouse;

use crate::auth::UserTokens;
use crate::cli::print;
use crate::clock::Clock;
use crate::config::{Config, Profile};
use crate::data_dir::{is_taken, read_run};
use crate::disk::Space;
use crate::serve::KeyMaterial;
use crate::stores;

/// Less free space than this, or than a tenth, is told.
const LITTLE_SPACE: u64 = 5 << 30;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    Warning,
    Failed,
    Skipped,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    outcome: Outcome,
    said: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
}

#[derive(Debug, Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn ok(&mut self, name: &'static str, said: impl Into<String>) {
        self.0.push(Check { name, outcome: Outcome::Ok, said: said.into(), remedy: None });
    }

    fn warn(&mut self, name: &'static str, said: impl Into<String>, remedy: &'static str) {
        self.0.push(Check { name, outcome: Outcome::Warning, said: said.into(), remedy: Some(remedy) });
    }

    fn fail(&mut self, name: &'static str, said: impl Into<String>, remedy: &'static str) {
        self.0.push(Check { name, outcome: Outcome::Failed, said: said.into(), remedy: Some(remedy) });
    }

    fn skip(&mut self, name: &'static str, said: impl Into<String>) {
        self.0.push(Check { name, outcome: Outcome::Skipped, said: said.into(), remedy: None });
    }

    fn note(&mut self, name: &'static str, result: Result<String>, remedy: &'static str) {
        match result {
            Ok(said) => self.ok(name, said),
            Err(error) => self.fail(name, format!("{error:#}"), remedy),
        }
    }
}

/// Looks at everything; says whether nothing failed. Opens database and lake as a start does, which brings their tables up to
/// date; else it writes only files that it deletes again, and makes no log.
pub(crate) async fn doctor(config: &Config, warnings: &[String], as_json: bool) -> Result<bool> {
    let mut checks = Checks::default();
    settings(config, warnings, &mut checks);
    user_tokens(config, &mut checks).await;
    data_directory(config, &mut checks);
    let runs = server(config, &mut checks).await;
    match stores::open_existing(config).await {
        Ok(warehouse) => {
            checks.ok("warehouse", format!("opened, newest commit {}", warehouse.newest_commit().borrow().0));
            books(&warehouse, &mut checks).await;
            checks.note("lake", lake(&warehouse).await, "make the folder or bucket writable, with room, for this user");
            log(config, &warehouse, runs, &mut checks).await;
            warehouse.close().await;
        }
        Err(error) => {
            checks.fail("warehouse", format!("{error:#}"), "start the database, or correct warehouse_url and lake_url");
            checks.skip("lake", "needs the warehouse");
            checks.skip("log", "needs the warehouse");
        }
    }
    let is_well = checks.0.iter().all(|check| check.outcome != Outcome::Failed);
    if as_json {
        print(&json!({ "well": is_well, "profile": config.profile()?.as_str(), "checks": checks.0 }).to_string())?;
        return Ok(is_well);
    }
    for Check { name, outcome, said, remedy } in &checks.0 {
        let word = match outcome {
            Outcome::Ok => "ok",
            Outcome::Warning => "WARNING",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "skipped",
        };
        print(&format!("{word:<8} {name:<15} {said}"))?;
        if let Some(remedy) = remedy {
            print(&format!("{:<24} -> {remedy}", ""))?;
        }
    }
    Ok(is_well)
}

fn settings(config: &Config, warnings: &[String], checks: &mut Checks) {
    match config.profile() {
        Ok(profile) => checks.ok("settings", format!("profile {}", profile.as_str())),
        Err(error) => checks.fail("settings", format!("{error:#}"), "correct the addresses"),
    }
    for warning in warnings {
        checks.warn("settings", warning.clone(), "correct the variable's name or remove it");
    }
    if config.test_clock {
        let remedy = "never in production: remove --test-clock and STREAMGAUGE_TEST_CLOCK";
        checks.warn("settings", "the test clock is on: requests may say when they arrived", remedy);
    }
    let keys =
        KeyMaterial::load(config).map(|_| "certificate and issuer's keys are usable, where they are set".to_owned());
    checks.note("keys", keys, "correct tls_cert, tls_key or the settings below [auth]");
}

/// Asks for the issuer's keys, as a server does at its start and then again and again.
async fn user_tokens(config: &Config, checks: &mut Checks) {
    let tokens = match UserTokens::new(&config.auth) {
        Ok(Some(tokens)) => tokens,
        Ok(None) => return checks.skip("user tokens", "no issuer is set: users' tokens are refused"),
        Err(_) => return checks.skip("user tokens", "needs the settings below [auth]"),
    };
    let keys = tokens.usable_keys().await;
    let said = keys.map(|keys| format!("{keys} of the issuer's keys can be used for auth.algorithms"));
    let remedy = "correct auth.jwks_url (or _file) and auth.algorithms, or let this machine reach the issuer: users' tokens are refused";
    checks.note("user tokens", said, remedy);
}

fn data_directory(config: &Config, checks: &mut Checks) {
    let folder = &config.data_dir;
    let probe = folder.join(format!("doctor-{}", uuid::Uuid::new_v4().simple()));
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&probe, b"probe"))
        .and_then(|()| std::fs::remove_file(&probe))
        .with_context(|| format!("write to `{}`", folder.display()))
        .map(|()| format!("`{}` can be written to", folder.display()));
    checks.note("data directory", written, "make it writable for this user, or set data_dir");
    let spaces: Vec<_> =
        config.disk_places().into_iter().filter_map(|(place, folder)| Some((place, Space::of(&folder)?))).collect();
    let is_low = |space: &Space| space.free < LITTLE_SPACE || space.free < space.size / 10;
    let said =
        |(place, space): &(&str, Space)| format!("{place}: {} of {} GiB free", space.free >> 30, space.size >> 30);
    let low: Vec<String> = spaces.iter().filter(|(_, space)| is_low(space)).map(said).collect();
    if low.is_empty() {
        checks.ok("disk", spaces.iter().map(said).collect::<Vec<_>>().join(", "));
    } else {
        checks.warn("disk", low.join(", "), "make room: a full disk stops uploads and commits");
    }
}

/// Asks the server on this data directory, if one runs.
async fn server(config: &Config, checks: &mut Checks) -> bool {
    let Ok(run) = read_run(&config.data_dir) else {
        checks.skip("server", "none runs on this data directory");
        return false;
    };
    if !is_taken(&config.data_dir) {
        checks.skip("server", format!("none runs on this data directory: process {} ended without a word", run.pid));
        return false;
    }
    let Some(admin) = run.admin else { return true };
    let asking = async {
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        let answer = client.get(format!("http://{admin}/readyz")).send().await?;
        let is_ready = answer.status().is_success();
        let parts: Value = answer.json().await?;
        ensure!(is_ready, "it runs and is not ready: {}", parts["parts"]);
        Ok(format!("process {} is ready", run.pid))
    };
    checks.note("server", asking.await, "docs/operations.md, «What to do when»; its log says more");
    true
}

async fn books(warehouse: &Warehouse, checks: &mut Checks) {
    let read = async {
        let mut read = warehouse.read().await?;
        let through = read.complete_through();
        Ok::<_, warehouse::ReadError>((read.books().await?, through))
    };
    match read.await {
        Ok((books, through)) => {
            let age = through.map(|through| Clock::System.now().millis_since(through) / 1000);
            let age = age.map_or("nothing was committed yet".to_owned(), |age| format!("complete through {age} s ago"));
            if books.unaccounted() == 0 {
                checks.ok("books", format!("{} events stored, {age}", books.stored));
            } else {
                let said = format!("{} events are in the ledger or in files, and not in both", books.unaccounted());
                checks.fail("books", said, "`streamgauge audit` names the place");
            }
        }
        Err(error) => checks.fail("books", error.to_string(), "the database cannot be read"),
    }
}

/// Writes a file to the lake, reads it back and deletes it.
async fn lake(warehouse: &Warehouse) -> Result<String> {
    let lake = warehouse.lake().clone();
    let probing = tokio::task::spawn_blocking(move || {
        let path = format!("doctor/{}", uuid::Uuid::new_v4().simple());
        lake.write(&path, b"probe").context("write a file")?;
        let read = lake.read(&path).context("read it back")?;
        lake.delete(&path).context("delete it")?;
        ensure!(read == b"probe", "what was read back is not what was written");
        Ok("a file was written, read back and deleted".to_owned())
    });
    probing.await?
}

/// Opens the log if there is one, unless a process of the embedded profile holds it, and looks where the checkpoints are in it.
async fn log(config: &Config, warehouse: &Warehouse, runs: bool, checks: &mut Checks) {
    let is_embedded = config.profile().is_ok_and(|profile| profile == Profile::Embedded);
    if is_embedded && runs {
        return checks.skip("log", "the running server has it");
    }
    let looking = async {
        // Before the log is looked at: what is committed meanwhile must not look to be beyond its end.
        let positions = warehouse.read().await?.positions(EVENTS_TOPIC).await?;
        let Some(log) = stores::open_existing_log(config.clone()).await? else {
            let name = stores::log_name(config)?;
            ensure!(
                positions.iter().all(|position| *position == 0),
                "{name} is missing, and its records were taken in"
            );
            return Ok(Err(format!("{name} is missing: the first process that has a log makes it")));
        };
        let log = stores::look(log, warehouse).await?;
        let ranges = log.ranges();
        for ((partition, range), position) in ranges.iter().enumerate().zip(&positions) {
            ensure!(
                (range.low..=range.high).contains(position),
                "the checkpoint of partition {partition} is {position}, and the log has {}..{}",
                range.low,
                range.high
            );
        }
        let behind: u64 = records_behind(&ranges, &positions).iter().sum();
        Ok(Ok(format!("{} partitions, {behind} records are not committed", ranges.len())))
    };
    match looking.await {
        Ok(Err(missing)) => checks.skip("log", missing),
        Ok(Ok(said)) => checks.ok("log", said),
        Err(error) => {
            checks.fail("log", format!("{error:#}"), "docs/operations.md, «What to do when», has this line");
        }
    }
}
