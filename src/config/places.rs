//! Where log, database and lake are: the three addresses, and the two profiles that they may form.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize, Serializer};

use super::Config;

/// An address that may hold a password, which is never printed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Address(pub(crate) String);

impl Address {
    /// The address without its password.
    fn masked(&self) -> String {
        let Some((scheme, rest)) = self.0.split_once("://") else { return self.0.clone() };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let shown = match authority.rsplit_once('@') {
            Some((user, host)) => {
                let (user, password) = user.split_once(':').map_or((user, ""), |(user, _)| (user, ":***"));
                format!("{scheme}://{user}{password}@{host}{path}")
            }
            None => self.0.clone(),
        };
        // Postgres takes a password as a parameter too.
        match shown.find("password=") {
            Some(at) => {
                let end = shown[at..].find('&').map_or(shown.len(), |length| at + length);
                format!("{}password=***{}", &shown[..at], &shown[end..])
            }
            None => shown,
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.masked())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What log, database and lake are together. Other mixes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// A log on disk, SQLite, a folder: one process holds all of them.
    Embedded,
    /// Kafka, Postgres, and a lake that all processes reach.
    Cluster,
}

impl Profile {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Cluster => "cluster",
        }
    }
}

impl Config {
    /// Which profile the three addresses form.
    ///
    /// # Errors
    ///
    /// If they form none, with the reason.
    pub(crate) fn profile(&self) -> Result<Profile> {
        let (log, database, lake) = (&self.log_url.0, &self.warehouse_url, &self.lake_url.0);
        let is_kafka = log.starts_with("kafka://");
        ensure!(
            is_kafka || log.is_empty() || log.starts_with("file:"),
            "log_url is `{}`: it begins with `file:` or `kafka://`, or is empty",
            self.log_url
        );
        let is_postgres = ["postgres://", "postgresql://"].iter().any(|scheme| database.0.starts_with(scheme));
        ensure!(
            is_postgres || database.0.is_empty() || database.0.starts_with("sqlite:"),
            "warehouse_url is `{database}`: it begins with `sqlite:` or `postgres://`, or is empty"
        );
        let is_s3 = lake.starts_with("s3://");
        ensure!(
            is_s3 || lake.is_empty() || lake.starts_with("file:"),
            "lake_url is `{}`: it begins with `file:` or `s3://`, or is empty",
            self.lake_url
        );
        match (is_kafka, is_postgres) {
            (false, false) if is_s3 => bail!(
                "lake_url is `{}`, but log and database are those of the embedded profile, whose lake is a folder: an S3 \
                 lake belongs to the cluster profile (log_url kafka://.., warehouse_url postgres://..)",
                self.lake_url
            ),
            (false, false) => Ok(Profile::Embedded),
            (true, true) => {
                ensure!(
                    !lake.is_empty(),
                    "lake_url is empty: on the cluster profile it names what all processes reach, `s3://bucket/prefix` or \
                     `file:` and a shared folder"
                );
                Ok(Profile::Cluster)
            }
            (true, false) => bail!("log_url is Kafka and warehouse_url is not Postgres: the cluster profile has both"),
            (false, true) => bail!("warehouse_url is Postgres and log_url is not Kafka: the cluster profile has both"),
        }
    }

    /// The folder of the log on disk.
    pub(crate) fn log_folder(&self) -> PathBuf {
        self.place(&self.log_url, "file:", "log")
    }

    /// The database file of the embedded profile.
    pub(crate) fn database_file(&self) -> PathBuf {
        self.place(&self.warehouse_url, "sqlite:", "warehouse.db")
    }

    /// The lake, if it is a folder.
    pub(crate) fn lake_folder(&self) -> PathBuf {
        self.place(&self.lake_url, "file:", "lake")
    }

    /// The folders that this process fills, by what is in them.
    pub(crate) fn disk_places(&self) -> Vec<(&'static str, PathBuf)> {
        let mut places = Vec::new();
        // A process of a cluster keeps nothing in its data directory.
        if self.profile().is_ok_and(|profile| profile == Profile::Embedded) {
            let database = self.database_file().parent().map(PathBuf::from).unwrap_or_default();
            places.extend([("data", self.data_dir.clone()), ("log", self.log_folder()), ("database", database)]);
        }
        if !self.lake_url.0.starts_with("s3://") {
            places.push(("lake", self.lake_folder()));
        }
        places
    }

    /// The brokers, `host:port,host:port`.
    pub(crate) fn brokers(&self) -> &str {
        self.log_url.0.strip_prefix("kafka://").unwrap_or_default().trim_end_matches('/')
    }

    fn place(&self, url: &Address, scheme: &str, default: &str) -> PathBuf {
        match url.0.strip_prefix(scheme) {
            Some(path) => PathBuf::from(path.strip_prefix("//").unwrap_or(path)),
            None => self.data_dir.join(default),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    fn profile(log: &str, warehouse: &str, lake: &str) -> Result<Profile> {
        let variables =
            [("STREAMGAUGE_LOG_URL", log), ("STREAMGAUGE_WAREHOUSE_URL", warehouse), ("STREAMGAUGE_LAKE_URL", lake)];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        Config::load(&Flags::default(), variables)?.config.profile()
    }

    #[test]
    fn two_profiles_are_there_and_mixes_are_refused_with_the_reason() {
        let (kafka, postgres) = ("kafka://a:9092,b:9092", "postgres://u:p@h/db");
        assert_eq!(profile("", "", "").unwrap(), Profile::Embedded);
        assert_eq!(profile("file:/a", "sqlite:/b", "file:/c").unwrap(), Profile::Embedded);
        assert_eq!(profile(kafka, postgres, "s3://bucket/prefix").unwrap(), Profile::Cluster);
        assert_eq!(profile(kafka, postgres, "file:/shared").unwrap(), Profile::Cluster);
        let refused = |log, warehouse, lake| format!("{:#}", profile(log, warehouse, lake).unwrap_err());
        assert!(refused(kafka, "", "").contains("warehouse_url is not Postgres"));
        assert!(refused("", postgres, "").contains("log_url is not Kafka"));
        assert!(refused(kafka, postgres, "").contains("lake_url is empty"));
        assert!(refused("", "", "s3://bucket").contains("belongs to the cluster profile"));
        assert!(refused("amqp://a", "", "").contains("log_url is `amqp://a`"));
        assert!(refused("", "mysql://a", "").contains("warehouse_url is `mysql://a`"));
        assert!(refused("", "", "gs://a").contains("lake_url is `gs://a`"));
    }

    #[test]
    fn a_password_in_an_address_is_never_shown() {
        let shown = |address: &str| Address(address.to_owned()).to_string();
        assert_eq!(
            shown("postgres://u:very_secret@h:5432/db?sslmode=require"),
            "postgres://u:***@h:5432/db?sslmode=require"
        );
        assert_eq!(shown("postgres://h/db?password=very_secret&user=u"), "postgres://h/db?password=***&user=u");
        assert_eq!(shown("postgres://u@h/db"), "postgres://u@h/db");
        assert_eq!(shown("kafka://a:9092,b:9092"), "kafka://a:9092,b:9092");
        assert_eq!(shown("file:/a"), "file:/a");
        let debug = format!("{:?}", Address("postgres://u:very_secret@h/db".into()));
        assert_eq!(debug, "\"postgres://u:***@h/db\"");
    }
}
