-- Sums and distributions of one bucket and keys are one row, of deltas and of merged rows: they are written together, and the
-- rows of distributions were half of all.

ALTER TABLE stream_delta ADD COLUMN bins TEXT;
INSERT INTO stream_delta (commit_id, project, bucket_us, stream_id, stream_platform, bins)
    SELECT commit_id, project, bucket_us, stream_id, stream_platform, bins FROM stream_bins_delta;
ALTER TABLE stream_merged ADD COLUMN bins TEXT;
INSERT INTO stream_merged (grain, project, bucket_us, stream_id, stream_platform, bins, last_commit)
    SELECT grain, project, bucket_us, stream_id, stream_platform, bins, last_commit FROM stream_bins_merged WHERE true
    ON CONFLICT (grain, project, bucket_us, stream_id, stream_platform) DO UPDATE SET bins = excluded.bins,
        last_commit = CASE WHEN stream_merged.last_commit > excluded.last_commit THEN stream_merged.last_commit ELSE excluded.last_commit END;
DROP VIEW stream_bins_delta_each;
DROP VIEW stream_bins_merged_each;
DROP TABLE stream_bins_delta;
DROP TABLE stream_bins_merged;
CREATE VIEW stream_bins_delta_each AS
    SELECT commit_id, project, bucket_us, stream_id, stream_platform,
        substr(bin.key, 1, instr(bin.key, ':') - 1) AS metric, substr(bin.key, instr(bin.key, ':') + 1) AS bin,
        CAST(bin.value AS INTEGER) AS n
    FROM stream_delta, json_each(stream_delta.bins) AS bin;
CREATE VIEW stream_bins_merged_each AS
    SELECT grain, project, bucket_us, stream_id, stream_platform,
        substr(bin.key, 1, instr(bin.key, ':') - 1) AS metric, substr(bin.key, instr(bin.key, ':') + 1) AS bin,
        CAST(bin.value AS INTEGER) AS n, last_commit
    FROM stream_merged, json_each(stream_merged.bins) AS bin;

ALTER TABLE release_delta ADD COLUMN bins TEXT;
INSERT INTO release_delta (commit_id, project, bucket_us, app_version, device_platform, os_major, device_class, network, bins)
    SELECT commit_id, project, bucket_us, app_version, device_platform, os_major, device_class, network, bins FROM release_bins_delta;
ALTER TABLE release_merged ADD COLUMN bins TEXT;
INSERT INTO release_merged (grain, project, bucket_us, app_version, device_platform, os_major, device_class, network, bins, last_commit)
    SELECT grain, project, bucket_us, app_version, device_platform, os_major, device_class, network, bins, last_commit FROM release_bins_merged WHERE true
    ON CONFLICT (grain, project, bucket_us, app_version, device_platform, os_major, device_class, network) DO UPDATE SET bins = excluded.bins,
        last_commit = CASE WHEN release_merged.last_commit > excluded.last_commit THEN release_merged.last_commit ELSE excluded.last_commit END;
DROP VIEW release_bins_delta_each;
DROP VIEW release_bins_merged_each;
DROP TABLE release_bins_delta;
DROP TABLE release_bins_merged;
CREATE VIEW release_bins_delta_each AS
    SELECT commit_id, project, bucket_us, app_version, device_platform, os_major, device_class, network,
        substr(bin.key, 1, instr(bin.key, ':') - 1) AS metric, substr(bin.key, instr(bin.key, ':') + 1) AS bin,
        CAST(bin.value AS INTEGER) AS n
    FROM release_delta, json_each(release_delta.bins) AS bin;
CREATE VIEW release_bins_merged_each AS
    SELECT grain, project, bucket_us, app_version, device_platform, os_major, device_class, network,
        substr(bin.key, 1, instr(bin.key, ':') - 1) AS metric, substr(bin.key, instr(bin.key, ':') + 1) AS bin,
        CAST(bin.value AS INTEGER) AS n, last_commit
    FROM release_merged, json_each(release_merged.bins) AS bin;

