//! The fleet, drawn device by device: what is kept of a device is when it sends what, not the events. They are made
//! again, session by session, when they are sent.

use std::collections::BTreeSet;
use std::ops::Range;

use tokio::sync::mpsc;

use super::books::Ids;
use super::delivery::{self, Delivery, Disturbance, Order};
use super::loss;
use super::plan::{self, Drawn, Origin, Wish};
use super::random::Random;
use super::timeline::{Device, HOUR_MS, Ms, Tongue};
use super::truth::Truth;
use super::wire::{self, Event};

/// Uploads that are made before they are wanted.
const MADE_AHEAD: usize = 128;

/// Everything that is known before the first upload, but for the truth.
#[derive(Debug)]
pub(super) struct Fleet {
    senders: Vec<Sender>,
    /// By rising arrival.
    deliveries: Vec<Delivery>,
    /// The last arrival.
    pub(super) last: Ms,
}

/// A device without its sessions.
#[derive(Debug)]
struct Sender {
    device: Device,
    /// By rising events.
    parcels: Vec<Parcel>,
    /// The place of its first event among the events of all.
    first: usize,
}

/// The events of a session.
#[derive(Debug)]
struct Parcel {
    origin: Origin,
    /// What the events are drawn from.
    random: Random,
    /// Instants whose events never arrive.
    lost: Vec<Ms>,
    /// Places in the device's list of events.
    events: Range<usize>,
    /// Uploads still to come that hold some of them.
    awaited: u32,
    /// Empty unless some of its uploads are sent and others are not.
    made: Vec<Event>,
}

/// One upload, ready to be sent.
#[derive(Debug)]
pub(super) struct Upload {
    /// Uploads of one device are sent in turn.
    pub(super) device: usize,
    /// Places of its events among the events of all.
    pub(super) events: Range<usize>,
    pub(super) tongue: Tongue,
    pub(super) headers: Vec<(&'static str, String)>,
    /// Who is signed in.
    pub(super) user: Option<String>,
    pub(super) body: String,
}

impl Fleet {
    /// Draws the fleet; adds what should be known of it to the truth, and its events to the books.
    pub(super) fn draw(wish: &Wish, order: &Order, truth: &mut Truth, ids: &mut Ids) -> Self {
        let calm = Order { disturbances: Vec::new(), repeat: 1, shuffle: false };
        let random = Random::new(wish.seed.rotate_left(32));
        let mut fleet = Self { senders: Vec::new(), deliveries: Vec::new(), last: plan::END };
        for number in 0..wish.devices {
            fleet.add(plan::device(wish, number), order, &random, truth, ids);
        }
        // Units are over an hour after their last arrival. Others have to arrive before the log knows that.
        for device in plan::closing(wish.seed, fleet.last + 3 * HOUR_MS) {
            fleet.add(device, &calm, &random, truth, ids);
        }
        fleet.deliveries.sort_by_key(|delivery| delivery.received);
        fleet
    }

    fn add(&mut self, drawn: Drawn, order: &Order, random: &Random, truth: &mut Truth, ids: &mut Ids) {
        let Drawn { mut device, origins } = drawn;
        let number = self.senders.len();
        let mut random = random.part(number as u64);
        // Numbered as if nothing was lost.
        let mut events = Vec::new();
        let mut parcels = Vec::new();
        for (session, origin) in device.sessions.iter().zip(origins) {
            let begin = events.len();
            let random_of_parcel = random.clone();
            events.extend(wire::events(&device, session, &mut random));
            let events = begin..events.len();
            let (lost, made) = (Vec::new(), Vec::new());
            parcels.push(Parcel { origin, random: random_of_parcel, lost, events, awaited: 0, made });
        }
        if order.has(Disturbance::Lost) {
            let lost = loss::draw(&device, &mut random);
            lose(&mut events, &mut parcels, &lost);
            truth.add(&device, &lost);
        } else {
            truth.add(&device, &BTreeSet::new());
        }
        let deliveries = delivery::plan(number, &device, &events, order, &mut random);
        let copies = delivery::copies(&deliveries);
        for (event, received) in delivery::first_arrivals(&deliveries) {
            truth.add_event(&events[event], &device, copies[&event], received);
        }
        truth.add_clock(&device, events.len());
        for delivery in &deliveries {
            truth.add_upload(&device, delivery.received, delivery.events.len());
            self.last = self.last.max(delivery.received);
            for place in parcels_of(&parcels, &delivery.events) {
                parcels[place].awaited += 1;
            }
        }
        self.deliveries.extend(deliveries);
        let first = ids.add(events.iter().map(|event| event.id));
        device.sessions = Vec::new();
        self.senders.push(Sender { device, parcels, first });
    }

