//! Contributions of events, views and sessions, added up per bucket and key within one commit.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use schemas::fold::measures::{Bin, Cell, Dims, SumKey, Sums as UnitSums};
use schemas::rollups::{LAYOUT, RELEASE, Rollup, STREAM};
use schemas::{Reason, Timestamp};
use warehouse::{Delta, DeltaRow};

/// Separates the parts of a key in the map; no text of a key can hold it.
const SEPARATOR: char = '\0';

/// Writes the key of a map: project, keys, bucket.
fn write_key(text: &mut String, project: &str, keys: &[&str], bucket: Timestamp) {
    text.clear();
    text.push_str(project);
    for key in keys {
        text.push(SEPARATOR);
        text.push_str(key);
    }
    text.push(SEPARATOR);
    for byte in bucket.micros().to_be_bytes() {
        // As two printable characters: the map's key stays a text.
        text.push(char::from(b'a' + (byte >> 4)));
        text.push(char::from(b'a' + (byte & 15)));
    }
}

/// A row of what is kept under such a key.
fn row(key: &str, keys: usize, bucket: Timestamp, measures: Vec<i64>, bins: Vec<Bin>) -> DeltaRow {
    let mut parts = key.split(SEPARATOR);
    let project: Arc<str> = parts.next().unwrap_or_default().into();
    DeltaRow { project, bucket, keys: parts.take(keys).map(str::to_owned).collect(), measures, bins }
}

/// Sums per (bucket, project, keys) of one rollup.
#[derive(Debug)]
pub(crate) struct Tally {
    rollup: &'static Rollup,
    sums: HashMap<String, Sums, RandomState>,
    scratch: String,
}

#[derive(Debug)]
struct Sums {
    bucket: Timestamp,
    measures: Vec<i64>,
}

impl Tally {
    pub(crate) fn new(rollup: &'static Rollup) -> Self {
        Self { rollup, sums: HashMap::default(), scratch: String::new() }
    }

    /// Adds `measures` to the bucket that `at` lies in.
    pub(crate) fn add<const MEASURES: usize>(
        &mut self,
        project: &str,
        at: Timestamp,
        keys: &[&str],
        measures: [i64; MEASURES],
    ) {
        debug_assert_eq!((keys.len(), MEASURES), (self.rollup.keys.len(), self.rollup.measures.len()));
        let bucket = at.floor(self.rollup.grains[0].length());
        write_key(&mut self.scratch, project, keys, bucket);
        let sums =
            self.sums.entry_ref(self.scratch.as_str()).or_insert_with(|| Sums { bucket, measures: vec![0; MEASURES] });
        for (sum, measure) in sums.measures.iter_mut().zip(measures) {
            *sum += measure;
        }
    }

    /// The contributions, in a fixed order; the tally is empty afterwards.
    pub(crate) fn take(&mut self) -> Delta {
        let mut entries: Vec<(String, Sums)> = self.sums.drain().collect();
        entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        // What was added and taken away again within the commit is nothing.
        entries.retain(|(_, sums)| sums.measures.iter().any(|measure| *measure != 0));
        let keys = self.rollup.keys.len();
        let rows = entries.into_iter().map(|(key, sums)| row(&key, keys, sums.bucket, sums.measures, Vec::new()));
        Delta { rollup: self.rollup, rows: rows.collect() }
    }
}

/// Measures and distributions of views and sessions per (bucket, project, keys).
#[derive(Debug)]
struct ViewTally {
    rollup: &'static Rollup,
    cells: HashMap<String, (Timestamp, Cell), RandomState>,
    scratch: String,
}

impl ViewTally {
    fn new(rollup: &'static Rollup) -> Self {
        Self { rollup, cells: HashMap::default(), scratch: String::new() }
    }

    fn add(&mut self, project: &str, minute: Timestamp, keys: &[&str], cell: &Cell) {
        debug_assert_eq!(keys.len(), self.rollup.keys.len());
        write_key(&mut self.scratch, project, keys, minute);
        let (_, sums) = self.cells.entry_ref(self.scratch.as_str()).or_insert_with(|| (minute, Cell::default()));
        for (sum, value) in sums.values.iter_mut().zip(cell.values.iter()) {
            *sum += value;
        }
        // Added up when they are taken.
        sums.bins.extend_from_slice(&cell.bins);
    }

