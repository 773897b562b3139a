//! Ticks: time enters through the log, also where nobody uploads.

use bytes::Bytes;
use event_log::{AppendError, NewRecord};
use schemas::Timestamp;
use schemas::record::{self, Record};

use crate::Ingest;

/// Appends a tick of this instant to every partition. It says: whatever arrived before is in the log before this.
///
/// # Errors
///
/// As any append.
pub async fn tick(ingest: &Ingest, log_time: Timestamp) -> Result<(), AppendError> {
    let bytes = Bytes::from(record::encode(&Record::Tick { log_time }));
    let log = &ingest.shared.log;
    let records = (0..log.partitions()).map(|partition| NewRecord { partition, log_time, bytes: bytes.clone() });
    log.append(records.collect()).await.map(|_| ())
}
