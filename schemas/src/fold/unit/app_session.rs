//! App sessions: stretches of use of the app under one session id.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::LAYOUTS_MAX;
use crate::fold::facts::SessionFact;
use crate::fold::input::{Input, What};
use crate::fold::measures::{Band, Dims, Measure, Metric, Sums};

/// Silence that cuts a session id into app sessions.
const SESSION_SILENCE_MS: i64 = 1_800_000;

/// The app session under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "what happened in it, each counted once")]
pub(super) struct AppSession {
    pub(super) part: u32,
    dims: Arc<Dims>,
    started_ms: i64,
    pub(super) last_ms: i64,
    viewer_ms_before: i64,
    pub(super) tile_ms: i64,
    pub(super) views: i64,
    layouts: Vec<Box<str>>,
    /// Exit reason after the last of the events that tell of the app as a whole.
    last_word: LastWord,
    pub(super) ended: Option<Box<str>>,
    pub(super) is_written: bool,
    crashed: bool,
    failed: bool,
    stalled: bool,
}

/// What was last heard of the app as a whole.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum LastWord {
    Foreground,
    Background,
    Crash,
}

impl LastWord {
    /// Why a session ended that its sender did not end.
    const fn exit_reason(self) -> &'static str {
        match self {
            Self::Foreground => "timeout",
            Self::Background => "background",
            Self::Crash => "crash",
        }
    }
}

impl AppSession {
    /// Whether an input at this time is not of this session any more.
    pub(super) const fn is_over(&self, now_ms: i64) -> bool {
        now_ms - self.last_ms > SESSION_SILENCE_MS
    }

    /// A session that begins now, with the viewer time of those before it.
    pub(super) fn new(part: u32, dims: &Arc<Dims>, now_ms: i64, viewer_ms_before: i64) -> Self {
        Self {
            part,
            dims: Arc::clone(dims),
            started_ms: now_ms,
            last_ms: now_ms,
            viewer_ms_before,
            tile_ms: 0,
            views: 0,
            layouts: Vec::new(),
            last_word: LastWord::Foreground,
            ended: None,
            is_written: false,
            crashed: false,
            failed: false,
            stalled: false,
        }
    }

    /// Takes in an input, of whatever it tells.
    pub(super) fn take_in(&mut self, input: &Input, now_ms: i64, sums: &mut Sums) {
        self.last_ms = self.last_ms.max(now_ms);
        self.ended = None;
        if let Some(layout_id) = &input.about.layout_id
            && !self.layouts.contains(layout_id)
            && self.layouts.len() < LAYOUTS_MAX
        {
            self.layouts.push(layout_id.clone());
        }
        match &input.what {
            What::Foregrounded => self.last_word = LastWord::Foreground,
            What::Backgrounded => self.last_word = LastWord::Background,
            What::Crashed => {
                self.last_word = LastWord::Crash;
                self.note(sums, Measure::CrashedSessions);
            }
            What::SessionEnded(reason) => self.ended = Some(reason.clone()),
            _ => {}
        }
    }

    /// The fact of the session, once: `dims` are those of its last input.
    pub(super) fn end(&mut self, dims: &Arc<Dims>, viewer_ms: i64, sums: &mut Sums) -> Option<SessionFact> {
        if std::mem::replace(&mut self.is_written, true) {
            return None;
        }
        let duration_ms = self.last_ms - self.started_ms;
        sums.observe(&self.dims, Band::UNKNOWN, self.started_ms, Metric::SessionMs, duration_ms);
        Some(SessionFact {
            dims: Arc::clone(dims),
            part: self.part,
            started_ms: self.started_ms,
            ended_ms: self.last_ms,
            viewer_ms: viewer_ms - self.viewer_ms_before,
            tile_ms: self.tile_ms,
            views: self.views,
            layouts: i64::try_from(self.layouts.len()).unwrap_or(i64::MAX),
            exit_reason: self.ended.clone().unwrap_or_else(|| self.last_word.exit_reason().into()),
        })
    }

    /// Counts the session once among those that saw something.
    pub(super) fn note(&mut self, sums: &mut Sums, measure: Measure) {
        let flag = match measure {
            Measure::CrashedSessions => &mut self.crashed,
            Measure::FailedSessions => &mut self.failed,
            _ => &mut self.stalled,
        };
        if !std::mem::replace(flag, true) {
            sums.add(&self.dims, Band::UNKNOWN, self.started_ms, measure, 1);
        }
    }
}
