//! Configuration: the embedded default file, then a file, then the environment, then flags.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use config::builder::DefaultState;
use config::{ConfigBuilder, Environment, File, FileFormat, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Every setting with its default and its meaning.
const DEFAULT: &str = include_str!("default.toml");
const PREFIX: &str = "STREAMGAUGE";

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
    pub(crate) log_url: String,
    pub(crate) warehouse_url: String,
    pub(crate) lake_url: String,
    pub(crate) upload_key: Secret,
    pub(crate) read_token: Secret,
    pub(crate) log_format: LogFormat,
    pub(crate) test_clock: bool,
    pub(crate) http: HttpConfig,
    pub(crate) auth: AuthConfig,
    pub(crate) ingest: IngestConfig,
    pub(crate) log: LogConfig,
    pub(crate) processor: ProcessorConfig,
    pub(crate) maintenance: MaintenanceConfig,
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
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogConfig {
    pub(crate) partitions: u16,
    pub(crate) retention: Span,
    pub(crate) queue_bytes: Size,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessorConfig {
    pub(crate) commit_interval: Span,
    pub(crate) commit_rows: usize,
    pub(crate) commit_bytes: Size,
    pub(crate) hot_keys: usize,
    pub(crate) state_interval: Span,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MaintenanceConfig {
    pub(crate) interval: Span,
    pub(crate) rollup_delta_age: Span,
    pub(crate) orphan_grace: Span,
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
    pub(crate) fn load(flags: &Flags, environment: HashMap<String, String>) -> Result<Loaded> {
        let mut builder =
            ConfigBuilder::<DefaultState>::default().add_source(File::from_str(DEFAULT, FileFormat::Toml));
        if let Some(file) = &flags.file {
            builder = builder.add_source(File::from(file.as_path()).format(FileFormat::Toml));
        }
        let (known, warnings) = known_variables(environment)?;
        let lists = ["auth.algorithms", "auth.authorized_parties"];
        let mut source = Environment::with_prefix(PREFIX)
            .prefix_separator("_")
            .separator("__")
            .try_parsing(true)
            .list_separator(",")
            .source(Some(known));
        for list in lists {
            source = source.with_list_parse_key(list);
        }
        builder = builder.add_source(source);
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
        for (key, url, allowed) in [
            ("log_url", &self.log_url, "file:"),
            ("warehouse_url", &self.warehouse_url, "sqlite:"),
            ("lake_url", &self.lake_url, "file:"),
        ] {
            ensure!(
                url.is_empty() || url.starts_with(allowed),
                "{key} is `{url}`: this version has the embedded profile only, where it begins with `{allowed}` or is empty"
            );
        }
        ensure!(self.tls_cert.is_empty() == self.tls_key.is_empty(), "tls_cert and tls_key: both or none");
        ensure!(self.log.partitions >= 1 && self.log.partitions <= 1024, "log.partitions is 1 to 1024");
        ensure!(
            self.ingest.max_decoded_bytes.0 >= 8 << 20,
            "ingest.max_decoded_bytes is at least 8MiB: real clients send that much"
        );
        ensure!(self.ingest.tick_interval.0 >= Duration::from_millis(100), "ingest.tick_interval is at least 100ms");
        ensure!(self.maintenance.merge_fan_in >= 2, "maintenance.merge_fan_in is at least 2");
        ensure!(self.query.concurrent >= 1, "query.concurrent is at least 1");
        let sources = [&self.auth.jwks_url, &self.auth.jwks_file, &self.auth.public_key_file];
        let given = sources.iter().filter(|source| !source.is_empty()).count();
        ensure!(given <= 1, "auth: only one of jwks_url, jwks_file and public_key_file");
        ensure!((given == 1) != self.auth.issuer.is_empty(), "auth: an issuer and its keys belong together");
        for key in [&self.upload_key.0, &self.read_token.0] {
            ensure!(key.is_empty() || key.len() >= 8, "upload_key and read_token have at least 8 characters");
        }
        Ok(())
    }

    /// The folder of the log.
    pub(crate) fn log_folder(&self) -> PathBuf {
        self.place(&self.log_url, "file:", "log")
    }

    /// The database file.
    pub(crate) fn database_file(&self) -> PathBuf {
        self.place(&self.warehouse_url, "sqlite:", "warehouse.db")
    }

    /// The lake folder.
    pub(crate) fn lake_folder(&self) -> PathBuf {
        self.place(&self.lake_url, "file:", "lake")
    }

    fn place(&self, url: &str, scheme: &str, default: &str) -> PathBuf {
        match url.strip_prefix(scheme) {
            Some(path) => PathBuf::from(path.strip_prefix("//").unwrap_or(path)),
            None => self.data_dir.join(default),
        }
    }

    /// All settings as TOML, secrets masked.
    pub(crate) fn show(&self) -> Result<String> {
        toml::to_string_pretty(self).context("print the configuration")
    }
}

/// Our variables among those of the process. One that is no setting is left out with a warning: a misspelt one must not
/// pass unseen, and one of a later version must not stop this one.
fn known_variables(environment: HashMap<String, String>) -> Result<(HashMap<String, String>, Vec<String>)> {
    let defaults = config::Config::builder().add_source(File::from_str(DEFAULT, FileFormat::Toml)).build()?;
    let tree: HashMap<String, Value> = defaults.try_deserialize()?;
    let mut known = HashMap::new();
    let mut warnings = Vec::new();
    for (name, value) in environment {
        let Some(key) = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('_')) else { continue };
        let key = key.to_lowercase();
        let is_setting = match key.split_once("__") {
            None => tree.get(&key).is_some_and(|value| value.clone().into_table().is_err()),
            Some((section, key)) => tree
                .get(section)
                .is_some_and(|section| section.clone().into_table().is_ok_and(|table| table.contains_key(key))),
        };
        if is_setting {
            if value.contains('\0') {
                bail!("{name} holds a NUL");
            }
            known.insert(name, value);
        } else if !key.starts_with("test_kafka") && !key.starts_with("test_postgres") && !key.starts_with("update_") {
            warnings.push(format!("{name} is no setting of this version and has no effect"));
        }
    }
    warnings.sort();
    Ok((known, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<Loaded> {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::load(&Flags::default(), environment)
    }

    #[test]
    fn the_default_file_is_complete_and_what_is_shown_is_read_again() {
        let config = load(&[]).unwrap().config;
        assert_eq!(config.ingest.max_body_bytes, Size(16 << 20));
        assert_eq!(config.log.retention, Span(Duration::from_secs(7 * 86_400)));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shown.toml");
        std::fs::write(&file, config.show().unwrap()).unwrap();
        let again = Config::load(&Flags { file: Some(file), ..Flags::default() }, HashMap::new()).unwrap().config;
        assert_eq!(again.show().unwrap(), config.show().unwrap());
    }

    #[test]
    fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        std::fs::write(&file, "data_dir = \"/file\"\n[log]\npartitions = 7\n[query]\nconcurrent = 9\n").unwrap();
        let flags = Flags { file: Some(file), data_dir: Some("/flag".into()), test_clock: false };
        let environment = [
            ("STREAMGAUGE_DATA_DIR".to_owned(), "/env".to_owned()),
            ("STREAMGAUGE_LOG__PARTITIONS".to_owned(), "5".to_owned()),
            ("STREAMGAUGE_AUTH__ALGORITHMS".to_owned(), "RS256,ES256".to_owned()),
        ];
        let config = Config::load(&flags, environment.into()).unwrap().config;
        assert_eq!(config.data_dir, PathBuf::from("/flag"));
        assert_eq!((config.log.partitions, config.query.concurrent), (5, 9));
        assert_eq!(config.auth.algorithms, ["RS256", "ES256"]);
    }

    #[test]
    fn secrets_are_never_shown() {
        let config = load(&[("STREAMGAUGE_UPLOAD_KEY", "sgk_very_secret")]).unwrap().config;
        assert!(!config.show().unwrap().contains("very_secret"));
        assert!(!format!("{config:?}").contains("very_secret"));
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_reason() {
        let refused = |variables: &[(&str, &str)]| format!("{:#}", load(variables).unwrap_err());
        assert!(refused(&[("STREAMGAUGE_LOG_URL", "kafka://b:9092")]).contains("embedded profile only"));
        assert!(refused(&[("STREAMGAUGE_INGEST__BODY_DEADLINE", "soon")]).contains("no duration"));
        assert!(refused(&[("STREAMGAUGE_INGEST__MAX_BODY_BYTES", "many")]).contains("no size"));
        assert!(refused(&[("STREAMGAUGE_TLS_CERT", "cert.pem")]).contains("both or none"));
        assert!(refused(&[("STREAMGAUGE_AUTH__ISSUER", "https://x")]).contains("belong together"));
        let warned = load(&[("STREAMGAUGE_HTPP_ADDR", "x"), ("STREAMGAUGE_TEST_KAFKA", "1")]).unwrap().warnings;
        assert_eq!(warned, ["STREAMGAUGE_HTPP_ADDR is no setting of this version and has no effect"]);
    }
}
