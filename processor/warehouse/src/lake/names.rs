//! Names of lake files: built and read in one place.

use schemas::Timestamp;
use uuid::Uuid;

/// The name of a file, below the folder of its table (or of id runs, or of state files).
///
/// A name is used once: it holds an id of the attempt, so that an instance that was frozen and wakes up can never
/// overwrite a committed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName {
    /// Day on which it was written, UTC.
    pub written_on: String,
    /// What wrote it.
    pub origin: Origin,
    /// The attempt.
    pub attempt: Uuid,
}

/// What wrote a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A commit of log records. It moves several partitions; this is one of them, and where it moved it from. Once the
    /// checkpoint of that partition is past the position, the attempt has either landed or never will.
    Commit {
        /// The partition.
        partition: u16,
        /// The position it was moved from.
        from: u64,
    },
    /// Merging of smaller files.
    Merge,
}

impl FileName {
    /// A new name.
    #[must_use]
    pub fn new(origin: Origin, now: Timestamp) -> Self {
        Self { written_on: now.to_chrono().format("%Y-%m-%d").to_string(), origin, attempt: Uuid::now_v7() }
    }

    /// The path of a file of the same attempt with this ending (without dot).
    #[must_use]
    pub fn path(&self, ending: &str) -> String {
        let Self { written_on, origin, attempt } = self;
        match origin {
            Origin::Commit { partition, from } => format!("{written_on}/c-{partition}-{from}-{attempt}.{ending}"),
            Origin::Merge => format!("{written_on}/m-{attempt}.{ending}"),
        }
    }

    /// What wrote the file of this path; `None` if it is not a name of ours.
    #[must_use]
    pub fn origin_of(path: &str) -> Option<Origin> {
        let name = path.rsplit('/').next()?;
        if name.starts_with("m-") {
            return Some(Origin::Merge);
        }
        let mut parts = name.strip_prefix("c-")?.splitn(3, '-');
        Some(Origin::Commit { partition: parts.next()?.parse().ok()?, from: parts.next()?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for origin in [Origin::Commit { partition: 3, from: 1_234_567 }, Origin::Merge] {
            let name = FileName::new(origin, Timestamp::parse_rfc3339("2026-11-23T08:00:00Z").unwrap());
            let path = name.path("parquet");
            assert!(path.starts_with("2026-11-23/"), "{path}");
            assert_eq!(FileName::origin_of(&format!("main/events/{path}")), Some(origin));
        }
        assert_eq!(FileName::origin_of("main/events/x.parquet"), None);
    }
}
