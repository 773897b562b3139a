//! What views and sessions add up to: the measures, and sums of them by minute and dimensions.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::hash_map::EntryRef;
use hashbrown::{Equivalent, HashMap};

use serde::{Deserialize, Deserializer, Serialize};

use super::sketch::bin_of;
use crate::event::{DEVICE_PLATFORMS, STREAM_PLATFORMS};
use crate::rollups::Column;

/// Declares the measures: an enum whose order is that of the columns, and their documentation.
macro_rules! measures {
    ($($variant:ident $name:literal $doc:literal),+ $(,)?) => {
        /// A measure of views and sessions; the number is its place among the columns.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Measure { $(#[doc = $doc] $variant),+ }

        /// The measures as columns, in their order.
        pub const MEASURES: &[Column] = &[$(Column { name: $name, doc: $doc }),+];
    };
}

measures! {
    Attempts "attempts" "Playback attempts (parts of views), in the minute of the attempt.",
    Started "started" "Of these, how many showed a first frame.",
    StartupValid "startup_valid" "Of these, how many have a startup time.",
    StartupFailures "startup_failures" "Attempts ended by a fatal error before the first frame.",
    StartupBusiness "startup_business" "The same, where the error is of domain business.",
    Ebvs "ebvs" "Attempts left before the first frame after waiting at least 1 s (exit before video start).",
    AbandonedEarly "abandoned_early" "Attempts left before the first frame within 1 s.",
    LeftUnstarted "left_unstarted" "Attempts left by a layout switch while another tile of the layout had started.",
    PlaybackFailures "playback_failures" "Attempts with a fatal error that is not of domain business.",
    ErrorsFatal "errors_fatal" "Fatal errors, in their own minute.",
    ErrorsWarning "errors_warning" "Warnings, in their own minute.",
    RebufferCount "rebuffer_count" "Stalls of at least 250 ms, in the minute they began.",
    ClientRebuffers "client_rebuffers" "Stalls that came together with those of other tiles: the device's connection, not the stream.",
    SustainedRebuffers "sustained_rebuffers" "Stalls of at least 1000 ms, in the minute they began.",
    Seeks "seeks" "Seeks.",
    RenditionChanges "rendition_changes" "Changes of the bitrate.",
    ShiftsUp "shifts_up" "Changes to a higher bitrate.",
    ShiftsDown "shifts_down" "Changes to a lower bitrate.",
    DroppedFrames "dropped_frames" "Frames dropped.",
    RenderedFrames "rendered_frames" "Frames shown.",
    JoinMs "join_ms" "Time waiting for the first frame, ms.",
    PlayingMs "playing_ms" "Tile time: playing, ms.",
    RebufferMs "rebuffer_ms" "Time stalled, ms.",
    SeekMs "seek_ms" "Time seeking, ms.",
    PausedMs "paused_ms" "Time paused, ms.",
    WatchMs "watch_ms" "join + playing + rebuffer + seek, ms.",
    WatchMsRebufferCapable "watch_ms_rebuffer_capable" "watch_ms of views whose player can tell of stalls, ms.",
    MediaMs "media_ms" "Media played: playing time times playback rate, ms.",
    BitrateMs "bitrate_ms" "Media played times its bitrate, kbit/s times ms.",
    RatedMediaMs "rated_media_ms" "Media played while the bitrate was known, ms.",
    FocusMs "focus_ms" "Playing time of the focused tile, ms.",
    AudibleMs "audible_ms" "Playing time of audible tiles, ms.",
    AttentionMs "attention_ms" "Playing time of tiles that are focused or audible, ms.",
    AttentionRebufferMs "attention_rebuffer_ms" "Stalled time of tiles that are focused or audible, ms.",
    LatencyMsSum "latency_ms_sum" "Sum of live latencies, ms.",
    LatencyN "latency_n" "Number of live latencies.",
    ViewsEnded "views_ended" "Attempts that ended, in the minute of their end.",
    ViewsWithRebuffer "views_with_rebuffer" "Of these, how many had a stall.",
    RebufferCapableViews "rebuffer_capable_views" "Of these, how many could tell of stalls.",
    SuccessSum "success_sum" "Sum of playback success scores of ended attempts, hundredths.",
    SuccessN "success_n" "Number of these.",
    StartupSum "startup_sum" "Sum of startup scores, hundredths.",
    StartupN "startup_n" "Number of these.",
    SmoothnessSum "smoothness_sum" "Sum of smoothness scores, hundredths.",
    SmoothnessN "smoothness_n" "Number of these.",
    VideoQualitySum "video_quality_sum" "Sum of video quality scores, hundredths.",
    VideoQualityN "video_quality_n" "Number of these.",
    HealthSum "health_sum" "Sum of health scores, hundredths.",
    HealthN "health_n" "Number of these.",
    HealthHealthy "health_healthy" "Ended attempts with a health score of at least 90.",
    HealthGood "health_good" "At least 75.",
    HealthWarning "health_warning" "At least 50.",
    HealthError "health_error" "Below 50.",
    HealthUnknown "health_unknown" "Without a health score.",
    ViewsAtStart "views_at_start" "Views active at the first instant of the minute; adds up over keys, not over time.",
    ViewersAtStart "viewers_at_start" "Sessions with an active view then; adds up over keys but streams, not over time.",
    ViewerMs "viewer_ms" "Viewer time: at least one tile of a session playing, ms.",
    Sessions "sessions" "App sessions, in the minute they began.",
    CrashedSessions "crashed_sessions" "Of these, how many saw a crash.",
    FailedSessions "failed_sessions" "Of these, how many had a view that failed.",
    StalledSessions "stalled_sessions" "Of these, how many had a view that stalled.",
    LayoutsOpened "layouts_opened" "Layouts that came up, in the minute their first tile began.",
    AnyStallMs "any_stall_ms" "Time in which at least one tile of a session was stalled, ms.",
    AllStallMs "all_stall_ms" "Of it, time in which no tile of the session played, ms.",
    ShiftsDownTileCount "shifts_down_tile_count" "Of shifts_down, those that the app wanted because of the number of tiles.",
}

