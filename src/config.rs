//! Configuration: the embedded default file, then a file, then the environment, then flags.

mod of_project;
mod places;
mod quota;
mod retention;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use config::builder::DefaultState;
use config::{ConfigBuilder, File, FileFormat, Value, ValueKind};
use event_log::{Compression, is_secret_property};
use of_project::OfProject;
pub(crate) use places::{Address, Profile};
use quota::EventsPerSecond;
pub(crate) use retention::RetentionConfig;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Every setting with its default and its meaning.
const DEFAULT: &str = include_str!("default.toml");
const PREFIX: &str = "STREAMGAUGE_";

/// The settings. `default.toml` says what each means.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    pub(crate) http_addr: SocketAddr,
    pub(crate) admin_addr: SocketAddr,
    pub(crate) pgwire_addr: String,
    pub(crate) tls_cert: String,
    pub(crate) tls_key: String,
    pub(crate) log_url: Address,
    pub(crate) warehouse_url: Address,
    pub(crate) lake_url: Address,
    pub(crate) upload_key: Secret,
    pub(crate) read_token: Secret,
    pub(crate) log_format: LogFormat,
    pub(crate) test_clock: bool,
    pub(crate) http: HttpConfig,
    pub(crate) auth: AuthConfig,
    pub(crate) ingest: IngestConfig,
    pub(crate) log: LogConfig,
    pub(crate) kafka: KafkaConfig,
    pub(crate) postgres: PostgresConfig,
    pub(crate) processor: ProcessorConfig,
    pub(crate) maintenance: MaintenanceConfig,
    pub(crate) retention: RetentionConfig,
    pub(crate) query: QueryConfig,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpConfig {
    pub(crate) max_connections: usize,
    pub(crate) max_connections_per_address: usize,
    pub(crate) header_timeout: Span,
    pub(crate) idle_timeout: Span,
    pub(crate) drain_timeout: Span,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthConfig {
    pub(crate) issuer: String,
    pub(crate) jwks_url: String,
    pub(crate) jwks_file: String,
    pub(crate) public_key_file: String,
    pub(crate) algorithms: Vec<String>,
    pub(crate) authorized_parties: Vec<String>,
    pub(crate) project: String,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IngestConfig {
    pub(crate) max_body_bytes: Size,
    pub(crate) max_decoded_bytes: Size,
    pub(crate) max_in_flight_bytes: Size,
    pub(crate) body_deadline: Span,
    pub(crate) tick_interval: Span,
    pub(crate) keyless_requests_per_second: u32,
    events_per_second: u32,
    projects: Vec<OfProject<EventsPerSecond>>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogConfig {
    pub(crate) partitions: u16,
    pub(crate) retention: Span,
    pub(crate) queue_bytes: Size,
    pub(crate) disk_reserve: Size,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KafkaConfig {
    pub(crate) topic_prefix: String,
    pub(crate) replication: u16,
    pub(crate) min_in_sync: u16,
    pub(crate) message_timeout: Span,
    pub(crate) compression: Compression,
    pub(crate) group: String,
    pub(crate) session_timeout: Span,
    pub(crate) max_poll_interval: Span,
    pub(crate) properties: Vec<Property>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostgresConfig {
    pub(crate) readers: u32,
    pub(crate) statement_timeout: Span,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessorConfig {
    pub(crate) commit_interval: Span,
    pub(crate) commit_rows: usize,
    pub(crate) commit_bytes: Size,
    pub(crate) hot_keys: usize,
    pub(crate) state_interval: Span,
    pub(crate) open_sessions: usize,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MaintenanceConfig {
    pub(crate) interval: Span,
    pub(crate) rollup_delta_age: Span,
    pub(crate) orphan_grace: Span,
    pub(crate) snapshot_retention: Span,
    pub(crate) file_grace: Span,
    pub(crate) merge_fan_in: usize,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryConfig {
    pub(crate) memory_bytes: Size,
    pub(crate) timeout: Span,
    pub(crate) concurrent: usize,
    pub(crate) max_rows: usize,
    pub(crate) max_result_bytes: Size,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// A value that is never printed.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "\"***\"" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { "***" })
    }
}

/// A setting of a library, written as `name=value`. Values of secrets are never printed.
#[derive(Clone)]
pub(crate) struct Property {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, if is_secret_property(&self.name) { "***" } else { &self.value })
    }
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl<'de> Deserialize<'de> for Property {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (name, value) = text.split_once('=').ok_or_else(|| {
            // Not the text itself: it may be a secret.
            serde::de::Error::custom("a property is written as name=value")
        })?;
        Ok(Self { name: name.trim().to_owned(), value: value.trim().to_owned() })
    }
}

impl Serialize for Property {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A duration, written as `10s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|_| serde::de::Error::custom(format!("`{text}` is no duration like 10s, 900ms or 7d")))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

/// A number of bytes, written as `64MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) usize);

const UNITS: [(&str, usize); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (number, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| Some((text.trim().strip_suffix(name)?, *unit)))
            .unwrap_or((text.trim(), 1));
        let bytes = number.trim().parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
        bytes
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no size like 64MiB, 512KiB or 4096")))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (name, unit) = UNITS.iter().find(|(_, unit)| self.0.is_multiple_of(*unit)).unwrap_or(&UNITS[3]);
        serializer.collect_str(&format_args!("{}{name}", self.0 / unit))
    }
}

/// Flags that stand for settings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    pub(crate) file: Option<PathBuf>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) test_clock: bool,
}

/// The settings, and what was strange about them.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) warnings: Vec<String>,
}

impl Config {
    /// Reads all layers. `environment` are the process's variables.
    pub(crate) fn load(flags: &Flags, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Loaded> {
        let mut builder =
            ConfigBuilder::<DefaultState>::default().add_source(File::from_str(DEFAULT, FileFormat::Toml));
        if let Some(file) = &flags.file {
            builder = builder.add_source(File::from(file.as_path()).format(FileFormat::Toml));
        }
        let mut warnings = Vec::new();
        for (key, value) in variables(environment, &mut warnings)? {
            builder = builder.set_override(key, value)?;
        }
        if let Some(data_dir) = &flags.data_dir {
            builder = builder.set_override("data_dir", data_dir.to_string_lossy().into_owned())?;
        }
        if flags.test_clock {
            builder = builder.set_override("test_clock", true)?;
        }
        let config: Self = builder.build()?.try_deserialize().context("read the configuration")?;
        config.check()?;
        Ok(Loaded { config, warnings })
    }

    /// Refuses what cannot work, with the reason.
    fn check(&self) -> Result<()> {
        self.profile()?;
        ensure!(self.tls_cert.is_empty() == self.tls_key.is_empty(), "tls_cert and tls_key: both or none");
        ensure!(self.log.partitions >= 1 && self.log.partitions <= 1024, "log.partitions is 1 to 1024");
        ensure!(
            self.ingest.max_decoded_bytes.0 >= 8 << 20,
            "ingest.max_decoded_bytes is at least 8MiB: real clients send that much"
        );
        for (key, span) in [
            ("http.header_timeout", self.http.header_timeout),
            ("http.idle_timeout", self.http.idle_timeout),
            ("ingest.tick_interval", self.ingest.tick_interval),
            ("maintenance.interval", self.maintenance.interval),
        ] {
            ensure!(span.0 >= Duration::from_millis(100), "{key} is at least 100ms");
        }
        ensure!(
            self.maintenance.orphan_grace.0 >= Duration::from_secs(1),
            "maintenance.orphan_grace is at least 1s: the files of a commit that is under way are not listed yet"
        );
        ensure!(
            self.maintenance.file_grace.0 > self.query.timeout.0,
            "maintenance.file_grace is longer than query.timeout: a query reads files that were replaced since it began"
        );
        ensure!(self.ingest.keyless_requests_per_second >= 1, "ingest.keyless_requests_per_second is at least 1");
        ensure!(self.kafka.replication >= 1, "kafka.replication is at least 1");
        ensure!(
            (1..=self.kafka.replication).contains(&self.kafka.min_in_sync),
            "kafka.min_in_sync is 1 to kafka.replication"
        );
        ensure!(
            (Duration::from_millis(500)..Duration::from_secs(30)).contains(&self.kafka.message_timeout.0),
            "kafka.message_timeout is 500ms to 30s: an upload waits for it"
        );
        ensure!(!self.kafka.group.is_empty(), "kafka.group is empty");
        ensure!(self.postgres.readers >= 2, "postgres.readers is at least 2");
        ensure!(self.maintenance.merge_fan_in >= 2, "maintenance.merge_fan_in is at least 2");
        self.retention.check()?;
        ensure!(self.query.concurrent >= 1, "query.concurrent is at least 1");
        ensure!(is_project_name(&self.auth.project), "auth.project: {PROJECT_NAME_RULE}");
        let sources = [&self.auth.jwks_url, &self.auth.jwks_file, &self.auth.public_key_file];
        let given = sources.iter().filter(|source| !source.is_empty()).count();
        ensure!(given <= 1, "auth: only one of jwks_url, jwks_file and public_key_file");
        ensure!((given == 1) != self.auth.issuer.is_empty(), "auth: an issuer and its keys belong together");
        for key in [&self.upload_key.0, &self.read_token.0] {
            ensure!(key.is_empty() || key.len() >= 8, "upload_key and read_token have at least 8 characters");
        }
        Ok(())
    }

    /// The processor's, as it takes them.
    pub(crate) fn processor_settings(&self) -> processor::ProcessorConfig {
        let ProcessorConfig { commit_interval, commit_rows, commit_bytes, hot_keys, state_interval, open_sessions } =
            self.processor;
        processor::ProcessorConfig {
            commit_interval: commit_interval.0,
            commit_rows,
            commit_bytes: commit_bytes.0,
            hot_keys,
            state_interval: state_interval.0,
            open_sessions,
            retention: Arc::new(self.retention.policy()),
        }
    }

    /// All settings as TOML, secrets masked.
    pub(crate) fn show(&self) -> Result<String> {
        toml::to_string_pretty(self).context("print the configuration")
    }
}

/// What a project may be called.
pub(crate) const PROJECT_NAME_RULE: &str = "a project's name is 1 to 64 of a-z, 0-9, _ and -";

/// Whether a project may be called so.
pub(crate) fn is_project_name(name: &str) -> bool {
    let is_allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// Our variables among those of the process, as settings. One that is none is left out with a warning: a misspelt one
/// must not pass unseen, and one of a later version must not stop this one.
///
/// Values are taken as text, whatever they look like: a key `0012345678` is no number.
fn variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    warnings: &mut Vec<String>,
) -> Result<Vec<(String, Value)>> {
    let defaults = config::Config::builder().add_source(File::from_str(DEFAULT, FileFormat::Toml)).build()?;
    let mut settings = Vec::new();
    for (name, value) in environment {
        let name = name.to_string_lossy();
        let Some(key) = name.strip_prefix(PREFIX) else { continue };
        let key = key.to_lowercase().replacen("__", ".", 1);
        let is_of_tests = ["test_kafka", "test_postgres", "test_s3", "test_kills", "test_soak", "update_"]
            .iter()
            .any(|of| key.starts_with(of));
        match (defaults.get::<Value>(&key).ok().map(|default| default.kind), value.into_string()) {
            (None | Some(ValueKind::Table(_)), _) if is_of_tests => {}
            (None | Some(ValueKind::Table(_)), _) => {
                warnings.push(format!("{name} is no setting of this version and has no effect"));
            }
            (Some(_), Err(_)) => warnings.push(format!("{name} is no UTF-8 text and has no effect")),
            (Some(ValueKind::Array(_)), Ok(list)) => {
                let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
                settings.push((key, items.map(str::to_owned).collect::<Vec<_>>().into()));
            }
            (Some(_), Ok(text)) => settings.push((key, text.into())),
        }
    }
    warnings.sort();
    Ok(settings)
}

#[cfg(test)]
mod tests;
