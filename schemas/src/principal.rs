//! Who is calling.

use std::sync::Arc;

use crate::event::Trust;

/// A caller whose credentials were verified. Only the program's authentication layer makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The project whose data the caller may touch: the only one, in every interface.
    pub project: Arc<str>,
    /// What vouches for the caller.
    pub caller: Caller,
}

/// What vouches for a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// An upload key: may post, may not read.
    UploadKey,
    /// No credential at all, on a path and project that admit it.
    Keyless,
    /// A service token with scopes: reads the project.
    Service(Arc<[Scope]>),
    /// A verified user token: reads and posts as this one person.
    User {
        /// The token's `sub`.
        subject: Arc<str>,
    },
}

impl Principal {
    /// How far events posted by this caller can be trusted.
    #[must_use]
    pub const fn trust(&self) -> Trust {
        match self.caller {
            Caller::User { .. } => Trust::Authenticated,
            Caller::UploadKey | Caller::Keyless | Caller::Service(_) => Trust::Anonymous,
        }
    }

    /// The verified user, if a user token vouches.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        match &self.caller {
            Caller::User { subject } => Some(subject),
            _ => None,
        }
    }

    /// Whether the caller may post events.
    #[must_use]
    pub const fn may_upload(&self) -> bool {
        matches!(self.caller, Caller::UploadKey | Caller::Keyless | Caller::User { .. })
    }

    /// Whether the caller holds a scope. A user holds `stats:read` for the own person, and no other.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        match &self.caller {
            Caller::Service(scopes) => scopes.contains(&scope) || scopes.contains(&Scope::Admin),
            Caller::User { .. } => scope == Scope::StatsRead,
            Caller::UploadKey | Caller::Keyless => false,
        }
    }
}

/// What a service token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Statistics, rollups, events, receipts.
    StatsRead,
    /// SQL over the project's tables.
    SqlRead,
    /// Export jobs.
    ExportsWrite,
    /// The sender's bytes: `records.body` and `quarantine.raw`.
    PiiRead,
    /// Everything.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::StatsRead, Self::SqlRead, Self::ExportsWrite, Self::PiiRead, Self::Admin];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StatsRead => "stats:read",
            Self::SqlRead => "sql:read",
            Self::ExportsWrite => "exports:write",
            Self::PiiRead => "pii:read",
            Self::Admin => "admin",
        }
    }

    /// The scope of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}