    /// The contributions, in a fixed order; the tally is empty afterwards.
    fn take(&mut self) -> Delta {
        let mut entries: Vec<(String, (Timestamp, Cell))> = self.cells.drain().collect();
        entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let keys = self.rollup.keys.len();
        let rows = entries.into_iter().filter_map(|(key, (minute, Cell { values, bins }))| {
            let bins = added_up(bins);
            let is_something = !bins.is_empty() || values.iter().any(|value| *value != 0);
            is_something.then(|| row(&key, keys, minute, values.to_vec(), bins))
        });
        Delta { rollup: self.rollup, rows: rows.collect() }
    }
}

/// Each bin once, in order, without those that count nothing.
fn added_up(mut bins: Vec<Bin>) -> Vec<Bin> {
    bins.sort_unstable();
    bins.dedup_by(|next, first| {
        let is_same = (next.0, next.1) == (first.0, first.1);
        if is_same {
            first.2 += next.2;
        }
        is_same
    });
    bins.retain(|(_, _, count)| *count != 0);
    bins
}

/// The rollups of views and sessions, and their distributions.
#[derive(Debug)]
pub(crate) struct ViewTallies {
    stream: ViewTally,
    release: ViewTally,
    layout: ViewTally,
}

impl ViewTallies {
    pub(crate) fn new() -> Self {
        Self { stream: ViewTally::new(&STREAM), release: ViewTally::new(&RELEASE), layout: ViewTally::new(&LAYOUT) }
    }

    /// Adds the contributions of a unit. What a session adds by itself has no stream.
    pub(crate) fn add(&mut self, project: &str, sums: &UnitSums) {
        for (key, cell) in &sums.cells {
            let (at, dims) = (minute(key), &key.dims);
            if !dims.view_id.is_empty() {
                self.stream.add(project, at, &[&dims.stream_id, dims.stream_platform], cell);
            }
            self.release.add(project, at, &release(dims), cell);
            self.layout.add(project, at, &[&dims.layout_type, key.band.as_str()], cell);
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Delta> {
        [&mut self.stream, &mut self.release, &mut self.layout].map(ViewTally::take).into()
    }
}

fn minute(key: &SumKey) -> Timestamp {
    Timestamp::from_millis(key.minute_ms).unwrap_or_default()
}

fn release(dims: &Dims) -> [&str; 5] {
    [&dims.app_version, dims.device_platform, &dims.os_major, &dims.device_class, &dims.network]
}

/// The word of a reason; empty for none.
pub(crate) fn word(reason: Option<Reason>) -> &'static str {
    reason.map_or("", Reason::as_str)
}

#[cfg(test)]
mod tests {
    use schemas::rollups::USAGE;

    use super::*;

    #[test]
    fn equal_buckets_and_keys_add_up() {
        let mut tally = Tally::new(&USAGE);
        let at = |us| Timestamp::from_micros(us);
        tally.add("p", at(61_000_000), &["layout.saved", ""], [1, 0]);
        tally.add("p", at(119_999_999), &["layout.saved", ""], [1, 1]);
        tally.add("p", at(120_000_000), &["layout.saved", ""], [1, 0]);
        tally.add("q", at(61_000_000), &["layout.saved", ""], [1, 0]);
        let rows = tally.take().rows;
        let row = |project: &str, us, events, late| DeltaRow {
            project: project.into(),
            bucket: at(us),
            keys: vec!["layout.saved".into(), String::new()],
            measures: vec![events, late],
            bins: Vec::new(),
        };
        assert_eq!(rows, [row("p", 60_000_000, 2, 1), row("p", 120_000_000, 1, 0), row("q", 60_000_000, 1, 0)]);
        assert!(tally.take().rows.is_empty());
    }

    #[test]
    fn bins_are_there_once_and_only_if_they_count_something() {
        use schemas::fold::measures::Metric::{BitrateKbps, LatencyMs};
        let told = vec![
            (LatencyMs, 417, 2),
            (BitrateKbps, 400, 1),
            (LatencyMs, 9, 1),
            (LatencyMs, 417, 1),
            (LatencyMs, 9, -1),
        ];
        assert_eq!(added_up(told), [(LatencyMs, 417, 3), (BitrateKbps, 400, 1)]);
    }
}
