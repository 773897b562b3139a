//! What can be set, and what it becomes in the words of the client library.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use schemas::record::FRAME_MAX_BYTES;
use serde::{Deserialize, Serialize};

use super::KafkaOpenError;
use crate::Partition;

/// What a topic takes per record: the largest frame, and what Kafka adds to it.
pub(super) const MESSAGE_MAX_BYTES: usize = FRAME_MAX_BYTES + (64 << 10);

/// How batches of records are compressed on their way to the brokers and on their disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum Compression {
    /// Not at all. The default: a record's content is compressed already where that saves space, so a second pass costs
    /// ingest time and saves little.
    #[default]
    None,
    /// LZ4.
    Lz4,
    /// Zstandard: where the network to the brokers, or their disks, are dearer than ingest's time.
    Zstd,
}

impl Compression {
    /// The word in a configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl TryFrom<String> for Compression {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        let all = [Self::None, Self::Lz4, Self::Zstd];
        let named = all.into_iter().find(|compression| compression.as_str() == word);
        named.ok_or_else(|| format!("`{word}` is no compression: none, lz4 or zstd"))
    }
}

/// Settings of a [`super::KafkaLog`].
#[derive(Clone)]
pub struct KafkaLogConfig {
    /// Brokers to begin with, `host:port[,host:port..]`.
    pub bootstrap: String,
    /// The topic; created if it is missing.
    pub topic: String,
    /// The consumer group of the readers.
    pub group: String,
    /// Number of partitions; must be what the topic was created with.
    pub partitions: Partition,
    /// Replicas of each partition; the topic may have more.
    pub replication: u16,
    /// An append needs so many replicas in sync (`min.insync.replicas`); the topic may ask for more.
    pub min_in_sync: u16,
    /// The brokers keep records this long by their log time (`retention.ms`). Must be longer than the processor is ever
    /// behind: what it has not read is not spared.
    pub retention: Duration,
    /// Appends beyond this many bytes waiting for the brokers are refused as [`crate::AppendError::Overloaded`].
    pub queue_bytes: usize,
    /// A consumer reads this many bytes ahead of its polls.
    pub read_ahead_bytes: usize,
    /// An append that the brokers did not confirm in this time fails as [`crate::AppendError::Unavailable`].
    pub append_timeout: Duration,
    /// An append waits this long for others to go with it.
    pub linger: Duration,
    /// Compression of batches.
    pub compression: Compression,
    /// A consumer that was not heard of for this long is taken for dead: its partitions go to others.
    pub session_timeout: Duration,
    /// The same for one that is heard of but does not poll; it also bounds how long it may take to give partitions up.
    pub poll_timeout: Duration,
    /// Opening waits this long for brokers.
    pub connect_timeout: Duration,
    /// Closing waits this long: for appends under way, and for the group to be left.
    pub close_timeout: Duration,
    /// More properties of the client library: `security.protocol`, `ssl.*`, `sasl.*` and the like. Those that the log
    /// depends on are refused.
    pub properties: BTreeMap<String, String>,
}

impl KafkaLogConfig {
    /// The defaults: topic `events` of 8 partitions, 3 replicas of which 2 must be in sync, 7 days of retention, a queue of
    /// 64 MiB, and a second until an append fails.
    #[must_use]
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            topic: "events".into(),
            group: "streamgauge".into(),
            partitions: 8,
            replication: 3,
            min_in_sync: 2,
            retention: Duration::from_secs(7 * 86_400),
            queue_bytes: 64 << 20,
            read_ahead_bytes: 16 << 20,
            append_timeout: Duration::from_secs(1),
            linger: Duration::from_millis(5),
            compression: Compression::None,
            session_timeout: Duration::from_secs(10),
            poll_timeout: Duration::from_secs(300),
            connect_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            properties: BTreeMap::new(),
        }
    }

    /// Refuses properties that the log depends on, and ways to log in that it has not. Opening does the same.
    ///
    /// # Errors
    ///
    /// [`KafkaOpenError::Property`], [`KafkaOpenError::Mechanism`].
    pub fn check(&self) -> Result<(), KafkaOpenError> {
        if let Some(name) = self.properties.keys().find(|name| OURS.contains(&name.as_str())) {
            return Err(KafkaOpenError::Property(name.clone()));
        }
        let value = |name: &str| self.properties.get(name).map(String::as_str);
        let has_login = value("security.protocol").is_some_and(|name| name.to_ascii_uppercase().starts_with("SASL"));
        let mechanism = value("sasl.mechanism").or_else(|| value("sasl.mechanisms"));
        match mechanism.or(has_login.then_some("not set")) {
            Some(other) if !MECHANISMS.contains(&other) => Err(KafkaOpenError::Mechanism(other.to_owned())),
            _ => Ok(()),
        }
    }

    /// What no log line and no error may show.
    pub(super) fn secrets(&self) -> Vec<String> {
        let secret = self.properties.iter().filter(|(name, value)| is_secret_property(name) && !value.is_empty());
        secret.map(|(_, value)| value.clone()).collect()
    }

    /// What all clients have in common.
    pub(super) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        for (name, value) in &self.properties {
            client.set(name, value);
        }
        client.set("bootstrap.servers", &self.bootstrap);
        client.set("client.id", "streamgauge");
        // A broker that is back is found within a second.
        client.set("reconnect.backoff.max.ms", "1000");
        client.set("log.connection.close", "false");
        client.set_log_level(RDKafkaLogLevel::Info);
        client
    }

    pub(super) fn producer(&self) -> ClientConfig {
        let mut client = self.client();
        client.set("enable.idempotence", "true");
        client.set("acks", "all");
        client.set("message.timeout.ms", self.append_timeout.as_millis().to_string());
        client.set("linger.ms", self.linger.as_millis().to_string());
        client.set("compression.type", self.compression.as_str());
        client.set("message.max.bytes", MESSAGE_MAX_BYTES.to_string());
        // Our own count of bytes refuses first, before any record of an append is taken.
        client.set("queue.buffering.max.kbytes", (self.queue_bytes / 1024 + 1024).to_string());
        client.set("queue.buffering.max.messages", "0");
        client.set("statistics.interval.ms", "5000");
        client
    }

    pub(super) fn consumer(&self) -> ClientConfig {
        let mut client = self.client();
        client.set("group.id", &self.group);
        client.set("enable.auto.commit", "false");
        client.set("enable.auto.offset.store", "false");
        // Who joins or leaves moves a few partitions, and the others are read on meanwhile.
        client.set("partition.assignment.strategy", "cooperative-sticky");
        client.set("auto.offset.reset", "error");
        client.set("isolation.level", "read_uncommitted");
        client.set("check.crcs", "true");
        client.set("session.timeout.ms", self.session_timeout.as_millis().to_string());
        client.set("heartbeat.interval.ms", (self.session_timeout.as_millis() / 4).clamp(100, 3000).to_string());
        client.set("max.poll.interval.ms", self.poll_timeout.max(self.session_timeout).as_millis().to_string());
        client.set("queued.max.messages.kbytes", (self.read_ahead_bytes / 1024).max(1).to_string());
        // A tenth of a second of waiting is nothing to a commit a second, and spares brokers an answer to each append.
        client.set("fetch.min.bytes", "65536");
        client.set("fetch.wait.max.ms", "100");
        client.set("fetch.error.backoff.ms", "100");
        client
    }
}

