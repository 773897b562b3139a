-- Bins of one bucket and keys in one row, as a JSON object like {"latency_ms:417":3}: row by row they were as many as the
-- events. The views give them one by one.

DROP INDEX stream_bins_delta_bucket;
DROP INDEX stream_bins_delta_commit;
ALTER TABLE stream_bins_delta RENAME TO stream_bins_delta_rows;
DROP INDEX stream_bins_merged_commit;
DROP INDEX stream_bins_merged_key;
ALTER TABLE stream_bins_merged RENAME TO stream_bins_merged_rows;
CREATE TABLE stream_bins_delta (
    commit_id INTEGER NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, stream_id TEXT NOT NULL,
    stream_platform TEXT NOT NULL, bins TEXT NOT NULL
);
CREATE TABLE stream_bins_merged (
    grain TEXT NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, stream_id TEXT NOT NULL,
    stream_platform TEXT NOT NULL, bins TEXT NOT NULL, last_commit INTEGER NOT NULL,
    PRIMARY KEY (grain, project, bucket_us, stream_id, stream_platform)
) WITHOUT ROWID;
INSERT INTO stream_bins_delta (commit_id, project, bucket_us, stream_id, stream_platform, bins)
    SELECT commit_id, project, bucket_us, stream_id, stream_platform, json_group_object(metric || ':' || bin, n) FROM (
        SELECT commit_id, project, bucket_us, stream_id, stream_platform, metric, bin, CAST(SUM(n) AS INTEGER) AS n
        FROM stream_bins_delta_rows GROUP BY commit_id, project, bucket_us, stream_id, stream_platform, metric, bin) AS counted
    GROUP BY commit_id, project, bucket_us, stream_id, stream_platform;
DROP TABLE stream_bins_delta_rows;
INSERT INTO stream_bins_merged (grain, project, bucket_us, stream_id, stream_platform, bins, last_commit)
    SELECT grain, project, bucket_us, stream_id, stream_platform, json_group_object(metric || ':' || bin, n), MAX(last_commit) FROM (
        SELECT grain, project, bucket_us, stream_id, stream_platform, metric, bin, CAST(SUM(n) AS INTEGER) AS n, MAX(last_commit) AS last_commit
        FROM stream_bins_merged_rows GROUP BY grain, project, bucket_us, stream_id, stream_platform, metric, bin) AS counted
    GROUP BY grain, project, bucket_us, stream_id, stream_platform;
DROP TABLE stream_bins_merged_rows;
CREATE INDEX stream_bins_delta_bucket ON stream_bins_delta (project, bucket_us);
CREATE INDEX stream_bins_delta_commit ON stream_bins_delta (project, commit_id);
CREATE INDEX stream_bins_merged_commit ON stream_bins_merged (project, grain, last_commit);
CREATE INDEX stream_bins_merged_key ON stream_bins_merged (grain, project, stream_id, stream_platform, bucket_us);
CREATE VIEW stream_bins_delta_each AS
    SELECT commit_id, project, bucket_us, stream_id, stream_platform,
        substr(bin.key, 1, instr(bin.key, ':') - 1) AS metric, substr(bin.key, instr(bin.key, ':') + 1) AS bin,
        CAST(bin.value AS INTEGER) AS n
    FROM stream_bins_delta, json_each(stream_bins_delta.bins) AS bin;
CREATE VIEW stream_bins_merged_each AS
    SELECT grain, project, bucket_us, stream_id, stream_platform,
        substr(bin.key, 1, instr(bin.key, ':') - 1) AS metric, substr(bin.key, instr(bin.key, ':') + 1) AS bin,
        CAST(bin.value AS INTEGER) AS n, last_commit
    FROM stream_bins_merged, json_each(stream_bins_merged.bins) AS bin;

DROP INDEX release_bins_delta_bucket;
DROP INDEX release_bins_delta_commit;
ALTER TABLE release_bins_delta RENAME TO release_bins_delta_rows;
DROP INDEX release_bins_merged_commit;
ALTER TABLE release_bins_merged RENAME TO release_bins_merged_rows;
CREATE TABLE release_bins_delta (
    commit_id INTEGER NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, app_version TEXT NOT NULL,
    device_platform TEXT NOT NULL, os_major TEXT NOT NULL, device_class TEXT NOT NULL, network TEXT NOT NULL,
    bins TEXT NOT NULL
);
CREATE TABLE release_bins_merged (
    grain TEXT NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, app_version TEXT NOT NULL,
    device_platform TEXT NOT NULL, os_major TEXT NOT NULL, device_class TEXT NOT NULL, network TEXT NOT NULL,
    bins TEXT NOT NULL, last_commit INTEGER NOT NULL,
    PRIMARY KEY (grain, project, bucket_us, app_version, device_platform, os_major, device_class, network)
) WITHOUT ROWID;
INSERT INTO release_bins_delta (commit_id, project, bucket_us, app_version, device_platform, os_major, device_class, network, bins)
    SELECT commit_id, project, bucket_us, app_version, device_platform, os_major, device_class, network, json_group_object(metric || ':' || bin, n) FROM (
        SELECT commit_id, project, bucket_us, app_version, device_platform, os_major, device_class, network, metric, bin, CAST(SUM(n) AS INTEGER) AS n
        FROM release_bins_delta_rows GROUP BY commit_id, project, bucket_us, app_version, device_platform, os_major, device_class, network, metric, bin) AS counted
    GROUP BY commit_id, project, bucket_us, app_version, device_platform, os_major, device_class, network;
