use std::collections::BTreeSet;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::wire::tests::{accepted, example_files, holds, judge_as};
use crate::{Outcome, Reason, Verdict};

fn schema_file(kind: &KindSpec) -> PathBuf {
    PathBuf::from(format!("json/{}.1.json", kind.name))
}

fn declared() -> impl Iterator<Item = &'static KindSpec> {
    all().filter(|kind| !kind.name.starts_with("cmcd."))
}

#[test]
fn kinds_are_declared_once_and_fields_fit_the_mask() {
    let names: BTreeSet<_> = all().map(|kind| kind.name).collect();
    assert_eq!(names.len(), all().count());
    for kind in all() {
        assert!(kind.fields.len() <= 64, "{}", kind.name);
        let fields: BTreeSet<_> = kind.fields.iter().map(|field| field.name).collect();
        assert_eq!(fields.len(), kind.fields.len(), "{}", kind.name);
    }
}

/// `STREAMGAUGE_UPDATE_SCHEMAS=1 cargo test -p schemas` writes them anew.
#[test]
fn json_schemas_are_those_of_the_types() {
    let update = std::env::var_os("STREAMGAUGE_UPDATE_SCHEMAS").is_some();
    let folder = PathBuf::from("json");
    let mut expected = BTreeSet::new();
    for kind in declared() {
        let text = serde_json::to_string_pretty(&json_schema(kind)).unwrap() + "\n";
        let file = schema_file(kind);
        if update {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), text, "{}", file.display());
        expected.insert(file);
    }
    let found: BTreeSet<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(found, expected, "a schema without a kind");
}

#[test]
fn every_kind_has_good_and_bad_examples_that_behave_as_they_say() {
    let mut ids = BTreeSet::new();
    for kind in declared() {
        let file = example_files().join(format!("kinds/{}.json", kind.name));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|_| panic!("no examples for `{}`", kind.name));
        let examples: Value = serde_json::from_str(&text).unwrap();
        let (good, bad) = (examples["good"].as_array().unwrap(), examples["bad"].as_array().unwrap());
        assert!(!good.is_empty() && !bad.is_empty(), "{}", kind.name);
        for example in good {
            let label = format!("{}: {}", kind.name, example["note"]);
            assert!(ids.insert(example["event"]["id"].as_str().unwrap().to_owned()), "{label}: id used twice");
            good_example_is_accepted(kind, example, &label);
        }
        for example in bad {
            bad_example_ends_as_it_says(kind, example, &format!("{}: {}", kind.name, example["note"]));
        }
    }
}

fn good_example_is_accepted(kind: &KindSpec, example: &Value, label: &str) {
    let text = example["event"].to_string();
    let event = accepted(judge_as(example["subject"].as_str(), text.as_bytes()));
    assert_eq!(event.kind, kind.name, "{label}");
    assert_eq!((event.flags.to_string(), event.format), (String::new(), crate::Format::Native), "{label}");
    let expect = &example["expect"];
    if expect.get("stream_id").is_some() {
        assert_eq!(expect["stream_id"].as_str(), event.stream_id.as_deref(), "{label}");
    }
    holds(&event.data, expect, label);
    holds_with_its_type(kind, &event.data, label);
}

fn bad_example_ends_as_it_says(kind: &KindSpec, example: &Value, label: &str) {
    let expect = &example["expect"];
    match judge_as(example["subject"].as_str(), example["event"].to_string().as_bytes()) {
        Verdict::Accept(event) => {
            assert_eq!(expect["result"], "accepted", "{label}");
            assert_eq!(expect["flags"], event.flags.to_string(), "{label}");
            let data: Value = serde_json::from_str(&event.data).unwrap();
            for field in expect["null"].as_array().into_iter().flatten() {
                assert_eq!(data.get(field.as_str().unwrap()), Some(&Value::Null), "{label}");
            }
            holds_with_its_type(kind, &event.data, label);
        }
        Verdict::Quarantine(rejection) => {
            assert_eq!(expect["result"], Outcome::Quarantined.as_str(), "{label}: {rejection:?}");
            assert_eq!(expect["reason"], rejection.reason.as_str(), "{label}");
            assert_eq!(expect["field"].as_str(), rejection.field.as_deref(), "{label}");
        }
    }
}

/// What the rules let pass, the Rust type reads, and gives back with the same values.
fn holds_with_its_type(kind: &KindSpec, data: &str, label: &str) {
    let typed = [
        playback::through_its_type(kind.name, data),
        stream::through_its_type(kind.name, data),
        app::through_its_type(kind.name, data),
        workspace::through_its_type(kind.name, data),
    ]
    .into_iter()
    .flatten()
    .next()
    .expect("every declared kind has a type")
    .unwrap_or_else(|error| panic!("{label}: {error}"));
    let sent: Value = serde_json::from_str(data).unwrap();
    for field in kind.fields {
        let same = match (&sent[field.name], &typed[field.name]) {
            (Value::Number(sent), Value::Number(typed)) => sent.as_f64() == typed.as_f64(),
            (sent, typed) => sent == typed,
        };
        assert!(same || field.ty == FieldType::Time, "{label}: {}", field.name);
    }
}