impl Measure {
    /// Its name, and what it holds.
    #[must_use]
    pub const fn column(self) -> &'static Column {
        &MEASURES[self as usize]
    }
}

/// How many measures there are.
pub const MEASURE_COUNT: usize = MEASURES.len();

/// One value of every measure.
pub type Values = [i64; MEASURE_COUNT];

/// Values as a list of numbers: serde knows arrays of 32 at most.
pub(super) mod boxed_values {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Values;

    pub(in crate::fold) fn serialize<S: Serializer>(values: &Values, serializer: S) -> Result<S::Ok, S::Error> {
        values[..].serialize(serializer)
    }

    pub(in crate::fold) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<Values>, D::Error> {
        let values = Box::<[i64]>::deserialize(deserializer)?;
        Box::<Values>::try_from(values).map_err(|values| Error::invalid_length(values.len(), &"one value per measure"))
    }
}

/// A quantity whose distribution is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Startup times, ms.
    StartupMs,
    /// Durations of stalls, ms.
    RebufferMs,
    /// Live latencies, ms.
    LatencyMs,
    /// Bitrates, kbit/s.
    BitrateKbps,
    /// Greatest minus least latency of the tiles of a session that play, ms.
    SyncSpreadMs,
    /// From the beginning of a layout to the first of its tiles that plays, ms.
    LayoutFirstMs,
    /// To the tile that has the focus.
    LayoutFocusedMs,
    /// Until 90 % of its tiles play.
    LayoutMostMs,
    /// Until all of them do.
    LayoutAllMs,
    /// Bitrates of the tiles of a session that play, together, in percent of the throughput that they measure.
    DemandPct,
    /// Durations of app sessions, ms.
    SessionMs,
    /// Numbers of tiles that play at once; counts milliseconds, and the bin is the number itself.
    TileCount,
}

