//! What is asked of events, slices and records themselves: persons, models, numbers, clocks, arrivals.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asking, Of, Truth, answer, assert_ratio, float, minute_of, text};
use crate::questions::shaped::AHEAD_S;

const SLICE_MIN: i64 = 15;
const DAY_MIN: i64 = 24 * 60;
/// A clock that is off by no more is not corrected (`docs/clocks.md`).
const DEAD_BAND_MS: i64 = 2_000;
/// How long an upload of the fleet is on its way, ms.
const TRANSIT_MS: std::ops::RangeInclusive<i64> = 20..=300;

/// As `src/simulate/truth/beside.rs` writes it.
#[derive(Debug, Deserialize)]
pub(super) struct Beside {
    models: Vec<Model>,
    watched: Vec<Watched>,
    active: BTreeMap<String, BTreeSet<i64>>,
    gaps: BTreeMap<String, i64>,
    templates: Templates,
    signed_in: i64,
    thermal: Vec<Thermal>,
    clocks: Vec<Clock>,
    arrivals: Vec<Arrivals>,
}

#[derive(Debug, Deserialize)]
struct Model {
    /// Model, band of tiles.
    key: [String; 2],
    sums: BTreeMap<String, i64>,
}

#[derive(Debug, Deserialize)]
struct Watched {
    session_id: String,
    layout_type: String,
}

#[derive(Debug, Deserialize)]
struct Templates {
    sessions: i64,
    used: i64,
    converted: i64,
    users: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
struct Thermal {
    /// Platform of the device, state.
    key: [String; 2],
    samples: i64,
    installs: i64,
}

#[derive(Debug, Deserialize)]
struct Clock {
    /// The device's − the true one.
    skew_ms: i64,
    events: i64,
}

#[derive(Debug, Deserialize)]
struct Arrivals {
    /// Since 1970.
    hour: i64,
    uploads: i64,
    records_at_most: i64,
}

fn number(row: &Value, column: &str) -> i64 {
    row[column].as_i64().unwrap()
}

impl Truth {
    /// How many sessions watch in layouts of a type, and how many watch.
    pub(super) fn sessions_that_watch(&self, layout_type: &str) -> (i64, i64) {
        let sessions = |of: &dyn Fn(&&Watched) -> bool| {
            let sessions = self.beside.watched.iter().filter(of).map(|watched| &watched.session_id);
            i64::try_from(sessions.collect::<BTreeSet<_>>().len()).unwrap()
        };
        (sessions(&|watched| watched.layout_type == layout_type), sessions(&|_| true))
    }

