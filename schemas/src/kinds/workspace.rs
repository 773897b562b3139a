//! `layout.*`, `template.*`, `backup.*`, `sync.*`, `feature.*`, `search.*`, `settings.*`, `export.*`: what the user
//! does with the library and the app's features.

use super::declare::kinds;

/// Greatest duration, ms: 30 days. Ours; the vocabulary only says that durations are whole and not negative.
const DURATION_MS_MAX: i64 = 2_592_000_000;
/// Greatest counter. Ours.
const COUNT_MAX: i64 = 2_147_483_647;
/// Greatest number of bytes: 1 TiB. Ours.
const BYTES_MAX: i64 = 1_099_511_627_776;

kinds! {
    /// A layout was created.
    "layout.created" LayoutCreated {
        /// How tiles are arranged.
        layout_type: word[LayoutType],
        /// Number of tiles.
        slots: int[1, 64],
        /// The template it was made from.
        from_template: text[64],
    }
    /// A layout was opened.
    "layout.opened" LayoutOpened {}
    /// Another layout is on screen.
    "layout.switched" LayoutSwitched {
        /// Layout before.
        from_layoutid: text[64],
        /// Layout now.
        to_layoutid: text[64],
        /// Type before.
        from_type: word[LayoutType],
        /// Type now.
        to_type: word[LayoutType],
    }
    /// A layout was edited.
    "layout.edited" LayoutEdited {
        /// Number of changes.
        change_count: int[0, COUNT_MAX],
    }
    /// A layout was saved.
    "layout.saved" LayoutSaved {}
    /// A layout was shared.
    "layout.shared" LayoutShared {
        /// How.
        method: text[64],
    }
    /// A layout was deleted.
    "layout.deleted" LayoutDeleted {}
    /// A layout was synced with the server.
    "layout.synced" LayoutSynced {
        /// How it ended.
        outcome: word[SyncOutcome],
        /// Version the device started from.
        base_version: int[0, COUNT_MAX],
        /// Fields that both sides had changed.
        conflict_fields: int[0, COUNT_MAX],
        /// How long it took, ms.
        duration_ms: int[0, DURATION_MS_MAX],
    }
    /// A template was looked at.
    "template.viewed" TemplateViewed {}
    /// A layout was made from a template.
    "template.used" TemplateUsed {
        /// The template.
        template_id: text[64],
        /// Number of tiles.
        slots: int[1, 64],
    }
    /// A template was created.
    "template.created" TemplateCreated {}
    /// A template was shared.
    "template.shared" TemplateShared {}
    /// A backup was made.
    "backup.created" BackupCreated {
        /// Its size.
        bytes: int[0, BYTES_MAX],
        /// How long it took, ms.
        duration_ms: int[0, DURATION_MS_MAX],
        /// Number of items.
        items: int[0, COUNT_MAX],
    }
    /// A backup was restored.
    "backup.restored" BackupRestored {
        /// Whether only parts of it.
        selective: bool,
        /// Number of items.
        items: int[0, COUNT_MAX],
        /// How it ended.
        outcome: text[64],
    }
    /// The offline queue was sent.
    "sync.flushed" SyncFlushed {
        /// Events in it.
        queued_events: int[0, COUNT_MAX],
        /// Age of the oldest, ms.
        oldest_age_ms: int[0, 31_536_000_000],
        /// How it ended.
        outcome: text[64],
    }
    /// Two devices had changed the same.
    "sync.conflict" SyncConflict {}
    /// A feature was used.
    "feature.used" FeatureUsed {
        /// Which.
        feature: text[64],
        /// Where.
        context: text[64],
        /// With which value.
        value: text[128],
    }
    /// Something was searched; its text is never stored.
    "search.performed" SearchPerformed never_stored[query, text] {
        /// Number of results.
        results: int[0, COUNT_MAX],
        /// Length of the query, characters.
        query_len: int[0, COUNT_MAX],
    }
    /// A setting was changed.
    "settings.changed" SettingsChanged {
        /// Which.
        key: text[64],
        /// To what.
        value: scalar[128],
    }
    /// An export was asked for.
    "export.requested" ExportRequested {
        /// Its format.
        format: word[ExportFormat],
        /// Start of its range.
        range_from: time,
        /// End of its range.
        range_to: time,
        /// What is exported.
        dataset: text[64],
    }
    /// An export was downloaded.
    "export.downloaded" ExportDownloaded {
        /// Which.
        export_id: text[64],
        /// Its size.
        bytes: int[0, BYTES_MAX],
    }
}
