use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::wire::tests::{example_files, judge_cloudevent};
use crate::{Outcome, Verdict};

fn schema_file(kind: &KindSpec) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("json/{}.1.json", kind.name))
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
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("json");
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
            let event = example["event"].to_string();
            assert!(ids.insert(example["event"]["id"].as_str().unwrap().to_owned()), "{label}: id used twice");
            match judge_cloudevent(event.as_bytes()) {
                Verdict::Accept(event) => {
                    assert_eq!(event.kind, kind.name, "{label}");
                    assert_eq!(
                        (event.flags.to_string(), event.format),
                        (String::new(), crate::Format::Native),
                        "{label}"
                    );
                    holds_with_its_type(kind, &event.data, &label);
                }
                Verdict::Quarantine(rejection) => panic!("{label}: {rejection:?}"),
            }
        }
        for example in bad {
            let label = format!("{}: {}", kind.name, example["note"]);
            let expect = &example["expect"];
            match judge_cloudevent(example["event"].to_string().as_bytes()) {
                Verdict::Accept(event) => {
                    assert_eq!(expect["result"], "accepted", "{label}");
                    assert_eq!(expect["flags"], event.flags.to_string(), "{label}");
                    let data: Value = serde_json::from_str(&event.data).unwrap();
                    for field in expect["null"].as_array().into_iter().flatten() {
                        assert_eq!(data[field.as_str().unwrap()], Value::Null, "{label}");
                    }
                    holds_with_its_type(kind, &event.data, &label);
                }
                Verdict::Quarantine(rejection) => {
                    assert_eq!(expect["result"], Outcome::Quarantined.as_str(), "{label}: {rejection:?}");
                    assert_eq!(expect["reason"], rejection.reason.as_str(), "{label}");
                    assert_eq!(expect["field"].as_str(), rejection.field.as_deref(), "{label}");
                }
            }
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
