//! What the tiles of one session do together: how many play at once, and whether the session watches at all.
//!
//! Intervals of tiles may come in any order; adding one gives exactly what it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::measures::{Band, Dims, Measure, Metric, Sums, minutes};

/// Stretches and minutes remembered per session. What is older is taken as if no other tile had played then.
const REMEMBERED: usize = 1024;

/// How many tiles play at once, and how many are active when a minute begins.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct SessionTime {
    /// Disjoint stretches in which at least one tile plays, by their start.
    playing: BTreeMap<i64, Stretch>,
    /// Active views by start of minute, and where the first of them was counted.
    active: BTreeMap<i64, usize>,
    /// Viewer time, ms.
    pub(super) viewer_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stretch {
    to_ms: i64,
    tiles: usize,
    dims: Arc<Dims>,
}

impl SessionTime {
    /// One more tile plays in `[from, to)`.
    pub(super) fn play(&mut self, sums: &mut Sums, dims: &Arc<Dims>, from_ms: i64, to_ms: i64) {
        let mut at = from_ms;
        while at < to_ms {
            let (end, tiles, known) = self.stretch_at(at, to_ms);
            if let Some(known) = known {
                count(sums, &known, tiles, at, end, -1);
                count(sums, dims, tiles + 1, at, end, 1);
            } else {
                count(sums, dims, 1, at, end, 1);
                self.viewer_ms += end - at;
            }
            self.put(at, Stretch { to_ms: end, tiles: tiles + 1, dims: Arc::clone(dims) });
            at = end;
        }
        while self.playing.len() > REMEMBERED {
            self.playing.pop_first();
        }
    }

    /// What is known from `at` on: until when, how many tiles, under which dimensions. Cuts stretches so that one begins
    /// at `at` and none crosses `limit`.
    fn stretch_at(&mut self, at: i64, limit: i64) -> (i64, usize, Option<Arc<Dims>>) {
        if let Some((start, stretch)) = self.playing.range(..=at).next_back()
            && stretch.to_ms > at
        {
            let (start, stretch) = (*start, stretch.clone());
            let end = stretch.to_ms.min(limit);
            self.playing.remove(&start);
            if start < at {
                self.playing.insert(start, Stretch { to_ms: at, ..stretch.clone() });
            }
            if stretch.to_ms > limit {
                self.playing.insert(limit, stretch.clone());
            }
            return (end, stretch.tiles, Some(stretch.dims));
        }
        let next = self.playing.range(at..).next().map_or(limit, |(start, _)| *start);
        (next.min(limit), 0, None)
    }

    /// Adds a stretch, joined with an equal one that ends where it begins.
    fn put(&mut self, from_ms: i64, stretch: Stretch) {
        if let Some((_, before)) = self.playing.range_mut(..from_ms).next_back()
            && before.to_ms == from_ms
            && before.tiles == stretch.tiles
            && before.dims == stretch.dims
        {
            before.to_ms = stretch.to_ms;
        } else {
            self.playing.insert(from_ms, stretch);
        }
    }

    /// One more view is active when a minute begins.
    pub(super) fn active_at(&mut self, sums: &mut Sums, dims: &Arc<Dims>, minute_ms: i64) {
        let views = self.active.entry(minute_ms).or_insert(0);
        *views += 1;
        if *views == 1 {
            sums.add(dims, Band::UNKNOWN, minute_ms, Measure::ViewersAtStart, 1);
        }
        while self.active.len() > REMEMBERED {
            self.active.pop_first();
        }
    }
}

/// Counts a stretch of a number of tiles, or takes it back.
fn count(sums: &mut Sums, dims: &Arc<Dims>, tiles: usize, from_ms: i64, to_ms: i64, times: i64) {
    let band = Band::of(tiles);
    let bin = i32::try_from(tiles).unwrap_or(i32::MAX);
    for (at, ms) in minutes(from_ms, to_ms) {
        sums.add(dims, band, at, Measure::ViewerMs, times * ms);
        sums.add_bin(dims, band, at, (Metric::TileCount, bin), times * ms);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn totals(sums: &Sums) -> (i64, BTreeMap<i32, i64>) {
        let viewer_ms = sums.rows.values().map(|values| values[Measure::ViewerMs as usize]).sum();
        let mut tiles = BTreeMap::new();
        for ((_, _, bin), ms) in &sums.bins {
            *tiles.entry(*bin).or_insert(0) += ms;
        }
        tiles.retain(|_, ms| *ms != 0);
        (viewer_ms, tiles)
    }

    proptest! {
        #[test]
        fn union_and_counts_are_those_of_every_single_millisecond(
            intervals in prop::collection::vec((0..200_i64, 1..100_i64), 1..12)
        ) {
            let (mut time, mut sums, dims) = (SessionTime::default(), Sums::default(), Arc::new(Dims::default()));
            let mut tiles = [0_i32; 320];
            for (from, length) in &intervals {
                time.play(&mut sums, &dims, *from, from + length);
                for ms in *from..from + length {
                    tiles[usize::try_from(ms).unwrap()] += 1;
                }
            }
            let union = i64::try_from(tiles.iter().filter(|count| **count > 0).count()).unwrap();
            let mut expected = BTreeMap::new();
            for count in tiles.into_iter().filter(|count| *count > 0) {
                *expected.entry(count).or_insert(0) += 1;
            }
            prop_assert_eq!(totals(&sums), (union, expected));
            prop_assert_eq!(time.viewer_ms, union);
        }
    }
}
