use std::collections::BTreeSet;
use std::os::unix::ffi::OsStringExt;

use ingest::QuotaPolicy;
use warehouse::Kept;

use super::*;

fn load(variables: &[(&str, &str)]) -> Result<Loaded> {
    Config::load(&Flags::default(), variables.iter().map(|(name, value)| (name.into(), value.into())))
}

#[test]
fn the_default_file_is_complete_and_what_is_shown_is_read_again() {
    let config = load(&[]).unwrap().config;
    assert_eq!(config.ingest.max_body_bytes, Size(16 << 20));
    assert_eq!(config.log.retention, Span(Duration::from_secs(7 * 86_400)));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shown.toml");
    std::fs::write(&file, config.show().unwrap()).unwrap();
    let again = Config::load(&Flags { file: Some(file), ..Flags::default() }, []).unwrap().config;
    assert_eq!(again.show().unwrap(), config.show().unwrap());
}

#[test]
fn every_setting_is_shown() {
    let keys = |text: &str| {
        let words = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
        words.map(|(key, _)| key.to_owned()).collect::<BTreeSet<_>>()
    };
    let shown = keys(&load(&[]).unwrap().config.show().unwrap());
    assert!(shown.len() > 40, "{shown:?}");
    assert_eq!(shown, keys(DEFAULT));
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    std::fs::write(&file, "data_dir = \"/file\"\n[log]\npartitions = 7\n[query]\nconcurrent = 9\n").unwrap();
    let flags = Flags { file: Some(file), data_dir: Some("/flag".into()), test_clock: false };
    let environment = [
        ("STREAMGAUGE_DATA_DIR".into(), "/env".into()),
        ("STREAMGAUGE_LOG__PARTITIONS".into(), "5".into()),
        ("STREAMGAUGE_AUTH__ALGORITHMS".into(), "RS256, ES256".into()),
        ("STREAMGAUGE_TEST_CLOCK".into(), "1".into()),
    ];
    let config = Config::load(&flags, environment).unwrap().config;
    assert_eq!(config.data_dir, PathBuf::from("/flag"));
    assert_eq!((config.log.partitions, config.query.concurrent), (5, 9));
    assert_eq!(config.auth.algorithms, ["RS256", "ES256"]);
    assert!(config.test_clock);
}

#[test]
fn variables_are_text_also_where_they_look_like_something_else() {
    let variables = [
        ("STREAMGAUGE_UPLOAD_KEY", "0012345678"),
        ("STREAMGAUGE_READ_TOKEN", "1e10000000"),
        ("STREAMGAUGE_DATA_DIR", "007"),
        ("STREAMGAUGE_AUTH__PROJECT", "true"),
    ];
    let config = load(&variables).unwrap().config;
    assert_eq!((config.upload_key.0.as_str(), config.read_token.0.as_str()), ("0012345678", "1e10000000"));
    assert_eq!(config.data_dir, PathBuf::from("007"));
    assert_eq!(config.auth.project, "true");
}

#[test]
fn a_variable_that_is_no_text_is_left_out_with_a_warning() {
    let no_text = || OsString::from_vec(vec![0xff, 0xfe]);
    let environment =
        [("STREAMGAUGE_LOG_URL".into(), no_text()), ("SOMETHING".into(), no_text()), (no_text(), "x".into())];
    let warnings = Config::load(&Flags::default(), environment).unwrap().warnings;
    assert_eq!(warnings, ["STREAMGAUGE_LOG_URL is no UTF-8 text and has no effect"]);
}

#[test]
fn secrets_are_never_shown() {
    let config = load(&[("STREAMGAUGE_UPLOAD_KEY", "sgk_very_secret")]).unwrap().config;
    assert!(!config.show().unwrap().contains("very_secret"));
    assert!(!format!("{config:?}").contains("very_secret"));
    let properties = "security.protocol=SASL_SSL, sasl.password=very_secret, ssl.key.password = very_secret";
    let config = load(&[("STREAMGAUGE_KAFKA__PROPERTIES", properties)]).unwrap().config;
    assert_eq!(config.kafka.properties[1].value, "very_secret");
    let shown = config.show().unwrap() + &format!("{config:?}");
    assert!(shown.contains("security.protocol=SASL_SSL") && !shown.contains("very_secret"), "{shown}");
}

#[test]
fn a_project_may_keep_things_for_another_time_than_the_others() {
    let variables = [
        ("STREAMGAUGE_RETENTION__EVENTS", "30d"),
        ("STREAMGAUGE_RETENTION__FACTS", "400days"),
        ("STREAMGAUGE_RETENTION__PROJECTS", "kiosk.events=7d, kiosk.facts=7d, lab.events=, lab.facts="),
    ];
    let config = load(&variables).unwrap().config;
    let policy = config.retention.policy();
    let days = |project| [Kept::Events, Kept::Facts, Kept::Records].map(|kept| policy.of(project).days(kept));
    assert_eq!(days("default"), [Some(30), Some(400), None]);
    assert_eq!(days("kiosk"), [Some(7), Some(7), None]);
    assert_eq!(days("lab"), [None, None, None]);
}

