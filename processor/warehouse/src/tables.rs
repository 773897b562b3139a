//! The tables of the lake: columns, types and what they hold.
//!
//! From here come the Arrow schemas, the catalogue's rows (with the documentation as comments) and the users' manual.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// A table of the lake. Its number and its columns' numbers are part of the catalogue: append, never reorder.
#[derive(Debug)]
pub struct LakeTable {
    /// `table_id` in the catalogue.
    pub id: i64,
    /// Its name.
    pub name: &'static str,
    /// What one row is.
    pub doc: &'static str,
    /// Its columns; number n has `column_id` n + 1 and the same Parquet field id.
    pub columns: &'static [LakeColumn],
    /// Columns by which rows are sorted in merged files; where they are equal, rows keep the order of the commits.
    pub sorted_by: &'static [&'static str],
    /// The time column by whose day files are split.
    pub day_column: &'static str,
    /// Columns by whose values rows are looked up, and which no range narrows down: they have Bloom filters.
    pub looked_up_by: &'static [&'static str],
    /// What names a row, where rows are replaced: see [`Warehouse::rows_replaced`](crate::Warehouse::rows_replaced).
    pub row_key: &'static [&'static str],
    schema: LazyLock<SchemaRef>,
}

/// A column of a lake table.
#[derive(Debug)]
pub struct LakeColumn {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub ty: ColumnType,
    /// What it holds, with unit and range.
    pub doc: &'static str,
}

/// Types of lake columns: those that `DuckDB`, Postgres and `DataFusion` read alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// UTF-8 text with statistics.
    Text,
    /// UTF-8 text that may be long: no statistics.
    LongText,
    /// An instant, microseconds, UTC.
    Time,
    /// 32-bit whole number.
    Int32,
    /// 64-bit whole number.
    Int64,
    /// 64-bit floating point number: no statistics, since it may be no number.
    Double,
    /// Bytes: no statistics.
    Bytes,
}

impl ColumnType {
    /// The Arrow type.
    #[must_use]
    pub fn arrow(self) -> DataType {
        match self {
            Self::Text | Self::LongText => DataType::Utf8,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Bytes => DataType::Binary,
        }
    }

    /// The name of the type in the catalogue.
    #[must_use]
    pub const fn ducklake(self) -> &'static str {
        match self {
            Self::Text | Self::LongText => "varchar",
            Self::Time => "timestamptz",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Double => "float64",
            Self::Bytes => "blob",
        }
    }

    /// Whether minimum and maximum are kept per file.
    #[must_use]
    pub const fn has_bounds(self) -> bool {
        !matches!(self, Self::LongText | Self::Bytes | Self::Double)
    }
}

impl LakeTable {
    /// The Arrow schema, with field ids and comments.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The place of a column.
    ///
    /// # Panics
    ///
    /// If there is no such column: names are constants of this program.
    #[must_use]
    pub fn index_of(&self, column: &str) -> usize {
        self.columns.iter().position(|candidate| candidate.name == column).expect("a column of this table")
    }
}