    /// Who was active, came back, signed in.
    pub(super) async fn persons(&self, asking: &Asking<'_>) {
        let active = &self.beside.active;
        // The first and the last minute before another one; none if there is none.
        let known = |until: i64| {
            let of = move |slices: &BTreeSet<i64>| {
                let mut before = slices.iter().map(|slice| slice * SLICE_MIN).filter(move |at| *at < until);
                before.next().map(|first| (first, before.next_back().unwrap_or(first)))
            };
            active.values().filter_map(of)
        };
        for to in ["2026-03-01T06:00:00.000Z", "2026-03-01T18:00:00.000Z", "2026-03-02T12:00:00.000Z", asking.to] {
            let until = minute_of(to);
            let mut truth = Vec::new();
            for days in [1, 7, 30] {
                let since = until - days * DAY_MIN;
                let persons: Vec<(i64, i64)> = known(until).filter(|(_, last)| *last >= since).collect();
                let new = persons.iter().filter(|(first, _)| *first >= since).count();
                if !persons.is_empty() {
                    // Who they say they are is not verified.
                    truth.push(json!({
                        "days": days, "persons": persons.len(), "guests": persons.len(), "signed_in": 0,
                        "new": new, "returning": persons.len() - new,
                    }));
                }
            }
            assert_eq!(answer(&Asking { to, ..*asking }, "active").await, truth, "until {to}");
        }

        let local_day = |minute: i64| (minute + i64::from(AHEAD_S) / 60).div_euclid(DAY_MIN);
        let (from, until) = (minute_of(asking.from), minute_of(asking.to));
        let first = |slices: &BTreeSet<i64>| *slices.first().unwrap() * SLICE_MIN;
        let came = |slices: &BTreeSet<i64>| (from..until).contains(&first(slices));
        let rows = answer(asking, "retention").await;
        let (mut persons, mut next_day) = (0, 0.0);
        for (row, uses_templates) in rows.iter().zip([false, true]) {
            let is_of = |person: &String| self.beside.templates.users.contains(person) == uses_templates;
            let came = active.iter().filter(|(person, slices)| is_of(person) && came(slices));
            let came: Vec<&BTreeSet<i64>> = came.map(|(_, slices)| slices).collect();
            let returns = |days: i64| {
                let is_back = |slices: &&&BTreeSet<i64>| {
                    slices.iter().any(|slice| local_day(slice * SLICE_MIN) == local_day(first(slices)) + days)
                };
                float(i64::try_from(came.iter().filter(is_back).count()).unwrap())
            };
            let of_these = i64::try_from(came.len()).unwrap();
            assert_eq!((&row["uses_templates"], number(row, "persons")), (&json!(uses_templates), of_these));
            for (column, days) in [("d1", 1), ("d7", 7), ("d30", 30)] {
                assert_ratio(column, &row[column], Some(returns(days) / float(of_these)));
            }
            persons += of_these;
            next_day += returns(1);
        }
        assert!(rows.len() == 2 && next_day > 0.0, "nobody came back the next local day: {rows:?}");
        // The fleet is not older than seven days.
        let signed_in = self.beside.signed_in;
        assert!(0 < signed_in && signed_in < persons);
        assert_eq!(answer(asking, "sign-ins").await, [json!({ "guests": persons, "signed_in": signed_in })]);
        for row in answer(asking, "errors").await {
            assert!(minute_of(text(&row, "first_seen")) <= minute_of(text(&row, "last_seen")), "{row}");
        }
    }

    /// Who looks at templates, and how warm devices get.
    pub(super) async fn templates_and_samples(&self, asking: &Asking<'_>) {
        let Templates { sessions, used, converted, .. } = self.beside.templates;
        assert!(0 < used && used < converted && converted < sessions);
        let rows = answer(asking, "templates").await;
        assert_eq!(rows.len(), 1);
        for (column, truth) in [("sessions", sessions), ("used", used), ("converted", converted)] {
            assert_eq!(number(&rows[0], column), truth, "{column}");
        }
        assert_ratio("conversion", &rows[0]["conversion"], Some(float(converted) / float(sessions)));
        let row = |of: &Thermal| {
            let [platform, thermal] = &of.key;
            let (samples, installs) = (of.samples, of.installs);
            json!({ "device_platform": platform, "thermal": thermal, "samples": samples, "installs": installs })
        };
        let truth: Vec<Value> = self.beside.thermal.iter().map(row).collect();
        assert!(truth.len() > 4, "{truth:?}");
        assert_eq!(answer(asking, "thermal").await, truth);
    }

    /// By model of the device and number of tiles. CMCD and the app's feed tell no model.
    pub(super) async fn models(&self, asking: &Asking<'_>) {
        let mut truth: BTreeMap<(&str, &str), Of> = BTreeMap::new();
        for Model { key: [model, band], sums } in &self.beside.models {
            if sums.get("watch_ms").is_some_and(|ms| *ms > 0) {
                truth.insert((model, band), Of(sums.clone()));
            }
        }
        assert!(truth.keys().map(|(model, _)| model).collect::<BTreeSet<_>>().len() >= 3);
        let rows = answer(asking, "models").await;
        for row in &rows {
            let of = &truth[&(text(row, "device_model"), text(row, "tile_band"))];
            assert_eq!(row["watch_ms"], of.get("watch_ms"), "{row}");
            assert_ratio("stalled", &row["rebuffer_ratio"], of.rebuffer_ratio());
            let frames = of.get("dropped_frames") + of.get("rendered_frames");
            assert_ratio("dropped", &row["dropped_ratio"], of.ratio("dropped_frames", frames));
        }
        assert_eq!(rows.len(), truth.len());
    }