DROP TABLE release_bins_delta_rows;
INSERT INTO release_bins_merged (grain, project, bucket_us, app_version, device_platform, os_major, device_class, network, bins, last_commit)
    SELECT grain, project, bucket_us, app_version, device_platform, os_major, device_class, network, json_group_object(metric || ':' || bin, n), MAX(last_commit) FROM (
        SELECT grain, project, bucket_us, app_version, device_platform, os_major, device_class, network, metric, bin, CAST(SUM(n) AS INTEGER) AS n, MAX(last_commit) AS last_commit
        FROM release_bins_merged_rows GROUP BY grain, project, bucket_us, app_version, device_platform, os_major, device_class, network, metric, bin) AS counted
    GROUP BY grain, project, bucket_us, app_version, device_platform, os_major, device_class, network;
DROP TABLE release_bins_merged_rows;
CREATE INDEX release_bins_delta_bucket ON release_bins_delta (project, bucket_us);
CREATE INDEX release_bins_delta_commit ON release_bins_delta (project, commit_id);
CREATE INDEX release_bins_merged_commit ON release_bins_merged (project, grain, last_commit);
CREATE VIEW release_bins_delta_each AS
    SELECT commit_id, project, bucket_us, app_version, device_platform, os_major, device_class, network,
        substr(bin.key, 1, instr(bin.key, ':') - 1) AS metric, substr(bin.key, instr(bin.key, ':') + 1) AS bin,
        CAST(bin.value AS INTEGER) AS n
    FROM release_bins_delta, json_each(release_bins_delta.bins) AS bin;
CREATE VIEW release_bins_merged_each AS
    SELECT grain, project, bucket_us, app_version, device_platform, os_major, device_class, network,
        substr(bin.key, 1, instr(bin.key, ':') - 1) AS metric, substr(bin.key, instr(bin.key, ':') + 1) AS bin,
        CAST(bin.value AS INTEGER) AS n, last_commit
    FROM release_bins_merged, json_each(release_bins_merged.bins) AS bin;

DROP INDEX layout_bins_delta_bucket;
DROP INDEX layout_bins_delta_commit;
ALTER TABLE layout_bins_delta RENAME TO layout_bins_delta_rows;
DROP INDEX layout_bins_merged_commit;
ALTER TABLE layout_bins_merged RENAME TO layout_bins_merged_rows;
CREATE TABLE layout_bins_delta (
    commit_id INTEGER NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, layout_type TEXT NOT NULL,
    tile_band TEXT NOT NULL, bins TEXT NOT NULL
);
CREATE TABLE layout_bins_merged (
    grain TEXT NOT NULL, project TEXT NOT NULL, bucket_us INTEGER NOT NULL, layout_type TEXT NOT NULL,
    tile_band TEXT NOT NULL, bins TEXT NOT NULL, last_commit INTEGER NOT NULL,
    PRIMARY KEY (grain, project, bucket_us, layout_type, tile_band)
) WITHOUT ROWID;
INSERT INTO layout_bins_delta (commit_id, project, bucket_us, layout_type, tile_band, bins)
    SELECT commit_id, project, bucket_us, layout_type, tile_band, json_group_object(metric || ':' || bin, n) FROM (
        SELECT commit_id, project, bucket_us, layout_type, tile_band, metric, bin, CAST(SUM(n) AS INTEGER) AS n
        FROM layout_bins_delta_rows GROUP BY commit_id, project, bucket_us, layout_type, tile_band, metric, bin) AS counted
    GROUP BY commit_id, project, bucket_us, layout_type, tile_band;
DROP TABLE layout_bins_delta_rows;
INSERT INTO layout_bins_merged (grain, project, bucket_us, layout_type, tile_band, bins, last_commit)
    SELECT grain, project, bucket_us, layout_type, tile_band, json_group_object(metric || ':' || bin, n), MAX(last_commit) FROM (
        SELECT grain, project, bucket_us, layout_type, tile_band, metric, bin, CAST(SUM(n) AS INTEGER) AS n, MAX(last_commit) AS last_commit
        FROM layout_bins_merged_rows GROUP BY grain, project, bucket_us, layout_type, tile_band, metric, bin) AS counted
    GROUP BY grain, project, bucket_us, layout_type, tile_band;
DROP TABLE layout_bins_merged_rows;
CREATE INDEX layout_bins_delta_bucket ON layout_bins_delta (project, bucket_us);
CREATE INDEX layout_bins_delta_commit ON layout_bins_delta (project, commit_id);
CREATE INDEX layout_bins_merged_commit ON layout_bins_merged (project, grain, last_commit);
CREATE VIEW layout_bins_delta_each AS
    SELECT commit_id, project, bucket_us, layout_type, tile_band,
        substr(bin.key, 1, instr(bin.key, ':') - 1) AS metric, substr(bin.key, instr(bin.key, ':') + 1) AS bin,
        CAST(bin.value AS INTEGER) AS n
    FROM layout_bins_delta, json_each(layout_bins_delta.bins) AS bin;
CREATE VIEW layout_bins_merged_each AS
    SELECT grain, project, bucket_us, layout_type, tile_band,
        substr(bin.key, 1, instr(bin.key, ':') - 1) AS metric, substr(bin.key, instr(bin.key, ':') + 1) AS bin,
        CAST(bin.value AS INTEGER) AS n, last_commit
    FROM layout_bins_merged, json_each(layout_bins_merged.bins) AS bin;
