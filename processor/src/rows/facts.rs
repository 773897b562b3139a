//! Facts of views and sessions, and what they add to quarters of an hour, as columns.

use std::cmp::Ordering;
use std::sync::Arc;

use schemas::Timestamp;
use schemas::fold::measures::{Dims, MEASURE_COUNT, Measure, SumKey, Sums, Values};
use schemas::fold::scores::{health_status, hundredths};
use schemas::fold::{SessionFact, ViewFact};
use warehouse::EncodedFile;
use warehouse::tables::{APP_SESSIONS, LakeTable, VIEWS};

use crate::runner::RunError;

use super::{Columns, Rows, Value, take};

const QUARTER_MS: i64 = 900_000;

fn text(text: &str) -> Value<'_> {
    Value::Text(Some(text).filter(|text| !text.is_empty()))
}

fn time(ms: i64) -> Value<'static> {
    Value::Time(Timestamp::from_millis(ms))
}

fn part(part: u32) -> Value<'static> {
    Value::Int32(Some(i32::try_from(part).unwrap_or(i32::MAX)))
}

/// The dimensions from `person_id` to `layout_type`, in the order of the columns.
fn dims(dims: &Dims) -> [Value<'_>; 10] {
    [
        text(&dims.person_id),
        text(&dims.stream_id),
        text(dims.stream_platform),
        text(&dims.category),
        text(dims.device_platform),
        text(&dims.os_major),
        text(&dims.device_class),
        text(&dims.network),
        text(&dims.app_version),
        text(&dims.layout_type),
    ]
}

