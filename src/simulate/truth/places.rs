//! What is folded together, and what is known around a moment of it: dimensions, parts that are open, tiles that play.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::claims::{Claim, Ledger};
use super::heard::{Heard, Telling};
use crate::simulate::timeline::{
    Deed, Device, End, HEARTBEAT_MS, MINUTE_MS, Ms, Phase, Session, State, Tongue, View, What,
};

/// A stall shorter than this is none.
const STALL_MIN_MS: Ms = 250;

/// Buffering for longer than this is no watching any more.
const STALL_ACTIVE_MS: Ms = 5 * MINUTE_MS;

/// How long a view without heartbeats, that is not heard of again, is taken to last.
const LINGER_MAX_MS: Ms = 90_000;

/// The dimensions of a row, by table.
#[derive(Debug, Clone)]
pub(super) struct Dims {
    /// Stream and its platform; none of a session.
    pub(super) stream: Option<Vec<String>>,
    /// App version, platform, major version of the system, class of device, network.
    pub(super) release: Vec<String>,
    pub(super) layout_type: String,
    /// Who it is; known of native sessions.
    pub(super) person: Option<String>,
    /// Model of the device, if the session tells it at all.
    pub(super) model: String,
}

/// Time between two inputs that is spent at once, when the later one comes: under the tiles of that moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) from: Ms,
    pub(super) to: Ms,
    pub(super) state: State,
}

/// A view as it counts: short stalls are playing.
#[derive(Debug)]
pub(super) struct Settled<'a> {
    view: &'a View,
    pub(super) telling: &'a Telling,
    pub(super) phases: Vec<Phase>,
    pub(super) spans: Vec<Span>,
    pub(super) claims: Vec<Claim>,
    /// When another part of the same view takes its place.
    replaced: Option<Ms>,
    /// Until when it is taken to last for `views_at_start`.
    lingers_until: Ms,
}

impl<'a> Settled<'a> {
    fn of((view, telling): (&'a View, &'a Telling), tongue: Tongue, replaced: Option<Ms>, ledger: &mut Ledger) -> Self {
        let settle = |phase: &Phase| Phase {
            state: match phase.state {
                State::Stalled if phase.to - phase.from < STALL_MIN_MS => State::Playing,
                state => state,
            },
            ..*phase
        };
        let phases: Vec<Phase> = view.phases.iter().map(settle).collect();
        let spans = spans(view, &telling.inputs, &phases);
        let claims = ledger.claims(&telling.sums, &spans, &phases);
        // CMCD does not say how often; its default of 30 s gives the maximum, too.
        let has_period =
            tongue == Tongue::Native && view.notes.iter().any(|note| matches!(note.what, What::Heartbeat(_)));
        let linger_ms = if has_period { (3 * HEARTBEAT_MS).min(LINGER_MAX_MS) } else { LINGER_MAX_MS };
        let mut settled = Self { view, telling, phases, spans, claims, replaced, lingers_until: 0 };
        settled.lingers_until = settled.last() + if view.end == End::Silent { linger_ms } else { 0 };
        settled
    }

    /// The phase that an instant lies in; within the time that it is taken to last, the last one.
    fn phase_at(&self, at: Ms) -> Option<&Phase> {
        let within = self.phases.iter().find(|phase| phase.from <= at && at < phase.to);
        let lingers = || (self.last() <= at && at < self.lingers_until).then(|| self.phases.last()).flatten();
        within.or_else(lingers)
    }

    fn is_at(&self, at: Ms, state: State) -> bool {
        self.phase_at(at).is_some_and(|phase| phase.state == state)
    }

    /// Its stalls.
    pub(super) fn stalls(&self) -> impl Iterator<Item = &Phase> {
        self.phases.iter().filter(|phase| phase.state == State::Stalled)
    }

    /// When the time at that instant is spent, if it is.
    pub(super) fn spent_at(&self, at: Ms) -> Option<Ms> {
        self.spans.iter().find(|span| span.from <= at && at < span.to).map(|span| span.to)
    }

    /// Whether it has begun and not ended. A part that begins or ends just then has.
    pub(super) fn is_open_at(&self, at: Ms) -> bool {
        let is_over = self.view.ended().is_some_and(|ended| ended < at);
        self.view.begin() <= at && !is_over && self.replaced.is_none_or(|next| at < next)
    }

    /// What it was doing just before an instant, as far as was known then. Nobody knows that a silent view is over.
    pub(super) fn known_before(&self, at: Ms) -> Option<State> {
        self.view.state_after(at - 1).filter(|_| self.is_open_at(at))
    }

    /// What it is doing as far as is known at an instant, an input at it included.
    pub(super) fn known_at(&self, at: Ms) -> Option<State> {
        self.view.state_after(at).filter(|_| self.is_open_at(at))
    }

    /// When another part takes its place.
    pub(super) const fn replaced(&self) -> Option<Ms> {
        self.replaced
    }

    /// Whether it counts as watched at that instant.
    pub(super) fn is_active_at(&self, at: Ms) -> bool {
        self.phase_at(at).is_some_and(|phase| match phase.state {
            State::Joining | State::Playing | State::Seeking => true,
            State::Stalled => at - phase.from <= STALL_ACTIVE_MS,
            State::Paused => false,
        })
    }

    /// Its last input.
    pub(super) fn last(&self) -> Ms {
        self.telling.inputs.last().copied().unwrap_or_default()
    }

    pub(super) const fn lingers_until(&self) -> Ms {
        self.lingers_until
    }
}

