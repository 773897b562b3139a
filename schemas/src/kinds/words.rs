//! The closed lists of words that fields choose from.

use super::declare::words;

words! {
    /// Why a view was started.
    ViewIntent { User = "user", Autoplay = "autoplay", Restore = "restore", Template = "template", LayoutSwitch = "layout_switch" }
    /// What plays the stream.
    Player { Avplayer = "avplayer", TwitchEmbed = "twitch_embed", YoutubeIframe = "youtube_iframe", Hlsjs = "hlsjs", Other = "other" }
    /// How much the player tells: everything, or only its state.
    TelemetryLevel { Full = "full", StateOnly = "state_only" }
    /// Live or recorded.
    ContentType { Live = "live", Vod = "vod", Unknown = "unknown" }
    /// The platforms that streams come from.
    StreamPlatform {
        Twitch = "twitch", Youtube = "youtube", Rumble = "rumble", Kick = "kick", Tiktok = "tiktok",
        Instagram = "instagram", Facebook = "facebook", Discord = "discord", Mixer = "mixer", Dlive = "dlive",
        Trovo = "trovo", Nimo = "nimo", Bigo = "bigo", Other = "other",
    }
    /// What made the buffer run dry.
    RebufferCause { Network = "network", Cpu = "cpu", Source = "source", Unknown = "unknown" }
    /// What ended a rebuffer.
    RebufferEnd { Resumed = "resumed", Paused = "paused", Seeked = "seeked", Exit = "exit" }
    /// Why playback paused or resumed.
    PauseReason {
        User = "user", Hidden = "hidden", Background = "background", AudioFocus = "audio_focus", Thermal = "thermal",
        AutoplayBlocked = "autoplay_blocked",
    }
    /// A rendition's quality.
    Quality {
        Auto = "auto", Source = "source" | "chunked", Q2160p = "2160p", Q1440p = "1440p", Q1080p60 = "1080p60", Q1080p = "1080p",
        Q720p60 = "720p60", Q720p = "720p", Q480p = "480p", Q360p = "360p", Q160p = "160p", Audio = "audio",
    }
    /// Why the rendition changed.
    RenditionReason { Abr = "abr", User = "user", TileCount = "tile_count", Thermal = "thermal", Unknown = "unknown" }
    /// Whether an error ended playback.
    Severity { Fatal = "fatal", Warning = "warning" }
    /// Where a playback error came from.
    ErrorDomain {
        Network = "network", Decode = "decode", Drm = "drm", Platform = "platform", Autoplay = "autoplay",
        Offline = "offline", Business = "business", Other = "other",
    }
    /// What a player is doing.
    PlayerState {
        Loading = "loading", Playing = "playing", Buffering = "buffering", Paused = "paused", Error = "error",
        Unknown = "unknown",
    }
    /// How a tile is shown.
    PlaybackMode {
        Tile = "tile", Focus = "focus", Fullscreen = "fullscreen", Pip = "pip", BackgroundAudio = "background_audio",
        Multiview = "multiview",
    }
    /// Why a view ended, as the client says it.
    ViewExit {
        Completed = "completed", UserChoice = "user_choice", StreamEnded = "stream_ended", Error = "error",
        NetworkIssue = "network_issue", LayoutSwitch = "layout_switch", Removed = "removed", Background = "background",
        Unknown = "unknown",
    }
    /// Health of a stream.
    HealthStatus {
        Healthy = "healthy", Good = "good", Warning = "warning", Error = "error", Offline = "offline", Unknown = "unknown",
    }
    /// Where an added stream came from.
    StreamSource { Search = "search", Favorite = "favorite", Template = "template", Restore = "restore", Share = "share" }
    /// Why a session ended, as the client says it.
    SessionExit {
        Background = "background", Crash = "crash", UserExit = "user_exit", Timeout = "timeout",
        MemoryPressure = "memory_pressure", Unknown = "unknown",
    }
    /// How tiles are arranged.
    LayoutType {
        Stack = "stack" | "stacked", Grid2x2 = "grid2x2" | "2x2", Grid3x3 = "grid3x3" | "3x3",
        Grid4x4 = "grid4x4" | "4x4", Carousel = "carousel", Focus = "focus", SplitView = "split_view",
        Mosaic = "mosaic", Theater = "theater", Dashboard = "dashboard", Custom = "custom",
        Single = "single" | "1x1",
    }
    /// How a sync of a layout ended.
    SyncOutcome { Clean = "clean", Merged = "merged", Conflict = "conflict" }
    /// Format of an export.
    ExportFormat { Json = "json", Csv = "csv", Report = "report", Parquet = "parquet" }
    /// Class of device.
    DeviceClass { Phone = "phone", Tablet = "tablet", Desktop = "desktop", Tv = "tv" }
    /// Kind of network.
    Network { Wifi = "wifi", Cellular = "cellular", Ethernet = "ethernet", None = "none", Unknown = "unknown" }
    /// Thermal state.
    Thermal { Nominal = "nominal", Fair = "fair", Serious = "serious", Critical = "critical" }
}
