//! What the tiles of one session do at the same time: how many play, how many are stalled, and whether the session watches
//! at all.
//!
//! Intervals of tiles may come in any order; adding one gives exactly what it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::measures::{Band, Dims, Measure, Metric, Sums, minutes};

/// Stretches and minutes remembered per session. What is older is taken as if no other tile had done anything then.
const REMEMBERED: usize = 1024;

/// How many tiles play and are stalled at once, and how many are active when a minute begins.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct SessionTime {
    /// Disjoint stretches in which at least one tile plays or is stalled, by their start.
    stretches: BTreeMap<i64, Stretch>,
    /// Active views by start of minute, and where the first of them was counted.
    active: BTreeMap<i64, usize>,
    /// Viewer time, ms.
    pub(super) viewer_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stretch {
    to_ms: i64,
    tiles: Tiles,
    dims: Arc<Dims>,
}

/// How many tiles do what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tiles {
    playing: usize,
    stalled: usize,
}

impl SessionTime {
    /// One more tile plays in `[from, to)`.
    pub(super) fn play(&mut self, sums: &mut Sums, dims: &Arc<Dims>, from_ms: i64, to_ms: i64) {
        self.add(sums, dims, (from_ms, to_ms), |tiles| Tiles { playing: tiles.playing + 1, ..tiles });
    }

    /// One more tile is stalled in `[from, to)`.
    pub(super) fn stall(&mut self, sums: &mut Sums, dims: &Arc<Dims>, from_ms: i64, to_ms: i64) {
        self.add(sums, dims, (from_ms, to_ms), |tiles| Tiles { stalled: tiles.stalled + 1, ..tiles });
    }

    fn add(
        &mut self,
        sums: &mut Sums,
        dims: &Arc<Dims>,
        (from_ms, to_ms): (i64, i64),
        with_one_more: impl Fn(Tiles) -> Tiles,
    ) {
        let mut at = from_ms;
        while at < to_ms {
            let (end, before, known) = self.stretch_at(at, to_ms);
            let tiles = with_one_more(before);
            if let Some(known) = known {
                count(sums, &known, before, (at, end), -1);
            }
            count(sums, dims, tiles, (at, end), 1);
            if before.playing == 0 && tiles.playing > 0 {
                self.viewer_ms += end - at;
            }
            self.put(at, Stretch { to_ms: end, tiles, dims: Arc::clone(dims) });
            at = end;
        }
        while self.stretches.len() > REMEMBERED {
            self.stretches.pop_first();
        }
    }

    /// What is known from `at` on: until when, how many tiles, under which dimensions. Cuts stretches so that one begins
    /// at `at` and none crosses `limit`.
    fn stretch_at(&mut self, at: i64, limit: i64) -> (i64, Tiles, Option<Arc<Dims>>) {
        if let Some((start, stretch)) = self.stretches.range(..=at).next_back()
            && stretch.to_ms > at
        {
            let (start, stretch) = (*start, stretch.clone());
            let end = stretch.to_ms.min(limit);
            self.stretches.remove(&start);
            if start < at {
                self.stretches.insert(start, Stretch { to_ms: at, ..stretch.clone() });
            }
            if stretch.to_ms > limit {
                self.stretches.insert(limit, stretch.clone());
            }
            return (end, stretch.tiles, Some(stretch.dims));
        }
        let next = self.stretches.range(at..).next().map_or(limit, |(start, _)| *start);
        (next.min(limit), Tiles::default(), None)
    }

    /// Adds a stretch, joined with an equal one that ends where it begins.
    fn put(&mut self, from_ms: i64, stretch: Stretch) {
        if let Some((_, before)) = self.stretches.range_mut(..from_ms).next_back()
            && before.to_ms == from_ms
            && before.tiles == stretch.tiles
            && before.dims == stretch.dims
        {
            before.to_ms = stretch.to_ms;
        } else {
            self.stretches.insert(from_ms, stretch);
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

/// Counts a stretch in which tiles do something, or takes it back.
fn count(sums: &mut Sums, dims: &Arc<Dims>, tiles: Tiles, (from_ms, to_ms): (i64, i64), times: i64) {
    let bin = i32::try_from(tiles.playing).unwrap_or(i32::MAX);
    let (of_playing, of_both) = (Band::of(tiles.playing), Band::of(tiles.playing + tiles.stalled));
    for (at, ms) in minutes(from_ms, to_ms) {
        if tiles.playing > 0 {
            let cell = sums.cell(dims, of_playing, at);
            cell.add(Measure::ViewerMs, times * ms);
            cell.add_bin((Metric::TileCount, bin, times * ms));
        }
        if tiles.stalled > 0 {
            let cell = sums.cell(dims, of_both, at);
            cell.add(Measure::AnyStallMs, times * ms);
            if tiles.playing == 0 {
                cell.add(Measure::AllStallMs, times * ms);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Viewer time, time with any and with all tiles stalled, time by number of tiles that play.
    fn totals(sums: &Sums) -> ([i64; 3], BTreeMap<i32, i64>) {
        let total = |measure: Measure| sums.cells.values().map(|cell| cell.values[measure as usize]).sum();
        let mut tiles = BTreeMap::new();
        for (_, bin, ms) in sums.cells.values().flat_map(|cell| &cell.bins) {
            *tiles.entry(*bin).or_insert(0) += ms;
        }
        tiles.retain(|_, ms| *ms != 0);
        ([Measure::ViewerMs, Measure::AnyStallMs, Measure::AllStallMs].map(total), tiles)
    }

    proptest! {
        #[test]
        fn unions_and_counts_are_those_of_every_single_millisecond(
            intervals in prop::collection::vec((0..200_i64, 1..100_i64, any::<bool>()), 1..12)
        ) {
            let (mut time, mut sums, dims) = (SessionTime::default(), Sums::default(), Arc::new(Dims::default()));
            let mut tiles = [(0_i32, 0_i32); 320];
            for (from, length, plays) in &intervals {
                if *plays {
                    time.play(&mut sums, &dims, *from, from + length);
                } else {
                    time.stall(&mut sums, &dims, *from, from + length);
                }
                for ms in *from..from + length {
                    let (playing, stalled) = &mut tiles[usize::try_from(ms).unwrap()];
                    *(if *plays { playing } else { stalled }) += 1;
                }
            }
            let length = |is_counted: fn(&(i32, i32)) -> bool| {
                i64::try_from(tiles.iter().filter(|tiles| is_counted(tiles)).count()).unwrap()
            };
            let times = [
                length(|(playing, _)| *playing > 0),
                length(|(_, stalled)| *stalled > 0),
                length(|(playing, stalled)| *stalled > 0 && *playing == 0),
            ];
            let mut expected = BTreeMap::new();
            for (playing, _) in tiles.into_iter().filter(|(playing, _)| *playing > 0) {
                *expected.entry(playing).or_insert(0) += 1;
            }
            prop_assert_eq!(totals(&sums), (times, expected));
            prop_assert_eq!(time.viewer_ms, times[0]);
        }
    }
}