/// A ratio; `None` without a denominator.
#[expect(clippy::cast_precision_loss, reason = "milliseconds and counts of one view")]
fn ratio(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Rows {
    /// What a unit adds to quarters of an hour.
    pub(crate) fn slices(&mut self, project: &str, sums: &Sums) {
        let quarter = |key: &SumKey| key.minute_ms - key.minute_ms.rem_euclid(QUARTER_MS);
        let mut cells: Vec<(&SumKey, &Values)> = sums.cells.iter().map(|(key, cell)| (key, &*cell.values)).collect();
        // Most keys of a unit share a few dimensions: those are compared last, and only if they are not the same ones.
        let dims_of = |one: &Arc<Dims>, other: &Arc<Dims>| {
            if Arc::ptr_eq(one, other) { Ordering::Equal } else { one.cmp(other) }
        };
        let order = |one: &SumKey, other: &SumKey| {
            let coarse = (quarter(one), one.band).cmp(&(quarter(other), other.band));
            coarse.then_with(|| dims_of(&one.dims, &other.dims))
        };
        cells.sort_unstable_by(|(one, _), (other, _)| order(one, other));
        for cells in cells.chunk_by(|(one, _), (other, _)| order(one, other).is_eq()) {
            let mut values = [0; MEASURE_COUNT];
            for (_, of_minute) in cells {
                for (sum, value) in values.iter_mut().zip(of_minute.iter()) {
                    *sum += value;
                }
            }
            if values.iter().all(|value| *value == 0) {
                continue;
            }
            let (key, _) = cells[0];
            let of = &key.dims;
            let names = [text(project), text(&of.session_id), text(&of.view_id), part(of.part)];
            let place = [text(key.band.as_str()), time(quarter(key))];
            let values = values.into_iter().map(|value| Value::Int64(Some(value)));
            self.slices.push(names.into_iter().chain(dims(of)).chain(place).chain(values));
        }
    }
}

/// Rows of facts.
pub(crate) struct FactRows {
    views: Columns,
    sessions: Columns,
}

impl FactRows {
    pub(crate) fn new() -> Self {
        Self { views: Columns::new(&VIEWS), sessions: Columns::new(&APP_SESSIONS) }
    }

    /// The files by table; tables without rows are left out.
    pub(crate) fn take(&mut self) -> Result<Vec<(&'static LakeTable, EncodedFile)>, RunError> {
        take([&mut self.views, &mut self.sessions])
    }

    pub(crate) fn view(&mut self, project: &str, fact: &ViewFact, revision: i32) {
        let int = |value: i64| Value::Int64(Some(value));
        let truth = |value: bool| Value::Int32(Some(value.into()));
        let of = |measure: Measure| fact.of(measure);
        let capable = |ms: i64| if fact.is_rebuffer_capable { ms } else { 0 };
        let names = [text(project), text(&fact.dims.view_id), part(fact.dims.part), text(&fact.dims.session_id)];
        let outcome = [
            time(fact.started_ms),
            time(fact.ended_ms),
            text(fact.outcome),
            text(&fact.exit_reason),
            truth(fact.started),
            truth(fact.playback_failure),
            Value::Int64(fact.startup_ms),
            Value::Int64(fact.reported_startup_ms),
            truth(fact.is_rebuffer_capable),
        ];
        use Measure::{
            AttentionMs, AudibleMs, BitrateMs, DroppedFrames, ErrorsFatal, ErrorsWarning, FocusMs, JoinMs,
            LatencyMsSum, LatencyN, MediaMs, PausedMs, PlayingMs, RatedMediaMs, RebufferCount, RebufferMs,
            RenderedFrames, RenditionChanges, SeekMs, Seeks, ShiftsDown, ShiftsUp, SustainedRebuffers, WatchMs,
        };
        let times = [JoinMs, PlayingMs, RebufferMs, SeekMs, PausedMs, WatchMs].map(of).map(int);
        let counts = [of(RebufferCount), fact.max_rebuffer_ms, of(SustainedRebuffers), of(Seeks)].map(int);
        let ratios = [
            ratio(of(RebufferMs), capable(of(WatchMs))),
            ratio(of(RebufferMs), capable(of(PlayingMs) + of(RebufferMs))),
            ratio(60_000 * of(RebufferCount), capable(of(WatchMs))),
        ];
        // kbit/s times ms are bits.
        let renditions = [RenditionChanges, ShiftsUp, ShiftsDown, MediaMs, BitrateMs].map(of).map(int);
        let (upscale_max, upscale_avg) = fact.upscales.unzip();
        let quality = [ratio(of(BitrateMs), of(RatedMediaMs)), upscale_avg, upscale_max].map(Value::Double);
        let frames = [
            int(of(DroppedFrames)),
            int(of(RenderedFrames)),
            Value::Double(ratio(of(DroppedFrames), of(DroppedFrames) + of(RenderedFrames))),
        ];
        let attention = [FocusMs, AudibleMs, AttentionMs].map(of).map(int);
        let latency = [
            Value::Double(ratio(of(LatencyMsSum), of(LatencyN))),
            Value::Double(fact.latency_ms_p50),
            Value::Double(fact.latency_ms_p95),
            Value::Int64(fact.latency_ms_max),
        ];
        let errors = [ErrorsFatal, ErrorsWarning].map(of).map(int);
        let scores = &fact.scores;
        let health = health_status(scores.health.map(hundredths));
        let scores = [scores.success, scores.startup, scores.smoothness, scores.video_quality, scores.health];
        let last = [text(health), Value::Int32(Some(revision))];
        let row = names.into_iter().chain(dims(&fact.dims)).chain(outcome).chain(times).chain(counts);
        let row = row.chain(ratios.map(Value::Double)).chain(renditions).chain(quality).chain(frames);
        let row = row.chain(attention).chain(latency).chain(errors);
        self.views.push(row.chain(scores.map(Value::Double)).chain(last));
    }

    pub(crate) fn session(&mut self, project: &str, fact: &SessionFact, revision: i32) {
        let int = |value: i64| Value::Int64(Some(value));
        self.sessions.push([
            text(project),
            text(&fact.dims.session_id),
            part(fact.part),
            text(&fact.dims.person_id),
            text(fact.dims.device_platform),
            text(&fact.dims.os_major),
            text(&fact.dims.device_class),
            text(&fact.dims.network),
            text(&fact.dims.app_version),
            time(fact.started_ms),
            time(fact.ended_ms),
            int(fact.ended_ms - fact.started_ms),
            int(fact.viewer_ms),
            int(fact.tile_ms),
            int(fact.views),
            int(fact.layouts),
            text(&fact.exit_reason),
            Value::Int32(Some(revision)),
        ]);
    }
}