impl Metric {
    /// The word in the key `metric`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StartupMs => "startup_ms",
            Self::RebufferMs => "rebuffer_ms",
            Self::LatencyMs => "latency_ms",
            Self::BitrateKbps => "bitrate_kbps",
            Self::SyncSpreadMs => "sync_spread_ms",
            Self::LayoutFirstMs => "layout_first_ms",
            Self::LayoutFocusedMs => "layout_focused_ms",
            Self::LayoutMostMs => "layout_most_ms",
            Self::LayoutAllMs => "layout_all_ms",
            Self::DemandPct => "demand_pct",
            Self::SessionMs => "session_ms",
            Self::TileCount => "tile_count",
        }
    }
}

/// How many tiles: 1, 2, 3-4, 5-9, 10-16 or 17+; unknown is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Band(u8);

impl Band {
    /// Not known.
    pub const UNKNOWN: Self = Self(0);

    /// The band of a number of tiles.
    #[must_use]
    pub const fn of(tiles: usize) -> Self {
        Self(match tiles {
            0 => 0,
            1 => 1,
            2 => 2,
            3..=4 => 3,
            5..=9 => 4,
            10..=16 => 5,
            _ => 6,
        })
    }

    /// The word in the key `tile_band`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        ["", "1", "2", "3-4", "5-9", "10-16", "17+"][self.0 as usize]
    }
}

/// A word of the closed lists of platforms, or empty.
pub type Platform = &'static str;

/// By what contributions are told apart; what is not known is empty. Hashed once: it is looked up for every input.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dims {
    /// The session.
    pub session_id: Box<str>,
    /// The view; empty for what a session adds by itself.
    pub view_id: Box<str>,
    /// The view's part.
    pub part: u32,
    /// The person.
    pub person_id: Box<str>,
    /// The stream.
    pub stream_id: Box<str>,
    /// Its platform.
    #[serde(deserialize_with = "known_word")]
    pub stream_platform: Platform,
    /// Its category.
    pub category: Box<str>,
    /// Platform of the device.
    #[serde(deserialize_with = "known_word")]
    pub device_platform: Platform,
    /// Major version of its system.
    pub os_major: Box<str>,
    /// Class of the device.
    pub device_class: Box<str>,
    /// Its network.
    pub network: Box<str>,
    /// Version of the app.
    pub app_version: Box<str>,
    /// Type of the layout.
    pub layout_type: Box<str>,
}

/// A word of the closed lists of platforms; anything else is empty.
fn known_word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Platform, D::Error> {
    let word = Box::<str>::deserialize(deserializer)?;
    let known = STREAM_PLATFORMS.into_iter().chain(DEVICE_PLATFORMS).find(|known| **known == *word);
    Ok(known.unwrap_or_default())
}

/// What a sum is kept by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SumKey {
    /// The dimensions.
    pub dims: Arc<Dims>,
    /// Number of tiles.
    pub band: Band,
    /// Start of the minute, ms since the Unix epoch.
    pub minute_ms: i64,
}

/// The same, borrowed: cells are looked up by it.
#[derive(Debug, Clone, Copy)]
struct SumPlace<'a> {
    dims: &'a Arc<Dims>,
    band: Band,
    minute_ms: i64,
}

impl SumKey {
    const fn place(&self) -> SumPlace<'_> {
        SumPlace { dims: &self.dims, band: self.band, minute_ms: self.minute_ms }
    }
}

impl Hash for SumKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.place().hash(state);
    }
}

impl Hash for SumPlace<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Few of a unit's keys share these; equality looks at the rest. Of a view's id the end, which is random in a UUID.
        let end = self.dims.view_id.as_bytes().last_chunk::<8>().copied().unwrap_or_default();
        state.write_u64(u64::from_le_bytes(end).wrapping_add(self.dims.part.into()));
        state.write_i64(self.minute_ms.wrapping_add(self.band.0.into()));
    }
}

impl Equivalent<SumKey> for SumPlace<'_> {
    fn equivalent(&self, key: &SumKey) -> bool {
        (self.minute_ms, self.band) == (key.minute_ms, key.band) && *self.dims == key.dims
    }
}

impl From<SumPlace<'_>> for SumKey {
    fn from(place: SumPlace<'_>) -> Self {
        Self { dims: Arc::clone(place.dims), band: place.band, minute_ms: place.minute_ms }
    }
}

