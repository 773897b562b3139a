//! The warehouse: the boundary between the processor, which commits, and query, which reads.
//!
//! It is a lake (Parquet files in a [DuckLake](https://ducklake.select) 1.0, whose catalogue is plain tables of a
//! database) and, in the same database, the checkpoint, the rollups, the books and who may read what. Everything moves
//! together: [`Warehouse::commit`] lists files, appends deltas and advances the checkpoint in one transaction, and
//! [`Warehouse::read`] sees one commit, whole.
//!
//! Invariants:
//!
//! - a file is written once, made durable, and only then listed; what no commit lists is invisible and collected;
//! - the checkpoint moves by compare-and-set: a second writer is fenced, never merged with;
//! - a commit appends; it never changes a row that another commit wrote (retention alone takes rows away, and says so);
//! - readers never write, and merging changes no answer.
//!
//! It never looks into an event: what a row means is the processor's business, what may be read is query's.

mod access;
mod add_up;
mod audit;
mod backup;
mod books;
mod catalogue;
mod checkpoints;
mod collect;
mod commit;
mod cuts;
mod database;
mod deltas;
mod erased;
mod event_rows;
mod expire;
mod followed_log;
mod history;
mod lake;
mod listing;
mod merge;
mod open;
mod orders;
mod read;
mod records;
mod replace;
mod retain;
mod retention;
mod rollup_merge;
mod rollup_store;
mod successor;
pub mod tables;
#[cfg(test)]
mod tests;

pub use access::{Access, AccessError, Project, ServiceToken, UploadKey};
pub use audit::{Audit, Finding};
pub use backup::{BackedUp, BackupError, BackupSet, DatabaseKind, SetFile, TakenIn, find_place, restore};
pub use books::Books;
pub use checkpoints::Checkpoint;
pub use collect::Collected;
pub use commit::{
    Advance, Commit, CommitError, CommitId, Committed, Delta, DeltaRow, IdRun, Lane, NewIdRun, StateFile,
};
pub use database::CopiedTable;
pub use database::postgres::{PostgresConfig, PostgresUrlError};
pub use event_rows::EventRows;
pub use expire::Expired;
pub use followed_log::{AdoptError, NewLog};
pub use lake::{
    AccessKeys, ColumnBounds, EncodedFile, FileName, Lake, LakeFile, LakeLocation, LakeRead, LakeRequests,
    LocationError, NewFile, Origin, ParquetEncoder, S3Location, ScanError, encode_parquet, may_hold_text, scan_parquet,
};
pub use merge::{MergeError, MergePolicy, Merged};
pub use open::{DatabaseConfig, OpenError, Warehouse, WarehouseConfig};
pub use orders::{OrderError, PausedPartition, SkippedRecord};
pub use read::{CommitRow, DataFile, Read, ReadError, Snapshot};
pub use records::StoredRecord;
pub use replace::{Replacement, row_name};
pub use retain::{Retained, RetainedTable};
pub use retention::{Kept, Retention, RetentionError, RetentionPolicy};
pub use rollup_merge::FoldedDeltas;
pub use rollup_store::{ChangedBucket, ChangedQuery, RollupQuery, RollupRow};
pub use successor::{Another, Successor, SuccessorError, remove_unfinished, successor_file};
