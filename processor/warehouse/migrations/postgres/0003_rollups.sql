-- Rollups: a commit appends deltas, a merger folds them into merged rows of every grain. Readers add both. The columns are
-- those of schemas/src/rollups.rs. Keys are compared by their bytes, as SQLite does: answers are paged in their order.

CREATE TABLE usage_delta (
    commit_id BIGINT NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    type TEXT COLLATE "C" NOT NULL, feature TEXT COLLATE "C" NOT NULL, events BIGINT NOT NULL,
    late_events BIGINT NOT NULL
);
CREATE INDEX usage_delta_bucket ON usage_delta (project, bucket_us);
CREATE INDEX usage_delta_commit ON usage_delta (project, commit_id);
CREATE TABLE usage_merged (
    grain TEXT COLLATE "C" NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    type TEXT COLLATE "C" NOT NULL, feature TEXT COLLATE "C" NOT NULL, events BIGINT NOT NULL,
    late_events BIGINT NOT NULL, last_commit BIGINT NOT NULL, PRIMARY KEY (grain, project, bucket_us, type, feature)
);
CREATE INDEX usage_merged_commit ON usage_merged (project, grain, last_commit);

CREATE TABLE quality_delta (
    commit_id BIGINT NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    format TEXT COLLATE "C" NOT NULL, type TEXT COLLATE "C" NOT NULL, outcome TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL, events BIGINT NOT NULL, late_events BIGINT NOT NULL,
    clamped_events BIGINT NOT NULL, offset_events BIGINT NOT NULL
);
CREATE INDEX quality_delta_bucket ON quality_delta (project, bucket_us);
CREATE INDEX quality_delta_commit ON quality_delta (project, commit_id);
CREATE TABLE quality_merged (
    grain TEXT COLLATE "C" NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    format TEXT COLLATE "C" NOT NULL, type TEXT COLLATE "C" NOT NULL, outcome TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL, events BIGINT NOT NULL, late_events BIGINT NOT NULL,
    clamped_events BIGINT NOT NULL, offset_events BIGINT NOT NULL, last_commit BIGINT NOT NULL,
    PRIMARY KEY (grain, project, bucket_us, format, type, outcome, reason)
);
CREATE INDEX quality_merged_commit ON quality_merged (project, grain, last_commit);

CREATE TABLE ledger_delta (
    commit_id BIGINT NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    log_partition TEXT COLLATE "C" NOT NULL, format TEXT COLLATE "C" NOT NULL, type TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL, reason TEXT COLLATE "C" NOT NULL, events BIGINT NOT NULL
);
CREATE INDEX ledger_delta_bucket ON ledger_delta (project, bucket_us);
CREATE TABLE ledger_merged (
    grain TEXT COLLATE "C" NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    log_partition TEXT COLLATE "C" NOT NULL, format TEXT COLLATE "C" NOT NULL, type TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL, reason TEXT COLLATE "C" NOT NULL, events BIGINT NOT NULL,
    last_commit BIGINT NOT NULL,
    PRIMARY KEY (grain, project, bucket_us, log_partition, format, type, outcome, reason)
);

