//! What is known beside the sums by minute and key: for questions that are asked of events, slices and records.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::grid::{Minute, Tally};
use super::heard::Heard;
use super::places::{Dims, Places};
use crate::simulate::timeline::{Deed, Device, HOUR_MS, Ms, Session, Tongue};

/// Quarters of an hour are what slices are of.
const SLICE_MIN: i64 = 15;

/// Uploads of an hour, and records of the log that they become.
#[derive(Debug, Default)]
struct Arrivals {
    uploads: i64,
    /// Events of one install are in one record; of others nobody but the server knows who shares one.
    records_at_most: i64,
}

/// Native sessions in which templates are looked at.
#[derive(Debug, Default, Serialize)]
struct Templates {
    sessions: i64,
    /// In which one is used.
    used: i64,
    /// Or a layout is made from one.
    converted: i64,
    /// The persons who use one.
    users: BTreeSet<String>,
}

#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Measures by model of the device, as the session tells it, and band of tiles.
    models: BTreeMap<[String; 2], Tally<&'static str>>,
    /// Viewing time, ms, by unit, a session or a view of its own, and type of layout.
    watched: BTreeMap<[String; 2], i64>,
    /// Quarters of an hour, since 1970, to which a person adds something.
    active: BTreeMap<String, BTreeSet<i64>>,
    /// By native session: numbers that are missing between the first and the last that arrive.
    gaps: BTreeMap<String, i64>,
    /// Of each device: its clock − true time, ms; its events that arrive.
    clocks: Vec<(i64, usize)>,
    templates: Templates,
    /// Guests that say who they are.
    signed_in: BTreeSet<Uuid>,
    /// By platform of the device and thermal state: samples, and the installs that they are of.
    thermal: BTreeMap<[&'static str; 2], (i64, BTreeSet<Uuid>)>,
    /// By hour of arrival, since 1970.
    arrivals: BTreeMap<i64, Arrivals>,
}

impl Beside {
    /// Something that is counted.
    pub(super) fn add(&mut self, dims: &Dims, band: &str, measure: &'static str, minute: Minute, n: i64) {
        if n == 0 {
            return;
        }
        self.models.entry([dims.model.clone(), band.to_owned()]).or_default().add(measure, n);
        if let Some((person, minute)) = dims.person.clone().zip(minute) {
            self.active.entry(person).or_default().insert(minute.div_euclid(SLICE_MIN));
        }
    }

    /// Somebody watched. A view that names no session is one of its own.
    pub(super) fn watch(&mut self, places: &Places<'_>, layout_type: &str, ms: i64) {
        let of_view = || places.views().next().map(|(view, _)| view.id);
        let unit = places.session.map(|session| session.id).or_else(of_view);
        if let Some(unit) = unit.filter(|_| ms > 0) {
            *self.watched.entry([unit.to_string(), layout_type.to_owned()]).or_default() += ms;
        }
    }

    /// The numbers of a session, of which only native ones have any.
    pub(super) fn add_numbers(&mut self, device: &Device, session: &Session, heard: &Heard) {
        let (Some(first), Some(last)) = (heard.instants.first(), heard.instants.last()) else { return };
        if device.tongue == Tongue::Native && !device.stays_open {
            let numbered = session.instants().into_iter().filter(|at| (first..=last).contains(&at));
            let missing = numbered.count() - heard.instants.len();
            self.gaps.insert(session.id.to_string(), i64::try_from(missing).unwrap_or_default());
        }
    }

    /// What arrives of templates, samples and users.
    pub(super) fn add_acts(&mut self, device: &Device, session: &Session) {
        let did = |is_it: fn(&Deed) -> bool| session.acts.iter().any(|act| is_it(&act.deed));
        let is_used = did(|deed| matches!(deed, Deed::TemplateUsed { .. }));
        if is_used || did(|deed| *deed == Deed::TemplateViewed) {
            let is_made = did(|deed| matches!(deed, Deed::LayoutCreated { template: Some(_), .. }));
            self.templates.sessions += 1;
            self.templates.used += i64::from(is_used);
            self.templates.converted += i64::from(is_used || is_made);
        }
        if is_used {
            self.templates.users.insert(device.person());
        }
        if did(|deed| *deed == Deed::SignedIn) {
            self.signed_in.insert(device.anon);
        }
        for act in &session.acts {
            if let Deed::Sampled { thermal } = act.deed {
                let (samples, installs) = self.thermal.entry([device.platform, thermal]).or_default();
                *samples += 1;
                installs.insert(device.install);
            }
        }
    }

    pub(super) fn add_clock(&mut self, device: &Device, events: usize) {
        if !device.stays_open {
            self.clocks.push((device.skew_ms, events));
        }
    }

    pub(super) fn add_upload(&mut self, device: &Device, received: Ms, events: usize) {
        let arrivals = self.arrivals.entry(received.div_euclid(HOUR_MS)).or_default();
        arrivals.uploads += 1;
        let records = if device.tongue == Tongue::Native { 1 } else { events };
        arrivals.records_at_most += i64::try_from(records).unwrap_or_default();
    }

    /// For a file.
    pub(super) fn to_json(&self) -> Map<String, Value> {
        let models = self.models.iter().map(|(key, sums)| {
            let sums: BTreeMap<_, _> = sums.iter().copied().collect();
            json!({ "key": key, "sums": sums })
        });
        let watched = self.watched.iter().map(|([session, layout_type], ms)| {
            json!({ "session_id": session, "layout_type": layout_type, "viewer_ms": ms })
        });
        let clocks = self.clocks.iter().map(|(skew_ms, events)| json!({ "skew_ms": skew_ms, "events": events }));
        let arrivals = self.arrivals.iter().map(|(hour, arrivals)| {
            let Arrivals { uploads, records_at_most } = arrivals;
            json!({ "hour": hour, "uploads": uploads, "records_at_most": records_at_most })
        });
        let thermal = self
            .thermal
            .iter()
            .map(|(key, (samples, installs))| json!({ "key": key, "samples": samples, "installs": installs.len() }));
        Map::from_iter([
            ("templates".to_owned(), json!(self.templates)),
            ("signed_in".to_owned(), json!(self.signed_in.len())),
            ("thermal".to_owned(), thermal.collect()),
            ("models".to_owned(), models.collect()),
            ("watched".to_owned(), watched.collect()),
            ("active".to_owned(), json!(self.active)),
            ("gaps".to_owned(), json!(self.gaps)),
            ("clocks".to_owned(), clocks.collect()),
            ("arrivals".to_owned(), arrivals.collect()),
        ])
    }
}
