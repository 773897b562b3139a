use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::outcome::Reason;

mod verdicts;

pub(crate) fn example_files() -> PathBuf {
    PathBuf::from("examples")
}

const ARRIVAL: &str = "2026-11-23T09:30:00Z";

/// The headers of today's app.
const APP_FACTS: [Fact<'static>; 2] =
    [Fact { name: "x-platform", value: "ios" }, Fact { name: "user-agent", value: "StreamyyyApp/1.4.2" }];

fn judge<'a>(wire: Wire, facts: &'a [Fact<'a>], bytes: &'a [u8]) -> Verdict<'a> {
    let received_at = Timestamp::parse_rfc3339(ARRIVAL).unwrap();
    let received = Received { wire, received_at, subject: None, facts };
    validate(&received, &Item { index: 0, bytes, oversize: None })
}

fn judge_cloudevent(bytes: &[u8]) -> Verdict<'_> {
    judge_as(None, bytes)
}

/// The verdict on a CloudEvent that a verified user sent.
pub(crate) fn judge_as<'a>(subject: Option<&'a str>, bytes: &'a [u8]) -> Verdict<'a> {
    let received_at = Timestamp::parse_rfc3339(ARRIVAL).unwrap();
    let received = Received { wire: Wire::Cloudevents, received_at, subject, facts: &[] };
    validate(&received, &Item { index: 0, bytes, oversize: None })
}

pub(crate) fn accepted(verdict: Verdict<'_>) -> Event<'_> {
    match verdict {
        Verdict::Accept(event) => event,
        Verdict::Quarantine(rejection) => panic!("quarantined: {rejection:?}"),
    }
}

fn refused(verdict: Verdict<'_>) -> (Reason, Option<String>) {
    match verdict {
        Verdict::Accept(event) => panic!("accepted: {event:?}"),
        Verdict::Quarantine(rejection) => (rejection.reason, rejection.field.map(std::borrow::Cow::into_owned)),
    }
}

fn examples(file: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(example_files().join(file)).unwrap()).unwrap()
}

fn list<'a>(examples: &'a Value, name: &str) -> &'a Vec<Value> {
    examples[name].as_array().unwrap()
}

/// The data holds at least what the example says, and none of what it calls absent.
pub(crate) fn holds(data: &str, expect: &Value, label: &str) {
    let data: Value = serde_json::from_str(data).unwrap();
    for (key, value) in expect["data"].as_object().into_iter().flatten() {
        assert_eq!(data.get(key), Some(value), "{label}: {key}");
    }
    for key in expect["absent"].as_array().into_iter().flatten() {
        assert!(data.get(key.as_str().unwrap()).is_none(), "{label}: {key}");
    }
}

#[test]
fn legacy_examples_mean_what_they_say() {
    for (file, wire) in
        [("streamyyy_analytics.json", Wire::StreamyyyAnalytics), ("streamyyy_errors.json", Wire::StreamyyyErrors)]
    {
        let examples = examples(file);
        for example in list(&examples, "good") {
            let label = format!("{file}: {}", example["note"]);
            let bytes = example["event"].to_string();
            let event = accepted(judge(wire, &APP_FACTS, bytes.as_bytes()));
            let expect = &example["expect"];
            assert_eq!(expect["type"], event.kind.as_ref(), "{label}");
            assert_eq!(expect["flags"], event.flags.to_string(), "{label}");
            assert_eq!(event.device_platform, Some("ios"), "{label}");
            if expect.get("stream_id").is_some() {
                assert_eq!(expect["stream_id"].as_str(), event.stream_id.as_deref(), "{label}");
            }
            if expect.get("stream_platform").is_some() {
                assert_eq!(expect["stream_platform"].as_str(), event.stream_platform, "{label}");
            }
            if let Some(at) = expect["occurred_at"].as_str() {
                assert_eq!(at, event.occurred_at.to_string(), "{label}");
            }
            if expect.get("session_id").is_some() {
                assert_eq!(expect["session_id"].as_str(), event.session_id.as_deref(), "{label}");
            }
            holds(&event.data, expect, &label);
        }
        for example in list(&examples, "bad") {
            let label = format!("{file}: {}", example["note"]);
            let bytes = example["event"].to_string();
            let (reason, field) = refused(judge(wire, &APP_FACTS, bytes.as_bytes()));
            assert_eq!(example["expect"]["reason"], reason.as_str(), "{label}");
            assert_eq!(example["expect"]["field"].as_str(), field.as_deref(), "{label}");
        }
    }
}

