//! Waits until the server has committed everything and its answers stand still.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::reader::Reader;
use crate::simulate::timeline::Ms;
use crate::simulate::wire::rfc3339;

/// How long nothing may move before waiting is given up.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(700);
/// Answers stand still when they are the same for so long: longer than a tick and a commit.
const STILL: Duration = Duration::from_secs(6);

/// Waits until `distinct` events are stored and the sums stand still. The last of them arrived at `last`.
pub(in crate::simulate) async fn settle(reader: &Reader, distinct: i64, last: Ms) -> Result<()> {
    let mut seen = -1;
    let mut moved = Instant::now();
    while seen != distinct {
        let count = match reader.number("SELECT count(*) AS n FROM events").await {
            Err(error) if is_away(&error) && moved.elapsed() < PATIENCE => seen,
            count => count?,
        };
        if count > distinct {
            bail!("the project holds {count} events, {distinct} were sent: simulate on a fresh project");
        }
        if count != seen {
            (seen, moved) = (count, Instant::now());
        } else if moved.elapsed() > PATIENCE {
            bail!("only {count} of {distinct} events are stored, and nothing moves");
        }
        if seen != distinct {
            tokio::time::sleep(PAUSE).await;
        }
    }
    let said = format!("SELECT count(*) AS n FROM events WHERE received_at > TIMESTAMP '{}'", rfc3339(last));
    if reader.number(&said).await? > 0 {
        bail!("the server takes its own time of arrival: start it with `serve --test-clock`");
    }
    still(reader).await
}

/// What stands still when everything is committed and closed.
const QUESTIONS: [&str; 3] = [
    "SELECT count(*) AS n FROM views",
    "SELECT count(*) AS n FROM app_sessions",
    "SELECT sum(watch_ms) + sum(views_ended) AS n FROM rollup_stream_day",
];

async fn still(reader: &Reader) -> Result<()> {
    let (begun, mut moved) = (Instant::now(), Instant::now());
    let mut seen = Vec::new();
    while moved.elapsed() < STILL {
        match answers(reader).await {
            Err(error) if is_away(&error) => moved = Instant::now(),
            answers => {
                let answers = answers?;
                if answers != seen {
                    (seen, moved) = (answers, Instant::now());
                }
            }
        }
        if begun.elapsed() > 4 * PATIENCE {
            bail!("the sums do not stand still");
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn answers(reader: &Reader) -> Result<Vec<i64>> {
    let mut answers = Vec::with_capacity(QUESTIONS.len());
    for question in QUESTIONS {
        answers.push(reader.number(question).await?);
    }
    Ok(answers)
}

/// Whether nobody answered: the server may be starting again.
fn is_away(error: &anyhow::Error) -> bool {
    error.downcast_ref::<reqwest::Error>().is_some_and(|error| error.status().is_none())
}
