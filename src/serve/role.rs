//! What a process does.

/// The part of the product that a process serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// All of it.
    All,
    /// Uploads into the log.
    Ingest,
    /// The log into the warehouse, and the warehouse's maintenance.
    Processor,
    /// Answers from the warehouse.
    Query,
}

impl Role {
    /// The word of the command line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Ingest => "ingest",
            Self::Processor => "processor",
            Self::Query => "query",
        }
    }

    /// Whether it takes uploads.
    pub(crate) const fn ingests(self) -> bool {
        matches!(self, Self::All | Self::Ingest)
    }

    /// Whether it commits.
    pub(crate) const fn processes(self) -> bool {
        matches!(self, Self::All | Self::Processor)
    }

    /// Whether it answers.
    pub(crate) const fn answers(self) -> bool {
        matches!(self, Self::All | Self::Query)
    }

    /// Whether it has the log open.
    pub(crate) const fn has_log(self) -> bool {
        self.ingests() || self.processes()
    }

    /// Whether it listens for requests of users; a processor has an admin port only.
    pub(crate) const fn listens(self) -> bool {
        self.ingests() || self.answers()
    }
}
