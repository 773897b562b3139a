//! What really happens to the simulated devices: states and the instants between them. Events are made from it, and
//! the truth is computed from it, neither from the other.
//!
//! Times are Unix milliseconds of the **device's** clock. No two instants of a session are equal, so their order is
//! never in doubt.

mod view;

use uuid::Uuid;

pub(super) use view::{Beat, End, HEARTBEAT_MS, Note, Phase, Size, State, Totals, Turn, Video, View, What};

/// Unix milliseconds of a clock.
pub(super) type Ms = i64;

/// A minute.
pub(super) const MINUTE_MS: Ms = 60_000;
/// An hour.
pub(super) const HOUR_MS: Ms = 60 * MINUTE_MS;
/// A day of UTC.
pub(super) const DAY_MS: Ms = 24 * HOUR_MS;

/// One device.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Device {
    pub(super) install: Uuid,
    pub(super) anon: Uuid,
    /// Whether its user is signed in all the time, by a token that the server can verify.
    pub(super) is_signed_in: bool,
    pub(super) tongue: Tongue,
    pub(super) platform: &'static str,
    pub(super) app_version: &'static str,
    pub(super) os_version: &'static str,
    pub(super) class: &'static str,
    pub(super) model: &'static str,
    /// Device clock − true time, ms.
    pub(super) skew_ms: i64,
    /// The boot, if the device tells it.
    pub(super) boot: Option<Boot>,
    pub(super) sessions: Vec<Session>,
    /// Whether log time ends before its sessions are over: so for devices that only move time on.
    pub(super) stays_open: bool,
}

impl Device {
    /// Its user.
    pub(super) fn user(&self) -> String {
        format!("user-{}", self.install)
    }

    /// Who its person is: the user that the token says, else the guest.
    pub(super) fn person(&self) -> String {
        if self.is_signed_in { self.user() } else { format!("anon:{}", self.anon) }
    }

    /// Whether its clock needs no correction, so that its times are known to the millisecond.
    pub(super) const fn is_timed(&self) -> bool {
        self.skew_ms.abs() <= 1_000
    }
}

/// The format that a device reports in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tongue {
    /// CloudEvents with all native attributes.
    Native,
    /// CMCD version 2, event mode.
    Cmcd,
    /// The app's feed of today.
    Legacy,
}

/// A boot and its monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Boot {
    pub(super) id: Uuid,
    /// Device time of the clock's zero.
    pub(super) zero: Ms,
}

/// One session of the app.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Session {
    pub(super) id: Uuid,
    pub(super) layouts: Vec<Layout>,
    /// What happens beside the views, by rising time.
    pub(super) acts: Vec<Act>,
    /// By rising begin.
    pub(super) views: Vec<View>,
}

impl Session {
    /// Every instant at which the session reports something, rising.
    pub(super) fn instants(&self) -> Vec<Ms> {
        let acts = self.acts.iter().map(|act| act.at);
        let mut all: Vec<Ms> = acts.chain(self.views.iter().flat_map(View::reports)).collect();
        all.sort_unstable();
        all
    }
}

/// How tiles are arranged.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    pub(super) id: Uuid,
    pub(super) kind: &'static str,
    pub(super) slots: u8,
}

/// Something that happens beside the views.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Act {
    pub(super) at: Ms,
    pub(super) deed: Deed,
}

/// What happens beside the views.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Opened,
    Started,
    Context {
        network: &'static str,
    },
    NetworkChanged {
        from: &'static str,
        to: &'static str,
    },
    SignedIn,
    TemplateViewed,
    TemplateUsed {
        template: &'static str,
    },
    /// The first layout; a place in [`Session::layouts`].
    LayoutCreated {
        layout: usize,
        template: Option<&'static str>,
    },
    LayoutSwitched {
        from: usize,
        to: usize,
    },
    Heartbeat,
    FeatureUsed {
        feature: &'static str,
    },
    Searched,
    StreamAdded {
        stream: Stream,
    },
    MemoryWarning,
    Sampled {
        thermal: &'static str,
    },
    AppError,
    Backgrounded,
    Foregrounded,
    Crashed,
    Ended {
        reason: &'static str,
    },
}

/// A stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) id: &'static str,
    pub(super) platform: &'static str,
    pub(super) category: &'static str,
    pub(super) is_live: bool,
}
