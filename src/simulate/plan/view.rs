//! What happens in one tile.

use uuid::Uuid;

use super::{Instants, notes, words};
use crate::simulate::random::Random;
use crate::simulate::timeline::{End, Ms, Phase, State, Stream, Tongue, View};

/// The room that a view is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stage {
    pub(super) tongue: Tongue,
    pub(super) from: Ms,
    pub(super) until: Ms,
    pub(super) layout: usize,
    pub(super) slot: u8,
    pub(super) stream: Stream,
    /// Why the view ends at `until`, if it is still there; `None`: it is not heard of again.
    pub(super) closing: Option<&'static str>,
    /// The view that is started anew, and how many parts it had.
    pub(super) again: Option<(Uuid, i64)>,
}

/// Time after a seek in which no stall begins: one within 500 ms after its begin would count as part of the seek.
const SPELL_MIN_MS: Ms = 700;

/// What becomes of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Plays,
    FailsToStart,
    LeavesAtOnce,
    LeavesBeforeStart,
    VanishesBeforeStart,
    NeverStarts,
}

/// How it ends where it is not there until the stage is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    Says(&'static str),
    Fails,
    Vanishes,
}

struct Script<'a> {
    random: &'a mut Random,
    instants: &'a mut Instants,
    phases: Vec<Phase>,
}

impl Script<'_> {
    fn now(&self) -> Ms {
        self.phases.last().map_or(0, |phase| phase.from)
    }

    /// The state changes at `wanted` or just after it.
    fn turn(&mut self, state: State, wanted: Ms) {
        let from = self.instants.take(wanted.max(self.now() + 1));
        if let Some(last) = self.phases.last_mut() {
            last.to = from;
        }
        self.phases.push(Phase { state, from, to: from });
    }

    fn finish(&mut self, wanted: Ms) -> Ms {
        let at = self.instants.take(wanted.max(self.now() + 1));
        if let Some(last) = self.phases.last_mut() {
            last.to = at;
        }
        at
    }
}

/// Draws a view.
pub(super) fn draw(stage: &Stage, random: &mut Random, instants: &mut Instants) -> View {
    let (id, part) = stage.again.unwrap_or((random.uuid(), 0));
    let is_state_only = stage.tongue == Tongue::Native && random.chance(15);
    let tile = random.pick(&words::TILES);
    let fate = fate(random);
    let begin = stage.from + random.between(0, 2_600);
    let mut script = Script { random, instants, phases: Vec::new() };
    script.turn(State::Joining, begin);
    let end = match fate {
        Fate::Plays => plays(stage, &mut script, is_state_only),
        Fate::FailsToStart => {
            let at = script.random.between(begin + 300, begin + 8_000);
            leave(&mut script, at, Leave::Fails)
        }
        Fate::LeavesAtOnce => {
            let at = script.random.between(begin + 50, begin + 990);
            leave(&mut script, at, Leave::Says("user_choice"))
        }
        Fate::LeavesBeforeStart => {
            let at = script.random.between(begin + 1_000, begin + 14_000);
            leave(&mut script, at, Leave::Says("user_choice"))
        }
        Fate::VanishesBeforeStart => {
            let at = script.random.between(begin + 100, begin + 25_000);
            leave(&mut script, at, Leave::Vanishes)
        }
        Fate::NeverStarts => close(&mut script, stage),
    };
    let Script { phases, .. } = script;
    let mut view = View {
        id,
        part,
        stream: stage.stream,
        layout: stage.layout,
        slot: stage.slot,
        is_state_only,
        tile,
        first_video: None,
        phases,
        notes: Vec::new(),
        end,
    };
    notes::draw(&mut view, stage.tongue, random, instants);
    if view.end == End::Silent {
        cut(&mut view);
    }
    view
}

fn fate(random: &mut Random) -> Fate {
    match random.below(100) {
        0..5 => Fate::FailsToStart,
        5..8 => Fate::LeavesAtOnce,
        8..12 => Fate::LeavesBeforeStart,
        12..14 => Fate::VanishesBeforeStart,
        14..18 => Fate::NeverStarts,
        _ => Fate::Plays,
    }
}

fn leave(script: &mut Script<'_>, wanted: Ms, how: Leave) -> End {
    let at = script.finish(wanted);
    match how {
        Leave::Says(reason) => End::Said { at, reason },
        Leave::Vanishes => End::Silent,
        Leave::Fails => {
            let (code, domain) = script.random.pick(&words::ERRORS);
            let said_at = script.random.chance(50).then(|| script.instants.take(at + 5));
            End::Fatal { at, code, domain, said_at }
        }
    }
}

