//! Which log the positions of the checkpoints are of, and where in them it begins.
//!
//! Positions rise for as long as the warehouse lives, whatever happens to the log: they are the addresses of its records. A
//! log on disk is made so that it begins where another one ended. A topic of Kafka begins at 0, so the warehouse keeps a
//! base for each partition: a position is the base plus the position in that log. What was followed before stays written
//! down, with its base.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::checkpoints::Checkpoint;
use crate::commit::signed;
use crate::database::{Transaction, composed, sql};
use crate::open::Warehouse;
use crate::read::{ReadError, unsigned};

/// A log that is to take the place of the one that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLog<'a> {
    /// Its name.
    pub identity: &'a str,
    /// The oldest record of each of its partitions: reading begins there.
    pub low: Vec<u64>,
    /// The log whose place it takes, by its name.
    pub instead_of: &'a str,
}

/// Why a log was not adopted. Nothing has changed.
#[derive(Debug, Error)]
pub enum AdoptError {
    /// Nothing was taken in: whatever log comes first will do.
    #[error("nothing was taken in yet: a start binds the log by itself")]
    NothingTakenIn,
    /// Another log is followed than the one that is to be left.
    #[error("the warehouse follows log `{followed}`, and not `{instead_of}`")]
    FollowsAnother {
        /// The one that is followed.
        followed: String,
        /// The one that was named.
        instead_of: String,
    },
    /// It is the one that is followed, or was it before: its records would be taken in again.
    #[error("records of log `{identity}` were taken in before: a log is adopted once")]
    Known {
        /// Its name.
        identity: String,
    },
    /// The partition of an event, and with it what its copies are, would change.
    #[error("the log has {found} partitions, and the warehouse follows {wanted}")]
    Partitions {
        /// Of the log.
        found: usize,
        /// Of the warehouse.
        wanted: usize,
    },
    /// The database.
    #[error("write the warehouse database")]
    Database(#[from] sqlx::Error),
}

/// The log that a topic's positions are of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Followed {
    /// Its name; `None` if the topic was never bound to one.
    pub(crate) identity: Option<String>,
    /// The position of its first record, by partition; empty if that is 0 in all of them.
    pub(crate) bases: Vec<u64>,
    /// All that were followed, if one took the place of another.
    history: BTreeSet<String>,
}

/// The log that a topic's positions are of, as a transaction sees it.
pub(crate) async fn followed(transaction: &mut Transaction, topic: &str) -> Result<Followed, sqlx::Error> {
    let rows = sql("SELECT log_partition, base, identity FROM adopted_log WHERE topic = $1 ORDER BY base").bind(topic);
    let (mut newest, mut history) = (BTreeMap::new(), BTreeSet::new());
    for row in rows.rows(transaction).await? {
        let identity: String = row.get(2);
        history.insert(identity.clone());
        newest.insert(row.get::<i64>(0), (unsigned(row.get(1)), identity));
    }
    if let Some((_, identity)) = newest.values().next() {
        let identity = Some(identity.clone());
        return Ok(Followed { identity, bases: newest.into_values().map(|(base, _)| base).collect(), history });
    }
    let identity = sql("SELECT identity FROM log_identity WHERE topic = $1").bind(topic).first(transaction).await?;
    Ok(Followed { identity: identity.map(|row| row.get(0)), ..Followed::default() })
}

impl Warehouse {
    /// Ties a topic's checkpoints to the log of this identity. While nothing was taken in yet any log will do. Returns the
    /// position of the log's first record by partition; nothing if that is 0 in all of them.
    ///
    /// # Errors
    ///
    /// [`ReadError::OtherLog`] if records of another log were taken in; [`ReadError::Database`].
    pub async fn bind_log(&self, topic: &'static str, identity: &str) -> Result<Vec<u64>, ReadError> {
        let mut transaction = self.shared.database.write().await?;
        if let Some(bases) = bases_of(&mut transaction, topic, identity).await? {
            return Ok(bases);
        }
        name_log(&mut transaction, topic, identity).await?;
        transaction.commit().await?;
        Ok(Vec::new())
    }

