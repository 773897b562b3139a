//! Numbers for loads.

use uuid::{Builder, Uuid};

/// xorshift64*: ids need to be distinct, not secret.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Another sequence each time.
    pub(crate) fn new() -> Self {
        Self(Uuid::new_v4().as_u64_pair().0 | 1)
    }

    /// The same sequence for the same seed, which is not 0.
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from((self.next() >> 16) % (bound as u64).max(1)).unwrap_or(0)
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        f64::from(u32::try_from(self.next() >> 32).unwrap_or(0)) < probability * f64::from(u32::MAX)
    }

    /// A UUIDv7 of this time.
    pub(crate) fn uuid(&mut self, unix_ms: i64) -> Uuid {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.next().to_be_bytes());
        random[8..].copy_from_slice(&self.next().to_be_bytes()[..2]);
        Builder::from_unix_timestamp_millis(u64::try_from(unix_ms).unwrap_or(0), &random).into_uuid()
    }
}
