//! What is folded together, and what is known around a moment of it: dimensions, parts that are open, tiles that play.

use crate::simulate::timeline::{
    Deed, Device, End, HEARTBEAT_MS, MINUTE_MS, Ms, Phase, Session, State, Tongue, View, What,
};

/// A stall shorter than this is none.
pub(super) const STALL_MIN_MS: Ms = 250;

/// Buffering for longer than this is no watching any more.
const STALL_ACTIVE_MS: Ms = 5 * MINUTE_MS;

/// How long a view without heartbeats, that is not heard of again, is taken to last.
const LINGER_MAX_MS: Ms = 90_000;

/// The dimensions of a row, by table.
#[derive(Debug, Clone)]
pub(super) struct Dims {
    /// Stream and its platform.
    pub(super) stream: Vec<String>,
    /// App version, platform, major version of the system, class of device, network.
    pub(super) release: Vec<String>,
    pub(super) layout_type: String,
}

/// A view as it counts: short stalls are playing.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) phases: Vec<Phase>,
    /// When it said that it was over.
    ended: Option<Ms>,
    begin: Ms,
    /// Its last input.
    last: Ms,
    /// Until when it is taken to last for `views_at_start`.
    lingers_until: Ms,
}

impl Settled {
    fn of(view: &View, tongue: Tongue) -> Self {
        let settle = |phase: &Phase| Phase {
            state: match phase.state {
                State::Stalled if phase.to - phase.from < STALL_MIN_MS => State::Playing,
                state => state,
            },
            ..*phase
        };
        let last = view.inputs().last().copied().unwrap_or_default();
        // CMCD does not say how often; its default of 30 s gives the maximum, too.
        let has_period =
            tongue == Tongue::Native && view.notes.iter().any(|note| matches!(note.what, What::Heartbeat(_)));
        let linger_ms = if has_period { (3 * HEARTBEAT_MS).min(LINGER_MAX_MS) } else { LINGER_MAX_MS };
        Self {
            phases: view.phases.iter().map(settle).collect(),
            ended: view.ended(),
            begin: view.begin(),
            last,
            lingers_until: if view.end == End::Silent { last + linger_ms } else { last },
        }
    }

    /// The phase that an instant lies in; within the time that it is taken to last, the last one.
    fn phase_at(&self, at: Ms) -> Option<&Phase> {
        let within = self.phases.iter().find(|phase| phase.from <= at && at < phase.to);
        let lingers = || (self.last <= at && at < self.lingers_until).then(|| self.phases.last()).flatten();
        within.or_else(lingers)
    }

    fn plays_at(&self, at: Ms) -> bool {
        self.phase_at(at).is_some_and(|phase| phase.state == State::Playing)
    }

    /// Whether it counts as watched at that instant.
    pub(super) fn is_active_at(&self, at: Ms) -> bool {
        self.phase_at(at).is_some_and(|phase| match phase.state {
            State::Joining | State::Playing | State::Seeking => true,
            State::Stalled => at - phase.from <= STALL_ACTIVE_MS,
            State::Paused => false,
        })
    }

    pub(super) const fn last(&self) -> Ms {
        self.last
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
    /// Every instant at which it reports something, rising.
    pub(super) instants: Vec<Ms>,
    views: Vec<(&'a View, Settled)>,
}

impl<'a> Places<'a> {
    pub(super) fn of_session(device: &'a Device, session: &'a Session) -> Self {
        let views = session.views.iter().map(|view| (view, Settled::of(view, device.tongue))).collect();
        Self { device, session: Some(session), instants: session.instants(), views }
    }

    pub(super) fn of_view(device: &'a Device, view: &'a View) -> Self {
        let views = vec![(view, Settled::of(view, device.tongue))];
        Self { device, session: None, instants: view.inputs(), views }
    }

    pub(super) fn settled(&self) -> impl Iterator<Item = &Settled> {
        self.views.iter().map(|(_, settled)| settled)
    }

    pub(super) fn settled_of(&self, view: &View) -> Option<&Settled> {
        self.views.iter().find(|(other, _)| other.id == view.id).map(|(_, settled)| settled)
    }

    /// What is known of the session by then, what happens at that instant included; no stream.
    pub(super) fn dims_at(&self, at: Ms) -> Dims {
        let empty = || vec![String::new(); 2];
        let Some(session) = self.session else {
            return Dims { stream: empty(), release: vec![String::new(); 5], layout_type: String::new() };
        };
        let (mut is_described, mut network, mut layout_type) = (false, "", "");
        for act in session.acts.iter().take_while(|act| act.at <= at) {
            match act.deed {
                Deed::Context { network: now } => (is_described, network) = (true, now),
                Deed::NetworkChanged { to, .. } => network = to,
                Deed::LayoutCreated { layout: now } | Deed::LayoutSwitched { to: now, .. } => {
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
        Dims { stream: empty(), release, layout_type: layout_type.to_owned() }
    }

    /// The dimensions of a view, known when it begins.
    pub(super) fn dims_of(&self, view: &View) -> Dims {
        let stream = vec![view.stream.id.to_owned(), view.stream.platform.to_owned()];
        Dims { stream, ..self.dims_at(view.begin()) }
    }

    /// The band of the parts that have begun and not ended at that instant. A part that begins or ends just then is
    /// one of them.
    pub(super) fn band_at(&self, at: Ms) -> &'static str {
        let is_open = |settled: &&Settled| settled.begin <= at && settled.ended.is_none_or(|ended| at <= ended);
        self.band(self.settled().filter(is_open).count())
    }

    /// The band of a number of tiles.
    pub(super) const fn band(&self, tiles: usize) -> &'static str {
        if self.session.is_none() {
            return "";
        }
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

    /// How many tiles play at that instant.
    pub(super) fn playing_at(&self, at: Ms) -> usize {
        self.settled().filter(|settled| settled.plays_at(at)).count()
    }

    /// How many tiles play at that instant and are heard of later.
    pub(super) fn playing_for_sure_at(&self, at: Ms) -> usize {
        self.settled().filter(|settled| at < settled.last && settled.plays_at(at)).count()
    }
}