#[test]
fn an_alias_means_its_word_and_is_no_word() {
    for field in all().flat_map(|kind| kind.fields) {
        let FieldType::Word { words, aliases } = field.ty else { continue };
        for (alias, word) in aliases {
            assert!(words.contains(word) && !words.contains(alias), "{}: {alias}", field.name);
        }
    }
    assert_eq!(serde_json::from_str::<Quality>("\"chunked\"").unwrap(), Quality::Source);
    assert_eq!(serde_json::to_string(&LayoutType::Grid2x2).unwrap(), "\"grid2x2\"");
}

#[test]
fn editing_a_field_leaves_the_others_as_sent() {
    let data = r#"{"note":[1, 2.50],"quality":"chunked", "fps":241,"a\"b":"\u00e9","to_kbps":6e3}"#;
    let checked = check(named("playback.rendition_changed"), Some(data.into()), Strictness::Strict).unwrap();
    assert_eq!(checked.data, r#"{"note":[1, 2.50],"quality":"source","fps":null,"a\"b":"\u00e9","to_kbps":6e3}"#);
    assert!(checked.out_of_range);
    let untouched = r#"{ "fps" : 60.0 }"#;
    let checked = check(named("playback.rendition_changed"), Some(untouched.into()), Strictness::Strict).unwrap();
    assert_eq!(checked.data, untouched);
}

#[test]
fn a_field_that_stands_twice_is_refused() {
    let twice = |kind, data: &'static str| {
        check(named(kind), Some(data.into()), Strictness::Strict).map(|checked| checked.data.into_owned())
    };
    let refused = |field: &str| Err((Reason::DuplicateAttribute, format!("data.{field}")));
    assert_eq!(twice("playback.first_frame", r#"{"startup_ms":1,"startup_ms":1}"#), refused("startup_ms"));
    assert_eq!(twice("playback.first_frame", r#"{"startup_ms":null,"startup_ms":1}"#), refused("startup_ms"));
    assert_eq!(twice("playback.first_frame", r#"{"startup_ms":-1,"startup\u005fms":1}"#), refused("startup_ms"));
    assert_eq!(twice("stream.added", r#"{"stream_id":"a","slot":1,"stream_id":"b"}"#), refused("stream_id"));
    let unknown = r#"{"hue":1,"hue":2}"#;
    assert_eq!(twice("playback.first_frame", unknown), Ok(unknown.to_owned()), "nobody reads it");
    assert_eq!(twice("com.example", unknown), Ok(unknown.to_owned()));
    let gone = twice("search.performed", r#"{"query":"a","results":1,"query":"b"}"#);
    assert_eq!(gone, Ok(r#"{"results":1}"#.to_owned()));
}

#[test]
fn a_stream_is_judged_with_its_platform_in_either_order() {
    let id = "x".repeat(122);
    for data in [
        format!(r#"{{"stream_id":"{id}","stream_platform":"kick"}}"#),
        format!(r#"{{"stream_platform":"kick","stream_id":"{id}"}}"#),
    ] {
        let checked = check(named("stream.added"), Some(data.into()), Strictness::Strict).unwrap();
        assert_eq!(checked.stream_id, Some(format!("kick:{id}")));
        assert_eq!((checked.stream_platform, checked.out_of_range), (Some("kick"), false));
    }
    let data = format!(r#"{{"stream_id":"{id}","stream_platform":"youtube"}}"#);
    let too_long = check(named("stream.added"), Some(data.clone().into()), Strictness::Strict).unwrap();
    assert_eq!((too_long.stream_id, too_long.stream_platform), (None, Some("youtube")));
    assert_eq!(too_long.data, r#"{"stream_id":null,"stream_platform":"youtube"}"#);
    // Kinds that only carry the stream along have no rule for it: kept as sent.
    let heartbeat = check(named("playback.heartbeat"), Some(data.clone().into()), Strictness::Strict).unwrap();
    assert_eq!((heartbeat.stream_id, heartbeat.out_of_range), (None, false));
    assert_eq!(heartbeat.data, data);
}

proptest! {
    #[test]
    fn numbers_that_pass_the_rules_are_read_by_the_types(number in r"-?(0|[1-9][0-9]{0,19})(\.[0-9]{1,3})?(e-?[0-9]{1,2})?") {
        let data = format!(r#"{{"playhead_ms":{number},"playback_rate":{number}}}"#);
        let checked = check(named("playback.heartbeat"), Some(data.into()), Strictness::Strict).unwrap();
        let fields: Value = serde_json::from_str(&checked.data).unwrap();
        let typed: PlaybackHeartbeat = serde_json::from_str(&checked.data).unwrap();
        prop_assert_eq!(typed.playhead_ms.is_some(), fields["playhead_ms"].is_number());
        prop_assert_eq!(typed.playback_rate.is_some(), fields["playback_rate"].is_number());
    }
}
