//! What happens in one session: layouts one after the other, tiles in each, and the app around them.

mod away;

use super::view::{self, Stage};
use super::{Instants, words};
use crate::simulate::random::Random;
use crate::simulate::timeline::{Act, Deed, Device, Layout, MINUTE_MS, Ms, Session, Stream, Tongue, View};

/// Draws a session that begins at `start`.
pub(super) fn draw(device: &Device, start: Ms, random: &mut Random) -> Session {
    let session = Session { id: random.uuid(), layouts: Vec::new(), acts: Vec::new(), views: Vec::new() };
    let mut script = Script { device, random, instants: Instants::default(), session, now: start, template: None };
    match device.tongue {
        Tongue::Native => script.native(),
        Tongue::Cmcd => script.cmcd(),
        Tongue::Legacy => script.legacy(),
    }
    let mut session = script.session;
    session.acts.sort_by_key(|act| act.at);
    session.views.sort_by_key(View::begin);
    session
}

/// How a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Close {
    Says(&'static str),
    Backgrounds,
    BackgroundsAndSays,
    Crashes,
    Vanishes,
}

impl Close {
    fn of(random: &mut Random) -> Self {
        match random.below(100) {
            0..35 => Self::Says("user_exit"),
            35..40 => Self::Says("memory_pressure"),
            40..60 => Self::Backgrounds,
            60..75 => Self::BackgroundsAndSays,
            75..86 => Self::Crashes,
            _ => Self::Vanishes,
        }
    }

    /// What views say that are there when it comes.
    const fn of_views(self) -> Option<&'static str> {
        match self {
            Self::Says(_) => Some("user_choice"),
            Self::Backgrounds | Self::BackgroundsAndSays => Some("background"),
            Self::Crashes | Self::Vanishes => None,
        }
    }
}

struct Script<'a> {
    device: &'a Device,
    random: &'a mut Random,
    instants: Instants,
    session: Session,
    now: Ms,
    /// What the first layout is made from.
    template: Option<&'static str>,
}

/// What is drawn beside the rest of a session, and changes nothing that is drawn for it.
const TEMPLATES: u64 = 1;
const SAMPLES: u64 = 2;
const SIGN_IN: u64 = 3;

