//! What a record of CMCD tells.

use serde_json::Value;

use super::{Act, Fault, Totals, ViewInput};

/// What a record tells of its view.
pub(super) fn record(kind: &str, data: &str) -> ViewInput {
    let data: Value = serde_json::from_str(data).unwrap_or(Value::Null);
    let integer = |key: &str| data.get(key).and_then(Value::as_i64);
    let mut input = ViewInput::default();
    let state = data.get("sta").and_then(Value::as_str);
    input.act = match state {
        Some("s") => Some(Act::Start),
        Some("p") => Some(Act::Play),
        Some("k") => Some(Act::Seek),
        Some("r") => Some(Act::Buffer),
        Some("a") => Some(Act::Pause),
        Some("w") => Some(Act::Wait),
        Some("e") => Some(Act::End("completed".into())),
        Some("q") => Some(Act::End("user_choice".into())),
        Some("f") => Some(Act::End("error".into())),
        _ => None,
    };
    // Only a change of state is one: the other records repeat the state of the moment.
    if kind != "cmcd.ps" && !matches!(input.act, Some(Act::End(_))) {
        input.state = input.act.take();
    }
    let has_error = data.get("ec").and_then(Value::as_array).is_some_and(|codes| !codes.is_empty());
    let is_fatal = state == Some("f");
    if has_error || kind == "cmcd.e" || (is_fatal && kind == "cmcd.ps") {
        input.error = Some(Fault { is_fatal, is_business: false });
    }
    input.startup_ms = integer("msd");
    input.kbps = bitrate(&data);
    #[expect(clippy::cast_possible_truncation, reason = "a playback rate")]
    let rate = data.get("pr").and_then(Value::as_f64).map(|rate| (rate.clamp(0.0, 16.0) * 1000.0).round() as i64);
    input.rate_milli = rate;
    input.is_heartbeat = kind == "cmcd.t";
    input.rendition = (kind == "cmcd.bc").then_some(None);
    // Some senders repeat the last latency on every record.
    input.latency_ms = integer("ltc").filter(|_| input.is_heartbeat);
    input.period_ms = input.is_heartbeat.then_some(30_000);
    input.audible = match kind {
        "cmcd.m" => Some(false),
        "cmcd.um" => Some(true),
        _ => None,
    };
    input.totals = Totals {
        rebuffer_ms: total(&data, "bsda"),
        rebuffer_count: total(&data, "bsa"),
        dropped_frames: integer("dfa"),
        ..Totals::default()
    };
    input
}

/// The bitrate shown to the user: `pb`, else `br`; of video, else of what is untagged or muxed, else of audio.
fn bitrate(data: &Value) -> Option<i64> {
    let list = data.get("pb").or_else(|| data.get("br"))?;
    let of = |object_type: &str| {
        let value = list.get(object_type)?;
        #[expect(clippy::cast_possible_truncation, reason = "kbit/s")]
        value.as_array().and_then(|values| values.last()).unwrap_or(value).as_f64().map(|kbps| kbps.round() as i64)
    };
    ["v", "av", "_", "a"].into_iter().find_map(of).filter(|kbps| (0..=200_000).contains(kbps))
}

/// A counter: over its object types.
fn total(data: &Value, key: &str) -> Option<i64> {
    let list = data.get(key)?.as_object()?;
    list.values().filter_map(Value::as_i64).max()
}
