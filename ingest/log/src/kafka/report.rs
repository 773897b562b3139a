//! What the client library says on its own: to the log, without secrets, and not over and over.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{KafkaLogConfig, lock};

/// The same error is a warning once in this time. A broker that is away is tried again every second.
const REPEAT: Duration = Duration::from_secs(30);

/// Passes on what one client says.
#[derive(Debug)]
pub(super) struct Report {
    client: &'static str,
    secrets: Vec<String>,
    warned: Mutex<HashMap<String, Instant>>,
    last: Mutex<Option<String>>,
}

impl Report {
    pub(super) fn new(client: &'static str, config: &KafkaLogConfig) -> Self {
        Self { client, secrets: config.secrets(), warned: Mutex::default(), last: Mutex::default() }
    }

    /// A line of the library's log.
    pub(super) fn line(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let text = self.masked(text);
        if level as i32 <= RDKafkaLogLevel::Warning as i32 {
            self.warn(facility, &text);
        } else {
            tracing::debug!(kafka.client = self.client, kafka.facility = facility, "{text}");
        }
    }

    /// An error that no call asked for: a connection that broke, a login that was refused. The library tries again.
    pub(super) fn error(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        let text = told(code, self.masked(reason));
        // That all brokers are down follows from what was told before of each, and says less. A broker that only hangs up, as
        // one with TLS does for who comes without, is told in no other way.
        match code {
            Some(RDKafkaErrorCode::AllBrokersDown) => _ = lock(&self.last).get_or_insert_with(|| text.clone()),
            _ => *lock(&self.last) = Some(text.clone()),
        }
        let kind = code.map_or_else(|| "error".to_owned(), |code| format!("{code:?}"));
        self.warn(&kind, &text);
    }

    fn warn(&self, kind: &str, text: &str) {
        let now = Instant::now();
        let mut warned = lock(&self.warned);
        if warned.get(kind).is_some_and(|at| now.duration_since(*at) < REPEAT) {
            tracing::debug!(kafka.client = self.client, kafka.facility = kind, "{text}");
        } else {
            warned.insert(kind.to_owned(), now);
            tracing::warn!(kafka.client = self.client, kafka.facility = kind, "{text}");
        }
    }

    /// The last error, for who has waited in vain.
    pub(super) fn last(&self) -> Option<String> {
        lock(&self.last).clone()
    }

    /// A text without the values of secret properties.
    fn masked(&self, text: &str) -> String {
        masked(&self.secrets, text)
    }
}

/// The library's text, with the properties to look at where it does not name them.
fn told(code: Option<RDKafkaErrorCode>, text: String) -> String {
    match code {
        Some(RDKafkaErrorCode::Authentication) => {
            format!("{text}: see properties `sasl.mechanism`, `sasl.username` and `sasl.password`")
        }
        Some(RDKafkaErrorCode::AllBrokersDown) => format!("{text}, or speak another `security.protocol`"),
        // Most failures of TLS come as any broken connection does.
        code if code == Some(RDKafkaErrorCode::SSL)
            || ["SSL_HANDSHAKE", "SSL routines"].iter().any(|sign| text.contains(sign)) =>
        {
            format!(
                "{text}: see `security.protocol`, `ssl.ca.location` and the names in the broker's certificate, and where \
                 brokers ask for a client's, `ssl.certificate.location`"
            )
        }
        _ => text,
    }
}

/// The brokers' refusal, with where to look if it is for want of rights.
pub(super) fn refusal(why: &str) -> String {
    let is_for_rights = why.contains("authorization failed");
    let hint = if is_for_rights { ": docs/kafka.md lists the rights that this user needs" } else { "" };
    format!("{why}{hint}")
}

/// A text without these secrets.
pub(super) fn masked(secrets: &[String], text: &str) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secret_properties_are_masked() {
        let mut config = KafkaLogConfig::new("127.0.0.1:1");
        config.properties.insert("sasl.password".into(), "hunter2".into());
        let report = Report::new("producer", &config);
        report.error(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(report.last().unwrap(), "1/1 brokers are down, or speak another `security.protocol`");
        report.error(&KafkaError::Canceled, "login with hunter2 refused");
        assert_eq!(report.last().unwrap(), "login with *** refused");
        report.error(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(report.last().unwrap(), "login with *** refused");
        report.error(&KafkaError::Global(RDKafkaErrorCode::Authentication), "no hunter2 here");
        let last = report.last().unwrap();
        assert!(last.starts_with("no *** here") && last.contains("`sasl.password`"), "{last}");
    }
}
