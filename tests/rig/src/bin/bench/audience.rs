//! The load of the benchmarks: devices that watch, each with a session of four tiles that goes on from upload to upload.
//!
//! Times are those of the devices, which pass faster than ours: a device that sends a hundred events has watched for four
//! minutes. Every round of the audience is one upload of each device, and all rounds are equally long; so uploads arrive
//! in the order of their times, and what is open, late or over is what it would be if the audience were as many times
//! larger as its time passes faster. The server must be started with the test clock.

use std::sync::Arc;

use anyhow::{Result, ensure};
use chrono::DateTime;
use uuid::Uuid;

use crate::random::Random;
use crate::script::{ID_BYTES, Part, Piece, SPACING_MS, STREAMS, Script, TILES, draw};

/// Devices of the audience, where nothing else is said.
pub(crate) const DEVICES: usize = 2_000;
/// From the last event of an upload to its arrival, ms.
const UNDER_WAY_MS: i64 = 400;

/// Which devices of an audience one connection plays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    /// The first one.
    pub(crate) first: usize,
    /// Every so many-th after it.
    pub(crate) step: usize,
    /// Devices of the whole audience.
    pub(crate) devices: usize,
}

impl Share {
    /// All of them.
    pub(crate) const fn whole(devices: usize) -> Self {
        Self { first: 0, step: 1, devices }
    }
}

/// The uploads of some devices, in the order of their arrival.
#[derive(Debug)]
pub(crate) struct Audience {
    scripts: Arc<Vec<Script>>,
    viewers: Vec<Viewer>,
    turn: usize,
    round_ms: i64,
    random: Random,
}

/// A device with its session under way.
#[derive(Debug, Clone)]
struct Viewer {
    install: Uuid,
    anon: Uuid,
    session: Session,
    /// When its next upload arrives, Unix ms.
    arrives_ms: i64,
}

#[derive(Debug, Clone)]
struct Session {
    script: usize,
    piece: usize,
    id: Uuid,
    boot: Uuid,
    layout: Uuid,
    views: [Uuid; TILES],
    streams: [usize; TILES],
    began_ms: i64,
}

/// An upload, whose body was just written.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    /// When it arrives, Unix ms.
    pub(crate) arrives_ms: i64,
    /// The device.
    pub(crate) install: Uuid,
    /// Its boot, and how long after it the upload was sent, ms.
    pub(crate) boot: Uuid,
    pub(crate) mono_ms: i64,
    /// Views that begin in it.
    pub(crate) views: u64,
    /// Which session text, and which part of it.
    script: usize,
    piece: usize,
}

impl Upload {
    /// When the device sent it, Unix ms.
    pub(crate) const fn sent_ms(&self) -> i64 {
        self.arrives_ms - UNDER_WAY_MS
    }
}

/// The sessions that all connections of a load play.
pub(crate) fn scripts(events_per_upload: usize) -> Result<Arc<Vec<Script>>> {
    ensure!(100 % events_per_upload == 0, "{events_per_upload} events of an upload do not fit into a session");
    Ok(Arc::new(draw(events_per_upload)?))
}

impl Audience {
    /// Devices whose first uploads arrive within a round after `begin_ms`.
    pub(crate) fn new(scripts: &Arc<Vec<Script>>, share: Share, begin_ms: i64) -> Self {
        let mut random = Random::new();
        let events = scripts.first().map_or(1, |script| script.events_per_piece);
        let round_ms = i64::try_from(events).unwrap_or(1) * SPACING_MS;
        let viewer = |number: usize, random: &mut Random| {
            let part = i64::try_from(number).unwrap_or(0) * round_ms / i64::try_from(share.devices).unwrap_or(1).max(1);
            let arrives_ms = begin_ms + round_ms + part;
            let began_ms = arrives_ms - round_ms;
            let session = Session::draw(scripts, began_ms, random);
            Viewer { install: random.uuid(began_ms), anon: random.uuid(began_ms), session, arrives_ms }
        };
        let numbers = (share.first..share.devices).step_by(share.step);
        let viewers = numbers.map(|number| viewer(number, &mut random)).collect();
        Self { scripts: Arc::clone(scripts), viewers, turn: 0, round_ms, random }
    }

    /// Writes the body of the next upload.
    pub(crate) fn next(&mut self, body: &mut Vec<u8>) -> Upload {
        let viewers = self.viewers.len();
        let viewer = &mut self.viewers[self.turn];
        self.turn = (self.turn + 1) % viewers;
        let session = viewer.session.clone();
        let script = &self.scripts[session.script];
        let piece = &script.pieces[session.piece];
        body.clear();
        body.extend_from_slice(&piece.bytes);
        write(piece, viewer, body, &mut self.random);
        let upload = Upload {
            arrives_ms: viewer.arrives_ms,
            install: viewer.install,
            boot: session.boot,
            mono_ms: Script::mono_ms(viewer.arrives_ms - UNDER_WAY_MS - session.began_ms),
            views: piece.views,
            script: session.script,
            piece: session.piece,
        };
        viewer.session.piece += 1;
        if viewer.session.piece == script.pieces.len() {
            viewer.session = Session::draw(&self.scripts, viewer.arrives_ms, &mut self.random);
        }
        viewer.arrives_ms += self.round_ms;
        upload
    }