    /// Makes the uploads in the order of their arrival, a few ahead of who sends them.
    pub(super) fn uploads(mut self) -> mpsc::Receiver<Upload> {
        let (send, uploads) = mpsc::channel(MADE_AHEAD);
        std::thread::spawn(move || {
            for delivery in std::mem::take(&mut self.deliveries) {
                if send.blocking_send(self.make(&delivery)).is_err() {
                    // Nobody sends any more.
                    return;
                }
            }
        });
        uploads
    }

    fn make(&mut self, delivery: &Delivery) -> Upload {
        let Sender { device, parcels, first } = &mut self.senders[delivery.device];
        let mut bodies = Vec::with_capacity(delivery.events.len());
        let places = parcels_of(parcels, &delivery.events);
        for parcel in &mut parcels[places.clone()] {
            if parcel.made.is_empty() {
                parcel.made = parcel.make(device);
            }
            let from = delivery.events.start.max(parcel.events.start) - parcel.events.start;
            let to = delivery.events.end.min(parcel.events.end) - parcel.events.start;
            bodies.extend(parcel.made[from..to].iter().map(|event| event.body.as_str()));
        }
        let tongue = device.tongue;
        let upload = Upload {
            device: delivery.device,
            events: *first + delivery.events.start..*first + delivery.events.end,
            tongue,
            headers: wire::headers(device, delivery.sent, delivery.received),
            user: device.is_signed_in.then(|| device.user()),
            body: wire::body(tongue, &bodies),
        };
        for parcel in &mut parcels[places] {
            parcel.awaited -= 1;
            if parcel.awaited == 0 {
                parcel.made = Vec::new();
            }
        }
        upload
    }
}

impl Parcel {
    /// Its events, as they were when the fleet was drawn.
    fn make(&self, device: &Device) -> Vec<Event> {
        let session = plan::again(device, &self.origin);
        let mut events = wire::events(device, &session, &mut self.random.clone());
        events.retain(|event| self.lost.binary_search(&event.at).is_err());
        events
    }
}

/// Takes out what is lost.
fn lose(events: &mut Vec<Event>, parcels: &mut [Parcel], lost: &BTreeSet<Ms>) {
    let mut begin = 0;
    for parcel in parcels {
        let of_parcel = events[parcel.events.clone()].iter().map(|event| event.at);
        parcel.lost = of_parcel.filter(|at| lost.contains(at)).collect();
        let count = parcel.events.len() - parcel.lost.len();
        parcel.events = begin..begin + count;
        begin += count;
    }
    events.retain(|event| !lost.contains(&event.at));
}

/// The places of the parcels that hold some of these events.
fn parcels_of(parcels: &[Parcel], events: &Range<usize>) -> Range<usize> {
    let from = parcels.partition_point(|parcel| parcel.events.end <= events.start);
    let to = parcels.partition_point(|parcel| parcel.events.start < events.end);
    from..to.max(from)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;
    use uuid::Uuid;

    use super::super::books::{Counts, Fate};
    use super::super::wire::EventId;
    use super::*;

    #[test]
    fn what_is_made_again_is_what_was_drawn() {
        let wish = Wish { seed: 4, devices: 10, days: 1, wrong_clocks: true, users: true };
        let disturbances =
            ["duplicates", "recut", "reorder", "offline", "clocks", "lost"].map(|word| word.parse().unwrap());
        let order = Order { disturbances: disturbances.to_vec(), repeat: 1, shuffle: false };
        let (mut truth, mut ids) = (Truth::default(), Ids::default());
        let fleet = Fleet::draw(&wish, &order, &mut truth, &mut ids);
        let known: Vec<EventId> = ids.iter().map(|(id, _)| id).collect();
        assert_eq!(known.iter().collect::<BTreeSet<_>>().len(), known.len());
        let mut uploads = fleet.uploads();
        while let Some(upload) = uploads.blocking_recv() {
            let ids_of_it = &known[upload.events.clone()];
            match upload.tongue {
                Tongue::Native => {
                    let body: Vec<Value> = serde_json::from_str(&upload.body).unwrap();
                    let ids = body.iter().map(|event| event["id"].as_str().unwrap().parse::<Uuid>().unwrap().as_u128());
                    assert!(ids.eq(ids_of_it.iter().copied()));
                }
                Tongue::Cmcd => assert_eq!(upload.body.lines().count(), ids_of_it.len()),
                Tongue::Legacy => {
                    assert_eq!(serde_json::from_str::<Vec<Value>>(&upload.body).unwrap().len(), ids_of_it.len());
                }
            }
            ids.note(upload.events, Fate::Acked);
        }
        let count = known.len();
        assert_eq!(ids.counts(), Counts { sent: count, acked: count, refused: 0, never_acked: 0 });
    }
}
