//! What the table of views should say of one view.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::scores::{self, Report, float};
use super::view::Teller;
use crate::simulate::timeline::{End, Ms, State, Tongue, What};
use crate::simulate::wire::rfc3339;

/// Sums that are columns.
const SUMS: [&str; 22] = [
    "playback_failures",
    "started",
    "join_ms",
    "playing_ms",
    "rebuffer_ms",
    "seek_ms",
    "paused_ms",
    "watch_ms",
    "rebuffer_count",
    "sustained_rebuffers",
    "seeks",
    "rendition_changes",
    "shifts_up",
    "shifts_down",
    "media_ms",
    "bitrate_ms",
    "dropped_frames",
    "rendered_frames",
    "focus_ms",
    "audible_ms",
    "attention_ms",
    "errors_fatal",
];

/// The columns of a view that was wanted at `begin`, once all of its sums are told.
pub(super) fn of(
    teller: &Teller<'_>,
    begin: Ms,
    upscale: Option<(f64, f64, f64)>,
    report: &Report,
) -> BTreeMap<&'static str, Value> {
    let Teller { places, view, settled, dims, .. } = teller;
    let sum = |name: &str| teller.fact.get(name).copied().unwrap_or_default();
    let share = |part: i64, whole: i64| (whole > 0).then(|| float(part) / float(whole));
    let mut fact = BTreeMap::new();
    for name in SUMS {
        let column = match name {
            "playback_failures" => "playback_failure",
            "bitrate_ms" => "bits_played",
            name => name,
        };
        fact.insert(column, json!(sum(name)));
    }
    let exit_reason = match view.end {
        End::Said { reason, .. } if places.device.tongue == Tongue::Native || reason == "completed" => reason,
        // CMCD tells of no other reason.
        End::Said { .. } => "user_choice",
        End::Fatal { .. } => "error",
        End::Silent => "timeout",
    };
    let watched = if view.is_state_only { 0 } else { report.watch_ms };
    let health = scores::health(report);
    let status = scores::band(health.map(scores::hundredths)).trim_start_matches("health_");
    fact.extend([
        ("outcome", json!(report.outcome.word())),
        ("exit_reason", json!(exit_reason)),
        ("startup_ms", json!(settled.telling.startup_ms)),
        ("reported_startup_ms", json!(settled.telling.reported_ms)),
        ("rebuffer_capable", json!(i64::from(!view.is_state_only))),
        ("max_rebuffer_ms", json!(settled.stalls().map(|phase| phase.to - phase.from).max().unwrap_or(0))),
        ("rebuffer_ratio", json!(share(report.rebuffer_ms, watched))),
        ("rebuffers_per_min", json!(share(60_000 * report.rebuffers, watched))),
        ("avg_bitrate_kbps", json!(share(sum("bitrate_ms"), sum("rated_media_ms")))),
        ("upscale_max", json!(upscale.map(|(greatest, ..)| greatest))),
        ("upscale_avg", json!(upscale.map(|(_, weighted, ms)| weighted / ms))),
        ("latency_ms_mean", json!(share(sum("latency_ms_sum"), sum("latency_n")))),
        ("latency_ms_max", json!(greatest_latency(teller))),
        ("errors_warning", json!(sum("errors_warning"))),
        ("success_score", json!(scores::success(report))),
        ("startup_score", json!(scores::startup(report))),
        ("smoothness_score", json!(scores::smoothness(report))),
        ("video_quality_score", json!(scores::video_quality(report))),
        ("health_score", json!(health)),
        ("health", json!(status)),
        ("stream_id", json!(view.stream.id)),
        ("stream_platform", json!(view.stream.platform)),
        ("layout_type", json!(dims.layout_type)),
    ]);
    let columns = ["app_version", "device_platform", "os_major", "device_class", "network"];
    fact.extend(columns.into_iter().zip(&dims.release).map(|(column, word)| (column, json!(word))));
    if places.device.is_timed() {
        let times = (rfc3339(begin), rfc3339(settled.last()));
        fact.extend([("started_at", json!(times.0)), ("ended_at", json!(times.1))]);
    }
    if let Some(session) = places.session {
        fact.insert("session_id", json!(session.id));
        fact.insert("person_id", json!(places.device.person()));
        fact.insert("category", json!(view.stream.category));
    }
    fact
}

/// The greatest latency that was told while it was known to play.
fn greatest_latency(teller: &Teller<'_>) -> Option<i64> {
    let view = teller.view;
    let told = view.notes.iter().filter(|note| view.state_after(note.at) == Some(State::Playing));
    let told = told.filter_map(|note| match note.what {
        What::Heartbeat(beat) => beat.latency_ms,
        What::Latency { ms } => Some(ms),
        _ => None,
    });
    told.max()
}
