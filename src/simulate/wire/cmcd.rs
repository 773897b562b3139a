//! CMCD version 2, event mode: each view numbers its own records.

use super::{Event, id_within};
use crate::simulate::timeline::{Beat, End, Ms, Note, Session, Tongue, Turn, View, What};

/// The records of all views, by time.
pub(super) fn events(session: &Session) -> Vec<Event> {
    let mut all: Vec<Event> = session.views.iter().flat_map(records).collect();
    all.sort_by_key(|event| event.at);
    all
}

/// A record without its number: instant, event type, what it says beyond.
type Draft = (Ms, &'static str, String);

fn records(view: &View) -> Vec<Event> {
    let mut drafts: Vec<Draft> = (0..view.phases.len()).map(|place| turn(view, place)).collect();
    drafts.extend(view.notes.iter().filter_map(|note| self::note(view, note)));
    match view.end {
        End::Said { at, reason } => {
            drafts.push((at, "ps", over(view, at, if reason == "completed" { "e" } else { "q" })));
        }
        End::Fatal { at, code, said_at, .. } => {
            drafts.push((at, "ps", format!("{},ec=(\"{code}\")", state("f"))));
            drafts.extend(said_at.map(|at| (at, "ps", over(view, at, "q"))));
        }
        End::Silent => {}
    }
    drafts.sort_by_key(|(at, ..)| *at);
    let record = |(sn, (at, event, says)): (i64, Draft)| {
        let separator = if says.is_empty() { "" } else { "," };
        let stream = view.stream.id;
        let kind = if view.stream.is_live { "l" } else { "v" };
        let body =
            format!("cid=\"{stream}\",e={event},sid=\"{}\",sn={sn},st={kind},ts={at},v=2{separator}{says}", view.id);
        Event { id: id_within(view.id, sn), at, kind: format!("cmcd.{event}"), feature: "", body }
    };
    (0..).zip(drafts).map(record).collect()
}

fn state(word: &str) -> String {
    format!("sta={word}")
}

/// The end, with what stalls add up to.
fn over(view: &View, at: Ms, word: &str) -> String {
    format!("{},{}", state(word), totals(view, at))
}

/// How often and how long the buffer ran dry.
fn totals(view: &View, at: Ms) -> String {
    let totals = view.totals_at(at);
    format!("bsa=({};v),bsda=({};v)", totals.stalls, totals.stalled_ms)
}

/// The word of a state.
const fn word(turn: Turn) -> &'static str {
    match turn {
        Turn::Started => "s",
        Turn::Plays | Turn::Resumed | Turn::Recovered(_) | Turn::SeekOver => "p",
        Turn::RanDry => "r",
        Turn::SeekBegan => "k",
        Turn::Paused => "a",
    }
}

fn turn(view: &View, place: usize) -> Draft {
    let at = view.phases[place].from;
    let mut says = state(word(view.turn_at(place, Tongue::Cmcd)));
    if view.first_play() == Some(at) {
        says = format!("{says},msd={}", at - view.begin());
        if let Some(video) = view.first_video {
            says = format!("{says},br=({};v)", video.kbps);
        }
    }
    (at, "ps", says)
}

fn note(view: &View, note: &Note) -> Option<Draft> {
    let at = note.at;
    let (event, says) = match note.what {
        What::Preload => ("ps", state("d")),
        What::Heartbeat(beat) => ("t", moment(view, at, beat)),
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

fn moment(view: &View, at: Ms, beat: Beat) -> String {
    let said = [
        view.said_at(at).map(|turn| state(word(turn))),
        Some(totals(view, at)),
        beat.kbps.map(|kbps| format!("br=({kbps};v)")),
        beat.latency_ms.map(|ms| format!("ltc={ms}")),
        beat.dropped.map(|frames| format!("dfa={frames}")),
        beat.error.map(|code| format!("ec=(\"{code}\")")),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join(",")
}
