//! Events cut into uploads, and what goes wrong on the way.

use std::collections::BTreeMap;
use std::ops::Range;
use std::str::FromStr;

use super::random::Random;
use super::timeline::{DAY_MS, Device, HOUR_MS, MINUTE_MS, Ms};
use super::wire::Event;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Disturbance {
    /// A batch is sent again later.
    Duplicates,
    /// A retry is cut in another way than the first attempt.
    Recut,
    /// A newer batch overtakes an older one.
    Reorder,
    /// A device is offline for an hour, a day or three.
    Offline,
    /// Some devices have a wrong clock.
    Clocks,
    /// Some events never arrive.
    Lost,
}

impl FromStr for Disturbance {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Ok(match word {
            "duplicates" => Self::Duplicates,
            "recut" => Self::Recut,
            "reorder" => Self::Reorder,
            "offline" => Self::Offline,
            "clocks" => Self::Clocks,
            "lost" => Self::Lost,
            _ => return Err("the disturbances are duplicates, recut, reorder, offline, clocks, lost"),
        })
    }
}

/// How events are delivered.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) disturbances: Vec<Disturbance>,
    /// How often everything is sent.
    pub(super) repeat: u32,
    /// Whether uploads come in any order.
    pub(super) shuffle: bool,
}

impl Order {
    pub(super) fn has(&self, disturbance: Disturbance) -> bool {
        self.disturbances.contains(&disturbance)
    }
}

/// One upload of one device. Times are true, not the device's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    /// A place in the list of devices.
    pub(super) device: usize,
    pub(super) sent: Ms,
    pub(super) received: Ms,
    /// Places in the device's list of events.
    pub(super) events: Range<usize>,
}

/// The uploads of a device in the order of their arrival; every event is in at least one.
pub(super) fn plan(
    number: usize,
    device: &Device,
    events: &[Event],
    order: &Order,
    random: &mut Random,
) -> Vec<Delivery> {
    let mut sendings: Vec<(Ms, Range<usize>)> = Vec::new();
    for copy in 0..order.repeat.max(1) {
        let mut batches = cut(device, events, random);
        if copy == 0 {
            disturb(&mut batches, events, order, random);
        }
        for (sent, batch) in batches {
            let later = if order.shuffle {
                random.between(0, 2 * HOUR_MS)
            } else {
                i64::from(copy) * random.between(MINUTE_MS, HOUR_MS)
            };
            sendings.push((sent + later, batch));
        }
    }
    let delivery = |(sent, events)| Delivery { device: number, sent, received: sent + random.between(20, 300), events };
    let mut deliveries: Vec<Delivery> = sendings.into_iter().map(delivery).collect();
    deliveries.sort_by_key(|delivery| delivery.received);
    deliveries
}

/// Batches of 10 to 60 s of the device's time, each with the time when it is sent: that of its newest event and a little
/// later, so that no clock within the dead band is ahead of the arrival.
fn cut(device: &Device, events: &[Event], random: &mut Random) -> Vec<(Ms, Range<usize>)> {
    const EVENTS_MAX: usize = 150;
    let mut batches = Vec::new();
    let mut begin = 0;
    while begin < events.len() {
        let until = events[begin].at + random.between(10_000, 60_000);
        let most = EVENTS_MAX.min(1 + random.place(EVENTS_MAX));
        let fitting = events[begin..].iter().take(most).take_while(|event| event.at <= until).count();
        let end = begin + fitting.max(1);
        batches.push((events[end - 1].at - device.skew_ms + random.between(1_600, 4_000), begin..end));
        begin = end;
    }
    batches
}

fn disturb(batches: &mut Vec<(Ms, Range<usize>)>, events: &[Event], order: &Order, random: &mut Random) {
    if order.has(Disturbance::Offline) && random.chance(20) {
        go_offline(batches, random);
    }
    for place in 0..batches.len().saturating_sub(1) {
        let next = batches[place + 1].0;
        if order.has(Disturbance::Reorder) && random.chance(5) {
            batches[place].0 = batches[place].0.max(next + random.between(700, 20_000));
        }
    }
    let mut again = Vec::new();
    for (place, (sent, batch)) in batches.iter().enumerate() {
        let later = sent + random.between(2_000, 2 * HOUR_MS);
        if order.has(Disturbance::Duplicates) && random.chance(8) {
            again.push((later, batch.clone()));
        }
        if order.has(Disturbance::Recut) && random.chance(6) {
            // From the middle of this one to the middle of the next one, as soon as both are old enough.
            let next = batches.get(place + 1).unwrap_or(&batches[place]);
            let middle = |batch: &Range<usize>| batch.start.midpoint(batch.end);
            let retry = middle(batch)..middle(&next.1).max(middle(batch) + 1).min(events.len());
            again.push((later.max(next.0 + 500), retry));
        }
    }
    batches.extend(again);
}

/// For some hours nothing is sent; what has queued up comes an hour, a day or three days later.
fn go_offline(batches: &mut [(Ms, Range<usize>)], random: &mut Random) {
    let Some((from, _)) = batches.get(random.place(batches.len())).cloned() else { return };
    let until = from + random.between(10 * MINUTE_MS, 12 * HOUR_MS);
    let back = until + random.pick(&[HOUR_MS, DAY_MS, 3 * DAY_MS]);
    let queued = batches.iter_mut().filter(|(sent, _)| (from..until).contains(sent));
    for (place, (sent, _)) in (0_i64..).zip(queued) {
        *sent = back + place * 700;
    }
}

/// When the first copy of each event arrives.
pub(super) fn first_arrivals(deliveries: &[Delivery]) -> BTreeMap<usize, Ms> {
    let mut arrivals = BTreeMap::new();
    for delivery in deliveries {
        for event in delivery.events.clone() {
            arrivals.entry(event).or_insert(delivery.received);
        }
    }
    arrivals
}

/// How often each event is sent.
pub(super) fn copies(deliveries: &[Delivery]) -> BTreeMap<usize, i64> {
    let mut copies = BTreeMap::new();
    for event in deliveries.iter().flat_map(|delivery| delivery.events.clone()) {
        *copies.entry(event).or_default() += 1;
    }
    copies
}

#[cfg(test)]
mod tests {
    use super::super::{plan as fleet_plan, wire};
    use super::*;

    #[test]
    fn every_event_is_sent_after_it_happened_and_arrives_in_order_of_time() {
        let wish = fleet_plan::Wish { seed: 3, devices: 10, days: 1, wrong_clocks: false, users: true };
        let disturbances =
            vec![Disturbance::Duplicates, Disturbance::Recut, Disturbance::Reorder, Disturbance::Offline];
        for (repeat, shuffle) in [(1, false), (3, true)] {
            let order = Order { disturbances: disturbances.clone(), repeat, shuffle };
            for (number, device) in fleet_plan::fleet(&wish).iter().enumerate() {
                let mut random = Random::new(9);
                let sessions = device.sessions.iter();
                let events: Vec<Event> =
                    sessions.flat_map(|session| wire::events(device, session, &mut random)).collect();
                let deliveries = plan(number, device, &events, &order, &mut random);
                assert!(deliveries.windows(2).all(|pair| pair[0].received <= pair[1].received));
                assert_eq!(first_arrivals(&deliveries).len(), events.len());
                for delivery in &deliveries {
                    assert!(events[delivery.events.clone()].iter().all(|event| event.at < delivery.received));
                }
            }
        }
    }
}