    /// The events of a body that was written for an upload.
    pub(crate) fn events<'b>(&self, upload: &Upload, body: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        let ranges = &self.scripts[upload.script].pieces[upload.piece].events;
        ranges.iter().map(|range| &body[range.clone()])
    }
}

impl Session {
    fn draw(scripts: &[Script], began_ms: i64, random: &mut Random) -> Self {
        let mut uuid = || random.uuid(began_ms);
        let (id, boot, layout, views) = (uuid(), uuid(), uuid(), [uuid(), uuid(), uuid(), uuid()]);
        let streams = [(); TILES].map(|()| stream(random));
        Self { script: random.below(scripts.len()), piece: 0, id, boot, layout, views, streams, began_ms }
    }
}

/// Some streams have many viewers, most have few: below a bound that is itself drawn.
fn stream(random: &mut Random) -> usize {
    let bound = 1 + random.below(STREAMS);
    random.below(bound)
}

/// Writes everything into its place.
fn write(piece: &Piece, viewer: &Viewer, body: &mut [u8], random: &mut Random) {
    let session = &viewer.session;
    let mut day = Day::default();
    for (at, part) in &piece.places {
        let uuid = match *part {
            Part::Time(after_ms) => {
                day.stamp(session.began_ms + after_ms, &mut body[*at..]);
                continue;
            }
            Part::Stream(tile) => {
                digits(session.streams[tile], &mut body[*at..*at + 4]);
                continue;
            }
            Part::Event(after_ms) => random.uuid(session.began_ms + after_ms),
            Part::Install => viewer.install,
            Part::Anon => viewer.anon,
            Part::Session => session.id,
            Part::Boot => session.boot,
            Part::Layout => session.layout,
            Part::View(tile) => session.views[tile],
        };
        uuid.hyphenated().encode_lower(&mut body[*at..*at + ID_BYTES]);
    }
}

/// Writes times of one day without asking the calendar for each.
#[derive(Debug, Default)]
struct Day {
    begins_ms: i64,
    text: String,
}

const DAY_MS: i64 = 86_400_000;

impl Day {
    fn stamp(&mut self, unix_ms: i64, place: &mut [u8]) {
        let of_day = unix_ms.rem_euclid(DAY_MS);
        if self.text.is_empty() || unix_ms - of_day != self.begins_ms {
            self.begins_ms = unix_ms - of_day;
            let day = DateTime::from_timestamp_millis(self.begins_ms).unwrap_or_default();
            self.text = day.format("%Y-%m-%dT").to_string();
        }
        let number = |ms: i64| usize::try_from(ms).unwrap_or(0);
        place[..11].copy_from_slice(self.text.as_bytes());
        digits(number(of_day / 3_600_000), &mut place[11..13]);
        digits(number(of_day / 60_000 % 60), &mut place[14..16]);
        digits(number(of_day / 1_000 % 60), &mut place[17..19]);
        digits(number(of_day % 1_000), &mut place[20..23]);
    }
}

/// A number with leading zeros.
fn digits(mut number: usize, place: &mut [u8]) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use chrono::Utc;
    use serde_json::Value;

    use super::*;

    /// Every event is where and when it belongs, once, and nothing stands for something else any more.
    #[test]
    fn sessions_are_whole_and_in_order() {
        let begin = DateTime::<Utc>::UNIX_EPOCH.timestamp_millis() + 1_700_000_000_000;
        for events in [1, 10, 100] {
            let scripts = scripts(events).unwrap();
            let mut audience = Audience::new(&scripts, Share { first: 1, step: 2, devices: 9 }, begin);
            let (mut body, mut arrived, mut ids) = (Vec::new(), begin, BTreeSet::new());
            let mut sessions: BTreeMap<String, Vec<(u64, i64, String)>> = BTreeMap::new();
            for _ in 0..20_000 / events {
                let upload = audience.next(&mut body);
                assert!(upload.arrives_ms >= arrived);
                arrived = upload.arrives_ms;
                assert!(!String::from_utf8_lossy(&body).contains("00000000-0000-0000"));
                let array: Vec<Value> = serde_json::from_slice(&body).unwrap();
                assert_eq!(array.len(), events);
                for (event, slice) in array.iter().zip(audience.events(&upload, &body)) {
                    assert_eq!(event, &serde_json::from_slice::<Value>(slice).unwrap());
                    let text = |name: &str| event[name].as_str().unwrap().to_owned();
                    let at = DateTime::parse_from_rfc3339(&text("time")).unwrap().timestamp_millis();
                    assert!(at < upload.arrives_ms && upload.arrives_ms - at <= 250_000 + 30_000, "{event}");
                    assert!(ids.insert(text("id")));
                    let session = sessions.entry(text("sessionid")).or_default();
                    session.push((event["seq"].as_u64().unwrap(), at, text("type")));
                }
            }
            let over = sessions.values().filter(|events| events.last().unwrap().2 == "session.ended");
            assert!(over.clone().count() > 4);
            for session in over {
                assert!((0..).zip(session).all(|(seq, event)| event.0 == seq));
                assert!(session.windows(2).all(|pair| pair[0].1 < pair[1].1));
                let of = |kind: &str| session.iter().filter(|event| event.2 == kind).count();
                assert_eq!([of("playback.view_started"), of("playback.view_ended"), of("app.opened")], [4, 4, 1]);
            }
        }
    }
}
