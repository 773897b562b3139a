//! The truth: what the server should answer, computed from what happened and not from events.
//!
//! `docs/views.md` says how; this is a second reading of it that shares no code with the server.

mod beside;
mod claims;
mod fact;
mod grid;
mod heard;
mod opening;
mod places;
mod scores;
mod session;
mod stretch;
mod together;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use beside::Beside;
pub(super) use grid::{Grid, Key, Minute, Tally, minute_of};
use places::{Dims, Places};

use super::timeline::{Device, HOUR_MS, Ms, Tongue};
use super::wire::Event;
use grid::split;

/// Facts by id and part: column and value.
pub(super) type Facts = BTreeMap<(String, i64), BTreeMap<&'static str, Value>>;

/// Everything that can be compared.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) stream: Grid,
    pub(super) release: Grid,
    pub(super) layout: Grid,
    pub(super) usage: Grid,
    pub(super) errors: Grid,
    /// Received events by format, kind and outcome.
    pub(super) quality: BTreeMap<[String; 3], i64>,
    pub(super) views: Facts,
    pub(super) app_sessions: Facts,
    beside: Beside,
    /// Whether the clock of the device at hand is right.
    is_timed: bool,
}

/// Where something is counted: dimensions, and the band of tiles at that moment.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    dims: &'a Dims,
    band: &'static str,
}

impl Truth {
    /// Adds what is heard of a device if these events are lost.
    pub(super) fn add(&mut self, device: &Device, lost: &BTreeSet<Ms>) {
        self.is_timed = device.is_timed();
        for session in &device.sessions {
            let heard = heard::of(device, session, lost);
            self.beside.add_numbers(device, session, &heard);
            self.beside.add_acts(device, &heard.session);
            for (at, [code, domain, severity]) in &heard.errors {
                self.error(device, *at, ["playback", code, domain, severity]);
            }
            if device.tongue == Tongue::Cmcd {
                // Without a session key every view is a unit of its own.
                for (view, telling) in heard.views() {
                    let places = Places::of_view(device, (view, telling));
                    view::add(self, &places, view);
                    session::add_viewer(self, &places);
                }
            } else {
                let places = Places::of_session(device, &heard);
                for view in &heard.session.views {
                    view::add(self, &places, view);
                }
                if device.tongue == Tongue::Native {
                    together::add(self, &places);
                    opening::add(self, &places);
                }
                session::add_viewer(self, &places);
                session::add_app_sessions(self, &places);
                session::add_errors(self, &places);
            }
        }
    }

    /// Adds an event, how often it was sent, and when its first copy arrived.
    pub(super) fn add_event(&mut self, event: &Event, device: &Device, copies: i64, received: Ms) {
        let minute = device.is_timed().then(|| minute_of(event.at));
        let format = match device.tongue {
            Tongue::Native => "native",
            Tongue::Cmcd => "cmcd2",
            Tongue::Legacy => "streamyyy_legacy",
        };
        for (outcome, n) in [("stored", 1), ("duplicate", copies - 1)] {
            *self.quality.entry([format, &event.kind, outcome].map(str::to_owned)).or_default() += n;
        }
        let key = vec![event.kind.clone(), event.feature.to_owned()];
        self.usage.add(minute, &key, "events", 1);
        self.usage.add(minute, &key, "late_events", i64::from(received - event.at > HOUR_MS));
    }

    /// Adds the clock of a device of which so many events arrive.
    pub(super) fn add_clock(&mut self, device: &Device, events: usize) {
        self.beside.add_clock(device, events);
    }

    /// Adds an upload of so many events.
    pub(super) fn add_upload(&mut self, device: &Device, received: Ms, events: usize) {
        self.beside.add_upload(device, received, events);
    }

    fn minute(&self, minute: i64) -> Minute {
        self.is_timed.then_some(minute)
    }

    /// Where it counts. What a session adds by itself is in no stream.
    fn grids(&mut self, place: Place<'_>) -> impl Iterator<Item = (&mut Grid, Key)> {
        let Place { dims, band } = place;
        let stream = dims.stream.clone().map(|key| (&mut self.stream, key));
        stream.into_iter().chain([
            (&mut self.release, dims.release.clone()),
            (&mut self.layout, vec![dims.layout_type.clone(), band.to_owned()]),
        ])
    }

    /// Counts an error: origin, code, domain, severity.
    fn error(&mut self, device: &Device, at: Ms, keys: [&str; 4]) {
        let minute = self.minute(minute_of(at));
        let version = if device.tongue == Tongue::Cmcd { "" } else { device.app_version };
        let key = keys.into_iter().chain([version]).map(str::to_owned).collect();
        self.errors.add(minute, &key, "errors", 1);
    }

    /// Counts something at an instant.
    fn count(&mut self, place: Place<'_>, measure: &'static str, at: Ms, n: i64) {
        let minute = self.minute(minute_of(at));
        for (grid, key) in self.grids(place) {
            grid.add(minute, &key, measure, n);
        }
        self.beside.add(place.dims, place.band, measure, minute, n);
    }

    /// Counts a stretch of time, `weight` for each of its milliseconds.
    fn spend(&mut self, place: Place<'_>, measure: &'static str, from: Ms, to: Ms, weight: i64) {
        for (minute, ms) in split(from, to) {
            let minute = self.minute(minute);
            for (grid, key) in self.grids(place) {
                grid.add(minute, &key, measure, ms * weight);
            }
            self.beside.add(place.dims, place.band, measure, minute, ms * weight);
        }
    }

    /// A value of a distribution.
    fn value(&mut self, place: Place<'_>, metric: &'static str, minute: i64, value: i64, n: i64) {
        let minute = self.minute(minute);
        for (grid, key) in self.grids(place) {
            grid.add_value(minute, &key, metric, value, n);
        }
    }

    /// For a file.
    pub(super) fn to_json(&self) -> Value {
        let grid = |grid: &Grid| {
            let sums = grid.sums.iter().map(|((minute, key), sums)| {
                let sums: BTreeMap<_, _> = sums.iter().copied().collect();
                json!({"minute": minute, "key": key, "sums": sums})
            });
            let values = grid.values.iter().map(|((minute, key, metric), values)| {
                json!({"minute": minute, "key": key, "metric": metric, "values": values.iter().collect::<Vec<_>>()})
            });
            json!({ "sums": sums.collect::<Vec<_>>(), "values": values.collect::<Vec<_>>() })
        };
        let facts = |facts: &Facts| -> Vec<Value> {
            facts.iter().map(|((id, part), fact)| json!({"id": id, "part": part, "fact": fact})).collect()
        };
        let quality = self.quality.iter().map(|([format, kind, outcome], events)| {
            json!({"format": format, "type": kind, "outcome": outcome, "events": events})
        });
        let mut all = json!({
            "quality": quality.collect::<Vec<_>>(),
            "stream": grid(&self.stream), "release": grid(&self.release), "layout": grid(&self.layout),
            "usage": grid(&self.usage), "errors": grid(&self.errors), "views": facts(&self.views), "app_sessions": facts(&self.app_sessions),
        });
        if let Value::Object(all) = &mut all {
            all.extend(self.beside.to_json());
        }
        all
    }
}

#[cfg(test)]
mod tests;
