//! TLS and SASL to the brokers.

use super::broker::Broker;
use super::*;

/// Why the log cannot be opened with these properties instead of the right ones. The text must hold none of the secrets.
async fn refusal(config: &KafkaLogConfig, other: &[(&str, &str)]) -> String {
    let mut config = KafkaLogConfig { connect_timeout: Duration::from_secs(2), ..config.clone() };
    for (name, value) in other {
        config.properties.insert((*name).to_owned(), (*value).to_owned());
    }
    let refused = KafkaLog::open(config.clone()).await.unwrap_err().to_string();
    let password = &config.properties["sasl.password"];
    assert!(!refused.contains(password) && !format!("{config:?}").contains(password), "{refused}");
    refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_and_a_password_records_come_and_go_and_what_is_wrong_is_named() {
    let Some(mut config) = config(2) else { return };
    let broker = Broker::start(true);
    config.bootstrap = broker.file("secure/bootstrap");
    (config.replication, config.min_in_sync) = (1, 1);
    let properties = broker.file("secure/properties");
    let properties = properties.split(',').map(|property| property.split_once('=').unwrap());
    config.properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();

    let log = KafkaLog::open(config.clone()).await.unwrap();
    assert_eq!(log.append(vec![record(0, "a"), record(1, "b")]).await, Ok(vec![0, 0]));
    let mut consumer = log.subscribe();
    assert_eq!(next(consumer.as_mut()).await, Polled::Assigned(vec![0, 1]));
    let mut of_all = BTreeMap::from([(0, 0), (1, 0)]);
    for partition in 0..2 {
        consumer.start_at(partition, 0).unwrap();
    }
    read_to(consumer.as_mut(), &mut of_all, 1).await;
    drop(consumer);
    drop(log);

    let wrong_password = refusal(&config, &[("sasl.password", "hunter2")]).await;
    assert!(wrong_password.contains("`sasl.username` and `sasl.password`"), "{wrong_password}");
    let not_of_the_brokers = refusal(&config, &[("sasl.mechanism", "PLAIN")]).await;
    assert!(not_of_the_brokers.contains("`sasl.mechanism`"), "{not_of_the_brokers}");
    // Of another cluster: it vouches for nobody here.
    let stranger = Broker::authority();
    let unknown_authority = refusal(&config, &[("ssl.ca.location", stranger.path().to_str().unwrap())]).await;
    assert!(unknown_authority.contains("ssl.ca.location"), "{unknown_authority}");
    let no_authority = refusal(&config, &[("ssl.ca.location", "/nowhere/ca.pem")]).await;
    assert!(no_authority.contains("ssl.ca.location"), "{no_authority}");
    let no_tls = refusal(&config, &[("security.protocol", "SASL_PLAINTEXT")]).await;
    assert!(no_tls.contains("security.protocol"), "{no_tls}");
}