CREATE TABLE stream_delta (
    commit_id BIGINT NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    stream_id TEXT COLLATE "C" NOT NULL, stream_platform TEXT COLLATE "C" NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0, started BIGINT NOT NULL DEFAULT 0, startup_valid BIGINT NOT NULL DEFAULT 0,
    startup_failures BIGINT NOT NULL DEFAULT 0, startup_business BIGINT NOT NULL DEFAULT 0,
    ebvs BIGINT NOT NULL DEFAULT 0, abandoned_early BIGINT NOT NULL DEFAULT 0,
    left_unstarted BIGINT NOT NULL DEFAULT 0, playback_failures BIGINT NOT NULL DEFAULT 0,
    errors_fatal BIGINT NOT NULL DEFAULT 0, errors_warning BIGINT NOT NULL DEFAULT 0,
    rebuffer_count BIGINT NOT NULL DEFAULT 0, client_rebuffers BIGINT NOT NULL DEFAULT 0,
    sustained_rebuffers BIGINT NOT NULL DEFAULT 0, seeks BIGINT NOT NULL DEFAULT 0,
    rendition_changes BIGINT NOT NULL DEFAULT 0, shifts_up BIGINT NOT NULL DEFAULT 0,
    shifts_down BIGINT NOT NULL DEFAULT 0, dropped_frames BIGINT NOT NULL DEFAULT 0,
    rendered_frames BIGINT NOT NULL DEFAULT 0, join_ms BIGINT NOT NULL DEFAULT 0,
    playing_ms BIGINT NOT NULL DEFAULT 0, rebuffer_ms BIGINT NOT NULL DEFAULT 0, seek_ms BIGINT NOT NULL DEFAULT 0,
    paused_ms BIGINT NOT NULL DEFAULT 0, watch_ms BIGINT NOT NULL DEFAULT 0,
    watch_ms_rebuffer_capable BIGINT NOT NULL DEFAULT 0, media_ms BIGINT NOT NULL DEFAULT 0,
    bitrate_ms BIGINT NOT NULL DEFAULT 0, rated_media_ms BIGINT NOT NULL DEFAULT 0,
    focus_ms BIGINT NOT NULL DEFAULT 0, audible_ms BIGINT NOT NULL DEFAULT 0,
    attention_ms BIGINT NOT NULL DEFAULT 0, attention_rebuffer_ms BIGINT NOT NULL DEFAULT 0,
    latency_ms_sum BIGINT NOT NULL DEFAULT 0, latency_n BIGINT NOT NULL DEFAULT 0,
    views_ended BIGINT NOT NULL DEFAULT 0, views_with_rebuffer BIGINT NOT NULL DEFAULT 0,
    rebuffer_capable_views BIGINT NOT NULL DEFAULT 0, success_sum BIGINT NOT NULL DEFAULT 0,
    success_n BIGINT NOT NULL DEFAULT 0, startup_sum BIGINT NOT NULL DEFAULT 0, startup_n BIGINT NOT NULL DEFAULT 0,
    smoothness_sum BIGINT NOT NULL DEFAULT 0, smoothness_n BIGINT NOT NULL DEFAULT 0,
    video_quality_sum BIGINT NOT NULL DEFAULT 0, video_quality_n BIGINT NOT NULL DEFAULT 0,
    health_sum BIGINT NOT NULL DEFAULT 0, health_n BIGINT NOT NULL DEFAULT 0,
    health_healthy BIGINT NOT NULL DEFAULT 0, health_good BIGINT NOT NULL DEFAULT 0,
    health_warning BIGINT NOT NULL DEFAULT 0, health_error BIGINT NOT NULL DEFAULT 0,
    health_unknown BIGINT NOT NULL DEFAULT 0, views_at_start BIGINT NOT NULL DEFAULT 0,
    viewers_at_start BIGINT NOT NULL DEFAULT 0, viewer_ms BIGINT NOT NULL DEFAULT 0,
    sessions BIGINT NOT NULL DEFAULT 0, crashed_sessions BIGINT NOT NULL DEFAULT 0,
    failed_sessions BIGINT NOT NULL DEFAULT 0, stalled_sessions BIGINT NOT NULL DEFAULT 0,
    layouts_opened BIGINT NOT NULL DEFAULT 0, any_stall_ms BIGINT NOT NULL DEFAULT 0,
    all_stall_ms BIGINT NOT NULL DEFAULT 0, shifts_down_tile_count BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX stream_delta_bucket ON stream_delta (project, bucket_us);
CREATE INDEX stream_delta_commit ON stream_delta (project, commit_id);
CREATE TABLE stream_merged (
    grain TEXT COLLATE "C" NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    stream_id TEXT COLLATE "C" NOT NULL, stream_platform TEXT COLLATE "C" NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0, started BIGINT NOT NULL DEFAULT 0, startup_valid BIGINT NOT NULL DEFAULT 0,
    startup_failures BIGINT NOT NULL DEFAULT 0, startup_business BIGINT NOT NULL DEFAULT 0,
    ebvs BIGINT NOT NULL DEFAULT 0, abandoned_early BIGINT NOT NULL DEFAULT 0,
    left_unstarted BIGINT NOT NULL DEFAULT 0, playback_failures BIGINT NOT NULL DEFAULT 0,
    errors_fatal BIGINT NOT NULL DEFAULT 0, errors_warning BIGINT NOT NULL DEFAULT 0,
    rebuffer_count BIGINT NOT NULL DEFAULT 0, client_rebuffers BIGINT NOT NULL DEFAULT 0,
    sustained_rebuffers BIGINT NOT NULL DEFAULT 0, seeks BIGINT NOT NULL DEFAULT 0,
    rendition_changes BIGINT NOT NULL DEFAULT 0, shifts_up BIGINT NOT NULL DEFAULT 0,
    shifts_down BIGINT NOT NULL DEFAULT 0, dropped_frames BIGINT NOT NULL DEFAULT 0,
    rendered_frames BIGINT NOT NULL DEFAULT 0, join_ms BIGINT NOT NULL DEFAULT 0,
    playing_ms BIGINT NOT NULL DEFAULT 0, rebuffer_ms BIGINT NOT NULL DEFAULT 0, seek_ms BIGINT NOT NULL DEFAULT 0,
    paused_ms BIGINT NOT NULL DEFAULT 0, watch_ms BIGINT NOT NULL DEFAULT 0,
    watch_ms_rebuffer_capable BIGINT NOT NULL DEFAULT 0, media_ms BIGINT NOT NULL DEFAULT 0,
    bitrate_ms BIGINT NOT NULL DEFAULT 0, rated_media_ms BIGINT NOT NULL DEFAULT 0,
    focus_ms BIGINT NOT NULL DEFAULT 0, audible_ms BIGINT NOT NULL DEFAULT 0,
    attention_ms BIGINT NOT NULL DEFAULT 0, attention_rebuffer_ms BIGINT NOT NULL DEFAULT 0,
    latency_ms_sum BIGINT NOT NULL DEFAULT 0, latency_n BIGINT NOT NULL DEFAULT 0,
    views_ended BIGINT NOT NULL DEFAULT 0, views_with_rebuffer BIGINT NOT NULL DEFAULT 0,
    rebuffer_capable_views BIGINT NOT NULL DEFAULT 0, success_sum BIGINT NOT NULL DEFAULT 0,
    success_n BIGINT NOT NULL DEFAULT 0, startup_sum BIGINT NOT NULL DEFAULT 0, startup_n BIGINT NOT NULL DEFAULT 0,
    smoothness_sum BIGINT NOT NULL DEFAULT 0, smoothness_n BIGINT NOT NULL DEFAULT 0,
    video_quality_sum BIGINT NOT NULL DEFAULT 0, video_quality_n BIGINT NOT NULL DEFAULT 0,
    health_sum BIGINT NOT NULL DEFAULT 0, health_n BIGINT NOT NULL DEFAULT 0,
    health_healthy BIGINT NOT NULL DEFAULT 0, health_good BIGINT NOT NULL DEFAULT 0,
    health_warning BIGINT NOT NULL DEFAULT 0, health_error BIGINT NOT NULL DEFAULT 0,
    health_unknown BIGINT NOT NULL DEFAULT 0, views_at_start BIGINT NOT NULL DEFAULT 0,
    viewers_at_start BIGINT NOT NULL DEFAULT 0, viewer_ms BIGINT NOT NULL DEFAULT 0,
    sessions BIGINT NOT NULL DEFAULT 0, crashed_sessions BIGINT NOT NULL DEFAULT 0,
    failed_sessions BIGINT NOT NULL DEFAULT 0, stalled_sessions BIGINT NOT NULL DEFAULT 0,
    last_commit BIGINT NOT NULL, layouts_opened BIGINT NOT NULL DEFAULT 0, any_stall_ms BIGINT NOT NULL DEFAULT 0,
    all_stall_ms BIGINT NOT NULL DEFAULT 0, shifts_down_tile_count BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (grain, project, bucket_us, stream_id, stream_platform)
);
CREATE INDEX stream_merged_commit ON stream_merged (project, grain, last_commit);
CREATE INDEX stream_merged_key ON stream_merged (grain, project, stream_id, stream_platform, bucket_us);

CREATE TABLE stream_bins_delta (
    commit_id BIGINT NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    stream_id TEXT COLLATE "C" NOT NULL, stream_platform TEXT COLLATE "C" NOT NULL,
    metric TEXT COLLATE "C" NOT NULL, bin TEXT COLLATE "C" NOT NULL, n BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX stream_bins_delta_bucket ON stream_bins_delta (project, bucket_us);
CREATE INDEX stream_bins_delta_commit ON stream_bins_delta (project, commit_id);
CREATE TABLE stream_bins_merged (
    grain TEXT COLLATE "C" NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    stream_id TEXT COLLATE "C" NOT NULL, stream_platform TEXT COLLATE "C" NOT NULL,
    metric TEXT COLLATE "C" NOT NULL, bin TEXT COLLATE "C" NOT NULL, n BIGINT NOT NULL DEFAULT 0,
    last_commit BIGINT NOT NULL, PRIMARY KEY (grain, project, bucket_us, stream_id, stream_platform, metric, bin)
);
CREATE INDEX stream_bins_merged_commit ON stream_bins_merged (project, grain, last_commit);
CREATE INDEX stream_bins_merged_key ON stream_bins_merged (grain, project, stream_id, stream_platform, bucket_us);

CREATE TABLE release_delta (
    commit_id BIGINT NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    app_version TEXT COLLATE "C" NOT NULL, device_platform TEXT COLLATE "C" NOT NULL,
    os_major TEXT COLLATE "C" NOT NULL, device_class TEXT COLLATE "C" NOT NULL, network TEXT COLLATE "C" NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0, started BIGINT NOT NULL DEFAULT 0, startup_valid BIGINT NOT NULL DEFAULT 0,
    startup_failures BIGINT NOT NULL DEFAULT 0, startup_business BIGINT NOT NULL DEFAULT 0,
    ebvs BIGINT NOT NULL DEFAULT 0, abandoned_early BIGINT NOT NULL DEFAULT 0,
    left_unstarted BIGINT NOT NULL DEFAULT 0, playback_failures BIGINT NOT NULL DEFAULT 0,
    errors_fatal BIGINT NOT NULL DEFAULT 0, errors_warning BIGINT NOT NULL DEFAULT 0,
    rebuffer_count BIGINT NOT NULL DEFAULT 0, client_rebuffers BIGINT NOT NULL DEFAULT 0,
    sustained_rebuffers BIGINT NOT NULL DEFAULT 0, seeks BIGINT NOT NULL DEFAULT 0,
    rendition_changes BIGINT NOT NULL DEFAULT 0, shifts_up BIGINT NOT NULL DEFAULT 0,
    shifts_down BIGINT NOT NULL DEFAULT 0, dropped_frames BIGINT NOT NULL DEFAULT 0,
    rendered_frames BIGINT NOT NULL DEFAULT 0, join_ms BIGINT NOT NULL DEFAULT 0,
    playing_ms BIGINT NOT NULL DEFAULT 0, rebuffer_ms BIGINT NOT NULL DEFAULT 0, seek_ms BIGINT NOT NULL DEFAULT 0,
    paused_ms BIGINT NOT NULL DEFAULT 0, watch_ms BIGINT NOT NULL DEFAULT 0,
    watch_ms_rebuffer_capable BIGINT NOT NULL DEFAULT 0, media_ms BIGINT NOT NULL DEFAULT 0,
    bitrate_ms BIGINT NOT NULL DEFAULT 0, rated_media_ms BIGINT NOT NULL DEFAULT 0,
    focus_ms BIGINT NOT NULL DEFAULT 0, audible_ms BIGINT NOT NULL DEFAULT 0,
    attention_ms BIGINT NOT NULL DEFAULT 0, attention_rebuffer_ms BIGINT NOT NULL DEFAULT 0,
    latency_ms_sum BIGINT NOT NULL DEFAULT 0, latency_n BIGINT NOT NULL DEFAULT 0,
    views_ended BIGINT NOT NULL DEFAULT 0, views_with_rebuffer BIGINT NOT NULL DEFAULT 0,
    rebuffer_capable_views BIGINT NOT NULL DEFAULT 0, success_sum BIGINT NOT NULL DEFAULT 0,
    success_n BIGINT NOT NULL DEFAULT 0, startup_sum BIGINT NOT NULL DEFAULT 0, startup_n BIGINT NOT NULL DEFAULT 0,
    smoothness_sum BIGINT NOT NULL DEFAULT 0, smoothness_n BIGINT NOT NULL DEFAULT 0,
    video_quality_sum BIGINT NOT NULL DEFAULT 0, video_quality_n BIGINT NOT NULL DEFAULT 0,
    health_sum BIGINT NOT NULL DEFAULT 0, health_n BIGINT NOT NULL DEFAULT 0,
    health_healthy BIGINT NOT NULL DEFAULT 0, health_good BIGINT NOT NULL DEFAULT 0,
    health_warning BIGINT NOT NULL DEFAULT 0, health_error BIGINT NOT NULL DEFAULT 0,
    health_unknown BIGINT NOT NULL DEFAULT 0, views_at_start BIGINT NOT NULL DEFAULT 0,
    viewers_at_start BIGINT NOT NULL DEFAULT 0, viewer_ms BIGINT NOT NULL DEFAULT 0,
    sessions BIGINT NOT NULL DEFAULT 0, crashed_sessions BIGINT NOT NULL DEFAULT 0,
    failed_sessions BIGINT NOT NULL DEFAULT 0, stalled_sessions BIGINT NOT NULL DEFAULT 0,
    layouts_opened BIGINT NOT NULL DEFAULT 0, any_stall_ms BIGINT NOT NULL DEFAULT 0,
    all_stall_ms BIGINT NOT NULL DEFAULT 0, shifts_down_tile_count BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX release_delta_bucket ON release_delta (project, bucket_us);
CREATE INDEX release_delta_commit ON release_delta (project, commit_id);
CREATE TABLE release_merged (
    grain TEXT COLLATE "C" NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    app_version TEXT COLLATE "C" NOT NULL, device_platform TEXT COLLATE "C" NOT NULL,
    os_major TEXT COLLATE "C" NOT NULL, device_class TEXT COLLATE "C" NOT NULL, network TEXT COLLATE "C" NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0, started BIGINT NOT NULL DEFAULT 0, startup_valid BIGINT NOT NULL DEFAULT 0,
    startup_failures BIGINT NOT NULL DEFAULT 0, startup_business BIGINT NOT NULL DEFAULT 0,
    ebvs BIGINT NOT NULL DEFAULT 0, abandoned_early BIGINT NOT NULL DEFAULT 0,
    left_unstarted BIGINT NOT NULL DEFAULT 0, playback_failures BIGINT NOT NULL DEFAULT 0,
    errors_fatal BIGINT NOT NULL DEFAULT 0, errors_warning BIGINT NOT NULL DEFAULT 0,
    rebuffer_count BIGINT NOT NULL DEFAULT 0, client_rebuffers BIGINT NOT NULL DEFAULT 0,
    sustained_rebuffers BIGINT NOT NULL DEFAULT 0, seeks BIGINT NOT NULL DEFAULT 0,
    rendition_changes BIGINT NOT NULL DEFAULT 0, shifts_up BIGINT NOT NULL DEFAULT 0,
    shifts_down BIGINT NOT NULL DEFAULT 0, dropped_frames BIGINT NOT NULL DEFAULT 0,
    rendered_frames BIGINT NOT NULL DEFAULT 0, join_ms BIGINT NOT NULL DEFAULT 0,
    playing_ms BIGINT NOT NULL DEFAULT 0, rebuffer_ms BIGINT NOT NULL DEFAULT 0, seek_ms BIGINT NOT NULL DEFAULT 0,
    paused_ms BIGINT NOT NULL DEFAULT 0, watch_ms BIGINT NOT NULL DEFAULT 0,
    watch_ms_rebuffer_capable BIGINT NOT NULL DEFAULT 0, media_ms BIGINT NOT NULL DEFAULT 0,
    bitrate_ms BIGINT NOT NULL DEFAULT 0, rated_media_ms BIGINT NOT NULL DEFAULT 0,
    focus_ms BIGINT NOT NULL DEFAULT 0, audible_ms BIGINT NOT NULL DEFAULT 0,
    attention_ms BIGINT NOT NULL DEFAULT 0, attention_rebuffer_ms BIGINT NOT NULL DEFAULT 0,
    latency_ms_sum BIGINT NOT NULL DEFAULT 0, latency_n BIGINT NOT NULL DEFAULT 0,
    views_ended BIGINT NOT NULL DEFAULT 0, views_with_rebuffer BIGINT NOT NULL DEFAULT 0,
    rebuffer_capable_views BIGINT NOT NULL DEFAULT 0, success_sum BIGINT NOT NULL DEFAULT 0,
    success_n BIGINT NOT NULL DEFAULT 0, startup_sum BIGINT NOT NULL DEFAULT 0, startup_n BIGINT NOT NULL DEFAULT 0,
    smoothness_sum BIGINT NOT NULL DEFAULT 0, smoothness_n BIGINT NOT NULL DEFAULT 0,
    video_quality_sum BIGINT NOT NULL DEFAULT 0, video_quality_n BIGINT NOT NULL DEFAULT 0,
    health_sum BIGINT NOT NULL DEFAULT 0, health_n BIGINT NOT NULL DEFAULT 0,
    health_healthy BIGINT NOT NULL DEFAULT 0, health_good BIGINT NOT NULL DEFAULT 0,
    health_warning BIGINT NOT NULL DEFAULT 0, health_error BIGINT NOT NULL DEFAULT 0,
    health_unknown BIGINT NOT NULL DEFAULT 0, views_at_start BIGINT NOT NULL DEFAULT 0,
    viewers_at_start BIGINT NOT NULL DEFAULT 0, viewer_ms BIGINT NOT NULL DEFAULT 0,
    sessions BIGINT NOT NULL DEFAULT 0, crashed_sessions BIGINT NOT NULL DEFAULT 0,
    failed_sessions BIGINT NOT NULL DEFAULT 0, stalled_sessions BIGINT NOT NULL DEFAULT 0,
    last_commit BIGINT NOT NULL, layouts_opened BIGINT NOT NULL DEFAULT 0, any_stall_ms BIGINT NOT NULL DEFAULT 0,
    all_stall_ms BIGINT NOT NULL DEFAULT 0, shifts_down_tile_count BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (grain, project, bucket_us, app_version, device_platform, os_major, device_class, network)
);
CREATE INDEX release_merged_commit ON release_merged (project, grain, last_commit);

CREATE TABLE release_bins_delta (
    commit_id BIGINT NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    app_version TEXT COLLATE "C" NOT NULL, device_platform TEXT COLLATE "C" NOT NULL,
    os_major TEXT COLLATE "C" NOT NULL, device_class TEXT COLLATE "C" NOT NULL, network TEXT COLLATE "C" NOT NULL,
    metric TEXT COLLATE "C" NOT NULL, bin TEXT COLLATE "C" NOT NULL, n BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX release_bins_delta_bucket ON release_bins_delta (project, bucket_us);
CREATE INDEX release_bins_delta_commit ON release_bins_delta (project, commit_id);
CREATE TABLE release_bins_merged (
    grain TEXT COLLATE "C" NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    app_version TEXT COLLATE "C" NOT NULL, device_platform TEXT COLLATE "C" NOT NULL,
    os_major TEXT COLLATE "C" NOT NULL, device_class TEXT COLLATE "C" NOT NULL, network TEXT COLLATE "C" NOT NULL,
    metric TEXT COLLATE "C" NOT NULL, bin TEXT COLLATE "C" NOT NULL, n BIGINT NOT NULL DEFAULT 0,
    last_commit BIGINT NOT NULL,
    PRIMARY KEY (grain, project, bucket_us, app_version, device_platform, os_major, device_class, network, metric, bin)
);
CREATE INDEX release_bins_merged_commit ON release_bins_merged (project, grain, last_commit);

CREATE TABLE layout_delta (
    commit_id BIGINT NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    layout_type TEXT COLLATE "C" NOT NULL, tile_band TEXT COLLATE "C" NOT NULL, attempts BIGINT NOT NULL DEFAULT 0,
    started BIGINT NOT NULL DEFAULT 0, startup_valid BIGINT NOT NULL DEFAULT 0,
    startup_failures BIGINT NOT NULL DEFAULT 0, startup_business BIGINT NOT NULL DEFAULT 0,
    ebvs BIGINT NOT NULL DEFAULT 0, abandoned_early BIGINT NOT NULL DEFAULT 0,
    left_unstarted BIGINT NOT NULL DEFAULT 0, playback_failures BIGINT NOT NULL DEFAULT 0,
    errors_fatal BIGINT NOT NULL DEFAULT 0, errors_warning BIGINT NOT NULL DEFAULT 0,
    rebuffer_count BIGINT NOT NULL DEFAULT 0, client_rebuffers BIGINT NOT NULL DEFAULT 0,
    sustained_rebuffers BIGINT NOT NULL DEFAULT 0, seeks BIGINT NOT NULL DEFAULT 0,
    rendition_changes BIGINT NOT NULL DEFAULT 0, shifts_up BIGINT NOT NULL DEFAULT 0,
    shifts_down BIGINT NOT NULL DEFAULT 0, dropped_frames BIGINT NOT NULL DEFAULT 0,
    rendered_frames BIGINT NOT NULL DEFAULT 0, join_ms BIGINT NOT NULL DEFAULT 0,
    playing_ms BIGINT NOT NULL DEFAULT 0, rebuffer_ms BIGINT NOT NULL DEFAULT 0, seek_ms BIGINT NOT NULL DEFAULT 0,
    paused_ms BIGINT NOT NULL DEFAULT 0, watch_ms BIGINT NOT NULL DEFAULT 0,
    watch_ms_rebuffer_capable BIGINT NOT NULL DEFAULT 0, media_ms BIGINT NOT NULL DEFAULT 0,
    bitrate_ms BIGINT NOT NULL DEFAULT 0, rated_media_ms BIGINT NOT NULL DEFAULT 0,
    focus_ms BIGINT NOT NULL DEFAULT 0, audible_ms BIGINT NOT NULL DEFAULT 0,
    attention_ms BIGINT NOT NULL DEFAULT 0, attention_rebuffer_ms BIGINT NOT NULL DEFAULT 0,
    latency_ms_sum BIGINT NOT NULL DEFAULT 0, latency_n BIGINT NOT NULL DEFAULT 0,
    views_ended BIGINT NOT NULL DEFAULT 0, views_with_rebuffer BIGINT NOT NULL DEFAULT 0,
    rebuffer_capable_views BIGINT NOT NULL DEFAULT 0, success_sum BIGINT NOT NULL DEFAULT 0,
    success_n BIGINT NOT NULL DEFAULT 0, startup_sum BIGINT NOT NULL DEFAULT 0, startup_n BIGINT NOT NULL DEFAULT 0,
    smoothness_sum BIGINT NOT NULL DEFAULT 0, smoothness_n BIGINT NOT NULL DEFAULT 0,
    video_quality_sum BIGINT NOT NULL DEFAULT 0, video_quality_n BIGINT NOT NULL DEFAULT 0,
    health_sum BIGINT NOT NULL DEFAULT 0, health_n BIGINT NOT NULL DEFAULT 0,
    health_healthy BIGINT NOT NULL DEFAULT 0, health_good BIGINT NOT NULL DEFAULT 0,
    health_warning BIGINT NOT NULL DEFAULT 0, health_error BIGINT NOT NULL DEFAULT 0,
    health_unknown BIGINT NOT NULL DEFAULT 0, views_at_start BIGINT NOT NULL DEFAULT 0,
    viewers_at_start BIGINT NOT NULL DEFAULT 0, viewer_ms BIGINT NOT NULL DEFAULT 0,
    sessions BIGINT NOT NULL DEFAULT 0, crashed_sessions BIGINT NOT NULL DEFAULT 0,
    failed_sessions BIGINT NOT NULL DEFAULT 0, stalled_sessions BIGINT NOT NULL DEFAULT 0,
    layouts_opened BIGINT NOT NULL DEFAULT 0, any_stall_ms BIGINT NOT NULL DEFAULT 0,
    all_stall_ms BIGINT NOT NULL DEFAULT 0, shifts_down_tile_count BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX layout_delta_bucket ON layout_delta (project, bucket_us);
CREATE INDEX layout_delta_commit ON layout_delta (project, commit_id);
CREATE TABLE layout_merged (
    grain TEXT COLLATE "C" NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    layout_type TEXT COLLATE "C" NOT NULL, tile_band TEXT COLLATE "C" NOT NULL, attempts BIGINT NOT NULL DEFAULT 0,
    started BIGINT NOT NULL DEFAULT 0, startup_valid BIGINT NOT NULL DEFAULT 0,
    startup_failures BIGINT NOT NULL DEFAULT 0, startup_business BIGINT NOT NULL DEFAULT 0,
    ebvs BIGINT NOT NULL DEFAULT 0, abandoned_early BIGINT NOT NULL DEFAULT 0,
    left_unstarted BIGINT NOT NULL DEFAULT 0, playback_failures BIGINT NOT NULL DEFAULT 0,
    errors_fatal BIGINT NOT NULL DEFAULT 0, errors_warning BIGINT NOT NULL DEFAULT 0,
    rebuffer_count BIGINT NOT NULL DEFAULT 0, client_rebuffers BIGINT NOT NULL DEFAULT 0,
    sustained_rebuffers BIGINT NOT NULL DEFAULT 0, seeks BIGINT NOT NULL DEFAULT 0,
    rendition_changes BIGINT NOT NULL DEFAULT 0, shifts_up BIGINT NOT NULL DEFAULT 0,
    shifts_down BIGINT NOT NULL DEFAULT 0, dropped_frames BIGINT NOT NULL DEFAULT 0,
    rendered_frames BIGINT NOT NULL DEFAULT 0, join_ms BIGINT NOT NULL DEFAULT 0,
    playing_ms BIGINT NOT NULL DEFAULT 0, rebuffer_ms BIGINT NOT NULL DEFAULT 0, seek_ms BIGINT NOT NULL DEFAULT 0,
    paused_ms BIGINT NOT NULL DEFAULT 0, watch_ms BIGINT NOT NULL DEFAULT 0,
    watch_ms_rebuffer_capable BIGINT NOT NULL DEFAULT 0, media_ms BIGINT NOT NULL DEFAULT 0,
    bitrate_ms BIGINT NOT NULL DEFAULT 0, rated_media_ms BIGINT NOT NULL DEFAULT 0,
    focus_ms BIGINT NOT NULL DEFAULT 0, audible_ms BIGINT NOT NULL DEFAULT 0,
    attention_ms BIGINT NOT NULL DEFAULT 0, attention_rebuffer_ms BIGINT NOT NULL DEFAULT 0,
    latency_ms_sum BIGINT NOT NULL DEFAULT 0, latency_n BIGINT NOT NULL DEFAULT 0,
    views_ended BIGINT NOT NULL DEFAULT 0, views_with_rebuffer BIGINT NOT NULL DEFAULT 0,
    rebuffer_capable_views BIGINT NOT NULL DEFAULT 0, success_sum BIGINT NOT NULL DEFAULT 0,
    success_n BIGINT NOT NULL DEFAULT 0, startup_sum BIGINT NOT NULL DEFAULT 0, startup_n BIGINT NOT NULL DEFAULT 0,
    smoothness_sum BIGINT NOT NULL DEFAULT 0, smoothness_n BIGINT NOT NULL DEFAULT 0,
    video_quality_sum BIGINT NOT NULL DEFAULT 0, video_quality_n BIGINT NOT NULL DEFAULT 0,
    health_sum BIGINT NOT NULL DEFAULT 0, health_n BIGINT NOT NULL DEFAULT 0,
    health_healthy BIGINT NOT NULL DEFAULT 0, health_good BIGINT NOT NULL DEFAULT 0,
    health_warning BIGINT NOT NULL DEFAULT 0, health_error BIGINT NOT NULL DEFAULT 0,
    health_unknown BIGINT NOT NULL DEFAULT 0, views_at_start BIGINT NOT NULL DEFAULT 0,
    viewers_at_start BIGINT NOT NULL DEFAULT 0, viewer_ms BIGINT NOT NULL DEFAULT 0,
    sessions BIGINT NOT NULL DEFAULT 0, crashed_sessions BIGINT NOT NULL DEFAULT 0,
    failed_sessions BIGINT NOT NULL DEFAULT 0, stalled_sessions BIGINT NOT NULL DEFAULT 0,
    last_commit BIGINT NOT NULL, layouts_opened BIGINT NOT NULL DEFAULT 0, any_stall_ms BIGINT NOT NULL DEFAULT 0,
    all_stall_ms BIGINT NOT NULL DEFAULT 0, shifts_down_tile_count BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (grain, project, bucket_us, layout_type, tile_band)
);
CREATE INDEX layout_merged_commit ON layout_merged (project, grain, last_commit);

CREATE TABLE layout_bins_delta (
    commit_id BIGINT NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    layout_type TEXT COLLATE "C" NOT NULL, tile_band TEXT COLLATE "C" NOT NULL, metric TEXT COLLATE "C" NOT NULL,
    bin TEXT COLLATE "C" NOT NULL, n BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX layout_bins_delta_bucket ON layout_bins_delta (project, bucket_us);
CREATE INDEX layout_bins_delta_commit ON layout_bins_delta (project, commit_id);
CREATE TABLE layout_bins_merged (
    grain TEXT COLLATE "C" NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    layout_type TEXT COLLATE "C" NOT NULL, tile_band TEXT COLLATE "C" NOT NULL, metric TEXT COLLATE "C" NOT NULL,
    bin TEXT COLLATE "C" NOT NULL, n BIGINT NOT NULL DEFAULT 0, last_commit BIGINT NOT NULL,
    PRIMARY KEY (grain, project, bucket_us, layout_type, tile_band, metric, bin)
);
CREATE INDEX layout_bins_merged_commit ON layout_bins_merged (project, grain, last_commit);

CREATE TABLE error_delta (
    commit_id BIGINT NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    origin TEXT COLLATE "C" NOT NULL, code TEXT COLLATE "C" NOT NULL, domain TEXT COLLATE "C" NOT NULL,
    severity TEXT COLLATE "C" NOT NULL, app_version TEXT COLLATE "C" NOT NULL, errors BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX error_delta_bucket ON error_delta (project, bucket_us);
CREATE INDEX error_delta_commit ON error_delta (project, commit_id);
CREATE TABLE error_merged (
    grain TEXT COLLATE "C" NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL,
    origin TEXT COLLATE "C" NOT NULL, code TEXT COLLATE "C" NOT NULL, domain TEXT COLLATE "C" NOT NULL,
    severity TEXT COLLATE "C" NOT NULL, app_version TEXT COLLATE "C" NOT NULL, errors BIGINT NOT NULL DEFAULT 0,
    last_commit BIGINT NOT NULL,
    PRIMARY KEY (grain, project, bucket_us, origin, code, domain, severity, app_version)
);
CREATE INDEX error_merged_commit ON error_merged (project, grain, last_commit);
CREATE INDEX error_merged_key ON error_merged (grain, project, code, bucket_us);