#[test]
fn cmcd_examples_mean_what_they_say() {
    let examples = examples("cmcd2.json");
    for example in list(&examples, "good") {
        let label = format!("{}", example["note"]);
        let line = example["line"].as_str().unwrap();
        let event = accepted(judge(Wire::Cmcd2, &[], line.as_bytes()));
        let expect = &example["expect"];
        assert_eq!(expect["type"], event.kind.as_ref(), "{label}");
        assert_eq!(expect["flags"], event.flags.to_string(), "{label}");
        if expect.get("view_id").is_some() {
            assert_eq!(expect["view_id"].as_str(), event.view_id.as_deref(), "{label}");
        }
        if expect.get("seq").is_some() {
            assert_eq!(expect["seq"].as_u64(), event.seq.map(u64::from), "{label}");
        }
        if expect.get("stream_id").is_some() {
            assert_eq!(expect["stream_id"].as_str(), event.stream_id.as_deref(), "{label}");
        }
        if expect.get("slot").is_some() {
            assert_eq!(expect["slot"].as_u64(), event.slot.map(u64::from), "{label}");
        }
        if expect.get("install_id").is_some() {
            assert_eq!(expect["install_id"].as_str(), event.install_id.as_deref(), "{label}");
            assert_eq!(expect["session_id"].as_str(), event.session_id.as_deref(), "{label}");
        }
        holds(&event.data, expect, &label);
    }
    for example in list(&examples, "bad") {
        let label = format!("{}", example["note"]);
        let line = example["line"].as_str().unwrap();
        let (reason, field) = refused(judge(Wire::Cmcd2, &[], line.as_bytes()));
        assert_eq!(example["expect"]["reason"], reason.as_str(), "{label}");
        assert_eq!(example["expect"]["field"].as_str(), field.as_deref(), "{label}");
    }
}

#[test]
fn seconds_since_2001_are_read_as_the_app_writes_them() {
    let body = br#"{"name":"stream_added","properties":{"platform":"twitch","url_domain":"www.twitch.tv"},
        "timestamp":817116961.25,"sessionId":"7F0C1A52-3B0E-4C55-9D6A-2A6E6C1B9E11","isCritical":false}"#;
    let event = accepted(judge(Wire::StreamyyyAnalytics, &[], body));
    assert_eq!(event.occurred_at.to_string(), "2026-11-23T08:56:01.250Z");
    assert_eq!(event.kind, "stream.added");
    assert_eq!(event.session_id.as_deref(), Some("7f0c1a52-3b0e-4c55-9d6a-2a6e6c1b9e11"));
    assert_eq!(event.source, "/legacy/7f0c1a52-3b0e-4c55-9d6a-2a6e6c1b9e11");
}

