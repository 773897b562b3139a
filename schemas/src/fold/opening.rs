//! How a layout comes up: from its first tile's beginning until tiles play.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::measures::{Band, Dims, Measure, Metric, Sums};

/// Parts of a layout that begin within this time of the first one are the tiles that it opened with.
const OPENS_WITHIN_MS: i64 = 2_000;
/// Tiles that are remembered per opening: layouts have no more slots.
const TILES_MAX: usize = 64;
/// Openings that are remembered per session: only one layout is on the screen.
const OPENINGS_MAX: usize = 4;

/// The layouts of a native session whose opening is not all told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Openings(Vec<Opening>);

/// A layout that opened.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Opening {
    layout_id: Box<str>,
    begin_ms: i64,
    dims: Arc<Dims>,
    tiles: Vec<Tile>,
    /// Place of the first tile that was told to have the focus.
    focused: Option<usize>,
    /// Whether its tiles are counted: none is added any more.
    is_counted: bool,
    /// Whether something happened since it was last told.
    has_news: bool,
    /// What is told already, by [`WHENS`].
    told: [bool; WHENS.len()],
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Tile {
    view_id: Box<str>,
    first_play_ms: Option<i64>,
}

const WHENS: [Metric; 4] = [Metric::LayoutFirstMs, Metric::LayoutFocusedMs, Metric::LayoutMostMs, Metric::LayoutAllMs];

impl Openings {
    /// A part begins; `is_first` says that no other part of its layout is under way.
    pub(super) fn begin(&mut self, layout_id: &str, view_id: &str, is_first: bool, now_ms: i64, dims: &Arc<Dims>) {
        if is_first {
            self.0.retain(|opening| &*opening.layout_id != layout_id);
            if self.0.len() == OPENINGS_MAX {
                self.0.remove(0);
            }
            self.0.push(Opening {
                layout_id: layout_id.into(),
                begin_ms: now_ms,
                dims: Arc::clone(dims),
                tiles: Vec::new(),
                focused: None,
                is_counted: false,
                has_news: true,
                told: [false; WHENS.len()],
            });
        }
        let Some(opening) = self.of(layout_id) else { return };
        let is_new = opening.tiles.iter().all(|tile| &*tile.view_id != view_id);
        if is_new && !opening.is_counted && opening.tiles.len() < TILES_MAX {
            opening.tiles.push(Tile { view_id: view_id.into(), first_play_ms: None });
        }
    }

    /// A part shows its first frame.
    pub(super) fn play(&mut self, layout_id: &str, view_id: &str, now_ms: i64) {
        let Some(opening) = self.of(layout_id) else { return };
        if let Some(tile) = opening.tiles.iter_mut().find(|tile| &*tile.view_id == view_id) {
            tile.first_play_ms.get_or_insert(now_ms);
            opening.has_news = true;
        }
    }

    /// A part is told to have the focus.
    pub(super) fn focus(&mut self, layout_id: &str, view_id: &str) {
        if let Some(opening) = self.of(layout_id) {
            let place = opening.tiles.iter().position(|tile| &*tile.view_id == view_id);
            opening.has_news |= opening.focused.is_none() && place.is_some();
            opening.focused = opening.focused.or(place);
        }
    }

    /// No part of the layout is under way any more: what was not reached never will be.
    pub(super) fn over(&mut self, layout_id: &str, sums: &mut Sums) {
        if let Some(opening) = self.of(layout_id) {
            opening.tell(sums);
            self.0.retain(|opening| &*opening.layout_id != layout_id);
        }
    }

    /// Time has come to `now_ms`, and nothing that happens then was taken in yet.
    pub(super) fn advance(&mut self, now_ms: i64, sums: &mut Sums) {
        for opening in self.0.iter_mut().filter(|opening| now_ms - opening.begin_ms > OPENS_WITHIN_MS) {
            opening.tell(sums);
        }
    }

    fn of(&mut self, layout_id: &str) -> Option<&mut Opening> {
        self.0.iter_mut().find(|opening| &*opening.layout_id == layout_id)
    }
}

impl Opening {
    /// Tells what is known by now: the tiles are complete.
    fn tell(&mut self, sums: &mut Sums) {
        if !std::mem::take(&mut self.has_news) {
            return;
        }
        let band = Band::of(self.tiles.len());
        if !std::mem::replace(&mut self.is_counted, true) {
            sums.add(&self.dims, band, self.begin_ms, Measure::LayoutsOpened, 1);
        }
        let mut plays: Vec<i64> = self.tiles.iter().filter_map(|tile| tile.first_play_ms).collect();
        plays.sort_unstable();
        let most = (self.tiles.len() * 9).div_ceil(10);
        let whens = [
            plays.first().copied(),
            self.focused.and_then(|place| self.tiles[place].first_play_ms),
            plays.get(most.saturating_sub(1)).copied(),
            plays.get(self.tiles.len().saturating_sub(1)).copied(),
        ];
        for ((metric, when), told) in WHENS.into_iter().zip(whens).zip(&mut self.told) {
            if let Some(at) = when.filter(|_| !*told) {
                *told = true;
                sums.observe(&self.dims, band, self.begin_ms, metric, at - self.begin_ms);
            }
        }
    }
}