    /// Events that are missing between the first and the last number of a session. Only native sessions have numbers.
    pub(super) async fn numbers(&self, asking: &Asking<'_>) {
        let gaps = &self.beside.gaps;
        let truth = json!({
            "format": "native", "sessions": gaps.len(), "missing": gaps.values().sum::<i64>(),
            "with_gaps": gaps.values().filter(|missing| **missing > 0).count(),
        });
        assert_eq!(answer(asking, "gaps").await, [truth]);
    }

    /// What was done to the time of events. Clocks that are right are left alone. One that is fast is put right from its
    /// first upload on, by what is missing and the time of the upload on its way; one that is slow from some upload on:
    /// nobody but the server knows which.
    pub(super) async fn clocks(&self, asking: &Asking<'_>) {
        let events_of = |of: &dyn Fn(i64) -> bool| -> i64 {
            self.beside.clocks.iter().filter(|clock| of(clock.skew_ms)).map(|clock| clock.events).sum()
        };
        let right = events_of(&|skew_ms| skew_ms.abs() <= DEAD_BAND_MS);
        let (fast, slow) =
            (events_of(&|skew_ms| skew_ms > DEAD_BAND_MS), events_of(&|skew_ms| skew_ms < -DEAD_BAND_MS));
        let mut told = 0;
        for row in answer(asking, "clocks").await {
            let (events, least, greatest) =
                (number(&row, "events"), number(&row, "skew_ms_min"), number(&row, "skew_ms_max"));
            told += events;
            match text(&row, "time_quality") {
                "device" => {
                    assert!((right..=right + slow).contains(&events), "{right} and up to {slow}: {row}");
                    assert_eq!((least, greatest, row["skew_ms_p50"].as_f64()), (0, 0, Some(0.0)), "{row}");
                }
                "offset" => {
                    assert!((fast..=fast + slow).contains(&events), "{fast} and up to {slow}: {row}");
                    for added in [least, greatest] {
                        let is_of = |clock: &Clock| {
                            clock.skew_ms.abs() > DEAD_BAND_MS && TRANSIT_MS.contains(&(added + clock.skew_ms))
                        };
                        assert!(self.beside.clocks.iter().any(is_of), "no clock is {added} ms off: {row}");
                    }
                    let median = row["skew_ms_p50"].as_f64().unwrap();
                    assert!((float(least)..=float(greatest)).contains(&median), "{row}");
                }
                // Clocks of boots agree with the wall.
                other => panic!("{other}: {row}"),
            }
        }
        assert_eq!(told, right + fast + slow);
    }

    /// When what arrived was committed is no matter of the fleet: of the seconds only bounds are known, on a clock that
    /// stands still between arrivals. In which hours how much arrived is known: an upload of one install is one record.
    pub(super) async fn freshness(&self, asking: &Asking<'_>, now: DateTime<Utc>) {
        let hours = minute_of(asking.from) / 60..minute_of(asking.to) / 60;
        let truth: BTreeMap<i64, &Arrivals> = self
            .beside
            .arrivals
            .iter()
            .filter(|arrivals| hours.contains(&arrivals.hour))
            .map(|arrivals| (arrivals.hour, arrivals))
            .collect();
        let rows = answer(asking, "freshness").await;
        for row in &rows {
            let hour = minute_of(text(row, "hour")) / 60;
            let arrivals = truth[&hour];
            let at_most = float(now.timestamp() + 1 - hour * 3_600);
            assert!((arrivals.uploads..=arrivals.records_at_most).contains(&number(row, "records")), "{row}");
            let (median, greatest) =
                (row["freshness_s_p50"].as_f64().unwrap(), row["freshness_s_max"].as_f64().unwrap());
            assert!(0.0 <= median && median <= greatest && greatest <= at_most, "{row}");
        }
        assert_eq!(rows.len(), truth.len());
    }
}
