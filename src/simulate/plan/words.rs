//! What the simulated world is made of.

use crate::simulate::timeline::{Size, Stream, Video};

/// Platform, version of its system, class of device, its model.
pub(super) const DEVICES: [(&str, &str, &str, &str); 6] = [
    ("ios", "18.1", "phone", "iPhone17,1"),
    ("ios", "17.6.1", "phone", "iPhone14,7"),
    ("ipados", "18.0", "tablet", "iPad16,3"),
    ("android", "15", "phone", "Pixel 9"),
    ("android", "14.2", "tablet", "SM-X716B"),
    ("web", "131.0.1", "desktop", "Mac"),
];

/// Versions of the app.
pub(super) const APP_VERSIONS: [&str; 3] = ["2.3.1", "2.4.0", "2.4.1"];

/// The version of devices with a wrong clock, so that their numbers stand apart.
pub(super) const WRONG_CLOCK_VERSION: &str = "9.0.0";

/// The layout type of devices with a wrong clock.
pub(super) const WRONG_CLOCK_LAYOUT: &str = "dashboard";

/// Networks.
pub(super) const NETWORKS: [&str; 3] = ["wifi", "cellular", "ethernet"];

/// Streams.
pub(super) const STREAMS: [Stream; 12] = [
    live("twitch:harbour", "twitch", "Travel"),
    live("twitch:nightowl", "twitch", "Just Chatting"),
    live("twitch:speedrun", "twitch", "Games"),
    live("twitch:chess", "twitch", "Chess"),
    live("youtube:newsroom", "youtube", "News"),
    live("youtube:concert", "youtube", "Music"),
    recorded("youtube:lecture", "youtube", "Science"),
    live("kick:arena", "kick", "Games"),
    live("kick:poker", "kick", "Poker"),
    live("rumble:studio", "rumble", "News"),
    recorded("facebook:archive", "facebook", "Sports"),
    live("trovo:garden", "trovo", "Nature"),
];

/// Streams of devices with a wrong clock.
pub(super) const WRONG_CLOCK_STREAMS: [Stream; 2] =
    [live("twitch:wrongclock", "twitch", "Games"), recorded("youtube:wrongclock", "youtube", "Music")];

const fn live(id: &'static str, platform: &'static str, category: &'static str) -> Stream {
    Stream { id, platform, category, is_live: true }
}

const fn recorded(id: &'static str, platform: &'static str, category: &'static str) -> Stream {
    Stream { id, platform, category, is_live: false }
}

/// Renditions.
pub(super) const VIDEOS: [Video; 5] = [
    video(400, 480, 270),
    video(900, 640, 360),
    video(2_300, 1280, 720),
    video(4_500, 1920, 1080),
    video(9_000, 2560, 1440),
];

const fn video(kbps: i64, width_px: i64, height_px: i64) -> Video {
    Video { kbps, size: Size { width_px, height_px } }
}

/// Sizes of tiles.
pub(super) const TILES: [Size; 5] = [tile(480, 270), tile(640, 360), tile(960, 540), tile(1280, 720), tile(2560, 1440)];

const fn tile(width_px: i64, height_px: i64) -> Size {
    Size { width_px, height_px }
}

/// Layout types by the greatest number of tiles that they suit.
const LAYOUTS: [(u8, &[&str]); 5] = [
    (1, &["single", "theater"]),
    (2, &["split_view", "stack"]),
    (4, &["grid2x2", "focus", "carousel"]),
    (9, &["grid3x3", "mosaic"]),
    (16, &["grid4x4", "custom"]),
];

/// The layout types for that many tiles.
pub(super) fn layout_types(slots: u8) -> &'static [&'static str] {
    LAYOUTS.iter().find(|(most, _)| slots <= *most).map_or(&["custom"], |(_, types)| types)
}

/// Codes and domains of playback errors; the last one is the app's business.
pub(super) const ERRORS: [(&str, &str); 6] = [
    ("HTTP_503", "network"),
    ("DECODER_INIT", "decode"),
    ("DRM_LICENSE", "drm"),
    ("EMBED_150", "platform"),
    ("OFFLINE", "offline"),
    ("SUBSCRIBERS_ONLY", "business"),
];

/// What a user leaves a view for.
pub(super) const EXITS: [&str; 5] = ["user_choice", "removed", "completed", "stream_ended", "network_issue"];

/// Thermal states.
pub(super) const THERMAL_STATES: [&str; 4] = ["nominal", "fair", "serious", "critical"];

/// What layouts are made from.
pub(super) const TEMPLATE: &str = "duo";

/// Features.
pub(super) const FEATURES: [&str; 4] = ["favorites", "picture_in_picture", "chat_overlay", "quick_switch"];
