//! What a view reports beside its states: heartbeats, renditions, errors, sound.

use super::{Instants, words};
use crate::simulate::random::Random;
use crate::simulate::timeline::{Beat, HEARTBEAT_MS, Ms, Note, State, Tongue, Video, View, What};

/// Traits of a player that hold for the whole view.
struct Traits {
    has_counters: bool,
    tells_attention: bool,
    /// Focused, muted.
    attention: (bool, bool),
    rate: Option<i64>,
    /// Whether heartbeats tell errors, too.
    tells_errors: bool,
    /// The heartbeat at which its counters begin anew.
    restarts_at: Option<i64>,
}

/// Adds the notes of a view whose states are drawn.
pub(super) fn draw(view: &mut View, tongue: Tongue, random: &mut Random, instants: &mut Instants) {
    let is_native = tongue == Tongue::Native;
    let is_full = !view.is_state_only;
    if is_full && view.first_play().is_some() {
        view.first_video = Some(random.pick(&words::VIDEOS));
    }
    let traits = Traits {
        // Counters go on from part to part; parts after the first one go without.
        has_counters: is_full && view.part == 0 && random.chance(80),
        tells_attention: is_native && random.chance(90),
        attention: (random.chance(40), random.chance(60)),
        rate: (is_native && !view.stream.is_live && random.chance(40)).then_some(2),
        tells_errors: !is_native,
        restarts_at: random.chance(3).then_some(2),
    };
    let mut drawn: Vec<(Ms, Kind)> = kinds(view, tongue, &traits, random);
    drawn.retain(|(at, kind)| fits(view, *at, *kind));
    let last = view.phases.last().map_or(0, |phase| phase.to);
    let mut placed: Vec<(Ms, Kind)> = Vec::with_capacity(drawn.len());
    for (wanted, kind) in drawn {
        let at = instants.take(wanted);
        // An instant that slipped behind the end stays unused.
        if at < last && fits(view, at, kind) {
            placed.push((at, kind));
        }
    }
    placed.sort_unstable_by_key(|(at, _)| *at);
    view.notes = fill(view, &traits, placed, random);
}

/// Notes without their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Preload,
    Heartbeat,
    Rendition,
    Warning,
    FramesDropped,
    Latency,
    Audio,
    Resized,
    BufferingAnyway,
    SeekWhileJoining,
    Response,
}

fn kinds(view: &View, tongue: Tongue, traits: &Traits, random: &mut Random) -> Vec<(Ms, Kind)> {
    let (begin, end) = (view.begin(), view.phases.last().map_or(0, |phase| phase.to));
    let is_native = tongue == Tongue::Native;
    let mut drawn = Vec::new();
    if !is_native {
        drawn.push((begin - random.between(5, 400), Kind::Preload));
    }
    if !is_native || random.chance(93) {
        let beats = (end - begin) / HEARTBEAT_MS;
        drawn.extend((1..=beats).map(|number| (begin + number * HEARTBEAT_MS, Kind::Heartbeat)));
    }
    let mut sometimes = |kind: Kind, every_ms: Ms, drawn: &mut Vec<(Ms, Kind)>| {
        for _ in 0..=(end - begin) / every_ms {
            if random.chance(60) {
                drawn.push((random.between(begin + 1, end.max(begin + 1)), kind));
            }
        }
    };
    sometimes(Kind::Rendition, 40_000, &mut drawn);
    sometimes(Kind::Warning, 240_000, &mut drawn);
    sometimes(Kind::Audio, 120_000, &mut drawn);
    if is_native {
        sometimes(Kind::Resized, 150_000, &mut drawn);
        sometimes(Kind::Latency, 60_000, &mut drawn);
        if !traits.has_counters {
            sometimes(Kind::FramesDropped, 60_000, &mut drawn);
        }
    } else {
        sometimes(Kind::Response, 8_000, &mut drawn);
    }
    for phase in &view.phases {
        let middle = (phase.from + phase.to) / 2;
        match phase.state {
            State::Joining if random.chance(8) => drawn.push((middle, Kind::BufferingAnyway)),
            State::Joining if random.chance(3) => drawn.push((middle, Kind::SeekWhileJoining)),
            State::Seeking if random.chance(40) => drawn.push((phase.from + 2, Kind::BufferingAnyway)),
            _ => {}
        }
    }
    drawn
}

