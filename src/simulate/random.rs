//! Chance with a seed: the same seed gives the same numbers on every machine.
//!
//! SplitMix64 (Steele, Lea, Flood 2014): small, fast, and good enough for a plan.

use uuid::Uuid;

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(super) struct Random {
    state: u64,
}

/// Distance of two states.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Random {
    /// The stream of a seed.
    pub(super) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A stream of its own for part `number`. What one part draws does not move what another one gets.
    pub(super) fn part(&self, number: u64) -> Self {
        let mut mixed = Self::new(self.state ^ number.wrapping_add(1).wrapping_mul(STEP).rotate_left(17));
        Self::new(mixed.next())
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let wide = (u128::from(self.next()) * u128::from(bound)) >> 64;
        u64::try_from(wide).unwrap_or_default()
    }

    /// A place below `len`.
    pub(super) fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or_default()
    }

    /// A number from `low` to `high`, both included; `low` if they are the wrong way round.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = u64::try_from(high - low).map_or(0, |span| span + 1);
        low + i64::try_from(self.below(span)).unwrap_or_default()
    }

    /// True in `percent` of 100 cases.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    pub(super) fn pick<T: Copy, const N: usize>(&mut self, choices: &[T; N]) -> T {
        choices[self.place(N)]
    }

    /// A random UUID.
    pub(super) fn uuid(&mut self) -> Uuid {
        let high = u128::from(self.next());
        uuid::Builder::from_random_bytes((high << 64 | u128::from(self.next())).to_be_bytes()).into_uuid()
    }

    /// A UUIDv7 of that time.
    pub(super) fn uuid_at(&mut self, unix_ms: i64) -> Uuid {
        let bytes = (u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes();
        let mut tail = [0; 10];
        tail.copy_from_slice(&bytes[..10]);
        uuid::Builder::from_unix_timestamp_millis(u64::try_from(unix_ms).unwrap_or_default(), &tail).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_published_numbers() {
        let mut random = Random::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn numbers_stay_within_their_bounds() {
        let mut random = Random::new(7);
        for _ in 0..1000 {
            assert!((-3..=4).contains(&random.between(-3, 4)));
            assert!(random.below(5) < 5);
        }
        assert_eq!(random.below(0), 0);
        assert_eq!(random.between(9, 9), 9);
    }

    #[test]
    fn parts_are_streams_of_their_own() {
        let random = Random::new(1);
        assert_eq!(random.part(3).next(), random.part(3).next());
        assert_ne!(random.part(3).next(), random.part(4).next());
    }
}
