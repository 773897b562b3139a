-- One stream or one error over a long time: without these its rows are looked for among those of all others.
CREATE INDEX stream_merged_key ON stream_merged (grain, project, stream_id, stream_platform, bucket_us);
CREATE INDEX stream_bins_merged_key ON stream_bins_merged (grain, project, stream_id, stream_platform, bucket_us);
CREATE INDEX error_merged_key ON error_merged (grain, project, code, bucket_us);
