//! What the tiles of a native session tell only together: stalls at the same time, how far apart they are, and whether
//! their bitrates fit through the connection.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::measures::{Band, Dims, Measure, Metric, Sums};
use super::view::Stalled;

/// Stalls that begin within this time of each other came together.
pub(super) const TOGETHER_MS: i64 = 2_000;
/// Stalls that are remembered.
const REMEMBERED: usize = 64;

/// The last stalls of a session.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Together {
    stalls: VecDeque<(Stalled, bool)>,
}

impl Together {
    /// Takes in a stall of a session of which `active` tiles play or stall. If at least half of at least two tiles stalled
    /// together, it was the device's connection: then all of these stalls are its own, not the streams'.
    pub(super) fn stall(&mut self, sums: &mut Sums, stall: Stalled, active: usize) {
        let from_ms = stall.from_ms;
        if self.stalls.len() == REMEMBERED {
            self.stalls.pop_front();
        }
        self.stalls.push_back((stall, false));
        let is_near = |stall: &Stalled| (stall.from_ms - from_ms).abs() <= TOGETHER_MS;
        let mut views: Vec<&str> =
            self.stalls.iter().filter(|(stall, _)| is_near(stall)).map(|(stall, _)| &*stall.dims.view_id).collect();
        views.sort_unstable();
        views.dedup();
        if views.len() < 2 || views.len() * 2 < active {
            return;
        }
        for (stall, is_counted) in self.stalls.iter_mut().filter(|(stall, _)| is_near(stall)) {
            if !std::mem::replace(is_counted, true) {
                sums.add(&stall.dims, stall.band, stall.from_ms, Measure::ClientRebuffers, 1);
            }
        }
    }
}

/// Counts how much of the connection's throughput tiles that play take up together: of each the bitrate, and the throughput
/// if it is known. The greatest throughput is the connection's: tiles that load at the same time measure only their share.
pub(super) fn demand(sums: &mut Sums, dims: &Arc<Dims>, now_ms: i64, tiles: impl Iterator<Item = (i64, Option<i64>)>) {
    let tiles: Vec<(i64, Option<i64>)> = tiles.collect();
    let wanted: i64 = tiles.iter().map(|(kbps, _)| kbps).sum();
    if let Some(throughput) = tiles.iter().filter_map(|(_, throughput)| *throughput).max().filter(|_| wanted > 0) {
        sums.observe(dims, Band::of(tiles.len()), now_ms, Metric::DemandPct, 100 * wanted / throughput);
    }
}

/// Counts how far apart tiles are, from the latencies of those that play.
pub(super) fn sync_spread(sums: &mut Sums, dims: &Arc<Dims>, now_ms: i64, latencies: impl Iterator<Item = i64>) {
    let latencies: Vec<i64> = latencies.collect();
    if let (true, Some(least), Some(greatest)) = (latencies.len() > 1, latencies.iter().min(), latencies.iter().max()) {
        sums.observe(dims, Band::of(latencies.len()), now_ms, Metric::SyncSpreadMs, greatest - least);
    }
}
