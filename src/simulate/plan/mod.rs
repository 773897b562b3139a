//! The plan: what happens to every device, drawn from the seed.

mod notes;
mod session;
mod view;
mod words;

use std::collections::BTreeSet;

use super::random::Random;
use super::timeline::{Act, Boot, DAY_MS, Deed, Device, HOUR_MS, MINUTE_MS, Ms, Session, Tongue};

/// The simulated days end here: 2026-03-02T00:00:00Z. Fixed, so that a seed always gives the same times.
pub(super) const END: Ms = 1_772_409_600_000;

/// What a plan is drawn from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) seed: u64,
    pub(super) devices: u32,
    pub(super) days: u32,
    /// Whether some devices have a wrong clock.
    pub(super) wrong_clocks: bool,
    /// Whether some of those who use a device are signed in.
    pub(super) users: bool,
}

/// A device, and what each of its sessions is drawn from.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) device: Device,
    pub(super) origins: Vec<Origin>,
}

/// What a session is drawn from: with its device enough to draw it again.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    Chance { start: Ms, random: Random },
    Fixed(Session),
}

/// The device of that number.
pub(super) fn device(wish: &Wish, number: u32) -> Drawn {
    let random = &mut Random::new(wish.seed).part(u64::from(number));
    let (install, anon) = (random.uuid(), random.uuid());
    let (platform, os_version, class, model) = random.pick(&words::DEVICES);
    // Every kind of device is there, however small the fleet is.
    let tongue = match number % 10 {
        7 => Tongue::Cmcd,
        9 => Tongue::Legacy,
        _ => Tongue::Native,
    };
    let has_wrong_clock = wish.wrong_clocks && number % 10 == 4;
    let skew_ms = if has_wrong_clock { wrong_skew(random) } else { random.between(-1_000, 1_000) };
    let first_day = END - i64::from(wish.days) * DAY_MS;
    let has_boot = tongue == Tongue::Native && !has_wrong_clock && number % 5 == 1;
    let boot = has_boot.then(|| Boot { id: random.uuid(), zero: first_day - random.between(HOUR_MS, 30 * DAY_MS) });
    let app_version = if has_wrong_clock { words::WRONG_CLOCK_VERSION } else { random.pick(&words::APP_VERSIONS) };
    let mut device = Device {
        install,
        anon,
        is_signed_in: wish.users && matches!(number % 10, 2 | 6),
        tongue,
        platform: if tongue == Tongue::Legacy { "ios" } else { platform },
        app_version,
        os_version,
        class,
        model,
        skew_ms,
        boot,
        sessions: Vec::new(),
        stays_open: false,
    };
    let mut origins = Vec::new();
    for day in 0..i64::from(wish.days) {
        for start in starts(random, first_day + day * DAY_MS) {
            origins.push(Origin::Chance { start, random: random.clone() });
            let session = session::draw(&device, start, random);
            device.sessions.push(session);
        }
    }
    Drawn { device, origins }
}

/// Draws a session of a device again.
pub(super) fn again(device: &Device, origin: &Origin) -> Session {
    match origin {
        Origin::Chance { start, random } => session::draw(device, *start, &mut random.clone()),
        Origin::Fixed(session) => session.clone(),
    }
}

/// All devices of a wish.
#[cfg(test)]
pub(super) fn fleet(wish: &Wish) -> Vec<Device> {
    (0..wish.devices).map(|number| device(wish, number).device).collect()
}

/// Minutes or hours, forward or back, far outside the dead band.
fn wrong_skew(random: &mut Random) -> i64 {
    let size =
        if random.chance(50) { random.between(MINUTE_MS, HOUR_MS) } else { random.between(HOUR_MS, 9 * HOUR_MS) };
    if random.chance(50) { size } else { -size }
}

/// When the sessions of a day start: far enough apart that none meets the next one.
fn starts(random: &mut Random, day: Ms) -> Vec<Ms> {
    let count = random.between(1, 3);
    let length = DAY_MS / count;
    (0..count)
        .map(|number| match random.below(10) {
            // Across midnight.
            0 if number == count - 1 => day + DAY_MS - random.between(MINUTE_MS / 2, 4 * MINUTE_MS),
            // Across an hour.
            1 | 2 => (day + number * length + 2 * HOUR_MS).div_euclid(HOUR_MS) * HOUR_MS - random.between(1, MINUTE_MS),
            _ => day + number * length + random.between(100 * MINUTE_MS, length - 10 * MINUTE_MS),
        })
        .collect()
}

/// Devices that do nothing but open the app once: they move log time on, in every partition.
pub(super) fn closing(seed: u64, at: Ms) -> Vec<Drawn> {
    const COUNT: u64 = 64;
    let random = Random::new(!seed);
    let device = |number| {
        let mut random = random.part(number);
        let act = Act { at: at + i64::try_from(number).unwrap_or_default(), deed: Deed::Opened };
        let (install, anon) = (random.uuid(), random.uuid());
        let session = Session { id: random.uuid(), layouts: Vec::new(), acts: vec![act], views: Vec::new() };
        let device = Device {
            install,
            anon,
            is_signed_in: false,
            tongue: Tongue::Native,
            platform: "ios",
            app_version: "0.0.1",
            os_version: "1",
            class: "phone",
            model: "iPhone17,1",
            skew_ms: 0,
            boot: None,
            sessions: vec![session.clone()],
            stays_open: true,
        };
        Drawn { device, origins: vec![Origin::Fixed(session)] }
    };
    (0..COUNT).map(device).collect()
}

/// Instants of a session that are taken. No two things happen at the same one.
#[derive(Debug, Default)]
struct Instants(BTreeSet<Ms>);

impl Instants {
    /// The first free instant from `wanted` on.
    fn take(&mut self, wanted: Ms) -> Ms {
        let mut at = wanted;
        while !self.0.insert(at) {
            at += 1;
        }
        at
    }
}

#[cfg(test)]
mod tests;
