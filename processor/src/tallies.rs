//! Contributions of events, views and sessions, added up per bucket and key within one commit.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use schemas::fold::measures::{Dims, SumKey, Sums as UnitSums};
use schemas::rollups::{LAYOUT, LAYOUT_BINS, RELEASE, RELEASE_BINS, Rollup, STREAM, STREAM_BINS};
use schemas::{Reason, Timestamp};
use warehouse::{Delta, DeltaRow};

/// Separates the parts of a key in the map; no text of a key can hold it.
const SEPARATOR: char = '\0';

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
        self.scratch.clear();
        self.scratch.push_str(project);
        for key in keys {
            self.scratch.push(SEPARATOR);
            self.scratch.push_str(key);
        }
        self.scratch.push(SEPARATOR);
        for byte in bucket.micros().to_be_bytes() {
            // As two printable characters: the map's key stays a text.
            self.scratch.push(char::from(b'a' + (byte >> 4)));
            self.scratch.push(char::from(b'a' + (byte & 15)));
        }
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
        let rows = entries.into_iter().map(|(key, sums)| {
            let mut parts = key.split(SEPARATOR);
            let project: Arc<str> = parts.next().unwrap_or_default().into();
            let keys = parts.take(self.rollup.keys.len()).map(str::to_owned).collect();
            DeltaRow { project, bucket: sums.bucket, keys, measures: sums.measures }
        });
        Delta { rollup: self.rollup, rows: rows.collect() }
    }
}

/// The rollups of views and sessions, and their distributions.
#[derive(Debug)]
pub(crate) struct ViewTallies {
    stream: Tally,
    stream_bins: Tally,
    release: Tally,
    release_bins: Tally,
    layout: Tally,
    layout_bins: Tally,
}

impl ViewTallies {
    pub(crate) fn new() -> Self {
        Self {
            stream: Tally::new(&STREAM),
            stream_bins: Tally::new(&STREAM_BINS),
            release: Tally::new(&RELEASE),
            release_bins: Tally::new(&RELEASE_BINS),
            layout: Tally::new(&LAYOUT),
            layout_bins: Tally::new(&LAYOUT_BINS),
        }
    }

    /// Adds the contributions of a unit. What a session adds by itself has no stream.
    pub(crate) fn add(&mut self, project: &str, sums: &UnitSums) {
        for (key, values) in sums.rows.iter().filter(|(_, values)| values.iter().any(|value| *value != 0)) {
            let at = minute(key);
            let dims = &key.dims;
            if !dims.view_id.is_empty() {
                self.stream.add(project, at, &[&dims.stream_id, dims.stream_platform], **values);
            }
            self.release.add(project, at, &release(dims), **values);
            self.layout.add(project, at, &[&dims.layout_type, key.band.as_str()], **values);
        }
        for ((key, metric, bin), count) in sums.bins.iter().filter(|(_, count)| **count != 0) {
            let at = minute(key);
            let dims = &key.dims;
            let (metric, bin) = (metric.as_str(), bin.to_string());
            if !dims.view_id.is_empty() {
                let keys = [&*dims.stream_id, dims.stream_platform, metric, &bin];
                self.stream_bins.add(project, at, &keys, [*count]);
            }
            let [version, platform, os, class, network] = release(dims);
            self.release_bins.add(project, at, &[version, platform, os, class, network, metric, &bin], [*count]);
            let keys = [&*dims.layout_type, key.band.as_str(), metric, &bin];
            self.layout_bins.add(project, at, &keys, [*count]);
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Delta> {
        [
            &mut self.stream,
            &mut self.stream_bins,
            &mut self.release,
            &mut self.release_bins,
            &mut self.layout,
            &mut self.layout_bins,
        ]
        .into_iter()
        .map(Tally::take)
        .collect()
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
        };
        assert_eq!(rows, [row("p", 60_000_000, 2, 1), row("p", 120_000_000, 1, 0), row("q", 60_000_000, 1, 0)]);
        assert!(tally.take().rows.is_empty());
    }
}