ALTER TABLE layout_delta ADD COLUMN bins TEXT;
INSERT INTO layout_delta (commit_id, project, bucket_us, layout_type, tile_band, bins)
    SELECT commit_id, project, bucket_us, layout_type, tile_band, bins FROM layout_bins_delta;
ALTER TABLE layout_merged ADD COLUMN bins TEXT;
INSERT INTO layout_merged (grain, project, bucket_us, layout_type, tile_band, bins, last_commit)
    SELECT grain, project, bucket_us, layout_type, tile_band, bins, last_commit FROM layout_bins_merged WHERE true
    ON CONFLICT (grain, project, bucket_us, layout_type, tile_band) DO UPDATE SET bins = excluded.bins,
        last_commit = CASE WHEN layout_merged.last_commit > excluded.last_commit THEN layout_merged.last_commit ELSE excluded.last_commit END;
DROP VIEW layout_bins_delta_each;
DROP VIEW layout_bins_merged_each;
DROP TABLE layout_bins_delta;
DROP TABLE layout_bins_merged;
CREATE VIEW layout_bins_delta_each AS
    SELECT commit_id, project, bucket_us, layout_type, tile_band,
        substr(bin.key, 1, instr(bin.key, ':') - 1) AS metric, substr(bin.key, instr(bin.key, ':') + 1) AS bin,
        CAST(bin.value AS INTEGER) AS n
    FROM layout_delta, json_each(layout_delta.bins) AS bin;
CREATE VIEW layout_bins_merged_each AS
    SELECT grain, project, bucket_us, layout_type, tile_band,
        substr(bin.key, 1, instr(bin.key, ':') - 1) AS metric, substr(bin.key, instr(bin.key, ':') + 1) AS bin,
        CAST(bin.value AS INTEGER) AS n, last_commit
    FROM layout_merged, json_each(layout_merged.bins) AS bin;

-- Which buckets changed is asked by bucket, so it is kept by bucket: an index of all merged rows by their last commit had to
-- be written with each of them again and again.
CREATE TABLE changed_buckets (
    rollup TEXT NOT NULL, grain TEXT NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, last_commit INTEGER NOT NULL,
    PRIMARY KEY (rollup, grain, project, bucket_us)
) WITHOUT ROWID;
CREATE INDEX changed_buckets_commit ON changed_buckets (rollup, grain, project, last_commit);
INSERT INTO changed_buckets (rollup, grain, project, bucket_us, last_commit)
    SELECT 'usage', grain, project, bucket_us, MAX(last_commit) FROM usage_merged GROUP BY grain, project, bucket_us;
DROP INDEX usage_merged_commit;
INSERT INTO changed_buckets (rollup, grain, project, bucket_us, last_commit)
    SELECT 'quality', grain, project, bucket_us, MAX(last_commit) FROM quality_merged GROUP BY grain, project, bucket_us;
DROP INDEX quality_merged_commit;
INSERT INTO changed_buckets (rollup, grain, project, bucket_us, last_commit)
    SELECT 'stream', grain, project, bucket_us, MAX(last_commit) FROM stream_merged GROUP BY grain, project, bucket_us;
DROP INDEX stream_merged_commit;
INSERT INTO changed_buckets (rollup, grain, project, bucket_us, last_commit)
    SELECT 'release', grain, project, bucket_us, MAX(last_commit) FROM release_merged GROUP BY grain, project, bucket_us;
DROP INDEX release_merged_commit;
INSERT INTO changed_buckets (rollup, grain, project, bucket_us, last_commit)
    SELECT 'layout', grain, project, bucket_us, MAX(last_commit) FROM layout_merged GROUP BY grain, project, bucket_us;
DROP INDEX layout_merged_commit;
INSERT INTO changed_buckets (rollup, grain, project, bucket_us, last_commit)
    SELECT 'error', grain, project, bucket_us, MAX(last_commit) FROM error_merged GROUP BY grain, project, bucket_us;
DROP INDEX error_merged_commit;
