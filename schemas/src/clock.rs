//! The clock model: when did it really happen, if the device's clock is wrong and the network is slow?
//!
//! Per epoch (device, boot, UTC day) the smallest `received − sent` over many requests is the clock's offset plus the
//! fastest transit seen: a delay only ever makes a sample larger. Most phones keep time by NTP, so an offset is used
//! only when the samples prove it:
//!
//! | the epoch's minimum, against the offset in use | then |
//! |---|---|
//! | more than 2 s below | take it over at once (nothing arrives before it was sent) |
//! | more than 2 s above, and three samples within 1 s of it were sent at least 30 s apart | take it over (one large sample may be delay, a replayed queue many) |
//! | otherwise | keep |
//!
//! An offset within ±2 s is taken as 0 (the dead band). With a monotonic clock the same is done on that clock
//! (`received − sent_mono`), and an event's skew follows from its own `mono`, so that a user who changes the wall clock
//! moves nothing.
//!
//! State is folded from log records in log order, and depends on nothing else: a replay gives the same times. Figures:
//! the project's clock model (2 s, 1 s, 30 s, 5 min, 48 h), see `docs/clocks.md`.

use std::collections::HashMap;

use minicbor::{Decode, Encode};
use xxhash_rust::xxh3::xxh3_128;

use crate::event::TimeQuality;
use crate::time::Timestamp;

/// Half width of the dead band: offsets up to this are not corrected.
const DEAD_BAND_MS: i64 = 2_000;
/// Samples that agree lie within this of the minimum.
const AGREE_MS: i64 = 1_000;
/// Samples that agree were sent at least this far apart.
const APART_MS: i64 = 30_000;
/// That many samples must agree before a clock is believed to be slow.
const AGREEING_SAMPLES: usize = 3;
/// A clamp beyond this is flagged.
const CLAMP_FLAG_MS: i64 = 300_000;
/// Epochs without input for this long, in log time, are forgotten.
const FORGET_MS: i64 = 48 * 3_600_000;
/// Days kept per device and boot: an offline queue of two weeks. Bounds memory.
const DAYS_KEPT: usize = 16;
/// Devices and boots kept per partition, about 350 bytes each. Beyond it those without input for the longest time are
/// forgotten early: by the log alone, so that a replay forgets the same. Bounds memory whatever sessions are made up.
const CHAINS_MAX: usize = 100_000;
/// A monotonic clock beyond this is nonsense: 285 000 years in ms, and what a float still holds exactly.
const MONO_MS_MAX: u64 = 1 << 53;

/// What one upload says about clocks.
#[derive(Debug, Clone, Copy)]
pub struct Transmission<'a> {
    /// Server clock when the request arrived.
    pub received_at: Timestamp,
    /// Log time of the record.
    pub log_time: Timestamp,
    /// Device clock when it was sent.
    pub sent_at: Option<Timestamp>,
    /// Monotonic clock of `boot_id` when it was sent, ms.
    pub sent_mono_ms: Option<u64>,
    /// The boot whose clock `sent_mono_ms` is.
    pub boot_id: Option<&'a str>,
}

/// What one event says about clocks.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// The project.
    pub project: &'a str,
    /// The device: the install, if known.
    pub install_id: Option<&'a str>,
    /// The session; with the install it is the epoch where there is no boot.
    pub session_id: Option<&'a str>,
    /// The source: the epoch where there is neither install nor session.
    pub source: &'a str,
    /// The boot of `mono_ms`.
    pub boot_id: Option<&'a str>,
    /// Monotonic clock, ms.
    pub mono_ms: Option<u64>,
    /// Sequence number: a wall clock that falls while this rises was set back.
    pub seq: Option<u32>,
    /// Wall clock.
    pub occurred_at: Timestamp,
}

/// When it happened, as far as can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correction {
    /// Never after the upload's arrival.
    pub corrected_at: Timestamp,
    /// The offset used, ms; 0 if none.
    pub skew_ms: i64,
    /// What was done.
    pub quality: TimeQuality,
    /// Whether the time lay more than 5 min after the arrival before it was held there.
    pub future_clamped: bool,
}

/// The clocks of the devices of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clocks {
    chains: HashMap<u128, Chain>,
    /// Running maximum over the records taken in.
    log_time: Timestamp,
}

/// [`Clocks`] as a state file holds them, chains by rising key.
#[derive(Encode, Decode)]
struct Stored {
    #[n(0)]
    log_time: Timestamp,
    #[n(1)]
    chains: Vec<([u8; 16], Chain)>,
}

