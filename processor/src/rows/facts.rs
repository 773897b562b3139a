//! Facts of views and sessions, and what they add to quarters of an hour, as columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use schemas::Timestamp;
use schemas::fold::measures::{Band, Dims, MEASURE_COUNT, Sums, Values};
use schemas::fold::scores::{health_status, hundredths};
use schemas::fold::{SessionFact, ViewFact};
use warehouse::tables::{APP_SESSIONS, LakeTable, VIEWS};

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
        let mut quarters: BTreeMap<(&Arc<Dims>, Band, i64), Values> = BTreeMap::new();
        for (key, values) in &sums.rows {
            let quarter_ms = key.minute_ms - key.minute_ms.rem_euclid(QUARTER_MS);
            let quarter = quarters.entry((&key.dims, key.band, quarter_ms)).or_insert([0; MEASURE_COUNT]);
            for (sum, value) in quarter.iter_mut().zip(values.iter()) {
                *sum += value;
            }
        }
        for ((of, band, quarter_ms), values) in quarters {
            if values.iter().all(|value| *value == 0) {
                continue;
            }
            let names = [text(project), text(&of.session_id), text(&of.view_id), part(of.part)];
            let place = [text(band.as_str()), time(quarter_ms)];
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

    /// The rows by table; tables without rows are left out.
    pub(crate) fn take(&mut self) -> Vec<(&'static LakeTable, RecordBatch)> {
        take([&mut self.views, &mut self.sessions])
    }

    pub(crate) fn view(&mut self, project: &str, fact: &ViewFact, revision: i32) {
        let int = |value: i64| Value::Int64(Some(value));
        let truth = |value: bool| Value::Int32(Some(value.into()));
        let capable_watch_ms = if fact.is_rebuffer_capable { fact.watch_ms } else { 0 };
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
        let times = [fact.join_ms, fact.playing_ms, fact.rebuffer_ms, fact.seek_ms, fact.paused_ms, fact.watch_ms];
        let counts = [fact.rebuffer_count, fact.max_rebuffer_ms, fact.sustained_rebuffers, fact.seeks];
        let play_ms = if fact.is_rebuffer_capable { fact.playing_ms + fact.rebuffer_ms } else { 0 };
        let ratios = [
            ratio(fact.rebuffer_ms, capable_watch_ms),
            ratio(fact.rebuffer_ms, play_ms),
            ratio(60_000 * fact.rebuffer_count, capable_watch_ms),
        ];
        // kbit/s times ms are bits.
        let renditions =
            [fact.rendition_changes, fact.shifts_up, fact.shifts_down, fact.media_ms, fact.bitrate_ms].map(int);
        let (upscale_max, upscale_avg) = fact.upscales.unzip();
        let quality = [ratio(fact.bitrate_ms, fact.rated_media_ms), upscale_avg, upscale_max].map(Value::Double);
        let frames = [
            int(fact.dropped_frames),
            int(fact.rendered_frames),
            Value::Double(ratio(fact.dropped_frames, fact.dropped_frames + fact.rendered_frames)),
        ];
        let attention = [fact.focus_ms, fact.audible_ms, fact.attention_ms].map(int);
        let latency = [
            Value::Double(ratio(fact.latency_ms_sum, fact.latency_n)),
            Value::Double(fact.latency_ms_p50),
            Value::Double(fact.latency_ms_p95),
            Value::Int64(fact.latency_ms_max),
        ];
        let errors = [fact.errors_fatal, fact.errors_warning].map(int);
        let scores = &fact.scores;
        let health = health_status(scores.health.map(hundredths));
        let scores = [scores.success, scores.startup, scores.smoothness, scores.video_quality, scores.health];
        let last = [text(health), Value::Int32(Some(revision))];
        let row = names.into_iter().chain(dims(&fact.dims)).chain(outcome).chain(times.map(int)).chain(counts.map(int));
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
