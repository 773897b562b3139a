//! Every example through `validate`, the verdicts compared with a committed text.

use std::fmt::Write as _;
use std::path::Path;

use super::*;

/// `STREAMGAUGE_UPDATE_SCHEMAS=1 cargo test -p schemas` writes it anew; its diff shows what a change means for events.
#[test]
fn examples_have_the_committed_verdicts() {
    let file = example_files().join("verdicts.txt");
    let text = verdicts();
    if std::env::var_os("STREAMGAUGE_UPDATE_SCHEMAS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    let mut lines = committed.lines().zip(text.lines()).enumerate();
    if let Some((idx, (committed, found))) = lines.find(|(_, (committed, found))| committed != found) {
        panic!("{}:{}\n  committed: {committed}\n  found:     {found}", file.display(), idx + 1);
    }
    assert_eq!(committed.lines().count(), text.lines().count(), "{}: examples came or went", file.display());
}

fn verdicts() -> String {
    let mut text = String::new();
    for file in files_of("kinds") {
        append(&mut text, &format!("kinds/{file}"), Wire::Cloudevents);
    }
    append(&mut text, "streamyyy_analytics.json", Wire::StreamyyyAnalytics);
    append(&mut text, "streamyyy_errors.json", Wire::StreamyyyErrors);
    append(&mut text, "cmcd2.json", Wire::Cmcd2);
    text
}

fn files_of(folder: &str) -> Vec<String> {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let entries = std::fs::read_dir(example_files().join(folder)).unwrap();
    let mut files: Vec<String> = entries.map(|entry| name(&entry.unwrap().path())).collect();
    files.sort();
    files
}

fn append(text: &mut String, file: &str, wire: Wire) {
    writeln!(text, "# {file}\n").unwrap();
    let examples = examples(file);
    for list_name in ["good", "bad"] {
        for example in list(&examples, list_name) {
            writeln!(text, "{list_name}: {}", example["note"].as_str().unwrap()).unwrap();
            let bytes = bytes_of(example);
            let verdict = match wire {
                Wire::Cloudevents => judge_as(example["subject"].as_str(), &bytes),
                Wire::StreamyyyAnalytics | Wire::StreamyyyErrors => judge(wire, &APP_FACTS, &bytes),
                _ => judge(wire, &[], &bytes),
            };
            writeln!(text, "{}", printed(&verdict)).unwrap();
        }
    }
}

/// The example's event; keys sorted, so that ids from bytes do not depend on how the file is written.
fn bytes_of(example: &Value) -> Vec<u8> {
    if let Some(line) = example["line"].as_str() {
        return line.as_bytes().to_vec();
    }
    let mut event = example["event"].clone();
    event.sort_all_objects();
    event.to_string().into_bytes()
}

fn printed(verdict: &Verdict<'_>) -> String {
    match verdict {
        Verdict::Accept(event) => printed_event(event),
        Verdict::Quarantine(rejection) => printed_rejection(rejection),
    }
}

/// Format, kind and flags; id, source, sequence number and time; the stream, if there is one; the data.
fn printed_event(event: &Event<'_>) -> String {
    let mut text = format!("  {} {}", event.format.as_str(), event.kind);
    if !event.flags.is_empty() {
        write!(text, " [{}]", event.flags).unwrap();
    }
    let seq = event.seq.map_or_else(|| "-".to_owned(), |seq| seq.to_string());
    write!(text, "\n  id {} source {} seq {seq} at {}\n", event.id, event.source, event.occurred_at).unwrap();
    if let Some(platform) = event.stream_platform {
        writeln!(text, "  stream {} on {platform}", event.stream_id.as_deref().unwrap_or("-")).unwrap();
    }
    writeln!(text, "  {}", event.data).unwrap();
    text
}

/// Format, kind, reason and field; id and source.
fn printed_rejection(rejection: &Rejection<'_>) -> String {
    let or_none = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().unwrap_or("-").to_owned();
    format!(
        "  {} {} quarantined: {} {}\n  id {} source {}\n",
        rejection.format.as_str(),
        or_none(&rejection.kind),
        rejection.reason,
        or_none(&rejection.field),
        rejection.id,
        or_none(&rejection.source),
    )
}
