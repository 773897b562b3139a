//! CloudEvents with all native attributes.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Event;
use crate::simulate::random::Random;
use crate::simulate::timeline::{
    Beat, Deed, Device, End, HEARTBEAT_MS, Ms, Note, Session, State, Tongue, Totals, Turn, Video, View, What,
};

/// An event before its envelope.
struct Draft {
    at: Ms,
    kind: &'static str,
    feature: &'static str,
    data: Value,
    /// View and slot.
    view: Option<(Uuid, u8)>,
    layout: Option<Uuid>,
}

/// The events of a session, numbered in the order of their instants.
pub(super) fn events(device: &Device, session: &Session, random: &mut Random) -> Vec<Event> {
    let mut drafts: Vec<Draft> = session.acts.iter().map(|act| deed(device, session, act.at, act.deed)).collect();
    drafts.extend(session.views.iter().flat_map(|view| drafts_of(view, session.layouts[view.layout].id)));
    drafts.sort_by_key(|draft| draft.at);
    let numbered = drafts.into_iter().enumerate();
    numbered.map(|(seq, draft)| envelope(device, session, seq, random.uuid_at(draft.at), draft)).collect()
}

fn envelope(device: &Device, session: &Session, seq: usize, id: Uuid, draft: Draft) -> Event {
    let Draft { at, kind, feature, data, view, layout } = draft;
    let mut event = json!({
        "specversion": "1.0", "id": id, "source": format!("/app/{}/{}", device.platform, device.install), "type": kind,
        "time": rfc3339(at), "installid": device.install, "sessionid": session.id, "seq": seq, "anonid": device.anon,
        "platform": device.platform, "appversion": device.app_version, "data": data,
    });
    if let Some(boot) = device.boot {
        event["bootid"] = json!(boot.id);
        event["mono"] = json!(at - boot.zero);
    }
    if let Some((view, slot)) = view {
        event["viewid"] = json!(view);
        event["slot"] = json!(slot);
    }
    if let Some(layout) = layout {
        event["layoutid"] = json!(layout);
    }
    Event { id: id.as_u128(), at, kind: kind.to_owned(), feature, body: event.to_string() }
}