    /// As [`Warehouse::bind_log`], for who only looks: nothing is tied.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn check_log(&self, topic: &'static str, identity: &str) -> Result<Vec<u64>, ReadError> {
        let mut transaction = self.shared.database.read().await?;
        Ok(bases_of(&mut transaction, topic, identity).await?.unwrap_or_default())
    }

    /// Asserts that the topic's checkpoints are still positions of this log. Asked after the checkpoints were read, and before
    /// they are used: a commit that is made from there is fenced if the log loses its place later.
    ///
    /// # Errors
    ///
    /// [`ReadError::OtherLog`]; [`ReadError::Database`].
    pub async fn still_follows(&self, topic: &'static str, identity: &str) -> Result<(), ReadError> {
        let followed = followed(&mut self.shared.database.read().await?, topic).await?.identity;
        if followed.as_deref().is_none_or(|followed| followed == identity) {
            return Ok(());
        }
        Err(other_log(topic, followed, identity))
    }

    /// From now on the topic's checkpoints are positions of the log of this identity. For who knows that they are: after a
    /// restore, whose log begins where the warehouse ends.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn follow_log(&self, topic: &str, identity: &str) -> Result<(), ReadError> {
        let mut transaction = self.shared.database.write().await?;
        sql("DELETE FROM adopted_log WHERE topic = $1").bind(topic).run(&mut transaction).await?;
        name_log(&mut transaction, topic, identity).await?;
        Ok(transaction.commit().await?)
    }

    /// Lets another log take the place of the one that the topic's positions are of. Positions go on: the first record of the
    /// other one gets the position after the checkpoint, which moves by one, so that whoever still reads the log before is
    /// fenced with its next commit. What that log holds beyond the checkpoint is not taken in any more.
    ///
    /// # Errors
    ///
    /// [`AdoptError`].
    pub async fn adopt_log(&self, topic: &str, log: &NewLog<'_>) -> Result<(), AdoptError> {
        let mut transaction = self.shared.database.write().await?;
        let checkpoints = locked_checkpoints(&mut transaction, topic).await?;
        if checkpoints.iter().all(|checkpoint| checkpoint.position == 0) {
            return Err(AdoptError::NothingTakenIn);
        }
        let before = followed(&mut transaction, topic).await?;
        if before.identity.as_deref() == Some(log.identity) || before.history.contains(log.identity) {
            return Err(AdoptError::Known { identity: log.identity.to_owned() });
        }
        if let Some(followed) = before.identity.clone().filter(|followed| followed != log.instead_of) {
            return Err(AdoptError::FollowsAnother { followed, instead_of: log.instead_of.to_owned() });
        }
        if checkpoints.len() != log.low.len() {
            return Err(AdoptError::Partitions { found: log.low.len(), wanted: checkpoints.len() });
        }
        let first = before.identity.filter(|_| before.history.is_empty());
        for (checkpoint, low) in checkpoints.iter().zip(&log.low) {
            let (partition, base) = (checkpoint.log_partition, checkpoint.position + 1);
            sql("UPDATE checkpoint SET position = $1 WHERE topic = $2 AND log_partition = $3")
                .bind(signed(base + low))
                .bind(topic)
                .bind(partition)
                .run(&mut transaction)
                .await?;
            let first = first.as_deref().map(|identity| (0, identity));
            for (base, identity) in first.into_iter().chain([(base, log.identity)]) {
                sql("INSERT INTO adopted_log VALUES ($1, $2, $3, $4)")
                    .bind(topic)
                    .bind(partition)
                    .bind(signed(base))
                    .bind(identity)
                    .run(&mut transaction)
                    .await?;
            }
        }
        // A version that knows nothing of bases finds no log that it could take for its own.
        sql("DELETE FROM log_identity WHERE topic = $1").bind(topic).run(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }
}

/// Where a topic's positions begin in the log of this identity; `None` if they are tied to no log for good, since no record
/// was taken in.
async fn bases_of(
    transaction: &mut Transaction,
    topic: &'static str,
    identity: &str,
) -> Result<Option<Vec<u64>>, ReadError> {
    let followed = followed(transaction, topic).await?;
    if followed.identity.as_deref() == Some(identity) {
        return Ok(Some(followed.bases));
    }
    let has_begun: bool = sql("SELECT EXISTS (SELECT 1 FROM checkpoint WHERE topic = $1 AND position > 0)")
        .bind(topic)
        .value(transaction)
        .await?;
    if has_begun { Err(other_log(topic, followed.identity, identity)) } else { Ok(None) }
}

fn other_log(topic: &'static str, followed: Option<String>, found: &str) -> ReadError {
    ReadError::OtherLog { topic, followed: followed.unwrap_or_default(), found: found.to_owned() }
}

/// The checkpoints of a topic, which nobody moves before the transaction ends.
async fn locked_checkpoints(transaction: &mut Transaction, topic: &str) -> Result<Vec<Checkpoint>, sqlx::Error> {
    let select = format!("{}{}", Checkpoint::SELECT, transaction.for_update());
    Ok(composed(select).bind(topic).rows(transaction).await?.iter().map(Checkpoint::of).collect())
}

/// Notes which log the positions of a topic are of.
async fn name_log(transaction: &mut Transaction, topic: &str, identity: &str) -> Result<(), sqlx::Error> {
    sql("INSERT INTO log_identity VALUES ($1, $2) ON CONFLICT (topic) DO UPDATE SET identity = excluded.identity")
        .bind(topic)
        .bind(identity)
        .run(transaction)
        .await?;
    Ok(())
}
