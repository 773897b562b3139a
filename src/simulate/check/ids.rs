//! Event by event: what was answered with 2xx is stored exactly once, and what was not at most once.

use anyhow::Result;
use serde_json::Value;
use uuid::Uuid;

use super::Report;
use super::reader::{Reader, Row, Scan, instant, whole};
use crate::simulate::books::{Fate, Ids};
use crate::simulate::timeline::{DAY_MS, HOUR_MS};
use crate::simulate::wire::{EventId, id_within};

/// What events are recognised by: a native one by its id, another one by what is unique in its format.
const COLUMNS: &str = ", format, CASE format WHEN 'native' THEN event_id WHEN 'cmcd2' THEN view_id ELSE session_id END AS unit, \
                       CASE format WHEN 'cmcd2' THEN seq END AS seq, \
                       CASE format WHEN 'streamyyy_legacy' THEN occurred_at END AS occurred_at";

/// Of so many events a day may be too much for one answer.
const MANY: usize = 500_000;

/// Compares `events` with what was sent.
pub(super) async fn compare(reader: &Reader, report: &mut Report, ids: &Ids) -> Result<()> {
    let mut known: Vec<(EventId, Fate, u8)> = ids.iter().map(|(id, fate)| (id, fate, 0)).collect();
    known.sort_unstable_by_key(|(id, ..)| *id);
    let part_ms = if ids.len() > MANY { HOUR_MS } else { DAY_MS };
    let scan = Scan { table: "events", time: "corrected_at", part_ms, columns: COLUMNS, behind: "" };
    let take = &mut |row: Row| {
        let place = id_of(&row).and_then(|id| known.binary_search_by_key(&id, |(id, ..)| *id).ok());
        match place {
            Some(place) => known[place].2 = known[place].2.saturating_add(1),
            None => report.compare("ids", "unexpected", false, || format!("ids {row:?}: nobody sent it")),
        }
        Ok(())
    };
    reader.each_of(&scan, take).await?;
    for (id, fate, times) in known {
        let (is_right, word) = match fate {
            Fate::Acked => (times == 1, "acked"),
            Fate::Sent => (times <= 1, "never acked"),
            Fate::Waits => (times == 0, "never sent"),
        };
        report.compare("ids", word, is_right, || {
            format!("ids {}: {word}, and stored {times} times", Uuid::from_u128(id))
        });
    }
    Ok(())
}

fn id_of(row: &Row) -> Option<EventId> {
    let unit = Uuid::parse_str(row.get("unit")?.as_str()?).ok()?;
    match row.get("format").and_then(Value::as_str)? {
        "native" => Some(unit.as_u128()),
        "cmcd2" => Some(id_within(unit, row.get("seq").and_then(whole)?)),
        _ => Some(id_within(unit, row.get("occurred_at").and_then(instant)?)),
    }
}
