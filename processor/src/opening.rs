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
        let (lake, hot_keys, upto) = (warehouse.lake().clone(), config.hot_keys, checkpoint.position);
        let listed = warehouse.id_runs(partition).await?;
        let state_file = warehouse.state_file(partition).await?;
        let snapshot = warehouse.read().await?.snapshot().await?;
        let is_skipped = skipped.clone();
        // It may be much, and a member of the group has to be heard of meanwhile.
        let reading = tokio::task::spawn_blocking(move || {
            let replay = |source| RunError::Replay { log_partition: partition, source };
            let keys = KeyIndex::open(lake.clone(), partition, listed, hot_keys)?;
            let state = state_file.map(|file| files::read_state(&lake, &file)).transpose().map_err(replay)?.flatten();
            let restored_from = state.as_ref().map(|state| state.position);
            let mut state = state.unwrap_or_default();
            if state.position < upto {
                for record in snapshot.records(&lake, partition, state.position).map_err(replay)? {
                    let record = record.map_err(replay)?;
                    replay_clocks(&mut state.clocks, &record.body, is_skipped.contains(&record.position));
                }
            }
            Ok::<_, RunError>((keys, state, restored_from))
        });
        let (keys, state, restored_from) =
            reading.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let files::State { clocks, units, put_away, .. } = state;
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