/// Of [`Stored`]. Another one is not read: its records are folded again instead.
const STATE_VERSION: u8 = 1;

/// One device and boot (or session, or source): its days, and what a new day begins with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
struct Chain {
    #[n(0)]
    days: Vec<Epoch>,
    #[n(1)]
    in_use: InUse,
    #[n(2)]
    newest_seq: Option<u32>,
    #[n(3)]
    newest_occurred: Timestamp,
    #[n(4)]
    last_input: Timestamp,
}

/// The offsets in use, ms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
struct InUse {
    /// Of the wall clock.
    #[n(0)]
    wall_ms: i64,
    /// Of the monotonic clock: the Unix time of its zero, once a sample was seen.
    #[n(1)]
    mono_ms: Option<i64>,
    /// Whether samples agreed on `mono_ms`, so that a slow wall clock is believed.
    #[n(2)]
    mono_confirmed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct Epoch {
    #[n(0)]
    day: i64,
    #[n(1)]
    wall: Samples,
    #[n(2)]
    mono: Samples,
    #[n(3)]
    in_use: InUse,
}

/// The minimum of the samples, and those near it that were sent far apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
struct Samples {
    #[n(0)]
    min_ms: Option<i64>,
    /// (sample, sent), at most [`AGREEING_SAMPLES`], pairwise [`APART_MS`] apart, within [`AGREE_MS`] of the minimum.
    #[n(1)]
    agreeing: Vec<(i64, i64)>,
}

impl Samples {
    /// Adds `received − sent`; `sent_ms` is `None` for a stand-in, which can prove a fast clock but confirm nothing.
    fn add(&mut self, sample_ms: i64, sent_ms: Option<i64>) {
        let min_ms = self.min_ms.map_or(sample_ms, |min_ms| min_ms.min(sample_ms));
        self.min_ms = Some(min_ms);
        self.agreeing.retain(|(sample, _)| sample - min_ms <= AGREE_MS);
        if let Some(sent_ms) = sent_ms
            && sample_ms - min_ms <= AGREE_MS
            && self.agreeing.len() < AGREEING_SAMPLES
            && self.agreeing.iter().all(|(_, sent)| sent.abs_diff(sent_ms) >= APART_MS.unsigned_abs())
        {
            self.agreeing.push((sample_ms, sent_ms));
        }
    }

    fn confirmed(&self) -> bool {
        self.agreeing.len() >= AGREEING_SAMPLES
    }

    /// The offset to use from now on, if it is another than the one in use.
    fn replaces(&self, in_use_ms: i64) -> Option<i64> {
        let min_ms = self.min_ms?;
        let below = min_ms < in_use_ms - DEAD_BAND_MS;
        let above = min_ms > in_use_ms + DEAD_BAND_MS && self.confirmed();
        (below || above).then_some(min_ms)
    }
}

impl Epoch {
    fn new(day: i64, in_use: InUse) -> Self {
        Self { day, wall: Samples::default(), mono: Samples::default(), in_use }
    }

    fn sample_wall(&mut self, sample_ms: i64, sent_ms: Option<i64>) {
        self.wall.add(sample_ms, sent_ms);
        if let Some(offset_ms) = self.wall.replaces(self.in_use.wall_ms) {
            self.in_use.wall_ms = dead_band(offset_ms);
        }
    }

    fn sample_mono(&mut self, sample_ms: i64, sent_ms: i64) {
        self.mono.add(sample_ms, Some(sent_ms));
        let in_use_ms = *self.in_use.mono_ms.get_or_insert(sample_ms);
        if let Some(offset_ms) = self.mono.replaces(in_use_ms) {
            self.in_use.mono_ms = Some(offset_ms);
        }
        self.in_use.mono_confirmed |= self.mono.confirmed();
    }
}

const fn dead_band(offset_ms: i64) -> i64 {
    if offset_ms.abs() <= DEAD_BAND_MS { 0 } else { offset_ms }
}

impl Clocks {
    /// Takes in one upload and corrects its events: each with the offset in use at this place of the log.
    ///
    /// Copies of events that were stored before belong in here too: each attempt is a sample.
    pub fn correct(&mut self, transmission: &Transmission<'_>, stamps: &[Stamp<'_>]) -> Vec<Correction> {
        self.pass_time(transmission.log_time);
        let keys: Vec<u128> = stamps.iter().map(chain_key).collect();
        let mut order: Vec<usize> = (0..stamps.len()).collect();
        // Stable: the events of a chain stay in the order of the upload.
        order.sort_by_key(|&idx| keys[idx]);
        let mut corrections = vec![None; stamps.len()];
        for members in order.chunk_by(|&one, &other| keys[one] == keys[other]) {
            self.chain(keys[members[0]]).take_in(transmission, stamps, members, &mut corrections);
        }
        if self.chains.len() > CHAINS_MAX {
            self.forget_oldest();
        }
        corrections.into_iter().flatten().collect()
    }