impl Script<'_> {
    /// Something happens at `wanted` or just after it, and time goes on from there.
    fn act(&mut self, wanted: Ms, deed: Deed) {
        self.now = self.put(wanted.max(self.now + 1), deed);
    }

    /// Something happens within a stretch of time, whatever else does.
    fn within(&mut self, from: Ms, until: Ms, deed: Deed) {
        let wanted = self.random.between(from, until);
        self.put(wanted, deed);
    }

    /// Something happens at `wanted` or just after it; when.
    fn put(&mut self, wanted: Ms, deed: Deed) -> Ms {
        let at = self.instants.take(wanted);
        self.session.acts.push(Act { at, deed });
        at
    }

    fn native(&mut self) {
        let network = self.random.pick(&words::NETWORKS);
        self.act(self.now, Deed::Started);
        self.act(self.now + 3, Deed::Context { network });
        if self.random.chance(50) {
            self.act(self.now + 40, Deed::Opened);
        }
        if self.random.part(SIGN_IN).chance(8) {
            self.act(self.now + 20, Deed::SignedIn);
        }
        self.templates();
        let close = Close::of(self.random);
        let has_pause = self.random.chance(12);
        if has_pause {
            self.layouts(Close::Backgrounds);
            self.act(self.now + 10, Deed::Backgrounded);
            let pause_ms = self.random.between(31 * MINUTE_MS, 50 * MINUTE_MS);
            self.act(self.now + pause_ms, Deed::Foregrounded);
            self.change_network(network);
        } else if self.random.chance(15) {
            self.away();
        }
        self.layouts(close);
        self.close(close);
    }

    /// Some look at templates first; of these some make their layout from one.
    fn templates(&mut self) {
        let mut random = self.random.part(TEMPLATES);
        if !random.chance(30) {
            return;
        }
        self.act(self.now + 30, Deed::TemplateViewed);
        if random.chance(50) {
            self.act(self.now + 700, Deed::TemplateUsed { template: words::TEMPLATE });
        }
        self.template = random.chance(40).then_some(words::TEMPLATE);
    }

    fn change_network(&mut self, from: &'static str) {
        let to = self.random.pick(&words::NETWORKS);
        if to != from {
            self.act(self.now + 20, Deed::NetworkChanged { from, to });
        }
    }

    fn close(&mut self, close: Close) {
        let wanted = self.now + self.random.between(1, 900);
        match close {
            Close::Says(reason) => self.act(wanted, Deed::Ended { reason }),
            Close::Backgrounds => self.act(wanted, Deed::Backgrounded),
            Close::BackgroundsAndSays => {
                self.act(wanted, Deed::Backgrounded);
                self.act(wanted + 400, Deed::Ended { reason: "background" });
            }
            Close::Crashes => self.act(wanted, Deed::Crashed),
            Close::Vanishes => {}
        }
    }

    /// One to three layouts; the views of the last one end as `close` says.
    fn layouts(&mut self, close: Close) {
        let count = self.random.between(1, 3);
        for number in 0..count {
            self.enter_layout();
            let closing = if number + 1 < count { Some("layout_switch") } else { close.of_views() };
            self.stage(closing);
        }
    }

    fn enter_layout(&mut self) {
        let slots = match self.random.below(100) {
            0..25 => 1,
            25..45 => 2,
            45..75 => self.random.between(3, 4),
            75..90 => self.random.between(5, 9),
            _ => self.random.between(10, 16),
        };
        let slots = u8::try_from(slots).unwrap_or(1);
        let types = words::layout_types(slots);
        let drawn = types[self.random.place(types.len())];
        let kind = if self.device.is_timed() { drawn } else { words::WRONG_CLOCK_LAYOUT };
        let to = self.session.layouts.len();
        self.session.layouts.push(Layout { id: self.random.uuid(), kind, slots });
        let wanted = self.now + self.random.between(5, 300);
        let deed = if to == 0 {
            Deed::LayoutCreated { layout: to, template: self.template }
        } else {
            Deed::LayoutSwitched { from: to - 1, to }
        };
        self.act(wanted, deed);
    }

    /// The tiles of the newest layout for a few minutes.
    fn stage(&mut self, closing: Option<&'static str>) {
        let layout = self.session.layouts.len() - 1;
        let slots = self.session.layouts[layout].slots;
        let minutes = if slots >= 10 { 4 } else { 8 };
        let from = self.now + 1;
        let until = from + self.random.between(30_000, minutes * MINUTE_MS);
        for slot in 0..slots {
            let stream = self.stream();
            self.tile(Stage { tongue: Tongue::Native, from, until, layout, slot, stream, closing, again: None });
        }
        self.surroundings(from, until);
        let last = self.session.instants().last().copied().unwrap_or(until);
        self.now = self.now.max(last);
    }

    /// Views of one tile, one after the other.
    fn tile(&mut self, mut stage: Stage) {
        loop {
            let view = view::draw(&stage, self.random, &mut self.instants);
            let (over_at, id, part) = (view.ended(), view.id, view.part);
            self.session.views.push(view);
            match over_at {
                Some(over_at) if over_at + 20_000 < stage.until && self.random.chance(50) => {
                    // The same view again, or another one.
                    let again = self.random.chance(25).then_some((id, part + 1));
                    let stream = if again.is_some() { stage.stream } else { self.stream() };
                    stage = Stage { from: over_at + 100, stream, again, ..stage };
                }
                _ => return,
            }
        }
    }

    fn stream(&mut self) -> Stream {
        if self.device.is_timed() {
            self.random.pick(&words::STREAMS)
        } else {
            self.random.pick(&words::WRONG_CLOCK_STREAMS)
        }
    }

    /// What the app reports beside the views.
    fn surroundings(&mut self, from: Ms, until: Ms) {
        for number in 1..=(until - from) / MINUTE_MS {
            self.put(from + number * MINUTE_MS, Deed::Heartbeat);
        }
        let mut random = self.random.part(SAMPLES);
        if random.chance(40) {
            let deed = Deed::Sampled { thermal: random.pick(&words::THERMAL_STATES) };
            self.put(random.between(from, until - 1), deed);
        }
        for _ in 0..self.random.below(4) {
            let deed = match self.random.below(6) {
                0 => Deed::Searched,
                5 => Deed::NetworkChanged { from: "unknown", to: self.random.pick(&words::NETWORKS) },
                1 => Deed::MemoryWarning,
                2 => Deed::AppError,
                3 => Deed::StreamAdded { stream: self.stream() },
                _ => Deed::FeatureUsed { feature: self.random.pick(&words::FEATURES) },
            };
            self.within(from, until - 1, deed);
        }
    }

    /// A player without an app around it: views, some at once.
    fn cmcd(&mut self) {
        self.session.layouts.push(Layout { id: self.random.uuid(), kind: "single", slots: 1 });
        for _ in 0..self.random.between(1, 4) {
            let from = self.now + self.random.between(1_000, 60_000);
            let until = from + self.random.between(20_000, 8 * MINUTE_MS);
            let says = self.random.chance(75);
            let reason = self.random.pick(&["completed", "user_choice"]);
            let closing = says.then_some(reason);
            let stream = self.stream();
            let stage = Stage { tongue: Tongue::Cmcd, from, until, layout: 0, slot: 0, stream, closing, again: None };
            let view = view::draw(&stage, self.random, &mut self.instants);
            self.session.views.push(view);
            self.now = from;
        }
    }

    /// The app of today: what it counts, and no playback.
    fn legacy(&mut self) {
        for kind in ["single", "grid2x2"] {
            self.session.layouts.push(Layout { id: self.random.uuid(), kind, slots: 1 });
        }
        self.act(self.now, Deed::Started);
        for _ in 0..self.random.between(3, 25) {
            let deed = match self.random.below(10) {
                0..3 => Deed::StreamAdded { stream: self.stream() },
                3..5 => Deed::LayoutSwitched { from: 0, to: 1 },
                5 => Deed::AppError,
                6 => Deed::Searched,
                _ => Deed::FeatureUsed { feature: self.random.pick(&words::FEATURES) },
            };
            // Now and then longer than an app session lasts without a sign of life.
            let pause = if self.random.chance(3) {
                self.random.between(31 * MINUTE_MS, 40 * MINUTE_MS)
            } else {
                self.random.between(500, 90_000)
            };
            self.act(self.now + pause, deed);
        }
        match self.random.below(3) {
            0 => self.act(self.now + 800, Deed::Backgrounded),
            1 => self.act(self.now + 800, Deed::Crashed),
            _ => {}
        }
    }
}