#[test]
fn a_retention_that_breaks_a_promise_is_refused_with_setting_and_rule() {
    let refused = |variables: &[(&str, &str)]| format!("{:#}", load(variables).unwrap_err());
    let records = refused(&[("STREAMGAUGE_RETENTION__RECORDS", "90d")]);
    assert!(records.contains("retention.records: kept at least 7d longer than events"), "{records}");
    let project = refused(&[("STREAMGAUGE_RETENTION__PROJECTS", "kiosk.events=3d")]);
    assert!(project.contains("retention.projects: kiosk.events: at least 7d"), "{project}");
    assert!(refused(&[("STREAMGAUGE_RETENTION__EVENTS", "36h")]).contains("no number of whole days"));
    assert!(refused(&[("STREAMGAUGE_RETENTION__PROJECTS", "events=30d")]).contains("is not like project.events=30d"));
    assert!(refused(&[("STREAMGAUGE_RETENTION__PROJECTS", "kiosk.ledger=30d")]).contains("one of records, events"));
}

#[test]
fn a_project_may_post_more_or_less_than_the_others() {
    let variables = [
        ("STREAMGAUGE_INGEST__EVENTS_PER_SECOND", "1000"),
        ("STREAMGAUGE_INGEST__PROJECTS", "kiosk.events_per_second=20, lab.events_per_second=0"),
    ];
    let config = load(&variables).unwrap().config;
    let projects = [("kiosk".into(), 20), ("lab".into(), 0)].into();
    assert_eq!(config.ingest.quotas(), QuotaPolicy { default: 1_000, projects });
    assert!(config.show().unwrap().contains("kiosk.events_per_second=20"));
    assert_eq!(load(&[]).unwrap().config.ingest.quotas(), QuotaPolicy::default(), "nobody is limited");
    let refused = |text: &str| format!("{:#}", load(&[("STREAMGAUGE_INGEST__PROJECTS", text)]).unwrap_err());
    assert!(refused("kiosk=20").contains("is not like project.events_per_second=200"));
    assert!(refused("kiosk.events=20").contains("`kiosk.events=20`: what is set for a project is events_per_second"));
    assert!(refused("kiosk.events_per_second=many").contains("many is no number of events"));
    assert!(refused("My App.events_per_second=1").contains("a-z"));
}

#[test]
fn what_cannot_work_is_refused_with_the_reason() {
    let refused = |name: &str, value: &str| format!("{:#}", load(&[(name, value)]).unwrap_err());
    assert!(refused("STREAMGAUGE_LOG_URL", "kafka://b:9092").contains("the cluster profile has both"));
    assert!(refused("STREAMGAUGE_INGEST__BODY_DEADLINE", "soon").contains("no duration"));
    assert!(refused("STREAMGAUGE_INGEST__MAX_BODY_BYTES", "many").contains("no size"));
    assert!(refused("STREAMGAUGE_TLS_CERT", "cert.pem").contains("both or none"));
    assert!(refused("STREAMGAUGE_AUTH__ISSUER", "https://x").contains("belong together"));
    assert!(refused("STREAMGAUGE_AUTH__PROJECT", "My App").contains("a-z"));
    assert!(refused("STREAMGAUGE_MAINTENANCE__INTERVAL", "0s").contains("at least 100ms"));
    assert!(refused("STREAMGAUGE_MAINTENANCE__ORPHAN_GRACE", "0s").contains("orphan_grace is at least 1s"));
    assert!(refused("STREAMGAUGE_MAINTENANCE__FILE_GRACE", "5s").contains("is longer than query.timeout"));
    assert!(refused("STREAMGAUGE_KAFKA__COMPRESSION", "gzip").contains("none, lz4 or zstd"));
    assert!(refused("STREAMGAUGE_LOG__PARTITIONS", "70000").contains("partitions"));
    assert!(refused("STREAMGAUGE_KAFKA__MIN_IN_SYNC", "4").contains("1 to kafka.replication"));
    assert!(refused("STREAMGAUGE_KAFKA__PROPERTIES", "very_secret").contains("name=value"));
    let warned = load(&[("STREAMGAUGE_HTPP_ADDR", "x"), ("STREAMGAUGE_TEST_KAFKA", "1"), ("STREAMGAUGE_HTTP", "x")]);
    assert_eq!(
        warned.unwrap().warnings,
        [
            "STREAMGAUGE_HTPP_ADDR is no setting of this version and has no effect",
            "STREAMGAUGE_HTTP is no setting of this version and has no effect"
        ]
    );
}
