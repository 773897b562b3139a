//! The plan as events, in the three formats that devices speak.

mod cmcd;
mod legacy;
mod native;

pub(super) use native::rfc3339;

use uuid::Uuid;

use super::random::Random;
use super::timeline::{Device, Ms, Session, Tongue};

/// One event as its device sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// What it is recognised by when it is read back.
    pub(super) id: EventId,
    /// Device clock when it happened.
    pub(super) at: Ms,
    /// The kind that it is stored under.
    pub(super) kind: String,
    /// `data.feature` of `feature.used`, else empty.
    pub(super) feature: &'static str,
    /// A JSON object, or a CMCD record.
    pub(super) body: String,
}

/// Names an event among all: a UUID that the device gives it, else what is unique in its format.
pub(super) type EventId = u128;

/// The id of an event that has none of its own: the one with this number, or of this instant, in a view or session.
pub(super) fn id_within(unit: Uuid, number: i64) -> EventId {
    // An odd factor takes different numbers to different places, far apart.
    const FACTOR: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;
    unit.as_u128().wrapping_add(FACTOR.wrapping_mul(u128::from(number.cast_unsigned()) + 1))
}

/// The events of a session in the order in which they happen.
pub(super) fn events(device: &Device, session: &Session, random: &mut Random) -> Vec<Event> {
    match device.tongue {
        Tongue::Native => native::events(device, session, random),
        Tongue::Cmcd => cmcd::events(session),
        Tongue::Legacy => legacy::events(session),
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
const fn content_type(tongue: Tongue) -> &'static str {
    match tongue {
        Tongue::Native => "application/cloudevents-batch+json",
        Tongue::Cmcd => "application/cmcd",
        Tongue::Legacy => "application/json",
    }
}

/// Events as the body of an upload.
pub(super) fn body(tongue: Tongue, events: &[&str]) -> String {
    match tongue {
        Tongue::Native | Tongue::Legacy => format!("[{}]", events.join(",")),
        Tongue::Cmcd => events.join("\n") + "\n",
    }
}

/// What a device says of an upload, and when it truly arrives. Times are true, not the device's.
pub(super) fn headers(device: &Device, sent: Ms, received: Ms) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("content-type", content_type(device.tongue).to_owned()),
        ("streamgauge-test-received-at", rfc3339(received)),
    ];
    let sent_at = sent + device.skew_ms;
    match device.tongue {
        Tongue::Native => {
            headers.push(("streamgauge-sent-at", rfc3339(sent_at)));
            if let Some(boot) = device.boot {
                headers.push(("streamgauge-boot-id", boot.id.to_string()));
                headers.push(("streamgauge-sent-mono", (sent_at - boot.zero).to_string()));
            }
        }
        Tongue::Cmcd => {}
        Tongue::Legacy => {
            headers.push(("x-platform", device.platform.to_owned()));
            headers.push(("user-agent", format!("StreamyyyApp/{}", device.app_version)));
        }
    }
    headers
}