/// The stage is over.
fn close(script: &mut Script<'_>, stage: &Stage) -> End {
    let at = stage.until + script.random.between(0, 40);
    leave(script, at, stage.closing.map_or(Leave::Vanishes, Leave::Says))
}

/// It starts, plays with interruptions, and is left at last.
fn plays(stage: &Stage, script: &mut Script<'_>, is_state_only: bool) -> End {
    let begin = script.now();
    let startup_ms =
        if script.random.chance(80) { script.random.between(150, 2_500) } else { script.random.between(2_500, 12_000) };
    if script.random.chance(4) {
        script.turn(State::Paused, begin + startup_ms / 3);
        // A native player says that it resumes, and joins again; the first frame alone ends the pause, too.
        if stage.tongue == Tongue::Native && script.random.chance(50) {
            script.turn(State::Joining, begin + startup_ms / 2);
        }
    }
    script.turn(State::Playing, begin + startup_ms);
    let is_early = script.random.chance(30);
    let (until, how) = if is_early {
        let how = match script.random.below(10) {
            0 | 1 => Leave::Fails,
            2 => Leave::Vanishes,
            _ => Leave::Says(script.random.pick(&words::EXITS)),
        };
        (script.random.between(script.now() + 200, stage.until.max(script.now() + 400)), how)
    } else {
        (stage.until, stage.closing.map_or(Leave::Vanishes, Leave::Says))
    };
    while interrupted(script, until, how, is_state_only, stage) {}
    if is_early || how == Leave::Vanishes { leave(script, until, how) } else { close(script, stage) }
}

/// Plays for a while and is interrupted once; false when nothing more fits before `until`.
fn interrupted(script: &mut Script<'_>, until: Ms, how: Leave, is_state_only: bool, stage: &Stage) -> bool {
    let longest = if script.random.chance(30) { 4_000 } else { 60_000 };
    let spell = script.random.between(SPELL_MIN_MS, longest);
    let next = script.now() + spell;
    if next + 20 >= until {
        return false;
    }
    let draw = script.random.below(100);
    let (state, length) = match draw {
        0..55 if !is_state_only => (State::Stalled, stall_ms(script.random)),
        55..70 if !is_state_only && !stage.stream.is_live => (State::Seeking, script.random.between(30, 2_500)),
        70..85 => (State::Paused, script.random.between(200, 40_000)),
        _ => return true,
    };
    script.turn(state, next);
    if state == State::Seeking && script.random.chance(40) {
        settles(script);
        return script.now() < until;
    }
    // Who is never heard of again was not stalled: how long that lasted could not be known.
    let back = script.now() + length;
    if back + 20 >= until && !(state == State::Stalled && how == Leave::Vanishes) {
        return false;
    }
    let after = match (state, script.random.below(100)) {
        (State::Stalled, 0..6) => State::Paused,
        (State::Stalled, 6..10) if !stage.stream.is_live => State::Seeking,
        (State::Paused, 0..10) if !is_state_only && !stage.stream.is_live => State::Seeking,
        _ => State::Playing,
    };
    script.turn(after, back);
    if after != State::Playing {
        let back_to = if state == State::Paused { State::Paused } else { State::Playing };
        let wanted = script.now() + script.random.between(50, 1_500);
        script.turn(back_to, wanted);
        if back_to == State::Paused {
            let wanted = script.now() + script.random.between(100, 5_000);
            script.turn(State::Playing, wanted);
        }
    }
    script.now() < until
}

/// Plays for a moment after the seek, and the buffer runs dry again: the seek goes on.
fn settles(script: &mut Script<'_>) {
    let [seeks, plays] = [(); 2].map(|()| script.random.between(30, 230));
    let dry = script.random.between(40, 2_000);
    for (state, after) in [(State::Playing, seeks), (State::Seeking, plays), (State::Playing, dry)] {
        script.turn(state, script.now() + after);
    }
}

/// Too short to be a stall, short, sustained, and very rarely minutes.
fn stall_ms(random: &mut Random) -> Ms {
    match random.below(200) {
        0 => random.between(290_000, 340_000),
        1..60 => random.between(20, 249),
        60..120 => random.between(250, 999),
        _ => random.between(1_000, 9_000),
    }
}

/// Nothing after its last event is known of a view that is not heard of again.
fn cut(view: &mut View) {
    let last = view.inputs().last().copied().unwrap_or_default();
    if let Some(phase) = view.phases.last_mut() {
        phase.to = last;
    }
}
