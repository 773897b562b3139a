//! `app.*`, `session.*`, `identity.*`, `consent.*`, `device.*`: the app, its sessions, its user and its device.

use super::declare::kinds;

/// Greatest duration, ms: 30 days. Ours; the vocabulary only says that durations are whole and not negative.
const DURATION_MS_MAX: i64 = 2_592_000_000;

kinds! {
    /// First start after the install.
    "app.installed" AppInstalled {}
    /// First start after an update.
    "app.updated" AppUpdated {
        /// Version before.
        from: text[32],
    }
    /// The app was opened.
    "app.opened" AppOpened {
        /// Whether the process was started for it.
        cold: bool,
        /// From the tap to the first screen, ms.
        launch_ms: int[0, 120_000],
        /// Whether it came back from the background.
        from_background: bool,
    }
    /// The app came to the foreground.
    "app.foregrounded" AppForegrounded {}
    /// The app went to the background.
    "app.backgrounded" AppBackgrounded {
        /// How long it was in the foreground, ms.
        foreground_ms: int[0, DURATION_MS_MAX],
    }
    /// The app crashed; sent at the next start.
    "app.crashed" AppCrashed {
        /// What identifies the crash.
        signature: text[256],
        /// Whether the app was in the foreground.
        foreground: bool,
    }
    /// Something failed in the app.
    "app.error" AppError {
        /// Code.
        code: text[64],
        /// Where it came from.
        domain: text[64],
        /// What the app was doing.
        context: text[64],
        /// Whether a retry may help.
        retryable: bool,
    }
    /// The system asked for memory.
    "app.memory_warning" AppMemoryWarning {
        /// Resident memory, MiB.
        resident_mb: int[0, 1_048_576],
    }
    /// A session began.
    "session.started" SessionStarted {
        /// Whether it is the install's first.
        first_session: bool,
        /// How the app was entered.
        entry: text[64],
    }
    /// The session goes on.
    "session.heartbeat" SessionHeartbeat {
        /// In the foreground since the session began, ms.
        foreground_ms: int[0, DURATION_MS_MAX],
        /// Tiles that play.
        active_tiles: int[0, 64],
    }
    /// The session is over.
    "session.ended" SessionEnded {
        /// Why.
        reason: word[SessionExit],
        /// How long it was, ms.
        duration_ms: int[0, DURATION_MS_MAX],
    }
    /// A user signed in: links the guest identity to the user.
    "identity.signed_in" IdentitySignedIn {
        /// The guest identity.
        anonid: text[64],
        /// The user.
        userid: text[128],
        /// How.
        method: text[64],
    }
    /// The user signed out.
    "identity.signed_out" IdentitySignedOut {}
    /// Two identities were merged.
    "identity.merged" IdentityMerged {}
    /// The user allowed or refused analytics.
    "consent.changed" ConsentChanged {
        /// Whether analytics are allowed.
        analytics: bool,
    }
    /// The device as it is.
    "device.context" DeviceContext {
        /// Operating system.
        os_name: text[64],
        /// Its version.
        os_version: text[32],
        /// Model.
        device_model: text[64],
        /// Class.
        device_class: word[DeviceClass],
        /// Screen width, pixels.
        screen_w: int[1, 16_384],
        /// Screen height, pixels.
        screen_h: int[1, 16_384],
        /// Locale.
        locale: text[35],
        /// IANA time zone.
        timezone: text[64],
        /// Network.
        network: word[Network],
        /// Whether the user asked to save data.
        low_data_mode: bool,
        /// Whether the user asked to save power.
        low_power: bool,
        /// Build of the app.
        app_build: text[32],
    }
    /// The device changed its network.
    "device.network_changed" DeviceNetworkChanged {
        /// Before.
        from: word[Network],
        /// Now.
        to: word[Network],
    }
    /// The device's load was measured.
    "device.performance_sampled" DevicePerformanceSampled {
        /// Processor, percent of one core.
        cpu_pct: decimal[0.0, 6400.0],
        /// Memory used, MiB.
        memory_mb: int[0, 1_048_576],
        /// Thermal state.
        thermal: word[Thermal],
        /// Battery, percent.
        battery_pct: decimal[0.0, 100.0],
        /// Frames per second.
        fps: int[0, 240],
    }
}
