//! Distributions: what one contribution adds to bins of two or three rollups must be the same in all of them, and what the
//! lake knows of their values as well. Day by day, since a year has more bins than fit.

use std::collections::{BTreeMap, BTreeSet};

use schemas::Timestamp;
use schemas::fold::measures::{MEASURES, Measure, Metric};
use schemas::rollups::{Grain, LAYOUT_BINS, RELEASE_BINS, Rollup, STREAM_BINS};

use super::scanned::Scanned;
use super::{Finding, hour};
use crate::commit::CommitId;
use crate::cuts::Cuts;
use crate::read::{Read, ReadError};
use crate::retention::Kept;
use crate::rollup_store::{ChangedQuery, RollupQuery};

/// What views tell, and not sessions: only these are in the distributions by stream.
const OF_VIEWS: [Metric; 4] = [Metric::StartupMs, Metric::RebufferMs, Metric::LatencyMs, Metric::BitrateKbps];

/// Distributions whose bins add up to a measure of `slices`.
const ADD_UP_TO: [(Metric, Measure); 3] = [
    (Metric::StartupMs, Measure::StartupValid),
    (Metric::LatencyMs, Measure::LatencyN),
    (Metric::TileCount, Measure::ViewerMs),
];

/// Counts by bucket, metric and bin.
type Bins = BTreeMap<(Timestamp, String, i32), i64>;

/// Compares the distributions of a project with each other and with the lake.
pub(super) async fn audit_bins(
    read: &mut Read,
    cuts: &Cuts,
    scanned: &Scanned,
    project: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), ReadError> {
    for grain in Grain::ALL {
        let from = cuts.kept_from(project, Kept::of_grain(grain));
        let mut days: BTreeSet<Timestamp> = [&scanned.slices, &scanned.view_slices]
            .into_iter()
            .flat_map(|sums| sums.keys())
            .chain(scanned.sessions.keys())
            .filter(|(of, _)| **of == *project)
            .map(|(_, at)| at.floor(Grain::Day.length()))
            .collect();
        for rollup in [&STREAM_BINS, &RELEASE_BINS, &LAYOUT_BINS] {
            days.extend(days_of(read, rollup, grain, project).await?);
        }
        for day in days.range(from..) {
            let of_day = OfDay { cuts, scanned, project, grain, day: *day };
            of_day.audit(read, findings).await?;
        }
    }
    Ok(())
}

/// The days on which a rollup has buckets.
async fn days_of(
    read: &mut Read,
    rollup: &'static Rollup,
    grain: Grain,
    project: &str,
) -> Result<BTreeSet<Timestamp>, ReadError> {
    // A commit has a number from 1 on.
    let since = CommitId(0);
    let (from, to) = super::ALL_TIME;
    let changed = ChangedQuery { rollup, grain, project, since, from, to, limit: u32::MAX };
    let buckets = read.changed_buckets(&changed).await?;
    Ok(buckets.into_iter().map(|bucket| bucket.bucket_start.floor(Grain::Day.length())).collect())
}

/// Distributions of one grain on one day.
struct OfDay<'a> {
    cuts: &'a Cuts,
    scanned: &'a Scanned,
    project: &'a str,
    grain: Grain,
    day: Timestamp,
}

impl OfDay<'_> {
    async fn audit(&self, read: &mut Read, findings: &mut Vec<Finding>) -> Result<(), ReadError> {
        let release = self.bins(read, &RELEASE_BINS).await?;
        let layout = self.bins(read, &LAYOUT_BINS).await?;
        self.compare(("rollup release_bins", &release), ("rollup layout_bins", &layout), findings);
        let mut of_views = release.clone();
        of_views.retain(|(_, metric, _), _| OF_VIEWS.iter().any(|of_views| of_views.as_str() == metric));
        let stream = self.bins(read, &STREAM_BINS).await?;
        self.compare(("rollup release_bins", &of_views), ("rollup stream_bins", &stream), findings);

        if self.day >= self.cuts.kept_from(self.project, Kept::Slices) {
            let measures = ADD_UP_TO.map(|(_, measure)| MEASURES[measure as usize].name);
            let in_slices = self.of_slices(measures);
            let mut added_up = Bins::new();
            for ((at, metric, _), n) in &release {
                if let Some(idx) = ADD_UP_TO.iter().position(|(of, _)| of.as_str() == metric) {
                    *added_up.entry((*at, measures[idx].to_owned(), 0)).or_default() += n;
                }
            }
            self.compare(("slices", &in_slices), ("rollup release_bins, added up", &added_up), findings);
        }
        if self.day >= self.cuts.kept_from(self.project, Kept::Facts) {
            let mut of_sessions = release;
            of_sessions.retain(|(_, metric, _), _| metric == Metric::SessionMs.as_str());
            self.compare(("app_sessions", &self.of_facts()), ("rollup release_bins", &of_sessions), findings);
        }
        Ok(())
    }

    fn end(&self) -> Timestamp {
        self.day + Grain::Day.length()
    }

    /// The bucket that a comparison names.
    fn bucket(&self, at: Timestamp) -> Timestamp {
        at.floor(self.grain.length().max(Grain::Hour.length()))
    }

    async fn bins(&self, read: &mut Read, rollup: &'static Rollup) -> Result<Bins, ReadError> {
        let mut query = RollupQuery::new(rollup, self.grain, self.project, (self.day, self.end()));
        query.group_by = vec!["metric", "bin"];
        let mut bins = Bins::new();
        read.each_rollup_row(&query, |row| {
            let [metric, bin] = &row.keys[..] else { return };
            // What is no number is told by a place of its own.
            let bin = bin.parse().unwrap_or(i32::MIN);
            *bins.entry((self.bucket(row.bucket_start), metric.clone(), bin)).or_default() += row.measures[0];
        })
        .await?;
        Ok(bins)
    }

    /// The measures that distributions add up to.
    fn of_slices(&self, names: [&str; 3]) -> Bins {
        let mut bins = Bins::new();
        for ((project, at), sums) in &self.scanned.slices {
            if **project == *self.project && (self.day..self.end()).contains(at) {
                for ((_, measure), name) in ADD_UP_TO.iter().zip(names) {
                    *bins.entry((self.bucket(*at), name.to_owned(), 0)).or_default() += sums[*measure as usize];
                }
            }
        }
        bins
    }

    /// Lengths of app sessions.
    fn of_facts(&self) -> Bins {
        let mut bins = Bins::new();
        for ((project, at), lengths) in &self.scanned.sessions {
            if **project == *self.project && (self.day..self.end()).contains(at) {
                for (bin, sessions) in lengths {
                    let key = (self.bucket(*at), Metric::SessionMs.as_str().to_owned(), *bin);
                    *bins.entry(key).or_default() += sessions;
                }
            }
        }
        bins
    }

    fn compare(&self, (one, expected): (&str, &Bins), (other, found): (&str, &Bins), findings: &mut Vec<Finding>) {
        let word = if self.grain == Grain::Day { "day" } else { "hour" };
        let keys: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
        for key in keys {
            let of = |bins: &Bins| bins.get(key).copied().unwrap_or(0);
            let (expected, found) = (of(expected), of(found));
            if expected != found {
                let (at, metric, bin) = key;
                findings.push(Finding {
                    compared: format!("{one} and {other} by {}, {metric}", self.grain.as_str()),
                    place: format!("project {}, {word} {}, bin {bin}", self.project, hour(*at)),
                    expected,
                    found,
                });
            }
        }
    }
}
