//! CMCD version 2, event mode: each view numbers its own records.

use super::Event;
use crate::simulate::timeline::{Beat, End, Ms, Session, State, View, What};

/// The records of all views, by time.
pub(super) fn events(session: &Session) -> Vec<Event> {
    let mut all: Vec<Event> = session.views.iter().flat_map(records).collect();
    all.sort_by_key(|event| event.at);
    all
}

/// A record without its number: instant, event type, what it says beyond.
type Draft = (Ms, &'static str, String);

fn records(view: &View) -> Vec<Event> {
    let turns = view.phases.iter().enumerate();
    let mut drafts: Vec<Draft> = turns.map(|(place, phase)| turn(view, place, phase.from, phase.state)).collect();
    drafts.extend(view.notes.iter().filter_map(|note| self::note(note.at, note.what)));
    match view.end {
        End::Said { at, reason } => drafts.push((at, "ps", state(if reason == "completed" { "e" } else { "q" }))),
        End::Fatal { at, code, said_at, .. } => {
            drafts.push((at, "ps", format!("{},ec=(\"{code}\")", state("f"))));
            drafts.extend(said_at.map(|at| (at, "ps", state("q"))));
        }
        End::Silent => {}
    }
    drafts.sort_by_key(|(at, ..)| *at);
    let record = |(sn, (at, event, says)): (usize, Draft)| {
        let separator = if says.is_empty() { "" } else { "," };
        let stream = view.stream.id;
        let kind = if view.stream.is_live { "l" } else { "v" };
        let body =
            format!("cid=\"{stream}\",e={event},sid=\"{}\",sn={sn},st={kind},ts={at},v=2{separator}{says}", view.id);
        Event { at, kind: format!("cmcd.{event}"), feature: "", body }
    };
    drafts.into_iter().enumerate().map(record).collect()
}

fn state(word: &str) -> String {
    format!("sta={word}")
}

fn turn(view: &View, place: usize, at: Ms, to: State) -> Draft {
    let word = match to {
        State::Joining => "s",
        State::Playing => "p",
        State::Stalled => "r",
        State::Seeking if view.settles(place) => "r",
        State::Seeking => "k",
        State::Paused => "a",
    };
    let mut says = state(word);
    if view.first_play() == Some(at) {
        says = format!("{says},msd={}", at - view.begin());
        if let Some(video) = view.first_video {
            says = format!("{says},br=({};v)", video.kbps);
        }
    }
    (at, "ps", says)
}

fn note(at: Ms, what: What) -> Option<Draft> {
    let (event, says) = match what {
        What::Preload => ("ps", state("d")),
        What::Heartbeat(beat) => ("t", moment(beat)),
        What::Rendition { to, .. } => ("bc", format!("br=({};v)", to.kbps)),
        What::Warning { code, .. } => ("e", format!("ec=(\"{code}\")")),
        What::Audio { is_muted } => (if is_muted { "m" } else { "um" }, String::new()),
        What::BufferingAnyway => ("ps", state("r")),
        What::SeekWhileJoining => ("ps", state("k")),
        What::Response => ("rr", "ot=v,rc=200,ttfb=31,ttlb=140,url=\"https://cdn.example/segment.m4s\"".to_owned()),
        What::FramesDropped { .. } | What::Latency { .. } | What::Resized { .. } => return None,
    };
    Some((at, event, says))
}

fn moment(beat: Beat) -> String {
    let said = [
        beat.kbps.map(|kbps| format!("br=({kbps};v)")),
        beat.latency_ms.map(|ms| format!("ltc={ms}")),
        beat.dropped.map(|frames| format!("dfa={frames}")),
        beat.error.map(|code| format!("ec=(\"{code}\")")),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join(",")
}
