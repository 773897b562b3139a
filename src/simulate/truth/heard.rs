//! What arrives of a session, and what views look like to who hears no more than that: the table of states of
//! `docs/views.md`, from its words alone.

mod replay;

use std::collections::BTreeSet;

use crate::simulate::timeline::{Beat, Device, End, Ms, Session, Size, Tongue, View, What};
use replay::Replay;

/// A session as it is heard.
#[derive(Debug)]
pub(super) struct Heard {
    /// With what arrives of acts and views; without views of which nothing is understood.
    pub(super) session: Session,
    /// What is known of its views beyond, in their order.
    pub(super) tellings: Vec<Telling>,
    /// Every instant of which something arrives, rising.
    pub(super) instants: Vec<Ms>,
    /// When something arrives of a view on which layout.
    pub(super) shown: Vec<(Ms, usize)>,
    /// Errors of playback, whether or not their view is under way: code, domain, severity.
    pub(super) errors: Vec<(Ms, [&'static str; 3])>,
}

/// What is known of a view as it is heard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Telling {
    /// Instants of its inputs, rising, of those that change nothing, too.
    pub(super) inputs: Vec<Ms>,
    /// When it is first known that somebody wanted to watch.
    pub(super) attempt: Option<Ms>,
    pub(super) startup_ms: Option<Ms>,
    /// The same as the player says.
    pub(super) reported_ms: Option<Ms>,
    /// When the first frame is told, and with it the video.
    pub(super) frame: Option<Ms>,
    /// Told with the start.
    pub(super) tile: Option<Size>,
    /// Seeks that lead to seeking.
    pub(super) seeks: Vec<Ms>,
    pub(super) sums: Vec<SumsTold>,
}

/// What the player says that it has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SumsTold {
    pub(super) at: Ms,
    /// Playing, stalled, seeking, paused, stalls; as far as the player tells them.
    pub(super) values: [Option<i64>; 5],
    /// Whether events are missing since it was last told: then it is believed.
    pub(super) is_believed: bool,
}

impl Heard {
    /// The views, and what is known of them.
    pub(super) fn views(&self) -> impl Iterator<Item = (&View, &Telling)> {
        self.session.views.iter().zip(&self.tellings)
    }
}

/// What is heard of a session if these events are lost.
pub(super) fn of(device: &Device, session: &Session, lost: &BTreeSet<Ms>) -> Heard {
    let arrives = |at: &Ms| !lost.contains(at);
    let mut heard = Heard {
        session: Session {
            id: session.id,
            layouts: session.layouts.clone(),
            acts: session.acts.iter().filter(|act| arrives(&act.at)).cloned().collect(),
            views: Vec::new(),
        },
        tellings: Vec::new(),
        instants: session.instants().into_iter().filter(arrives).collect(),
        shown: Vec::new(),
        errors: Vec::new(),
    };
    for view in &session.views {
        let reports = view.reports();
        heard.shown.extend(reports.iter().filter(|at| arrives(at)).map(|at| (*at, view.layout)));
        heard.errors.extend(errors(view, device.tongue).filter(|(at, _)| arrives(at)));
        let replayed = if device.tongue == Tongue::Cmcd {
            // Each view numbers its own records.
            let own = reports.into_iter().filter(|at| !arrives(at)).collect();
            Replay::of(view, device.tongue, &own)
        } else {
            Replay::of(view, device.tongue, lost)
        };
        if let Some((view, telling)) = replayed {
            heard.session.views.push(view);
            heard.tellings.push(telling);
        }
    }
    heard
}

/// The errors that a view tells. CMCD has no domains.
fn errors(view: &View, tongue: Tongue) -> impl Iterator<Item = (Ms, [&'static str; 3])> {
    let domain = move |domain: &'static str| if tongue == Tongue::Native { domain } else { "" };
    let noted = view.notes.iter().filter_map(move |note| match note.what {
        What::Warning { code, domain: of } => Some((note.at, [code, domain(of), "warning"])),
        What::Heartbeat(Beat { error: Some(code), .. }) => Some((note.at, [code, "", "warning"])),
        _ => None,
    });
    let fatal = match view.end {
        End::Fatal { at, code, domain: of, .. } => Some((at, [code, domain(of), "fatal"])),
        _ => None,
    };
    noted.chain(fatal)
}

#[cfg(test)]
mod tests;
