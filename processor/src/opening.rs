//! What is known of a partition when it is taken.

use std::collections::BTreeSet;

use warehouse::{Checkpoint, Warehouse};

use crate::dedup::KeyIndex;
use crate::files;
use crate::fold::{PartitionState, replay_clocks};
use crate::runner::{ProcessorConfig, RunError};

impl PartitionState {
    /// What is known of a partition at its checkpoint: the keys of its runs, the clocks of its newest state file with what was
    /// committed after that folded in, and the units of that file, with its position: they are still to be brought forward.
    pub(crate) async fn open(
        warehouse: &Warehouse,
        config: &ProcessorConfig,
        checkpoint: &Checkpoint,
        skipped: BTreeSet<u64>,
    ) -> Result<(Self, Option<u64>), RunError> {
        let partition = checkpoint.log_partition;
        let lake = warehouse.lake().clone();
        let listed = warehouse.id_runs(partition).await?;
        let keys = KeyIndex::open(lake.clone(), partition, listed, config.hot_keys)?;
        let state = warehouse.state_file(partition).await?;
        let replay = |source| RunError::Replay { log_partition: partition, source };
        let state = state.map(|state| files::read_state(&lake, &state)).transpose().map_err(replay)?.flatten();
        let restored_from = state.as_ref().map(|state| state.position);
        let files::State { position: from, mut clocks, units, put_away } = state.unwrap_or_default();
        if from < checkpoint.position {
            let snapshot = warehouse.read().await?.snapshot().await?;
            for record in snapshot.records(&lake, partition, from).map_err(replay)? {
                let record = record.map_err(replay)?;
                replay_clocks(&mut clocks, &record.body, skipped.contains(&record.position));
            }
        }
        let state = Self {
            partition,
            position: checkpoint.position,
            log_time: checkpoint.log_time.unwrap_or_default(),
            committed_log_time: checkpoint.log_time.unwrap_or_default(),
            clocks,
            keys,
            units,
            put_away,
            skipped,
            pauses: checkpoint.pauses,
        };
        Ok((state, restored_from))
    }
}