/// Whether the note means what it should at that instant.
fn fits(view: &View, at: Ms, kind: Kind) -> bool {
    let state = view.state_at(at);
    let has_played = view.first_play().is_some_and(|first| first < at);
    let is_full = !view.is_state_only;
    match kind {
        Kind::Preload => at < view.begin(),
        Kind::Heartbeat => state.is_some(),
        Kind::Rendition => is_full && has_played && state.is_some_and(|state| state != State::Stalled),
        Kind::Latency => is_full && state == Some(State::Playing),
        Kind::FramesDropped => is_full && has_played && state == Some(State::Playing),
        Kind::Warning | Kind::Audio | Kind::Resized | Kind::Response => {
            state.is_some_and(|state| state != State::Stalled)
        }
        Kind::BufferingAnyway => match state {
            Some(State::Joining) => is_full && !has_played,
            Some(State::Seeking) => is_full,
            _ => false,
        },
        Kind::SeekWhileJoining => is_full && state == Some(State::Joining) && !has_played,
    }
}

/// Gives the notes their values, in their order.
fn fill(view: &View, traits: &Traits, placed: Vec<(Ms, Kind)>, random: &mut Random) -> Vec<Note> {
    let mut video = view.first_video;
    let (mut is_focused, mut is_muted) = traits.attention;
    let (mut dropped, mut rendered, mut beats) = (0, 0, 0);
    let mut notes = Vec::with_capacity(placed.len());
    for (at, kind) in placed {
        let what = match kind {
            Kind::Preload => What::Preload,
            Kind::BufferingAnyway => What::BufferingAnyway,
            Kind::SeekWhileJoining => What::SeekWhileJoining,
            Kind::Response => What::Response,
            Kind::Warning => {
                let (code, domain) = random.pick(&words::ERRORS);
                What::Warning { code, domain }
            }
            Kind::FramesDropped => What::FramesDropped { frames: random.between(1, 40) },
            Kind::Latency => What::Latency { ms: latency_ms(random) },
            Kind::Resized => What::Resized { tile: random.pick(&words::TILES) },
            Kind::Audio => {
                is_muted = !is_muted;
                What::Audio { is_muted }
            }
            Kind::Rendition => match video.and_then(|from| Some((from, other_video(from, random)?))) {
                Some((from, to)) => {
                    video = Some(to);
                    What::Rendition { from, to, is_of_tile_count: random.chance(20) }
                }
                None => continue,
            },
            Kind::Heartbeat => {
                beats += 1;
                let is_restart = traits.restarts_at == Some(beats);
                dropped = if is_restart { 0 } else { dropped } + random.between(0, 25);
                rendered = if is_restart { 100 } else { rendered + 300 };
                if random.chance(10) {
                    is_focused = !is_focused;
                }
                let is_playing = view.state_at(at) == Some(State::Playing);
                What::Heartbeat(Beat {
                    kbps: video.filter(|_| is_playing).map(|video| video.kbps),
                    latency_ms: (is_playing && view.stream.is_live && !view.is_state_only).then(|| latency_ms(random)),
                    throughput_kbps: (is_playing && !view.is_state_only && random.chance(60))
                        .then(|| random.between(2_000, 40_000)),
                    is_focused: traits.tells_attention.then_some(is_focused),
                    is_muted: traits.tells_attention.then_some(is_muted),
                    rate: traits.rate.filter(|_| is_playing),
                    dropped: traits.has_counters.then_some(dropped),
                    rendered: traits.has_counters.then_some(rendered),
                    error: (traits.tells_errors && random.chance(4)).then(|| random.pick(&words::ERRORS).0),
                })
            }
        };
        notes.push(Note { at, what });
    }
    notes
}

fn latency_ms(random: &mut Random) -> i64 {
    // Clocks that disagree make a few of them negative.
    if random.chance(2) { random.between(-900, 0) } else { random.between(1_200, 9_000) }
}

fn other_video(from: Video, random: &mut Random) -> Option<Video> {
    let others: Vec<Video> = words::VIDEOS.into_iter().filter(|video| video.kbps != from.kbps).collect();
    others.get(random.place(others.len())).copied()
}
