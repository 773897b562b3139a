//! The plan as events, in the three formats that devices speak.

mod cmcd;
mod legacy;
mod native;

pub(super) use native::rfc3339;

use super::random::Random;
use super::timeline::{Device, Ms, Tongue};

/// One event as its device sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// Device clock when it happened.
    pub(super) at: Ms,
    /// The kind that it is stored under.
    pub(super) kind: String,
    /// `data.feature` of `feature.used`, else empty.
    pub(super) feature: &'static str,
    /// A JSON object, or a CMCD record.
    pub(super) body: String,
}

/// The events of a device in the order in which they happen.
pub(super) fn events(device: &Device, random: &mut Random) -> Vec<Event> {
    let sessions = device.sessions.iter();
    match device.tongue {
        Tongue::Native => sessions.flat_map(|session| native::events(device, session, random)).collect(),
        Tongue::Cmcd => sessions.flat_map(cmcd::events).collect(),
        Tongue::Legacy => sessions.flat_map(legacy::events).collect(),
    }
}

/// Where a device posts its events.
pub(super) const fn path(tongue: Tongue) -> &'static str {
    match tongue {
        Tongue::Native => "/v1/events",
        Tongue::Cmcd => "/cmcd/event-mode",
        Tongue::Legacy => "/api/v1/analytics",
    }
}

/// What it says the body is.
pub(super) const fn content_type(tongue: Tongue) -> &'static str {
    match tongue {
        Tongue::Native => "application/cloudevents-batch+json",
        Tongue::Cmcd => "application/cmcd",
        Tongue::Legacy => "application/json",
    }
}

/// Events as the body of an upload.
pub(super) fn body<'a>(tongue: Tongue, events: impl Iterator<Item = &'a Event>) -> String {
    let bodies: Vec<&str> = events.map(|event| event.body.as_str()).collect();
    match tongue {
        Tongue::Native | Tongue::Legacy => format!("[{}]", bodies.join(",")),
        Tongue::Cmcd => bodies.join("\n") + "\n",
    }
}