const MINUTE_MS: i64 = 60_000;

/// A bin of a distribution, and how much is in it.
pub type Bin = (Metric, i32, i64);

/// What adds up under one key.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The measures.
    pub values: Box<Values>,
    /// The distributions: each bin once, in no order.
    pub bins: Vec<Bin>,
}

impl Default for Cell {
    fn default() -> Self {
        Self { values: Box::new([0; MEASURE_COUNT]), bins: Vec::new() }
    }
}

impl Cell {
    /// Adds to a measure.
    pub(super) fn add(&mut self, measure: Measure, value: i64) {
        self.values[measure as usize] += value;
    }

    /// Adds to a bin.
    pub(super) fn add_bin(&mut self, (metric, bin, count): Bin) {
        // A key has a few of them: what a view tells in a minute.
        match self.bins.iter_mut().find(|known| (known.0, known.1) == (metric, bin)) {
            Some(known) => known.2 += count,
            None => self.bins.push((metric, bin, count)),
        }
    }
}

/// Contributions, added up by minute and dimensions.
#[derive(Debug, Default, Clone)]
pub struct Sums {
    /// By key.
    pub cells: HashMap<SumKey, Cell, RandomState>,
}

impl Sums {
    /// What is counted in the minute of an instant.
    pub(super) fn cell(&mut self, dims: &Arc<Dims>, band: Band, at_ms: i64) -> &mut Cell {
        let minute_ms = at_ms - at_ms.rem_euclid(MINUTE_MS);
        self.cell_at(SumPlace { dims, band, minute_ms })
    }

    fn cell_at(&mut self, place: SumPlace<'_>) -> &mut Cell {
        match self.cells.entry_ref(&place) {
            EntryRef::Occupied(entry) => entry.into_mut(),
            EntryRef::Vacant(entry) => entry.insert_with_key(place.into(), Cell::default()),
        }
    }

    /// Adds to a measure.
    pub(super) fn add(&mut self, dims: &Arc<Dims>, band: Band, at_ms: i64, measure: Measure, value: i64) {
        if value != 0 {
            self.cell(dims, band, at_ms).add(measure, value);
        }
    }

    /// Counts a value of a distribution.
    pub(super) fn observe(&mut self, dims: &Arc<Dims>, band: Band, at_ms: i64, metric: Metric, value: i64) {
        self.add_bin(dims, band, at_ms, (metric, bin_of(value), 1));
    }

    /// Adds to a bin of a distribution.
    pub(super) fn add_bin(&mut self, dims: &Arc<Dims>, band: Band, at_ms: i64, bin: Bin) {
        self.cell(dims, band, at_ms).add_bin(bin);
    }

    /// Adds other sums, `times` 1 or −1.
    pub fn add_all(&mut self, other: &Self, times: i64) {
        for (key, cell) in &other.cells {
            let sums = self.cell_at(key.place());
            for (sum, value) in sums.values.iter_mut().zip(cell.values.iter()) {
                *sum += times * value;
            }
            for (metric, bin, count) in &cell.bins {
                sums.add_bin((*metric, *bin, times * count));
            }
        }
    }
}

/// A stretch of time cut at the borders of minutes.
pub(super) fn minutes(from_ms: i64, to_ms: i64) -> impl Iterator<Item = (i64, i64)> {
    let mut at = from_ms;
    std::iter::from_fn(move || {
        if at >= to_ms {
            return None;
        }
        let end = (at - at.rem_euclid(MINUTE_MS) + MINUTE_MS).min(to_ms);
        let piece = (at, end - at);
        at = end;
        Some(piece)
    })
}

/// Starts of minutes within `[from, to)`.
pub(super) fn minute_starts(from_ms: i64, to_ms: i64) -> impl Iterator<Item = i64> {
    let first = from_ms + (MINUTE_MS - from_ms.rem_euclid(MINUTE_MS)) % MINUTE_MS;
    std::iter::successors(Some(first), |at| Some(at + MINUTE_MS)).take_while(move |at| *at < to_ms)
}