/// Ways to log in that the library is built with, and that need nothing but a name and a password.
const MECHANISMS: [&str; 3] = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"];

/// Properties that promises of the log depend on, under all their names.
const OURS: [&str; 41] = [
    "acks",
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "bootstrap.servers",
    "check.crcs",
    "client.id",
    "compression.codec",
    "compression.type",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "fetch.error.backoff.ms",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "linger.ms",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "max.poll.interval.ms",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queued.max.messages.kbytes",
    "request.required.acks",
    "session.timeout.ms",
    "statistics.interval.ms",
    "transactional.id",
    "transaction.timeout.ms",
];

/// Whether a property's value must not be shown. `sasl.username` is a name, `ssl.key.location` a path, but both may tell
/// more than a log should: only what is known to be harmless is shown.
#[must_use]
pub fn is_secret_property(name: &str) -> bool {
    const SHOWN: [&str; 5] = [
        "security.protocol",
        "sasl.mechanism",
        "sasl.mechanisms",
        "ssl.ca.location",
        "ssl.endpoint.identification.algorithm",
    ];
    // A misspelt one is none of the library's, and may hold a secret all the same.
    let tells = ["password", "secret", "token"].iter().any(|word| name.contains(word));
    tells || ((name.starts_with("sasl.") || name.starts_with("ssl.")) && !SHOWN.contains(&name))
}

impl fmt::Debug for KafkaLogConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(name, value): (&String, &String)| {
            (name.clone(), if is_secret_property(name) { "***".to_owned() } else { value.clone() })
        };
        let properties: BTreeMap<String, String> = self.properties.iter().map(shown).collect();
        f.debug_struct("KafkaLogConfig")
            .field("bootstrap", &self.bootstrap)
            .field("topic", &self.topic)
            .field("group", &self.group)
            .field("partitions", &self.partitions)
            .field("replication", &self.replication)
            .field("min_in_sync", &self.min_in_sync)
            .field("retention", &self.retention)
            .field("properties", &properties)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> KafkaLogConfig {
        let mut config = KafkaLogConfig::new("127.0.0.1:1");
        config.properties.insert(name.into(), value.into());
        config
    }

    #[test]
    fn what_the_log_depends_on_is_refused_by_name() {
        for name in OURS {
            assert_eq!(with(name, "1").check(), Err(KafkaOpenError::Property(name.into())));
        }
        assert_eq!(with("security.protocol", "SSL").check(), Ok(()));
        assert_eq!(KafkaOpenError::Property("acks".into()).to_string(), "property `acks` is set by the program itself");
    }

    #[test]
    fn a_way_to_log_in_that_is_not_there_is_refused_by_name() {
        for name in MECHANISMS {
            assert_eq!(with("sasl.mechanism", name).check(), Ok(()));
        }
        for (name, value, found) in [
            ("sasl.mechanism", "GSSAPI", "GSSAPI"),
            ("sasl.mechanisms", "OAUTHBEARER", "OAUTHBEARER"),
            ("security.protocol", "sasl_ssl", "not set"),
        ] {
            assert_eq!(with(name, value).check(), Err(KafkaOpenError::Mechanism(found.into())));
        }
        let told = KafkaOpenError::Mechanism("GSSAPI".into()).to_string();
        assert_eq!(told, "property `sasl.mechanism` is GSSAPI: SCRAM-SHA-512, SCRAM-SHA-256 and PLAIN are there");
    }

    #[test]
    fn every_property_that_is_set_is_among_those_refused() {
        let config = KafkaLogConfig::new("127.0.0.1:1");
        let free = ["reconnect.backoff.max.ms", "log.connection.close"];
        for client in [config.producer(), config.consumer()] {
            for name in client.config_map().keys() {
                assert!(OURS.contains(name) || free.contains(name), "{name}");
            }
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = with("sasl.password", "hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(format!("{:?}", with("security.protocol", "SASL_SSL")).contains("SASL_SSL"));
        assert_eq!(config.secrets(), ["hunter2"]);
    }
}