/// A unit: a session of the app, or a single view.
#[derive(Debug)]
pub(super) struct Places<'a> {
    pub(super) device: &'a Device,
    pub(super) session: Option<&'a Session>,
    /// Every instant of which something arrives, rising.
    pub(super) instants: &'a [Ms],
    /// When something arrives of a view on which layout.
    pub(super) shown: &'a [(Ms, usize)],
    views: Vec<(&'a View, Settled<'a>)>,
}

impl<'a> Places<'a> {
    pub(super) fn of_session(device: &'a Device, heard: &'a Heard) -> Self {
        let Heard { session, instants, shown, .. } = heard;
        let mut ledgers: BTreeMap<Uuid, Ledger> = BTreeMap::new();
        let settled = |(view, telling): (&'a View, &'a Telling)| {
            let is_next = |other: &&View| other.id == view.id && other.part == view.part + 1;
            let replaced = session.views.iter().find(is_next).map(View::begin);
            let ledger = ledgers.entry(view.id).or_default();
            (view, Settled::of((view, telling), device.tongue, replaced, ledger))
        };
        let views = heard.views().map(settled).collect();
        Self { device, session: Some(session), instants, shown, views }
    }

    pub(super) fn of_view(device: &'a Device, (view, telling): (&'a View, &'a Telling)) -> Self {
        let settled = Settled::of((view, telling), device.tongue, None, &mut Ledger::default());
        Self { device, session: None, instants: &telling.inputs, shown: &[], views: vec![(view, settled)] }
    }

    /// The views and how they count.
    pub(super) fn views(&self) -> impl Iterator<Item = (&'a View, &Settled<'a>)> {
        self.views.iter().map(|(view, settled)| (*view, settled))
    }

    pub(super) fn settled(&self) -> impl Iterator<Item = &Settled<'a>> {
        self.views.iter().map(|(_, settled)| settled)
    }

    pub(super) fn settled_of(&self, view: &View) -> Option<&Settled<'a>> {
        self.views.iter().find(|(other, _)| (other.id, other.part) == (view.id, view.part)).map(|(_, settled)| settled)
    }

    /// What is known of the session by then, what happens at that instant included; no stream.
    pub(super) fn dims_at(&self, at: Ms) -> Dims {
        let Some(session) = self.session else {
            let (release, layout_type, model) = (vec![String::new(); 5], String::new(), String::new());
            return Dims { stream: None, release, layout_type, person: None, model };
        };
        let (mut is_described, mut network, mut layout_type) = (false, "", "");
        for act in session.acts.iter().take_while(|act| act.at <= at) {
            match act.deed {
                Deed::Context { network: now } => (is_described, network) = (true, now),
                Deed::NetworkChanged { to, .. } => network = to,
                Deed::LayoutCreated { layout: now, .. } | Deed::LayoutSwitched { to: now, .. } => {
                    layout_type = session.layouts[now].kind;
                }
                _ => {}
            }
        }
        let device = self.device;
        let os_major = device.os_version.split('.').next().unwrap_or_default();
        let described = |text: &str| if is_described { text.to_owned() } else { String::new() };
        let release = vec![
            device.app_version.to_owned(),
            device.platform.to_owned(),
            described(os_major),
            described(device.class),
            network.to_owned(),
        ];
        let person = (device.tongue == Tongue::Native).then(|| device.person());
        let is_told = session.acts.iter().any(|act| matches!(act.deed, Deed::Context { .. }));
        let model = if is_told { device.model } else { "" };
        Dims { stream: None, release, layout_type: layout_type.to_owned(), person, model: model.to_owned() }
    }

    /// The dimensions of a view, known when it begins.
    pub(super) fn dims_of(&self, view: &View) -> Dims {
        let stream = Some(vec![view.stream.id.to_owned(), view.stream.platform.to_owned()]);
        Dims { stream, ..self.dims_at(view.begin()) }
    }

    /// The band of the parts that have begun and not ended at that instant. A part that begins or ends just then is
    /// one of them.
    pub(super) fn band_at(&self, at: Ms) -> &'static str {
        if self.session.is_none() {
            // Views without an order in common.
            return "";
        }
        band(self.settled().filter(|settled| settled.is_open_at(at)).count())
    }

    /// The tiles that play at that instant and are heard of later.
    pub(super) fn playing_at(&self, at: Ms) -> impl Iterator<Item = &Settled<'a>> {
        self.settled().filter(move |settled| at < settled.last() && settled.is_at(at, State::Playing))
    }

    /// The tiles that are stalled at that instant and are heard of later.
    pub(super) fn stalled_at(&self, at: Ms) -> impl Iterator<Item = &Settled<'a>> {
        self.settled().filter(move |settled| at < settled.last() && settled.is_at(at, State::Stalled))
    }
}

/// The band of a number of tiles.
pub(super) const fn band(tiles: usize) -> &'static str {
    match tiles {
        0 => "",
        1 => "1",
        2 => "2",
        3 | 4 => "3-4",
        5..=9 => "5-9",
        10..=16 => "10-16",
        _ => "17+",
    }
}

/// The time between inputs. What comes in the first moments of a stall does not divide it: nobody knows yet what it is.
fn spans(view: &View, inputs: &[Ms], settled: &[Phase]) -> Vec<Span> {
    let mut spans = Vec::with_capacity(inputs.len());
    for (raw, phase) in view.phases.iter().zip(settled) {
        let undecided = if raw.state == State::Stalled { STALL_MIN_MS } else { 0 };
        let divides = |at: &&Ms| phase.from < **at && **at < phase.to && **at - phase.from >= undecided;
        let mut from = phase.from;
        for to in inputs.iter().filter(divides).copied().chain([phase.to]) {
            if from < to {
                spans.push(Span { from, to, state: phase.state });
            }
            from = to;
        }
    }
    spans
}