    fn chain(&mut self, key: u128) -> &mut Chain {
        let log_time = self.log_time;
        let chain = self.chains.entry(key).or_default();
        if log_time.millis_since(chain.last_input) > FORGET_MS {
            *chain = Chain::default();
        }
        chain.last_input = log_time;
        chain
    }

    /// Moves log time on; each new hour frees what is forgotten by then. That changes no correction: a forgotten chain
    /// begins anew anyway.
    fn pass_time(&mut self, log_time: Timestamp) {
        let hour = |at: Timestamp| at.millis().div_euclid(3_600_000);
        let before = self.log_time;
        self.log_time = before.max(log_time);
        if hour(before) != hour(self.log_time) {
            let now = self.log_time;
            self.chains.retain(|_, chain| now.millis_since(chain.last_input) <= FORGET_MS);
        }
    }

    /// Makes room: a quarter of the chains goes, those without input for the longest time.
    fn forget_oldest(&mut self) {
        let mut by_age: Vec<(Timestamp, u128)> =
            self.chains.iter().map(|(key, chain)| (chain.last_input, *key)).collect();
        by_age.sort_unstable();
        for (_, key) in by_age.iter().take(CHAINS_MAX / 4) {
            self.chains.remove(key);
        }
    }

    /// Number of devices and boots kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chains.len()
    }

    /// Whether nothing is known yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// The state as bytes, for a state file. It only saves time: folding the records again gives the same.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut chains: Vec<([u8; 16], Chain)> =
            self.chains.iter().map(|(key, chain)| (key.to_be_bytes(), chain.clone())).collect();
        chains.sort_unstable_by_key(|(key, _)| *key);
        let mut bytes = vec![STATE_VERSION];
        bytes.extend(minicbor::to_vec(Stored { log_time: self.log_time, chains }).unwrap_or_default());
        bytes
    }

    /// The state of these bytes; `None` if they are not a state of this version.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let stored: Stored = minicbor::decode(bytes.strip_prefix(&[STATE_VERSION])?).ok()?;
        let chains = stored.chains.into_iter().map(|(key, chain)| (u128::from_be_bytes(key), chain));
        Some(Self { chains: chains.collect(), log_time: stored.log_time })
    }
}

/// Device and boot; without a boot device and session; without either the source.
fn chain_key(stamp: &Stamp<'_>) -> u128 {
    let mut bytes = Vec::with_capacity(128);
    let mut part = |tag: u8, text: &str| {
        bytes.push(tag);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    };
    part(b'p', stamp.project);
    match (stamp.boot_id, stamp.session_id) {
        (Some(boot), _) => {
            part(b'd', stamp.install_id.unwrap_or(stamp.source));
            part(b'b', boot);
        }
        (None, Some(session)) => {
            part(b'd', stamp.install_id.unwrap_or(""));
            part(b's', session);
        }
        (None, None) => part(b'o', stamp.source),
    }
    xxh3_128(&bytes)
}

