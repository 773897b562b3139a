//! The topic: created if it is missing, unless it is only looked at; else checked against the configuration.

use std::fmt::Display;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use tokio::runtime::Handle;

use super::identity::topic_id;
use super::producer::Producer;
use super::ranges::watermarks;
use super::report::{masked, refusal};
use super::settings::MESSAGE_MAX_BYTES;
use super::{KafkaLogConfig, KafkaOpenError};
use crate::{Partition, PartitionRange};

/// One request to the brokers; what fails in this time is tried again until the whole time is over.
const REQUEST: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// What is known of a topic that is as it should be.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) identity: String,
    pub(super) ranges: Vec<PartitionRange>,
}

/// Creates the topic or checks it.
pub(super) fn ensure(config: &KafkaLogConfig, producer: &Producer, runtime: &Handle) -> Result<Topic, KafkaOpenError> {
    let setup = Setup::new(config, producer, runtime)?;
    if setup.find()?.is_none() {
        setup.create()?;
    }
    setup.take_stock()
}

/// Checks the topic, if there is one.
pub(super) fn look(
    config: &KafkaLogConfig,
    producer: &Producer,
    runtime: &Handle,
) -> Result<Option<Topic>, KafkaOpenError> {
    let setup = Setup::new(config, producer, runtime)?;
    setup.find()?.map(|_| setup.take_stock()).transpose()
}

/// What a cluster tells of a topic.
struct Found {
    /// Replicas of each partition.
    replicas: Vec<usize>,
    has_leaders: bool,
}

struct Setup<'a> {
    config: &'a KafkaLogConfig,
    /// Asks the brokers, and hears why they do not answer.
    producer: &'a Producer,
    runtime: &'a Handle,
    admin: AdminClient<DefaultClientContext>,
    until: Instant,
}

impl<'a> Setup<'a> {
    fn new(config: &'a KafkaLogConfig, producer: &'a Producer, runtime: &'a Handle) -> Result<Self, KafkaOpenError> {
        let admin = config.client().create().map_err(|error| client_error(config, &error))?;
        Ok(Self { config, producer, runtime, admin, until: Instant::now() + config.connect_timeout })
    }

    /// Checks a topic that is there, and reads what it holds.
    fn take_stock(&self) -> Result<Topic, KafkaOpenError> {
        let Self { config, producer, .. } = self;
        let found = self.wait_for_leaders()?;
        self.check(&found)?;
        let name = &config.topic;
        let identity = self.ask("identify", || producer.with_client(|client| topic_id(client, name, REQUEST)))?;
        let range = |partition| {
            let seen = || producer.with_client(|client| watermarks(client, name, partition, REQUEST));
            self.ask("read the ends of", seen)
        };
        let ranges = (0..config.partitions).map(range).collect::<Result<_, _>>()?;
        Ok(Topic { identity, ranges })
    }

