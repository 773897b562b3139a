//! Which events are folded together: the names of units.

use hashbrown::Equivalent;
use serde::{Deserialize, Serialize};

use super::input::Stored;
use crate::dedup::{EventKey, IdTime};
use crate::event::Format;

/// What is folded together: a session, or a CMCD view that names none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnitKey {
    /// The project.
    pub project: Box<str>,
    /// What orders its inputs.
    pub order: Order,
    /// The install, where it is part of the session's name.
    pub install_id: Box<str>,
    /// The session; of a CMCD view without one the view.
    pub session_id: Box<str>,
}

/// The same, borrowed from an event: a unit is looked up by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UnitName<'a> {
    project: &'a str,
    order: Order,
    install_id: &'a str,
    session_id: &'a str,
}

/// What orders the inputs of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Order {
    /// Native: `seq` of the session.
    Session,
    /// CMCD: `sn` of each view.
    View,
    /// Legacy: the device's clock.
    Clock,
}

impl<'a> UnitName<'a> {
    /// The unit of a stored event; `None` for events that are in none.
    #[must_use]
    pub fn of(event: &Stored<'a>) -> Option<Self> {
        let (order, install_id, session_id) = match event.format {
            Format::Native if event.seq.is_some() => (Order::Session, event.install_id?, event.session_id?),
            Format::Cmcd2 if event.seq.is_some() => {
                let view_id = event.view_id?;
                let install_id = event.session_id.and(event.install_id).unwrap_or_default();
                (Order::View, install_id, event.session_id.unwrap_or(view_id))
            }
            Format::StreamyyyLegacy => (Order::Clock, "", event.session_id?),
            _ => return None,
        };
        Some(Self { project: event.project, order, install_id, session_id })
    }

    /// What orders its inputs.
    #[must_use]
    pub const fn order(&self) -> Order {
        self.order
    }
}

impl Equivalent<UnitKey> for UnitName<'_> {
    fn equivalent(&self, key: &UnitKey) -> bool {
        let UnitKey { project, order, install_id, session_id } = key;
        self.session_id == &**session_id
            && self.install_id == &**install_id
            && self.order == *order
            && self.project == &**project
    }
}

impl From<&UnitName<'_>> for UnitKey {
    fn from(name: &UnitName<'_>) -> Self {
        Self {
            project: name.project.into(),
            order: name.order,
            install_id: name.install_id.into(),
            session_id: name.session_id.into(),
        }
    }
}

impl UnitKey {
    /// The unit of a stored event; `None` for events that are in none.
    #[must_use]
    pub fn of(event: &Stored<'_>) -> Option<Self> {
        UnitName::of(event).as_ref().map(Into::into)
    }

    /// A key of its own among those of events: whether the unit was ever begun.
    #[must_use]
    pub fn event_key(&self) -> EventKey {
        let order = match self.order {
            Order::Session => "session",
            Order::View => "view",
            Order::Clock => "clock",
        };
        EventKey::new(&self.project, &format!("\u{2}{order}/{}", self.install_id), &self.session_id, IdTime::FromId)
    }
}
