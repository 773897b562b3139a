//! How layouts of a native session come up: until a tile, the one with the focus, most and all of them play.

use super::places::{Places, Settled, band};
use super::{Place, Truth, minute_of};
use crate::simulate::timeline::{Beat, Ms, View, What};

/// Views that begin within this time of the first one are the tiles that a layout opens with.
const OPENS_WITHIN_MS: Ms = 2_000;

/// A view on the screen.
type Shown<'a> = (&'a View, &'a Settled<'a>);

/// Adds the openings of all layouts.
pub(super) fn add(truth: &mut Truth, places: &Places<'_>) {
    let layouts = places.session.map_or(0, |session| session.layouts.len());
    for layout in 0..layouts {
        let mut views: Vec<Shown<'_>> = places.views().filter(|(view, _)| view.layout == layout).collect();
        views.sort_by_key(|(view, _)| view.begin());
        let mut rest = &views[..];
        while !rest.is_empty() {
            let (shown, later) = rest.split_at(until_empty(rest));
            add_opening(truth, places, shown);
            rest = later;
        }
    }
}

/// How many of these views, in the order in which they begin, are shown before the screen is empty.
fn until_empty(views: &[Shown<'_>]) -> usize {
    let mut empty_at = Ms::MIN;
    let mut count = 0;
    for (view, settled) in views {
        if count > 0 && view.begin() >= empty_at {
            break;
        }
        let gone_at = settled.replaced().into_iter().chain(view.ended()).min().unwrap_or(Ms::MAX);
        empty_at = empty_at.max(gone_at);
        count += 1;
    }
    count
}

fn add_opening(truth: &mut Truth, places: &Places<'_>, shown: &[Shown<'_>]) {
    let begin = shown[0].0.begin();
    let mut tiles: Vec<_> =
        shown.iter().map(|(view, _)| view).filter(|view| view.begin() <= begin + OPENS_WITHIN_MS).collect();
    tiles.sort_by_key(|view| view.id);
    tiles.dedup_by_key(|view| view.id);
    // Over all parts of a tile.
    let first = |tile: &View, when: fn(&View) -> Option<Ms>| {
        shown.iter().filter(|(view, _)| view.id == tile.id).filter_map(|(view, _)| when(view)).min()
    };
    let first_play = |tile: &View| first(tile, View::first_play);
    let mut plays: Vec<Ms> = tiles.iter().filter_map(|tile| first_play(tile)).collect();
    plays.sort_unstable();
    let focused = tiles.iter().filter_map(|tile| Some((first(tile, focused_at)?, *tile)));
    let focused = focused.min_by_key(|(at, _)| *at).and_then(|(_, tile)| first_play(tile));
    // The first nine tenths, rounded up.
    let most = tiles.len() - tiles.len() / 10;
    let dims = places.dims_at(begin);
    let place = Place { dims: &dims, band: band(tiles.len()) };
    truth.count(place, "layouts_opened", begin, 1);
    for (metric, at) in [
        ("layout_first_ms", plays.first().copied()),
        ("layout_focused_ms", focused),
        ("layout_most_ms", plays.get(most - 1).copied()),
        ("layout_all_ms", plays.get(tiles.len() - 1).copied()),
    ] {
        if let Some(at) = at {
            truth.value(place, metric, minute_of(begin), at - begin, 1);
        }
    }
}

/// When a view first tells that it has the focus.
fn focused_at(view: &View) -> Option<Ms> {
    let tells = |what: &What| matches!(what, What::Heartbeat(Beat { is_focused: Some(true), .. }));
    view.notes.iter().find(|note| tells(&note.what)).map(|note| note.at)
}
