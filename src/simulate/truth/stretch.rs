//! The time of a view between its inputs, and what holds in it: bitrate, rate, attention, sizes.

use super::places::Settled;
use super::scores::float;
use crate::simulate::timeline::{Beat, Ms, Size, State, View, What};

/// What holds between two inputs.
#[derive(Clone, Copy)]
pub(super) struct Force {
    pub(super) kbps: Option<i64>,
    pub(super) rate: i64,
    pub(super) is_focused: bool,
    pub(super) is_audible: bool,
    tile: Option<Size>,
    video: Option<Size>,
}

impl Force {
    pub(super) fn first(settled: &Settled<'_>) -> Self {
        let tile = settled.telling.tile;
        Self { kbps: None, rate: 1, is_focused: false, is_audible: false, tile, video: None }
    }

    /// What the input at that instant tells.
    pub(super) fn learn(&mut self, view: &View, settled: &Settled<'_>, at: Ms) {
        if settled.telling.frame == Some(at) {
            self.kbps = view.first_video.map(|video| video.kbps).or(self.kbps);
            self.video = view.first_video.map(|video| video.size);
        }
        match view.notes.iter().find(|note| note.at == at).map(|note| note.what) {
            Some(What::Heartbeat(Beat { kbps, is_focused, is_muted, rate, .. })) => {
                self.kbps = kbps.or(self.kbps);
                self.rate = rate.unwrap_or(self.rate);
                self.is_focused = is_focused.unwrap_or(self.is_focused);
                self.is_audible = is_muted.map_or(self.is_audible, |is_muted| !is_muted);
            }
            Some(What::Rendition { to, .. }) => (self.kbps, self.video) = (Some(to.kbps), Some(to.size)),
            Some(What::Audio { is_muted }) => self.is_audible = !is_muted,
            Some(What::Resized { tile }) => self.tile = Some(tile),
            _ => {}
        }
    }
}

/// What holds at an instant, an input at it included.
pub(super) fn force_at(view: &View, settled: &Settled<'_>, at: Ms) -> Force {
    let mut force = Force::first(settled);
    for input in settled.telling.inputs.iter().take_while(|input| **input <= at) {
        force.learn(view, settled, *input);
    }
    force
}

/// The stretches between inputs, each with its state and what holds in it.
pub(super) fn stretches(view: &View, settled: &Settled<'_>) -> Vec<(Ms, Ms, State, Force)> {
    let mut force = Force::first(settled);
    let mut inputs = settled.telling.inputs.iter().peekable();
    let mut stretches = Vec::with_capacity(settled.spans.len());
    for span in &settled.spans {
        while let Some(at) = inputs.next_if(|at| **at < span.to) {
            force.learn(view, settled, *at);
        }
        stretches.push((span.from, span.to, span.state, force));
    }
    stretches
}

/// Greatest upscaling, its sum over playing time, and that time. CMCD does not tell it.
pub(super) fn upscale(view: &View, settled: &Settled<'_>) -> Option<(f64, f64, f64)> {
    // In ten-thousandths, each quotient rounded down: whole numbers up to the end.
    let (mut greatest, mut weighted, mut total) = (0, 0, 0);
    for (from, to, state, force) in stretches(view, settled) {
        let Some((tile, video)) = force.tile.zip(force.video).filter(|_| state == State::Playing) else { continue };
        let width = tile.width_px * 10_000 / video.width_px;
        let height = tile.height_px * 10_000 / video.height_px;
        let upscale = (width.min(height) - 10_000).max(0);
        greatest = greatest.max(upscale);
        weighted += upscale * (to - from);
        total += to - from;
    }
    (total > 0).then(|| (float(greatest) / 10_000.0, float(weighted) / 10_000.0, float(total)))
}