    fn options() -> AdminOptions {
        AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST))
    }

    fn unreachable(&self, why: &impl Display) -> KafkaOpenError {
        // The library says why it could not connect or log in as an event, and answers the call with a time-out only.
        let why = self.producer.last_error().unwrap_or_else(|| why.to_string());
        KafkaOpenError::Unreachable { bootstrap: self.config.bootstrap.clone(), why }
    }

    fn refused(&self, what: &'static str, why: impl Display) -> KafkaOpenError {
        let why = masked(&self.config.secrets(), &refusal(&why.to_string()));
        KafkaOpenError::Topic { what, topic: self.config.topic.clone(), why }
    }

    /// Whether there is time for another try, after a pause.
    fn try_again(&self) -> bool {
        std::thread::sleep(PAUSE);
        Instant::now() < self.until
    }

    /// Asks until there is an answer. The leader of a new partition refuses until it knows that it is one.
    fn ask<T, E: Display>(
        &self,
        what: &'static str,
        mut ask: impl FnMut() -> Result<T, E>,
    ) -> Result<T, KafkaOpenError> {
        loop {
            match ask() {
                Ok(answer) => return Ok(answer),
                Err(why) if !self.try_again() => return Err(self.refused(what, why)),
                Err(_) => {}
            }
        }
    }

    /// The topic, if there is one. All topics are asked for: asking for one by name makes brokers that create topics by
    /// themselves create it, with settings of theirs.
    fn find(&self) -> Result<Option<Found>, KafkaOpenError> {
        let metadata = loop {
            let left = self.until.saturating_duration_since(Instant::now()).clamp(PAUSE, REQUEST);
            match self.producer.with_client(|client| client.fetch_metadata(None, left)) {
                Ok(metadata) => break metadata,
                Err(error) if !self.try_again() => return Err(self.unreachable(&error)),
                Err(_) => {}
            }
        };
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.config.topic);
        let is_there = |error: Option<RDKafkaRespErr>| {
            !matches!(error, Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART))
        };
        Ok(topic.filter(|topic| is_there(topic.error())).map(|topic| Found {
            replicas: topic.partitions().iter().map(|partition| partition.replicas().len()).collect(),
            has_leaders: topic.partitions().iter().all(|partition| partition.leader() >= 0),
        }))
    }

    /// Creates the topic. That another process was faster is as good.
    fn create(&self) -> Result<(), KafkaOpenError> {
        let config = self.config;
        let retention = config.retention.as_millis().to_string();
        let min_in_sync = config.min_in_sync.to_string();
        let max_bytes = MESSAGE_MAX_BYTES.to_string();
        let topic =
            NewTopic::new(&config.topic, config.partitions.into(), TopicReplication::Fixed(config.replication.into()))
                .set("cleanup.policy", "delete")
                .set("retention.ms", &retention)
                .set("retention.bytes", "-1")
                .set("max.message.bytes", &max_bytes)
                .set("min.insync.replicas", &min_in_sync)
                // A replica that lacks confirmed records must not become the leader.
                .set("unclean.leader.election.enable", "false")
                .set("message.timestamp.type", "CreateTime")
                // The time of a record is our server's: what a broker's clock thinks of it must not refuse uploads.
                .set("message.timestamp.after.max.ms", "9223372036854775807");
        loop {
            let created = self.runtime.block_on(self.admin.create_topics([&topic], &Self::options()));
            let error = match created {
                Ok(results) => match results.into_iter().next() {
                    None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => return Ok(()),
                    // Too few brokers so far: they may be starting as we are.
                    Some(Err((_, RDKafkaErrorCode::InvalidReplicationFactor))) => {
                        format!("there are fewer brokers than {} replicas", config.replication)
                    }
                    Some(Err((_, code))) => return Err(self.refused("create", code)),
                },
                Err(error) => error.to_string(),
            };
            if !self.try_again() {
                return Err(self.refused("create", error));
            }
        }
    }

    /// A new topic is known to all brokers, and has leaders, after a moment.
    fn wait_for_leaders(&self) -> Result<Found, KafkaOpenError> {
        loop {
            let why = match self.find()? {
                Some(found) if found.has_leaders => return Ok(found),
                Some(_) => "a partition has no leader",
                None => "it was created, and no broker knows it",
            };
            if !self.try_again() {
                return Err(self.refused("use", why));
            }
        }
    }

    fn check(&self, found: &Found) -> Result<(), KafkaOpenError> {
        let Self { config, .. } = self;
        let name = ResourceSpecifier::Topic(&config.topic);
        let describe = || {
            let described = self.runtime.block_on(self.admin.describe_configs([&name], &Self::options()));
            let described = described.map_err(|error| error.to_string())?.into_iter().next();
            // A broker that has not heard of a new topic yet knows no settings of it.
            match described {
                Some(Ok(described)) if !described.entries.is_empty() => Ok(described),
                Some(Err(code)) => Err(code.to_string()),
                _ => Err("no broker tells its settings".to_owned()),
            }
        };
        let described = self.ask("describe", describe)?;
        match difference(config, &found.replicas, &described) {
            None => Ok(()),
            Some((setting, found, wanted)) => {
                Err(KafkaOpenError::Mismatch { topic: config.topic.clone(), setting, found, wanted })
            }
        }
    }
}

/// Why a client could not be made, without the value of what it did not take.
pub(super) fn client_error(config: &KafkaLogConfig, error: &KafkaError) -> KafkaOpenError {
    let text = match error {
        KafkaError::ClientConfig(_, why, property, _) => format!("property `{property}`: {why}"),
        error => error.to_string(),
    };
    KafkaOpenError::Client(masked(&config.secrets(), &text))
}

/// The first setting that is not as configured, with what was found and what is wanted.
fn difference(
    config: &KafkaLogConfig,
    replicas: &[usize],
    described: &ConfigResource,
) -> Option<(&'static str, String, String)> {
    let differs =
        |setting, found: &dyn Display, wanted: &dyn Display| Some((setting, found.to_string(), wanted.to_string()));
    // The partition of an event would change.
    if replicas.len() != usize::from(config.partitions) {
        return differs("partitions", &replicas.len(), &config.partitions);
    }
    if let Some(few) = replicas.iter().find(|replicas| **replicas < usize::from(config.replication)) {
        return differs("replication.factor", few, &config.replication);
    }
    let value = |setting: &str| described.get(setting).and_then(|entry| entry.value.clone()).unwrap_or_default();
    let exact = [
        // Compaction leaves gaps between positions, and forgets records by their keys.
        ("cleanup.policy", "delete".to_owned()),
        ("retention.ms", config.retention.as_millis().to_string()),
        // Records would go early when many come.
        ("retention.bytes", "-1".to_owned()),
        // Confirmed records would be lost.
        ("unclean.leader.election.enable", "false".to_owned()),
        // Retention would go by the brokers' clocks.
        ("message.timestamp.type", "CreateTime".to_owned()),
    ];
    for (setting, wanted) in exact {
        let found = value(setting);
        if found != wanted {
            return differs(setting, &found, &wanted);
        }
    }
    let at_least = [("max.message.bytes", MESSAGE_MAX_BYTES), ("min.insync.replicas", config.min_in_sync.into())];
    for (setting, wanted) in at_least {
        let found = value(setting);
        if found.parse::<usize>().map_or(true, |found| found < wanted) {
            return differs(setting, &found, &format!("at least {wanted}"));
        }
    }
    None
}

/// The library's number of a partition.
pub(super) fn number(partition: Partition) -> i32 {
    partition.into()
}