/// A time as the wire has it.
pub(in crate::simulate) fn rfc3339(unix_ms: Ms) -> String {
    DateTime::from_timestamp_millis(unix_ms).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn deed(device: &Device, session: &Session, at: Ms, deed: Deed) -> Draft {
    let layout = |place: usize| &session.layouts[place];
    let mut of = None;
    let mut used = "";
    let (kind, data) = match deed {
        Deed::Opened => ("app.opened", json!({ "cold": true, "launch_ms": 640, "from_background": false })),
        Deed::Started => ("session.started", json!({ "first_session": false, "entry": "icon" })),
        Deed::Context { network } => (
            "device.context",
            json!({
                "os_name": device.platform, "os_version": device.os_version, "device_model": device.model,
                "device_class": device.class, "screen_w": 1179, "screen_h": 2556, "locale": "en_GB",
                "timezone": "Europe/Berlin", "network": network, "app_build": "417",
            }),
        ),
        Deed::NetworkChanged { from, to } => ("device.network_changed", json!({ "from": from, "to": to })),
        Deed::SignedIn => {
            ("identity.signed_in", json!({ "anonid": device.anon, "userid": device.user(), "method": "apple" }))
        }
        Deed::TemplateViewed => ("template.viewed", json!({})),
        Deed::TemplateUsed { template } => ("template.used", json!({ "template_id": template })),
        Deed::LayoutCreated { layout: place, template } => {
            of = Some(layout(place).id);
            let mut data = json!({ "layout_type": layout(place).kind, "slots": layout(place).slots });
            extend(&mut data, json!({ "from_template": template }));
            ("layout.created", data)
        }
        Deed::LayoutSwitched { from, to } => {
            of = Some(layout(to).id);
            let data = json!({
                "from_layoutid": layout(from).id, "to_layoutid": layout(to).id,
                "from_type": layout(from).kind, "to_type": layout(to).kind,
            });
            ("layout.switched", data)
        }
        Deed::Heartbeat => ("session.heartbeat", json!({})),
        Deed::FeatureUsed { feature } => {
            used = feature;
            ("feature.used", json!({ "feature": feature, "context": "player" }))
        }
        Deed::Searched => ("search.performed", json!({ "results": 12, "query_len": 7 })),
        Deed::StreamAdded { stream } => {
            ("stream.added", json!({ "stream_id": stream.id, "stream_platform": stream.platform, "source": "search" }))
        }
        Deed::MemoryWarning => ("app.memory_warning", json!({ "resident_mb": 812 })),
        Deed::Sampled { thermal } => (
            "device.performance_sampled",
            json!({ "cpu_pct": 118.5, "memory_mb": 640, "thermal": thermal, "battery_pct": 61.5, "fps": 58 }),
        ),
        Deed::AppError => {
            ("app.error", json!({ "code": "SYNC_409", "domain": "sync", "context": "library", "retryable": true }))
        }
        Deed::Backgrounded => ("app.backgrounded", json!({})),
        Deed::Foregrounded => ("app.foregrounded", json!({})),
        Deed::Crashed => ("app.crashed", json!({ "signature": "EXC_BAD_ACCESS renderer", "foreground": true })),
        Deed::Ended { reason } => ("session.ended", json!({ "reason": reason })),
    };
    Draft { at, kind, feature: used, data, view: None, layout: of }
}

fn drafts_of(view: &View, layout: Uuid) -> Vec<Draft> {
    let mut said: Vec<(Ms, &'static str, Value)> = Vec::new();
    for (place, phase) in view.phases.iter().enumerate() {
        let (kind, data) = turn(view, place);
        said.push((phase.from, kind, data));
    }
    said.extend(view.notes.iter().filter_map(|note| self::note(view, note)));
    match view.end {
        End::Said { at, reason } => said.push((at, "playback.view_ended", ended(view, at, reason))),
        End::Fatal { at, code, domain, said_at } => {
            said.push((at, "playback.error", json!({ "code": code, "severity": "fatal", "domain": domain })));
            said.extend(said_at.map(|at| (at, "playback.view_ended", ended(view, at, "error"))));
        }
        End::Silent => {}
    }
    let draft = |(at, kind, data)| Draft {
        at,
        kind,
        feature: "",
        data,
        view: Some((view.id, view.slot)),
        layout: Some(layout),
    };
    said.into_iter().map(draft).collect()
}

/// The event that begins a phase.
fn turn(view: &View, place: usize) -> (&'static str, Value) {
    match view.turn_at(place, Tongue::Native) {
        Turn::Started => ("playback.view_started", started(view)),
        Turn::Plays => {
            let mut data = json!({ "startup_ms": view.phases[place].from - view.begin() });
            extend(&mut data, video(view.first_video));
            ("playback.first_frame", data)
        }
        Turn::Resumed => ("playback.resumed", json!({ "reason": "user" })),
        Turn::RanDry => ("playback.rebuffer_started", json!({ "buffer_ms": 0, "cause": "network" })),
        Turn::Recovered(after) => {
            let ended_by = if after == State::Paused { "paused" } else { "resumed" };
            ("playback.rebuffer_ended", json!({ "ended_by": ended_by }))
        }
        Turn::SeekBegan => ("playback.seek_started", json!({ "from_ms": 1_000, "to_ms": 61_000 })),
        Turn::SeekOver => ("playback.seek_ended", json!({})),
        Turn::Paused => ("playback.paused", json!({ "reason": "user" })),
    }
}

fn started(view: &View) -> Value {
    json!({
        "stream_id": view.stream.id, "stream_platform": view.stream.platform, "category": view.stream.category,
        "content_type": if view.stream.is_live { "live" } else { "vod" }, "intent": "user",
        "player": if view.is_state_only { "twitch_embed" } else { "avplayer" },
        "telemetry_level": if view.is_state_only { "state_only" } else { "full" },
        "tile_width_px": view.tile.width_px, "tile_height_px": view.tile.height_px,
    })
}

fn video(video: Option<Video>) -> Value {
    video.map_or_else(
        || json!({}),
        |Video { kbps, size }| json!({ "bitrate_kbps": kbps, "width_px": size.width_px, "height_px": size.height_px }),
    )
}

fn ended(view: &View, at: Ms, reason: &str) -> Value {
    let mut data = totals(view, at);
    data["reason"] = reason.into();
    data
}

/// What has added up since the view started, as the player counts it.
fn totals(view: &View, at: Ms) -> Value {
    let Totals { playing_ms, stalled_ms, seeking_ms, paused_ms, stalls } = view.totals_at(at);
    let mut data = json!({ "playing_ms": playing_ms, "paused_ms": paused_ms });
    if !view.is_state_only {
        let full = json!({ "rebuffer_ms": stalled_ms, "rebuffer_count": stalls, "seek_ms": seeking_ms });
        extend(&mut data, full);
    }
    data
}

fn note(view: &View, note: &Note) -> Option<(Ms, &'static str, Value)> {
    let (kind, data) = match note.what {
        What::Preload | What::Response => return None,
        What::Heartbeat(beat) => ("playback.heartbeat", heartbeat(view, note.at, beat)),
        What::Rendition { from, to, is_of_tile_count } => (
            "playback.rendition_changed",
            json!({
                "from_kbps": from.kbps, "to_kbps": to.kbps, "width_px": to.size.width_px,
                "height_px": to.size.height_px, "reason": if is_of_tile_count { "tile_count" } else { "abr" },
            }),
        ),
        What::Warning { code, domain } => {
            ("playback.error", json!({ "code": code, "severity": "warning", "domain": domain }))
        }
        What::FramesDropped { frames } => ("playback.frames_dropped", json!({ "dropped": frames, "window_ms": 1_000 })),
        What::Latency { ms } => ("playback.latency_sampled", json!({ "latency_ms": ms })),
        What::Audio { is_muted } => ("playback.audio_changed", json!({ "muted": is_muted, "audible": !is_muted })),
        What::Resized { tile } => (
            "playback.mode_changed",
            json!({ "mode": "tile", "tile_width_px": tile.width_px, "tile_height_px": tile.height_px }),
        ),
        What::BufferingAnyway => ("playback.rebuffer_started", json!({ "buffer_ms": 0 })),
        What::SeekWhileJoining => ("playback.seek_started", json!({ "from_ms": 0, "to_ms": 5_000 })),
    };
    Some((note.at, kind, data))
}

fn heartbeat(view: &View, at: Ms, beat: Beat) -> Value {
    let mut data = totals(view, at);
    let state = match view.said_at(at) {
        Some(Turn::Plays) => "playing",
        Some(Turn::RanDry) => "buffering",
        Some(Turn::Paused) => "paused",
        _ => "loading",
    };
    let moment = json!({
        "period_ms": HEARTBEAT_MS, "state": state, "bitrate_kbps": beat.kbps, "latency_ms": beat.latency_ms,
        "throughput_kbps": beat.throughput_kbps,
        "playback_rate": beat.rate, "muted": beat.is_muted, "focused": beat.is_focused,
        "dropped_frames": beat.dropped, "rendered_frames": beat.rendered,
    });
    extend(&mut data, moment);
    data
}

/// Adds fields; those without a value are left out.
fn extend(data: &mut Value, more: Value) {
    if let (Value::Object(data), Value::Object(more)) = (data, more) {
        data.extend(more.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>());
    }
}