#[test]
fn legacy_ids_do_not_depend_on_key_order() {
    let id = |body: &'static str| accepted(judge(Wire::StreamyyyAnalytics, &[], body.as_bytes())).id.into_owned();
    assert_eq!(
        id(r#"{"name":"crash","properties":{"a":1,"b":2},"timestamp":1.5}"#),
        id(r#"{"timestamp":1.5,"properties":{"b":2,"a":1},"name":"crash"}"#),
    );
    assert_ne!(
        id(r#"{"name":"crash","properties":{"a":1},"timestamp":1.5}"#),
        id(r#"{"name":"crash","properties":{"a":1},"timestamp":1.6}"#),
    );
    assert_eq!(
        id(r#"{"name":"crash","timestamp":1.5}"#),
        id(r#"{"name":"crash","properties":{},"timestamp":1.5}"#),
        "properties may be left out"
    );
}

#[test]
fn legacy_events_that_cannot_be_compared_get_their_id_from_their_bytes() {
    for body in [
        r#"{"name":"app_foregrounded","properties":{},"sessionId":"s"}"#,
        r#"{"name":"app_foregrounded","properties":{},"sessionId":"s","timestamp":"now"}"#,
        r#"{"name":"app_foregrounded","properties":{},"sessionId":"s","timestamp":1e300}"#,
        r#"{"name":"app_foregrounded","properties":[1],"sessionId":"s","timestamp":1.5}"#,
        r#"{"name":"app_foregrounded","properties":null,"sessionId":"s","timestamp":1.5}"#,
        r#"{"name":"app_foregrounded","properties":"x","sessionId":"s","timestamp":1.5}"#,
    ] {
        let event = accepted(judge(Wire::StreamyyyAnalytics, &[], body.as_bytes()));
        assert_eq!(event.id, crate::digest::derived_id(&[body.as_bytes()]), "{body}");
    }
}

#[test]
fn cmcd_ids_need_the_session_whose_records_are_numbered() {
    let id = |line: &'static str| accepted(judge(Wire::Cmcd2, &[], line.as_bytes())).id.into_owned();
    assert_eq!(id("e=m,sid=\"a\",sn=1,ts=5,v=2"), id(" v=2,ts=5,sn=1,sid=\"a\",nr,e=m"), "the line means nothing");
    assert_ne!(id("e=m,sn=1,ts=5,v=2"), id("e=m,nr,sn=1,ts=5,v=2"), "two devices");
    assert_eq!(id("e=m,sn=1,ts=5,v=2"), id("  e=m,sn=1,ts=5,v=2\r"), "the trimmed line");
    let too_long = format!("e=m,sid=\"{}\",sn=1,ts=5,v=2", "x".repeat(65));
    let event = accepted(judge(Wire::Cmcd2, &[], too_long.as_bytes()));
    assert_eq!(event.id, crate::digest::derived_id(&[EVENT_MODE_PATH.as_bytes(), too_long.as_bytes()]));
}

#[test]
fn a_cut_error_code_keeps_its_number() {
    let code = |domain: &str, code: &str| {
        let report = serde_json::json!({ "errorDomain": domain, "errorCode": code }).to_string();
        let event = accepted(judge(Wire::StreamyyyErrors, &[], report.as_bytes()));
        assert_eq!(event.flags.to_string(), "");
        let data: Value = serde_json::from_str(&event.data).unwrap();
        data["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(code("D", "-1"), "D:-1");
    assert_eq!(code(&"ü".repeat(61), "-1"), format!("{}:-1", "ü".repeat(61)), "64 characters");
    assert_eq!(code(&"ü".repeat(62), "-1"), format!("{}:-1", "ü".repeat(61)));
    assert_eq!(code("D", &"7".repeat(70)), format!(":{}", "7".repeat(63)));
}

#[test]
fn hostile_json_is_quarantined_with_the_rule() {
    let with = |data: &str| {
        format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"layout.saved","data":{data}}}"#).into_bytes()
    };
    let deep = format!("{}1{}", "[".repeat(300), "]".repeat(300));
    for (data, reason) in [
        (r#"{"x":NaN}"#, Reason::InvalidJson),
        (r#"{"x":1e999}"#, Reason::InvalidJson),
        (r#"{"x":"\ud800"}"#, Reason::InvalidJson),
        (r#"{"x":"a\u0000"}"#, Reason::InvalidText),
        (&format!(r#"{{"x":{deep}}}"#), Reason::InvalidJson),
        ("[]", Reason::MissingField),
        ("7", Reason::MissingField),
    ] {
        assert_eq!(refused(judge_cloudevent(&with(data))).0, reason, "{}", &data[..data.len().min(60)]);
    }
    assert_eq!(refused(judge_cloudevent(b"\xff\xfe{}")).0, Reason::InvalidJson);
    assert_eq!(refused(judge_cloudevent(b"")).0, Reason::InvalidJson);
}

#[test]
fn a_name_that_stands_twice_is_quarantined() {
    let refused_for = |pairs: &str| {
        refused(judge_cloudevent(format!(r#"{{"specversion":"1.0","type":"layout.edited",{pairs}}}"#).as_bytes()))
    };
    for (pairs, field) in [
        (r#""source":"/s","id":"1","id":"2""#, "id"),
        (r#""source":null,"source":"/a""#, "source"),
        (r#""source":"/a","source":null"#, "source"),
        (r#""source":"/a","slot":null,"slot":null"#, "slot"),
        (r#""source":"/a","data":null,"data":{}"#, "data"),
        (r#""source":"/a","data":{"change_count":1,"change_count":2}"#, "data.change_count"),
    ] {
        assert_eq!(refused_for(pairs), (Reason::DuplicateAttribute, Some(field.into())), "{pairs}");
    }
}

#[test]
fn null_is_the_same_as_missing() {
    let event = |pairs: &str| format!(r#"{{"specversion":"1.0","source":"/s","id":"1",{pairs}}}"#).into_bytes();
    let saved = event(r#""type":"layout.saved","slot":null,"bootid":null,"seq":null,"data":null"#);
    let saved = accepted(judge_cloudevent(&saved));
    assert_eq!((saved.data.as_ref(), saved.flags.to_string()), ("{}", "partial".to_owned()));
    let unknown = event(r#""type":"com.example","data":null"#);
    assert_eq!(accepted(judge_cloudevent(&unknown)).data, "{}");
    let started = event(r#""type":"playback.view_started","viewid":"v","data":null"#);
    assert_eq!(refused(judge_cloudevent(&started)), (Reason::MissingField, Some("data.stream_id".into())));
}

#[test]
fn missing_and_malformed_attributes_have_their_own_answers() {
    let event = |pairs: &str| format!(r#"{{"specversion":"1.0","source":"/s","type":"layout.saved"{pairs}}}"#);
    // Everything native is missing: kept, but partial; the id comes from the bytes, the time from the server.
    let bare = event("");
    let accepted_bare = accepted(judge_cloudevent(bare.as_bytes()));
    assert_eq!(accepted_bare.format, Format::Cloudevents);
    assert_eq!(accepted_bare.flags.to_string(), "partial");
    assert_eq!(accepted_bare.id, crate::digest::derived_id(&[bare.as_bytes()]));
    assert_eq!(accepted_bare.occurred_at.to_string(), "2026-11-23T09:30:00.000Z");
    for (pairs, flags) in
        [(r#","slot":64"#, "partial,range"), (r#","slot":63"#, "partial"), (r#","time":"yesterday""#, "partial")]
    {
        assert_eq!(accepted(judge_cloudevent(event(pairs).as_bytes())).flags.to_string(), flags, "{pairs}");
    }
    for (body, field) in [
        (r#"{"source":"/s","type":"a"}"#, "specversion"),
        (r#"{"specversion":"0.3","source":"/s","type":"a"}"#, "specversion"),
        (r#"{"specversion":"1.0","type":"a"}"#, "source"),
        (r#"{"specversion":"1.0","source":"a b","type":"a"}"#, "source"),
        (r#"{"specversion":"1.0","source":"/s"}"#, "type"),
        (r#"{"specversion":"1.0","source":"/s","type":"Com.Example"}"#, "type"),
        (r#"{"specversion":"1.0","source":"/s","type":"playback.paused"}"#, "viewid"),
    ] {
        assert_eq!(
            refused(judge_cloudevent(body.as_bytes())),
            (Reason::MissingAttribute, Some(field.into())),
            "{body}"
        );
    }
}

#[test]
fn binary_mode_reads_attributes_from_headers() {
    let facts = [
        Fact { name: "ce-specversion", value: "1.0" },
        Fact { name: "ce-id", value: "e-1" },
        Fact { name: "ce-source", value: "/devices/caf%C3%A9" },
        Fact { name: "ce-type", value: "app.streamyyy.layout.created" },
        Fact { name: "ce-seq", value: "7" },
    ];
    let event = accepted(judge(Wire::CloudeventsBinary, &facts, br#"{"slots": 4}"#));
    assert_eq!((event.id.as_ref(), event.source.as_ref(), event.seq), ("e-1", "/devices/café", Some(7)));
    assert_eq!(event.data, r#"{"slots": 4}"#);
    assert_eq!(event.flags.to_string(), "unknown_type,partial");
    let text = accepted(judge(Wire::CloudeventsBinary, &facts, b"plain \"text\""));
    assert_eq!(text.data, r#""plain \"text\"""#);
}

#[test]
fn a_body_that_contradicts_the_token_is_quarantined() {
    let body = br#"{"specversion":"1.0","source":"/s","type":"layout.saved","userid":"user_b"}"#;
    let received_at = Timestamp::parse_rfc3339(ARRIVAL).unwrap();
    let received = Received { wire: Wire::Cloudevents, received_at, subject: Some("user_a"), facts: &[] };
    let item = Item { index: 0, bytes: body, oversize: None };
    assert_eq!(refused(validate(&received, &item)), (Reason::UserMismatch, Some("userid".into())));
    let own = Received { subject: Some("user_b"), ..received };
    assert_eq!(accepted(validate(&own, &item)).user_id.as_deref(), Some("user_b"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_panic_in_any_format(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for wire in Wire::ALL {
            let _ = judge(wire, &[], &bytes);
        }
    }

    #[test]
    fn no_json_panics_and_the_verdict_is_stable(text in r#"\{("(id|type|source|data|time|seq|slot)":("[a-z0-9./:-]{0,9}"|-?[0-9]{1,20}|\{\}|\[\]|null|true),?){0,6}\}"#) {
        for wire in Wire::ALL {
            prop_assert_eq!(judge(wire, &[], text.as_bytes()), judge(wire, &[], text.as_bytes()));
        }
    }
}