impl Chain {
    fn take_in(
        &mut self,
        transmission: &Transmission<'_>,
        stamps: &[Stamp<'_>],
        members: &[usize],
        corrections: &mut [Option<Correction>],
    ) {
        // Events before a step back were stamped by another clock than the one that stamped the sending.
        let clock_since = self.last_step_back(stamps, members);
        let mut newest_by_day: HashMap<i64, Timestamp> = HashMap::new();
        for at in members[clock_since..].iter().map(|&idx| stamps[idx].occurred_at) {
            let newest = newest_by_day.entry(at.utc_day()).or_insert(at);
            *newest = at.max(*newest);
        }
        for (place, &idx) in members.iter().enumerate() {
            let stamp = &stamps[idx];
            if self.steps_back(stamp) {
                self.days.clear();
                self.in_use.wall_ms = 0;
            }
            self.remember(stamp);
            let epoch = self.epoch(stamp.occurred_at.utc_day());
            if place >= clock_since {
                let newest = newest_by_day.get(&epoch.day).copied().unwrap_or(stamp.occurred_at);
                sample(epoch, transmission, newest, stamp);
            } else {
                corrections[idx] = Some(correction(epoch.in_use, transmission, stamp));
            }
            let in_use = epoch.in_use;
            self.in_use = in_use;
        }
        // All events of one upload share its sample, also those before the first that carried it.
        for &idx in members.iter().skip(clock_since) {
            let in_use = self.epoch(stamps[idx].occurred_at.utc_day()).in_use;
            corrections[idx] = Some(correction(in_use, transmission, &stamps[idx]));
        }
    }

    /// The place after the last step back within the upload; 0 if there is none.
    fn last_step_back(&self, stamps: &[Stamp<'_>], members: &[usize]) -> usize {
        let mut probe = Self { newest_seq: self.newest_seq, newest_occurred: self.newest_occurred, ..Self::default() };
        let mut since = 0;
        for (place, &idx) in members.iter().enumerate() {
            if probe.steps_back(&stamps[idx]) {
                since = place;
            }
            probe.remember(&stamps[idx]);
        }
        since
    }

    /// Whether the wall clock was set back before this event. Only sessions are asked: a boot has several, each with
    /// its own numbers.
    fn steps_back(&self, stamp: &Stamp<'_>) -> bool {
        stamp.boot_id.is_none()
            && stamp.seq > self.newest_seq
            && self.newest_seq.is_some()
            && self.newest_occurred.millis_since(stamp.occurred_at) > DEAD_BAND_MS
    }

    fn remember(&mut self, stamp: &Stamp<'_>) {
        if stamp.seq.is_some() && stamp.seq > self.newest_seq {
            self.newest_seq = stamp.seq;
            self.newest_occurred = stamp.occurred_at;
        }
    }

    /// The epoch of a day; a new one begins with the offset in use.
    fn epoch(&mut self, day: i64) -> &mut Epoch {
        let place = match self.days.iter().position(|epoch| epoch.day == day) {
            Some(place) => place,
            None => {
                if self.days.len() >= DAYS_KEPT {
                    self.days.remove(0);
                }
                self.days.push(Epoch::new(day, self.in_use));
                self.days.len() - 1
            }
        };
        &mut self.days[place]
    }
}

/// A monotonic clock's value, if it can be one.
fn sane_mono(ms: Option<u64>) -> Option<i64> {
    ms.filter(|ms| *ms < MONO_MS_MAX).and_then(|ms| i64::try_from(ms).ok())
}

/// Gives the upload's sample to an epoch. `newest` is the newest event of the same chain and day, which stands in for a
/// missing sent time: another device or a stamp of another century must not move this one.
fn sample(epoch: &mut Epoch, transmission: &Transmission<'_>, newest: Timestamp, stamp: &Stamp<'_>) {
    let received = transmission.received_at;
    if let Some(sent_mono_ms) = sane_mono(transmission.sent_mono_ms)
        && stamp.mono_ms.is_some()
        && stamp.boot_id.is_some()
        && transmission.boot_id == stamp.boot_id
    {
        epoch.sample_mono(received.millis() - sent_mono_ms, sent_mono_ms);
    }
    match transmission.sent_at {
        Some(sent_at) => epoch.sample_wall(received.millis_since(sent_at), Some(sent_at.millis())),
        // Without a sent time the newest event stands in for it: it can only prove that the clock is fast.
        None => {
            let stand_in_ms = received.millis_since(newest);
            if stand_in_ms < 0 {
                epoch.sample_wall(stand_in_ms, None);
            }
        }
    }
}

fn correction(in_use: InUse, transmission: &Transmission<'_>, stamp: &Stamp<'_>) -> Correction {
    let mono = sane_mono(stamp.mono_ms).zip(in_use.mono_ms);
    let (skew_ms, quality) = match mono {
        Some((mono_ms, zero_ms)) => {
            let skew_ms = dead_band(zero_ms.saturating_add(mono_ms).saturating_sub(stamp.occurred_at.millis()));
            let believed = skew_ms < 0 || in_use.mono_confirmed;
            if believed { (skew_ms, TimeQuality::Mono) } else { (0, TimeQuality::Device) }
        }
        None => (in_use.wall_ms, TimeQuality::Offset),
    };
    let quality = if skew_ms == 0 { TimeQuality::Device } else { quality };
    let at = stamp.occurred_at.plus_millis(skew_ms);
    let ahead_ms = at.millis_since(transmission.received_at);
    Correction {
        corrected_at: at.min(transmission.received_at),
        skew_ms,
        quality,
        future_clamped: ahead_ms > CLAMP_FLAG_MS,
    }
}

#[cfg(test)]
mod tests;
