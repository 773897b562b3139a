//! TLS, logins and rights at the brokers.

use super::broker::Broker;
use super::*;

/// Why the log cannot be opened with these properties instead of the right ones. The text must hold none of the secrets.
async fn refusal(config: &KafkaLogConfig, other: &[(&str, &str)]) -> String {
    let mut config = KafkaLogConfig { connect_timeout: Duration::from_secs(2), ..config.clone() };
    for (name, value) in other {
        config.properties.insert((*name).to_owned(), (*value).to_owned());
    }
    let refused = KafkaLog::open(config.clone()).await.unwrap_err().to_string();
    if let Some(password) = config.properties.get("sasl.password") {
        assert!(!refused.contains(password) && !format!("{config:?}").contains(password), "{refused}");
    }
    refused
}

/// A secure cluster that takes these ways to log in; `None` where there are no brokers.
fn secured(mechanisms: &str) -> Option<Broker> {
    config(2).map(|_| Broker::secured(mechanisms))
}

/// The configuration for a way into a cluster, whose address and properties are in this folder of it.
fn into(broker: &Broker, folder: &str) -> KafkaLogConfig {
    let mut config = config(2).unwrap();
    config.bootstrap = broker.file(&format!("{folder}/bootstrap"));
    (config.replication, config.min_in_sync) = (1, 1);
    let properties = broker.file(&format!("{folder}/properties"));
    let properties = properties.split(',').map(|property| property.split_once('=').unwrap());
    config.properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    config
}

/// Appends records to the log of this configuration and reads them back as one of its group.
async fn records_come_and_go(config: &KafkaLogConfig) {
    let log = KafkaLog::open(config.clone()).await.unwrap();
    let at = log.append(vec![record(0, "a"), record(1, "b")]).await.unwrap();
    let mut consumer = log.subscribe();
    assert_eq!(next(consumer.as_mut()).await, Polled::Assigned(vec![0, 1]));
    let mut of_all: BTreeMap<Partition, Position> = (0..).zip(at).collect();
    for (partition, position) in of_all.clone() {
        consumer.start_at(partition, position).unwrap();
    }
    let until = of_all[&0] + 1;
    read_to(consumer.as_mut(), &mut of_all, until).await;
    consumer.note_committed(0, until);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_and_a_password_records_come_and_go_and_what_is_wrong_is_named() {
    let Some(broker) = secured("SCRAM-SHA-512,SCRAM-SHA-256,PLAIN") else { return };
    let config = into(&broker, "secure");
    for mechanism in ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] {
        let mut config = config.clone();
        config.properties.insert("sasl.mechanism".into(), mechanism.into());
        records_come_and_go(&config).await;
        let wrong_password = refusal(&config, &[("sasl.password", "hunter2")]).await;
        assert!(wrong_password.contains("`sasl.username` and `sasl.password`"), "{mechanism}: {wrong_password}");
    }
    // Of another cluster: it vouches for nobody here.
    let stranger = Broker::authority();
    let unknown_authority = refusal(&config, &[("ssl.ca.location", stranger.path().to_str().unwrap())]).await;
    assert!(unknown_authority.contains("ssl.ca.location"), "{unknown_authority}");
    let no_authority = refusal(&config, &[("ssl.ca.location", "/nowhere/ca.pem")]).await;
    assert!(no_authority.contains("ssl.ca.location"), "{no_authority}");
    let no_tls = refusal(&config, &[("security.protocol", "SASL_PLAINTEXT")]).await;
    assert!(no_tls.contains("security.protocol"), "{no_tls}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_certificate_and_a_few_rights_records_come_and_go_and_what_is_missing_is_named() {
    let Some(broker) = secured("SCRAM-SHA-512") else { return };
    let not_of_the_brokers = refusal(&into(&broker, "secure"), &[("sasl.mechanism", "PLAIN")]).await;
    assert!(not_of_the_brokers.contains("`sasl.mechanism`"), "{not_of_the_brokers}");

    let config = into(&broker, "secure/certificate");
    let no_rights = refusal(&config, &[]).await;
    assert!(no_rights.starts_with(&format!("create topic `{}`: ", config.topic)), "{no_rights}");
    assert!(no_rights.contains("Topic authorization failed") && no_rights.contains("docs/kafka.md"), "{no_rights}");
    broker.kafka("grant", &[&config.topic, &config.group]);
    records_come_and_go(&config).await;

    // The rights are those on this topic and of this group, and not of all.
    let other_topic = KafkaLogConfig { topic: format!("{}-other", config.topic), ..config.clone() };
    let no_rights = refusal(&other_topic, &[]).await;
    assert!(no_rights.contains("Topic authorization failed"), "{no_rights}");
    let log = KafkaLog::open(KafkaLogConfig { group: "others".into(), ..config.clone() }).await.unwrap();
    let refused = log.subscribe().poll(1 << 20, AT_LAST).await.unwrap_err().to_string();
    assert!(refused.contains("Group authorization failed") && refused.contains("docs/kafka.md"), "{refused}");

    // Who shows no certificate is nobody.
    let mut nobody = config;
    nobody.properties.retain(|name, _| !name.starts_with("ssl.certificate") && !name.starts_with("ssl.key"));
    let nobody = refusal(&nobody, &[]).await;
    assert!(nobody.contains("`ssl.certificate.location`"), "{nobody}");
}