fn schema_of(columns: &[LakeColumn]) -> SchemaRef {
    let fields = columns.iter().zip(1..).map(|(column, field_id): (_, i32)| {
        Field::new(column.name, column.ty.arrow(), true).with_metadata(
            [("PARQUET:field_id".to_owned(), field_id.to_string()), ("comment".to_owned(), column.doc.to_owned())]
                .into(),
        )
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

macro_rules! columns {
    ($($name:ident $ty:ident $doc:literal),+ $(,)?) => {
        &[$(LakeColumn { name: stringify!($name), ty: ColumnType::$ty, doc: $doc }),+]
    };
}

macro_rules! table {
    ($id:literal $name:literal $doc:literal sorted by $sorted:expr, days of $day:literal
     $(looked up by [$($looked_up:literal),+])? $(named by [$($key:literal),+])?, $columns:expr) => {
        LakeTable {
            id: $id,
            name: $name,
            doc: $doc,
            columns: $columns,
            sorted_by: &$sorted,
            day_column: $day,
            looked_up_by: &[$($($looked_up),+)?],
            row_key: &[$($($key),+)?],
            schema: LazyLock::new(|| schema_of($columns)),
        }
    };
}

/// `events`: what devices reported, typed and deduplicated.
pub static EVENTS: LakeTable = table!(1 "events" "One stored event." sorted by ["project"], days of "corrected_at"
    looked up by ["session_id", "view_id"], columns![
    project Text "Isolation boundary the event belongs to.",
    event_id Text "Id given by the sender, else derived from the event; unique within source.",
    source Text "Who numbers its events: a URI reference.",
    type Text "Kind of the event.",
    occurred_at Time "Device clock when it happened.",
    corrected_at Time "When it happened as far as can be known; never after received_at. Buckets and ranges use it.",
    sent_at Time "Device clock when this attempt was sent; null if not told.",
    received_at Time "Server clock when the request arrived.",
    device_platform Text "ios, ipados, tvos, macos, android, web or other.",
    app_version Text "Version of the app.",
    install_id Text "The app install.",
    session_id Text "The session as the sender names it.",
    seq Int64 "Sequence number within install and session; for CMCD within the view.",
    boot_id Text "The boot whose monotonic clock mono_ms is.",
    mono_ms Int64 "Monotonic clock, ms; its zero is unknown.",
    anon_id Text "Guest identity.",
    user_id Text "Signed-in identity as the body says it; equals the verified one where trust is authenticated.",
    person_id Text "The verified user, else anon: and the guest identity; null if neither is known.",
    view_id Text "One playback attempt in one tile.",
    layout_id Text "Layout on screen.",
    slot Int32 "Tile within the layout, 0 to 63.",
    stream_id Text "The stream: platform:channel.",
    stream_platform Text "Platform of the stream.",
    data LongText "Data of the event, JSON; fields out of range are null.",
    format Text "How it was written: native, cloudevents, streamyyy_legacy or cmcd2.",
    trust Text "Who vouches: anonymous (a key) or authenticated (a verified user token).",
    time_quality Text "What was done to the time: device (nothing), offset or mono.",
    skew_ms Int64 "Clock offset that was added to occurred_at, ms.",
    flags Text "Comma-separated: late, future_clamped, dup_suspect, unknown_type, partial, range.",
    log_partition Int32 "Address in the log: partition.",
    log_position Int64 "Address in the log: record.",
    log_index Int32 "Address in the log: place within the record.",
]);

/// `quarantine`: events that cannot be used, each with the reason.
pub static QUARANTINE: LakeTable = table!(2 "quarantine" "One event that cannot be used, kept with the reason."
    sorted by ["project"], days of "received_at", columns![
    project Text "Isolation boundary the event belongs to.",
    event_id Text "Id given by the sender, else derived from the bytes.",
    source Text "Source, if readable.",
    type Text "Kind, if readable.",
    received_at Time "Server clock when the request arrived.",
    format Text "How it was written.",
    reason Text "The rule it breaks.",
    field Text "The attribute or field (data. before fields of the data) that breaks it.",
    device_platform Text "Device platform, if readable.",
    app_version Text "Version of the app, if readable.",
    raw Bytes "The sender's bytes; of an oversized event the first 64 KiB. Needs scope pii:read.",
    log_partition Int32 "Address in the log: partition.",
    log_position Int64 "Address in the log: record.",
    log_index Int32 "Address in the log: place within the record.",
]);

/// `records`: the event store. What the log held, after the log has forgotten it.
pub static RECORDS: LakeTable = table!(3 "records" "One record of the log: events of one upload for one partition."
    sorted by ["log_partition", "log_position"], days of "log_time"
    looked up by ["batch_id"], columns![
    log_partition Int32 "Address in the log: partition.",
    log_position Int64 "Address in the log: record.",
    log_time Time "Server's stamp in the record; as a running maximum it is the partition's time.",
    received_at Time "Server clock when the request arrived.",
    sent_at Time "Device clock when this attempt was sent; null if not told.",
    boot_id Text "Boot of the sender, if told.",
    project Text "Isolation boundary the upload belongs to.",
    batch_id Text "Names the upload: Idempotency-Key, else an id of ours.",
    part Int32 "Number of this record within the upload, from 0.",
    parts Int32 "Into how many records the upload was split.",
    format Text "How the upload was written.",
    events Int32 "Events in the record.",
    stored Int32 "Of these: stored.",
    duplicate Int32 "Of these: copies of earlier events.",
    quarantined Int32 "Of these: quarantined.",
    suppressed Int32 "Of these: left out by a rule.",
    body Bytes "The record as the log held it (CBOR), the sender's bytes among it. Needs scope pii:read.",
]);

/// `views`: one row per part of a view that had an attempt and is over. The rules are in `docs/views.md`.
pub static VIEWS: LakeTable = table!(4 "views" "One playback attempt in one tile that is over."
    sorted by ["project"], days of "started_at"
    looked up by ["view_id"] named by ["project", "session_id", "view_id", "part"], columns![
    project Text "Isolation boundary.",
    view_id Text "The view.",
    part Int32 "Number of the part, from 0: silence of an hour, or a start after an end, begins another.",
    session_id Text "The session as the sender names it; of CMCD without one the view.",
    person_id Text "The person at the first input; null if unknown.",
    stream_id Text "The stream: platform:channel; null if unknown.",
    stream_platform Text "Platform of the stream.",
    category Text "Category of the content, as its platform names it.",
    device_platform Text "ios, ipados, tvos, macos, android, web or other.",
    os_major Text "Major version of the device's system.",
    device_class Text "phone, tablet, desktop or tv.",
    network Text "wifi, cellular, ethernet, none or unknown, as known at the first input.",
    app_version Text "Version of the app.",
    layout_type Text "How tiles were arranged.",
    started_at Time "When it was told to play.",
    ended_at Time "Its last input.",
    outcome Text "played, startup_failure, startup_business, ebvs, abandoned_early, left_unstarted or playback_failure.",
    exit_reason Text "What ended it, as the client says; timeout if it never said.",
    started Int32 "1 if a first frame was shown, else 0.",
    playback_failure Int32 "1 if a technical error ended it, else 0.",
    startup_ms Int64 "From the start to the first frame, ms; null if not measured or not valid.",
    reported_startup_ms Int64 "The same as the player measured it, ms.",
    rebuffer_capable Int32 "1 if the player could tell of stalls, else 0.",
    join_ms Int64 "Time waiting for the first frame, ms.",
    playing_ms Int64 "Tile time: playing, ms.",
    rebuffer_ms Int64 "Stalled, ms.",
    seek_ms Int64 "Seeking, ms.",
    paused_ms Int64 "Paused or hidden, ms.",
    watch_ms Int64 "join + playing + rebuffer + seek, ms.",
    rebuffer_count Int64 "Stalls of at least 250 ms.",
    max_rebuffer_ms Int64 "The longest stall, ms.",
    sustained_rebuffers Int64 "Stalls of at least 1000 ms.",
    seeks Int64 "Seeks.",
    rebuffer_ratio Double "rebuffer_ms / watch_ms; null without watch time or where stalls cannot be seen.",
    rebuffer_ratio_play Double "rebuffer_ms / (playing_ms + rebuffer_ms); null likewise.",
    rebuffers_per_min Double "60 000 x rebuffer_count / watch_ms; null likewise.",
    rendition_changes Int64 "Changes of the bitrate.",
    shifts_up Int64 "To a higher bitrate.",
    shifts_down Int64 "To a lower bitrate.",
    media_ms Int64 "Media played: playing time times playback rate, ms.",
    bits_played Int64 "Bits of media played while the bitrate was known.",
    avg_bitrate_kbps Double "Mean bitrate over media played while it was known, kbit/s.",
    upscale_avg Double "Mean stretching of the video beyond its size while playing; 0 = none.",
    upscale_max Double "Greatest stretching.",
    dropped_frames Int64 "Frames dropped.",
    rendered_frames Int64 "Frames shown.",
    dropped_ratio Double "dropped / (dropped + rendered).",
    focus_ms Int64 "Playing time with the focus, ms.",
    audible_ms Int64 "Playing time audibly, ms.",
    attention_ms Int64 "Playing time with the focus or audibly, ms.",
    latency_ms_mean Double "Mean live latency, ms.",
    latency_ms_p50 Double "Median live latency, ms, within 1 %.",
    latency_ms_p95 Double "95th percentile, ms, within 1 %.",
    latency_ms_max Int64 "Greatest live latency, ms.",
    errors_fatal Int64 "Fatal errors.",
    errors_warning Int64 "Warnings.",
    success_score Double "Playback success score, 0 to 100; null if it does not apply.",
    startup_score Double "Startup score, 0 to 100; null if it does not apply.",
    smoothness_score Double "Smoothness score, 0 to 100; null if it does not apply.",
    video_quality_score Double "Video quality score, 0 to 100; null if it does not apply.",
    health_score Double "Health score, 0 to 100; null if it does not apply.",
    health Text "healthy, good, warning, error, or unknown without a score.",
    revision Int32 "How often the row was replaced because a late event changed it.",
]);

/// `app_sessions`: one row per app session that is over.
pub static APP_SESSIONS: LakeTable = table!(5 "app_sessions" "One stretch of use of the app that is over."
    sorted by ["project"], days of "started_at"
    looked up by ["session_id"] named by ["project", "session_id", "part"], columns![
    project Text "Isolation boundary.",
    session_id Text "The session as the sender names it.",
    part Int32 "Number among the stretches of one session id, from 0: silence of 30 min begins another.",
    person_id Text "The person at its last input; null if unknown.",
    device_platform Text "ios, ipados, tvos, macos, android, web or other.",
    os_major Text "Major version of the device's system.",
    device_class Text "phone, tablet, desktop or tv.",
    network Text "The last network that was told.",
    app_version Text "Version of the app.",
    started_at Time "Its first input.",
    ended_at Time "Its last input.",
    duration_ms Int64 "From the first to the last input, ms.",
    viewer_ms Int64 "Viewer time: at least one tile playing, ms.",
    tile_ms Int64 "Tile time: over all tiles, ms.",
    views Int64 "Playback attempts.",
    layouts Int64 "Layouts on screen.",
    exit_reason Text "background, crash, user_exit, timeout, memory_pressure or unknown.",
    revision Int32 "How often the row was replaced because a late event changed it.",
]);

/// `slices`: what a session or a part of a view adds to a quarter of an hour. Rows are signed: sum them.
pub static SLICES: LakeTable = table!(6 "slices" "What one commit added for a session or view to a quarter of an hour: sum the rows."
    sorted by ["project"], days of "bucket_start", columns![
    project Text "Isolation boundary.",
    session_id Text "The session as the sender names it; of CMCD without one the view.",
    view_id Text "The view; null for what a session adds by itself (viewer time, viewers, sessions).",
    part Int32 "Part of the view.",
    person_id Text "The person at the first input; null if unknown.",
    stream_id Text "The stream: platform:channel; null if unknown.",
    stream_platform Text "Platform of the stream.",
    category Text "Category of the content, as its platform names it.",
    device_platform Text "ios, ipados, tvos, macos, android, web or other.",
    os_major Text "Major version of the device's system.",
    device_class Text "phone, tablet, desktop or tv.",
    network Text "wifi, cellular, ethernet, none or unknown, as known at the first input.",
    app_version Text "Version of the app.",
    layout_type Text "How tiles were arranged.",
    tile_band Text "Tiles at once: 1, 2, 3-4, 5-9, 10-16 or 17+; null if unknown.",
    bucket_start Time "Start of the quarter of an hour, UTC.",
    attempts Int64 "Playback attempts (parts of views), in the minute of the attempt.",
    started Int64 "Of these, how many showed a first frame.",
    startup_valid Int64 "Of these, how many have a startup time.",
    startup_failures Int64 "Attempts ended by a fatal error before the first frame.",
    startup_business Int64 "The same, where the error is of domain business.",
    ebvs Int64 "Attempts left before the first frame after waiting at least 1 s (exit before video start).",
    abandoned_early Int64 "Attempts left before the first frame within 1 s.",
    left_unstarted Int64 "Attempts left by a layout switch while another tile of the layout had started.",
    playback_failures Int64 "Attempts with a fatal error that is not of domain business.",
    errors_fatal Int64 "Fatal errors, in their own minute.",
    errors_warning Int64 "Warnings, in their own minute.",
    rebuffer_count Int64 "Stalls of at least 250 ms, in the minute they began.",
    client_rebuffers Int64 "Stalls that came together with those of other tiles: the device's connection, not the stream.",
    sustained_rebuffers Int64 "Stalls of at least 1000 ms, in the minute they began.",
    seeks Int64 "Seeks.",
    rendition_changes Int64 "Changes of the bitrate.",
    shifts_up Int64 "Changes to a higher bitrate.",
    shifts_down Int64 "Changes to a lower bitrate.",
    dropped_frames Int64 "Frames dropped.",
    rendered_frames Int64 "Frames shown.",
    join_ms Int64 "Time waiting for the first frame, ms.",
    playing_ms Int64 "Tile time: playing, ms.",
    rebuffer_ms Int64 "Time stalled, ms.",
    seek_ms Int64 "Time seeking, ms.",
    paused_ms Int64 "Time paused, ms.",
    watch_ms Int64 "join + playing + rebuffer + seek, ms.",
    watch_ms_rebuffer_capable Int64 "watch_ms of views whose player can tell of stalls, ms.",
    media_ms Int64 "Media played: playing time times playback rate, ms.",
    bitrate_ms Int64 "Media played times its bitrate, kbit/s times ms.",
    rated_media_ms Int64 "Media played while the bitrate was known, ms.",
    focus_ms Int64 "Playing time of the focused tile, ms.",
    audible_ms Int64 "Playing time of audible tiles, ms.",
    attention_ms Int64 "Playing time of tiles that are focused or audible, ms.",
    attention_rebuffer_ms Int64 "Stalled time of tiles that are focused or audible, ms.",
    latency_ms_sum Int64 "Sum of live latencies, ms.",
    latency_n Int64 "Number of live latencies.",
    views_ended Int64 "Attempts that ended, in the minute of their end.",
    views_with_rebuffer Int64 "Of these, how many had a stall.",
    rebuffer_capable_views Int64 "Of these, how many could tell of stalls.",
    success_sum Int64 "Sum of playback success scores of ended attempts, hundredths.",
    success_n Int64 "Number of these.",
    startup_sum Int64 "Sum of startup scores, hundredths.",
    startup_n Int64 "Number of these.",
    smoothness_sum Int64 "Sum of smoothness scores, hundredths.",
    smoothness_n Int64 "Number of these.",
    video_quality_sum Int64 "Sum of video quality scores, hundredths.",
    video_quality_n Int64 "Number of these.",
    health_sum Int64 "Sum of health scores, hundredths.",
    health_n Int64 "Number of these.",
    health_healthy Int64 "Ended attempts with a health score of at least 90.",
    health_good Int64 "At least 75.",
    health_warning Int64 "At least 50.",
    health_error Int64 "Below 50.",
    health_unknown Int64 "Without a health score.",
    views_at_start Int64 "Views active at the first instant of the minute; adds up over keys, not over time.",
    viewers_at_start Int64 "Sessions with an active view then; adds up over keys but streams, not over time.",
    viewer_ms Int64 "Viewer time: at least one tile of a session playing, ms.",
    sessions Int64 "App sessions, in the minute they began.",
    crashed_sessions Int64 "Of these, how many saw a crash.",
    failed_sessions Int64 "Of these, how many had a view that failed.",
    stalled_sessions Int64 "Of these, how many had a view that stalled.",
    layouts_opened Int64 "Layouts that came up, in the minute their first tile began.",
    any_stall_ms Int64 "Time in which at least one tile of a session was stalled, ms.",
    all_stall_ms Int64 "Of it, time in which no tile of the session played, ms.",
    shifts_down_tile_count Int64 "Of shifts_down, those that the app wanted because of the number of tiles.",
]);

/// All tables of the lake, by rising id.
pub static LAKE_TABLES: [&LakeTable; 6] = [&EVENTS, &QUARANTINE, &RECORDS, &VIEWS, &APP_SESSIONS, &SLICES];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_numbered_and_columns_named_once() {
        for (table, id) in LAKE_TABLES.iter().zip(1..) {
            assert_eq!(table.id, id);
            let names: std::collections::BTreeSet<_> = table.columns.iter().map(|column| column.name).collect();
            assert_eq!(names.len(), table.columns.len(), "{}", table.name);
            assert!(table.sorted_by.iter().all(|column| names.contains(column)), "{}", table.name);
        }
    }

    #[test]
    fn slices_have_all_measures_in_their_order() {
        let first = SLICES.index_of(schemas::fold::measures::MEASURES[0].name);
        let names = SLICES.columns[first..].iter().map(|column| (column.name, column.doc));
        assert!(names.eq(schemas::fold::measures::MEASURES.iter().map(|measure| (measure.name, measure.doc))));
    }

    #[test]
    fn no_column_must_be_quoted() {
        // Words reserved in DuckDB, Postgres or DataFusion that an analyst would stumble over.
        let reserved = [
            "at", "order", "group", "user", "table", "select", "from", "to", "limit", "offset", "end", "default",
            "desc",
        ];
        for column in LAKE_TABLES.iter().flat_map(|table| table.columns) {
            assert!(!reserved.contains(&column.name), "{}", column.name);
        }
    }
}
