-- Rollups of views and sessions, their distributions, and of errors: the columns of schemas/src/rollups.rs.
CREATE TABLE stream_delta (
    commit_id INTEGER NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, stream_id TEXT NOT NULL,
    stream_platform TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, started INTEGER NOT NULL DEFAULT 0,
    startup_valid INTEGER NOT NULL DEFAULT 0, startup_failures INTEGER NOT NULL DEFAULT 0,
    startup_business INTEGER NOT NULL DEFAULT 0, ebvs INTEGER NOT NULL DEFAULT 0,
    abandoned_early INTEGER NOT NULL DEFAULT 0, left_unstarted INTEGER NOT NULL DEFAULT 0,
    playback_failures INTEGER NOT NULL DEFAULT 0, errors_fatal INTEGER NOT NULL DEFAULT 0,
    errors_warning INTEGER NOT NULL DEFAULT 0, rebuffer_count INTEGER NOT NULL DEFAULT 0,
    client_rebuffers INTEGER NOT NULL DEFAULT 0, sustained_rebuffers INTEGER NOT NULL DEFAULT 0,
    seeks INTEGER NOT NULL DEFAULT 0, rendition_changes INTEGER NOT NULL DEFAULT 0,
    shifts_up INTEGER NOT NULL DEFAULT 0, shifts_down INTEGER NOT NULL DEFAULT 0,
    dropped_frames INTEGER NOT NULL DEFAULT 0, rendered_frames INTEGER NOT NULL DEFAULT 0,
    join_ms INTEGER NOT NULL DEFAULT 0, playing_ms INTEGER NOT NULL DEFAULT 0,
    rebuffer_ms INTEGER NOT NULL DEFAULT 0, seek_ms INTEGER NOT NULL DEFAULT 0,
    paused_ms INTEGER NOT NULL DEFAULT 0, watch_ms INTEGER NOT NULL DEFAULT 0,
    watch_ms_rebuffer_capable INTEGER NOT NULL DEFAULT 0, media_ms INTEGER NOT NULL DEFAULT 0,
    bitrate_ms INTEGER NOT NULL DEFAULT 0, rated_media_ms INTEGER NOT NULL DEFAULT 0,
    focus_ms INTEGER NOT NULL DEFAULT 0, audible_ms INTEGER NOT NULL DEFAULT 0,
    attention_ms INTEGER NOT NULL DEFAULT 0, attention_rebuffer_ms INTEGER NOT NULL DEFAULT 0,
    latency_ms_sum INTEGER NOT NULL DEFAULT 0, latency_n INTEGER NOT NULL DEFAULT 0,
    views_ended INTEGER NOT NULL DEFAULT 0, views_with_rebuffer INTEGER NOT NULL DEFAULT 0,
    rebuffer_capable_views INTEGER NOT NULL DEFAULT 0, success_sum INTEGER NOT NULL DEFAULT 0,
    success_n INTEGER NOT NULL DEFAULT 0, startup_sum INTEGER NOT NULL DEFAULT 0,
    startup_n INTEGER NOT NULL DEFAULT 0, smoothness_sum INTEGER NOT NULL DEFAULT 0,
    smoothness_n INTEGER NOT NULL DEFAULT 0, video_quality_sum INTEGER NOT NULL DEFAULT 0,
    video_quality_n INTEGER NOT NULL DEFAULT 0, health_sum INTEGER NOT NULL DEFAULT 0,
    health_n INTEGER NOT NULL DEFAULT 0, health_healthy INTEGER NOT NULL DEFAULT 0,
    health_good INTEGER NOT NULL DEFAULT 0, health_warning INTEGER NOT NULL DEFAULT 0,
    health_error INTEGER NOT NULL DEFAULT 0, health_unknown INTEGER NOT NULL DEFAULT 0,
    views_at_start INTEGER NOT NULL DEFAULT 0, viewers_at_start INTEGER NOT NULL DEFAULT 0,
    viewer_ms INTEGER NOT NULL DEFAULT 0, sessions INTEGER NOT NULL DEFAULT 0,
    crashed_sessions INTEGER NOT NULL DEFAULT 0, failed_sessions INTEGER NOT NULL DEFAULT 0,
    stalled_sessions INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX stream_delta_bucket ON stream_delta (project, bucket_us);
CREATE TABLE stream_merged (
    grain TEXT NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, stream_id TEXT NOT NULL,
    stream_platform TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, started INTEGER NOT NULL DEFAULT 0,
    startup_valid INTEGER NOT NULL DEFAULT 0, startup_failures INTEGER NOT NULL DEFAULT 0,
    startup_business INTEGER NOT NULL DEFAULT 0, ebvs INTEGER NOT NULL DEFAULT 0,
    abandoned_early INTEGER NOT NULL DEFAULT 0, left_unstarted INTEGER NOT NULL DEFAULT 0,
    playback_failures INTEGER NOT NULL DEFAULT 0, errors_fatal INTEGER NOT NULL DEFAULT 0,
    errors_warning INTEGER NOT NULL DEFAULT 0, rebuffer_count INTEGER NOT NULL DEFAULT 0,
    client_rebuffers INTEGER NOT NULL DEFAULT 0, sustained_rebuffers INTEGER NOT NULL DEFAULT 0,
    seeks INTEGER NOT NULL DEFAULT 0, rendition_changes INTEGER NOT NULL DEFAULT 0,
    shifts_up INTEGER NOT NULL DEFAULT 0, shifts_down INTEGER NOT NULL DEFAULT 0,
    dropped_frames INTEGER NOT NULL DEFAULT 0, rendered_frames INTEGER NOT NULL DEFAULT 0,
    join_ms INTEGER NOT NULL DEFAULT 0, playing_ms INTEGER NOT NULL DEFAULT 0,
    rebuffer_ms INTEGER NOT NULL DEFAULT 0, seek_ms INTEGER NOT NULL DEFAULT 0,
    paused_ms INTEGER NOT NULL DEFAULT 0, watch_ms INTEGER NOT NULL DEFAULT 0,
    watch_ms_rebuffer_capable INTEGER NOT NULL DEFAULT 0, media_ms INTEGER NOT NULL DEFAULT 0,
    bitrate_ms INTEGER NOT NULL DEFAULT 0, rated_media_ms INTEGER NOT NULL DEFAULT 0,
    focus_ms INTEGER NOT NULL DEFAULT 0, audible_ms INTEGER NOT NULL DEFAULT 0,
    attention_ms INTEGER NOT NULL DEFAULT 0, attention_rebuffer_ms INTEGER NOT NULL DEFAULT 0,
    latency_ms_sum INTEGER NOT NULL DEFAULT 0, latency_n INTEGER NOT NULL DEFAULT 0,
    views_ended INTEGER NOT NULL DEFAULT 0, views_with_rebuffer INTEGER NOT NULL DEFAULT 0,
    rebuffer_capable_views INTEGER NOT NULL DEFAULT 0, success_sum INTEGER NOT NULL DEFAULT 0,
    success_n INTEGER NOT NULL DEFAULT 0, startup_sum INTEGER NOT NULL DEFAULT 0,
    startup_n INTEGER NOT NULL DEFAULT 0, smoothness_sum INTEGER NOT NULL DEFAULT 0,
    smoothness_n INTEGER NOT NULL DEFAULT 0, video_quality_sum INTEGER NOT NULL DEFAULT 0,
    video_quality_n INTEGER NOT NULL DEFAULT 0, health_sum INTEGER NOT NULL DEFAULT 0,
    health_n INTEGER NOT NULL DEFAULT 0, health_healthy INTEGER NOT NULL DEFAULT 0,
    health_good INTEGER NOT NULL DEFAULT 0, health_warning INTEGER NOT NULL DEFAULT 0,
    health_error INTEGER NOT NULL DEFAULT 0, health_unknown INTEGER NOT NULL DEFAULT 0,
    views_at_start INTEGER NOT NULL DEFAULT 0, viewers_at_start INTEGER NOT NULL DEFAULT 0,
    viewer_ms INTEGER NOT NULL DEFAULT 0, sessions INTEGER NOT NULL DEFAULT 0,
    crashed_sessions INTEGER NOT NULL DEFAULT 0, failed_sessions INTEGER NOT NULL DEFAULT 0,
    stalled_sessions INTEGER NOT NULL DEFAULT 0, last_commit INTEGER NOT NULL,
    PRIMARY KEY (grain, project, bucket_us, stream_id, stream_platform)
) WITHOUT ROWID;

CREATE TABLE stream_bins_delta (
    commit_id INTEGER NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, stream_id TEXT NOT NULL,
    stream_platform TEXT NOT NULL, metric TEXT NOT NULL, bin TEXT NOT NULL, n INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX stream_bins_delta_bucket ON stream_bins_delta (project, bucket_us);
CREATE TABLE stream_bins_merged (
    grain TEXT NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, stream_id TEXT NOT NULL,
    stream_platform TEXT NOT NULL, metric TEXT NOT NULL, bin TEXT NOT NULL, n INTEGER NOT NULL DEFAULT 0,
    last_commit INTEGER NOT NULL, PRIMARY KEY (grain, project, bucket_us, stream_id, stream_platform, metric, bin)
) WITHOUT ROWID;

CREATE TABLE release_delta (
    commit_id INTEGER NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, app_version TEXT NOT NULL,
    device_platform TEXT NOT NULL, os_major TEXT NOT NULL, device_class TEXT NOT NULL, network TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, started INTEGER NOT NULL DEFAULT 0,
    startup_valid INTEGER NOT NULL DEFAULT 0, startup_failures INTEGER NOT NULL DEFAULT 0,
    startup_business INTEGER NOT NULL DEFAULT 0, ebvs INTEGER NOT NULL DEFAULT 0,
    abandoned_early INTEGER NOT NULL DEFAULT 0, left_unstarted INTEGER NOT NULL DEFAULT 0,
    playback_failures INTEGER NOT NULL DEFAULT 0, errors_fatal INTEGER NOT NULL DEFAULT 0,
    errors_warning INTEGER NOT NULL DEFAULT 0, rebuffer_count INTEGER NOT NULL DEFAULT 0,
    client_rebuffers INTEGER NOT NULL DEFAULT 0, sustained_rebuffers INTEGER NOT NULL DEFAULT 0,
    seeks INTEGER NOT NULL DEFAULT 0, rendition_changes INTEGER NOT NULL DEFAULT 0,
    shifts_up INTEGER NOT NULL DEFAULT 0, shifts_down INTEGER NOT NULL DEFAULT 0,
    dropped_frames INTEGER NOT NULL DEFAULT 0, rendered_frames INTEGER NOT NULL DEFAULT 0,
    join_ms INTEGER NOT NULL DEFAULT 0, playing_ms INTEGER NOT NULL DEFAULT 0,
    rebuffer_ms INTEGER NOT NULL DEFAULT 0, seek_ms INTEGER NOT NULL DEFAULT 0,
    paused_ms INTEGER NOT NULL DEFAULT 0, watch_ms INTEGER NOT NULL DEFAULT 0,
    watch_ms_rebuffer_capable INTEGER NOT NULL DEFAULT 0, media_ms INTEGER NOT NULL DEFAULT 0,
    bitrate_ms INTEGER NOT NULL DEFAULT 0, rated_media_ms INTEGER NOT NULL DEFAULT 0,
    focus_ms INTEGER NOT NULL DEFAULT 0, audible_ms INTEGER NOT NULL DEFAULT 0,
    attention_ms INTEGER NOT NULL DEFAULT 0, attention_rebuffer_ms INTEGER NOT NULL DEFAULT 0,
    latency_ms_sum INTEGER NOT NULL DEFAULT 0, latency_n INTEGER NOT NULL DEFAULT 0,
    views_ended INTEGER NOT NULL DEFAULT 0, views_with_rebuffer INTEGER NOT NULL DEFAULT 0,
    rebuffer_capable_views INTEGER NOT NULL DEFAULT 0, success_sum INTEGER NOT NULL DEFAULT 0,
    success_n INTEGER NOT NULL DEFAULT 0, startup_sum INTEGER NOT NULL DEFAULT 0,
    startup_n INTEGER NOT NULL DEFAULT 0, smoothness_sum INTEGER NOT NULL DEFAULT 0,
    smoothness_n INTEGER NOT NULL DEFAULT 0, video_quality_sum INTEGER NOT NULL DEFAULT 0,
    video_quality_n INTEGER NOT NULL DEFAULT 0, health_sum INTEGER NOT NULL DEFAULT 0,
    health_n INTEGER NOT NULL DEFAULT 0, health_healthy INTEGER NOT NULL DEFAULT 0,
    health_good INTEGER NOT NULL DEFAULT 0, health_warning INTEGER NOT NULL DEFAULT 0,
    health_error INTEGER NOT NULL DEFAULT 0, health_unknown INTEGER NOT NULL DEFAULT 0,
    views_at_start INTEGER NOT NULL DEFAULT 0, viewers_at_start INTEGER NOT NULL DEFAULT 0,
    viewer_ms INTEGER NOT NULL DEFAULT 0, sessions INTEGER NOT NULL DEFAULT 0,
    crashed_sessions INTEGER NOT NULL DEFAULT 0, failed_sessions INTEGER NOT NULL DEFAULT 0,
    stalled_sessions INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX release_delta_bucket ON release_delta (project, bucket_us);
CREATE TABLE release_merged (
    grain TEXT NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, app_version TEXT NOT NULL,
    device_platform TEXT NOT NULL, os_major TEXT NOT NULL, device_class TEXT NOT NULL, network TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, started INTEGER NOT NULL DEFAULT 0,
    startup_valid INTEGER NOT NULL DEFAULT 0, startup_failures INTEGER NOT NULL DEFAULT 0,
    startup_business INTEGER NOT NULL DEFAULT 0, ebvs INTEGER NOT NULL DEFAULT 0,
    abandoned_early INTEGER NOT NULL DEFAULT 0, left_unstarted INTEGER NOT NULL DEFAULT 0,
    playback_failures INTEGER NOT NULL DEFAULT 0, errors_fatal INTEGER NOT NULL DEFAULT 0,
    errors_warning INTEGER NOT NULL DEFAULT 0, rebuffer_count INTEGER NOT NULL DEFAULT 0,
    client_rebuffers INTEGER NOT NULL DEFAULT 0, sustained_rebuffers INTEGER NOT NULL DEFAULT 0,
    seeks INTEGER NOT NULL DEFAULT 0, rendition_changes INTEGER NOT NULL DEFAULT 0,
    shifts_up INTEGER NOT NULL DEFAULT 0, shifts_down INTEGER NOT NULL DEFAULT 0,
    dropped_frames INTEGER NOT NULL DEFAULT 0, rendered_frames INTEGER NOT NULL DEFAULT 0,
    join_ms INTEGER NOT NULL DEFAULT 0, playing_ms INTEGER NOT NULL DEFAULT 0,
    rebuffer_ms INTEGER NOT NULL DEFAULT 0, seek_ms INTEGER NOT NULL DEFAULT 0,
    paused_ms INTEGER NOT NULL DEFAULT 0, watch_ms INTEGER NOT NULL DEFAULT 0,
    watch_ms_rebuffer_capable INTEGER NOT NULL DEFAULT 0, media_ms INTEGER NOT NULL DEFAULT 0,
    bitrate_ms INTEGER NOT NULL DEFAULT 0, rated_media_ms INTEGER NOT NULL DEFAULT 0,
    focus_ms INTEGER NOT NULL DEFAULT 0, audible_ms INTEGER NOT NULL DEFAULT 0,
    attention_ms INTEGER NOT NULL DEFAULT 0, attention_rebuffer_ms INTEGER NOT NULL DEFAULT 0,
    latency_ms_sum INTEGER NOT NULL DEFAULT 0, latency_n INTEGER NOT NULL DEFAULT 0,
    views_ended INTEGER NOT NULL DEFAULT 0, views_with_rebuffer INTEGER NOT NULL DEFAULT 0,
    rebuffer_capable_views INTEGER NOT NULL DEFAULT 0, success_sum INTEGER NOT NULL DEFAULT 0,
    success_n INTEGER NOT NULL DEFAULT 0, startup_sum INTEGER NOT NULL DEFAULT 0,
    startup_n INTEGER NOT NULL DEFAULT 0, smoothness_sum INTEGER NOT NULL DEFAULT 0,
    smoothness_n INTEGER NOT NULL DEFAULT 0, video_quality_sum INTEGER NOT NULL DEFAULT 0,
    video_quality_n INTEGER NOT NULL DEFAULT 0, health_sum INTEGER NOT NULL DEFAULT 0,
    health_n INTEGER NOT NULL DEFAULT 0, health_healthy INTEGER NOT NULL DEFAULT 0,
    health_good INTEGER NOT NULL DEFAULT 0, health_warning INTEGER NOT NULL DEFAULT 0,
    health_error INTEGER NOT NULL DEFAULT 0, health_unknown INTEGER NOT NULL DEFAULT 0,
    views_at_start INTEGER NOT NULL DEFAULT 0, viewers_at_start INTEGER NOT NULL DEFAULT 0,
    viewer_ms INTEGER NOT NULL DEFAULT 0, sessions INTEGER NOT NULL DEFAULT 0,
    crashed_sessions INTEGER NOT NULL DEFAULT 0, failed_sessions INTEGER NOT NULL DEFAULT 0,
    stalled_sessions INTEGER NOT NULL DEFAULT 0, last_commit INTEGER NOT NULL,
    PRIMARY KEY (grain, project, bucket_us, app_version, device_platform, os_major, device_class, network)
) WITHOUT ROWID;

CREATE TABLE release_bins_delta (
    commit_id INTEGER NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, app_version TEXT NOT NULL,
    device_platform TEXT NOT NULL, os_major TEXT NOT NULL, device_class TEXT NOT NULL, network TEXT NOT NULL,
    metric TEXT NOT NULL, bin TEXT NOT NULL, n INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX release_bins_delta_bucket ON release_bins_delta (project, bucket_us);
CREATE TABLE release_bins_merged (
    grain TEXT NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, app_version TEXT NOT NULL,
    device_platform TEXT NOT NULL, os_major TEXT NOT NULL, device_class TEXT NOT NULL, network TEXT NOT NULL,
    metric TEXT NOT NULL, bin TEXT NOT NULL, n INTEGER NOT NULL DEFAULT 0, last_commit INTEGER NOT NULL,
    PRIMARY KEY (grain, project, bucket_us, app_version, device_platform, os_major, device_class, network, metric, bin)
) WITHOUT ROWID;

CREATE TABLE layout_delta (
    commit_id INTEGER NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, layout_type TEXT NOT NULL,
    tile_band TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, started INTEGER NOT NULL DEFAULT 0,
    startup_valid INTEGER NOT NULL DEFAULT 0, startup_failures INTEGER NOT NULL DEFAULT 0,
    startup_business INTEGER NOT NULL DEFAULT 0, ebvs INTEGER NOT NULL DEFAULT 0,
    abandoned_early INTEGER NOT NULL DEFAULT 0, left_unstarted INTEGER NOT NULL DEFAULT 0,
    playback_failures INTEGER NOT NULL DEFAULT 0, errors_fatal INTEGER NOT NULL DEFAULT 0,
    errors_warning INTEGER NOT NULL DEFAULT 0, rebuffer_count INTEGER NOT NULL DEFAULT 0,
    client_rebuffers INTEGER NOT NULL DEFAULT 0, sustained_rebuffers INTEGER NOT NULL DEFAULT 0,
    seeks INTEGER NOT NULL DEFAULT 0, rendition_changes INTEGER NOT NULL DEFAULT 0,
    shifts_up INTEGER NOT NULL DEFAULT 0, shifts_down INTEGER NOT NULL DEFAULT 0,
    dropped_frames INTEGER NOT NULL DEFAULT 0, rendered_frames INTEGER NOT NULL DEFAULT 0,
    join_ms INTEGER NOT NULL DEFAULT 0, playing_ms INTEGER NOT NULL DEFAULT 0,
    rebuffer_ms INTEGER NOT NULL DEFAULT 0, seek_ms INTEGER NOT NULL DEFAULT 0,
    paused_ms INTEGER NOT NULL DEFAULT 0, watch_ms INTEGER NOT NULL DEFAULT 0,
    watch_ms_rebuffer_capable INTEGER NOT NULL DEFAULT 0, media_ms INTEGER NOT NULL DEFAULT 0,
    bitrate_ms INTEGER NOT NULL DEFAULT 0, rated_media_ms INTEGER NOT NULL DEFAULT 0,
    focus_ms INTEGER NOT NULL DEFAULT 0, audible_ms INTEGER NOT NULL DEFAULT 0,
    attention_ms INTEGER NOT NULL DEFAULT 0, attention_rebuffer_ms INTEGER NOT NULL DEFAULT 0,
    latency_ms_sum INTEGER NOT NULL DEFAULT 0, latency_n INTEGER NOT NULL DEFAULT 0,
    views_ended INTEGER NOT NULL DEFAULT 0, views_with_rebuffer INTEGER NOT NULL DEFAULT 0,
    rebuffer_capable_views INTEGER NOT NULL DEFAULT 0, success_sum INTEGER NOT NULL DEFAULT 0,
    success_n INTEGER NOT NULL DEFAULT 0, startup_sum INTEGER NOT NULL DEFAULT 0,
    startup_n INTEGER NOT NULL DEFAULT 0, smoothness_sum INTEGER NOT NULL DEFAULT 0,
    smoothness_n INTEGER NOT NULL DEFAULT 0, video_quality_sum INTEGER NOT NULL DEFAULT 0,
    video_quality_n INTEGER NOT NULL DEFAULT 0, health_sum INTEGER NOT NULL DEFAULT 0,
    health_n INTEGER NOT NULL DEFAULT 0, health_healthy INTEGER NOT NULL DEFAULT 0,
    health_good INTEGER NOT NULL DEFAULT 0, health_warning INTEGER NOT NULL DEFAULT 0,
    health_error INTEGER NOT NULL DEFAULT 0, health_unknown INTEGER NOT NULL DEFAULT 0,
    views_at_start INTEGER NOT NULL DEFAULT 0, viewers_at_start INTEGER NOT NULL DEFAULT 0,
    viewer_ms INTEGER NOT NULL DEFAULT 0, sessions INTEGER NOT NULL DEFAULT 0,
    crashed_sessions INTEGER NOT NULL DEFAULT 0, failed_sessions INTEGER NOT NULL DEFAULT 0,
    stalled_sessions INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX layout_delta_bucket ON layout_delta (project, bucket_us);
CREATE TABLE layout_merged (
    grain TEXT NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, layout_type TEXT NOT NULL,
    tile_band TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, started INTEGER NOT NULL DEFAULT 0,
    startup_valid INTEGER NOT NULL DEFAULT 0, startup_failures INTEGER NOT NULL DEFAULT 0,
    startup_business INTEGER NOT NULL DEFAULT 0, ebvs INTEGER NOT NULL DEFAULT 0,
    abandoned_early INTEGER NOT NULL DEFAULT 0, left_unstarted INTEGER NOT NULL DEFAULT 0,
    playback_failures INTEGER NOT NULL DEFAULT 0, errors_fatal INTEGER NOT NULL DEFAULT 0,
    errors_warning INTEGER NOT NULL DEFAULT 0, rebuffer_count INTEGER NOT NULL DEFAULT 0,
    client_rebuffers INTEGER NOT NULL DEFAULT 0, sustained_rebuffers INTEGER NOT NULL DEFAULT 0,
    seeks INTEGER NOT NULL DEFAULT 0, rendition_changes INTEGER NOT NULL DEFAULT 0,
    shifts_up INTEGER NOT NULL DEFAULT 0, shifts_down INTEGER NOT NULL DEFAULT 0,
    dropped_frames INTEGER NOT NULL DEFAULT 0, rendered_frames INTEGER NOT NULL DEFAULT 0,
    join_ms INTEGER NOT NULL DEFAULT 0, playing_ms INTEGER NOT NULL DEFAULT 0,
    rebuffer_ms INTEGER NOT NULL DEFAULT 0, seek_ms INTEGER NOT NULL DEFAULT 0,
    paused_ms INTEGER NOT NULL DEFAULT 0, watch_ms INTEGER NOT NULL DEFAULT 0,
    watch_ms_rebuffer_capable INTEGER NOT NULL DEFAULT 0, media_ms INTEGER NOT NULL DEFAULT 0,
    bitrate_ms INTEGER NOT NULL DEFAULT 0, rated_media_ms INTEGER NOT NULL DEFAULT 0,
    focus_ms INTEGER NOT NULL DEFAULT 0, audible_ms INTEGER NOT NULL DEFAULT 0,
    attention_ms INTEGER NOT NULL DEFAULT 0, attention_rebuffer_ms INTEGER NOT NULL DEFAULT 0,
    latency_ms_sum INTEGER NOT NULL DEFAULT 0, latency_n INTEGER NOT NULL DEFAULT 0,
    views_ended INTEGER NOT NULL DEFAULT 0, views_with_rebuffer INTEGER NOT NULL DEFAULT 0,
    rebuffer_capable_views INTEGER NOT NULL DEFAULT 0, success_sum INTEGER NOT NULL DEFAULT 0,
    success_n INTEGER NOT NULL DEFAULT 0, startup_sum INTEGER NOT NULL DEFAULT 0,
    startup_n INTEGER NOT NULL DEFAULT 0, smoothness_sum INTEGER NOT NULL DEFAULT 0,
    smoothness_n INTEGER NOT NULL DEFAULT 0, video_quality_sum INTEGER NOT NULL DEFAULT 0,
    video_quality_n INTEGER NOT NULL DEFAULT 0, health_sum INTEGER NOT NULL DEFAULT 0,
    health_n INTEGER NOT NULL DEFAULT 0, health_healthy INTEGER NOT NULL DEFAULT 0,
    health_good INTEGER NOT NULL DEFAULT 0, health_warning INTEGER NOT NULL DEFAULT 0,
    health_error INTEGER NOT NULL DEFAULT 0, health_unknown INTEGER NOT NULL DEFAULT 0,
    views_at_start INTEGER NOT NULL DEFAULT 0, viewers_at_start INTEGER NOT NULL DEFAULT 0,
    viewer_ms INTEGER NOT NULL DEFAULT 0, sessions INTEGER NOT NULL DEFAULT 0,
    crashed_sessions INTEGER NOT NULL DEFAULT 0, failed_sessions INTEGER NOT NULL DEFAULT 0,
    stalled_sessions INTEGER NOT NULL DEFAULT 0, last_commit INTEGER NOT NULL,
    PRIMARY KEY (grain, project, bucket_us, layout_type, tile_band)
) WITHOUT ROWID;

CREATE TABLE layout_bins_delta (
    commit_id INTEGER NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, layout_type TEXT NOT NULL,
    tile_band TEXT NOT NULL, metric TEXT NOT NULL, bin TEXT NOT NULL, n INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX layout_bins_delta_bucket ON layout_bins_delta (project, bucket_us);
CREATE TABLE layout_bins_merged (
    grain TEXT NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, layout_type TEXT NOT NULL,
    tile_band TEXT NOT NULL, metric TEXT NOT NULL, bin TEXT NOT NULL, n INTEGER NOT NULL DEFAULT 0,
    last_commit INTEGER NOT NULL, PRIMARY KEY (grain, project, bucket_us, layout_type, tile_band, metric, bin)
) WITHOUT ROWID;

CREATE TABLE error_delta (
    commit_id INTEGER NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, origin TEXT NOT NULL,
    code TEXT NOT NULL, domain TEXT NOT NULL, severity TEXT NOT NULL, app_version TEXT NOT NULL,
    errors INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX error_delta_bucket ON error_delta (project, bucket_us);
CREATE TABLE error_merged (
    grain TEXT NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, origin TEXT NOT NULL,
    code TEXT NOT NULL, domain TEXT NOT NULL, severity TEXT NOT NULL, app_version TEXT NOT NULL,
    errors INTEGER NOT NULL DEFAULT 0, last_commit INTEGER NOT NULL,
    PRIMARY KEY (grain, project, bucket_us, origin, code, domain, severity, app_version)
) WITHOUT ROWID;

-- Which buckets changed since a commit.
CREATE INDEX usage_merged_commit ON usage_merged (project, grain, last_commit);
CREATE INDEX usage_delta_commit ON usage_delta (project, commit_id);
CREATE INDEX quality_merged_commit ON quality_merged (project, grain, last_commit);
CREATE INDEX quality_delta_commit ON quality_delta (project, commit_id);
CREATE INDEX stream_merged_commit ON stream_merged (project, grain, last_commit);
CREATE INDEX stream_delta_commit ON stream_delta (project, commit_id);
CREATE INDEX stream_bins_merged_commit ON stream_bins_merged (project, grain, last_commit);
CREATE INDEX stream_bins_delta_commit ON stream_bins_delta (project, commit_id);
CREATE INDEX release_merged_commit ON release_merged (project, grain, last_commit);
CREATE INDEX release_delta_commit ON release_delta (project, commit_id);
CREATE INDEX release_bins_merged_commit ON release_bins_merged (project, grain, last_commit);
CREATE INDEX release_bins_delta_commit ON release_bins_delta (project, commit_id);
CREATE INDEX layout_merged_commit ON layout_merged (project, grain, last_commit);
CREATE INDEX layout_delta_commit ON layout_delta (project, commit_id);
CREATE INDEX layout_bins_merged_commit ON layout_bins_merged (project, grain, last_commit);
CREATE INDEX layout_bins_delta_commit ON layout_bins_delta (project, commit_id);
CREATE INDEX error_merged_commit ON error_merged (project, grain, last_commit);
CREATE INDEX error_delta_commit ON error_delta (project, commit_id);
