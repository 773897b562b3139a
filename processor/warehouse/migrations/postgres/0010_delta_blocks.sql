-- Deltas of one commit, project and bucket are one row, column by column: `<rollup>_delta_block`. Row by row each took ten times as
-- long to write and twenty times as long to delete, with four times the room. `<rollup>_delta` is a view with the rows that it was. A
-- measure of 0 is null, in the view too; bins are texts, which only the view reads as JSON.
DO $$
DECLARE
    rollup TEXT;
    kept TEXT;          -- `stream_id TEXT[] COLLATE "C" NOT NULL, attempts BIGINT[], .., bins TEXT[]`
    gathered TEXT;      -- `array_agg(stream_id), array_agg(nullif(attempts, 0)), .., array_agg(CAST(bins AS TEXT))`
    names TEXT;         -- `stream_id, attempts, .., bins`
    given TEXT;         -- `block.stream_id, block.attempts, .., block.bins`
    of_array TEXT;      -- a column of arrays
    shown TEXT;         -- `delta.stream_id COLLATE "C" AS stream_id, delta.attempts, .., CAST(delta.bins AS JSONB) AS bins`
BEGIN
    FOREACH rollup IN ARRAY ARRAY['usage', 'quality', 'ledger', 'stream', 'release', 'layout', 'error'] LOOP
        SELECT string_agg(CASE atttypid WHEN 'text'::regtype THEN format('%I TEXT[] COLLATE "C" NOT NULL', attname)
                   WHEN 'jsonb'::regtype THEN format('%I TEXT[]', attname) ELSE format('%I BIGINT[]', attname) END, ', ' ORDER BY attnum),
               string_agg(CASE atttypid WHEN 'text'::regtype THEN format('array_agg(%I)', attname)
                   WHEN 'jsonb'::regtype THEN format('array_agg(CAST(%I AS TEXT))', attname)
                   ELSE format('array_agg(nullif(%I, 0))', attname) END, ', ' ORDER BY attnum),
               string_agg(quote_ident(attname), ', ' ORDER BY attnum),
               string_agg(format('block.%I', attname), ', ' ORDER BY attnum),
               string_agg(CASE atttypid WHEN 'text'::regtype THEN format('delta.%1$I COLLATE "C" AS %1$I', attname)
                   WHEN 'jsonb'::regtype THEN format('CAST(delta.%1$I AS JSONB) AS %1$I', attname)
                   ELSE format('delta.%I', attname) END, ', ' ORDER BY attnum)
            INTO kept, gathered, names, given, shown FROM pg_attribute
            WHERE attrelid = (rollup || '_delta')::regclass AND attnum > 0 AND NOT attisdropped
                AND attname NOT IN ('commit_id', 'project', 'bucket_us');
        EXECUTE format('CREATE TABLE %I (commit_id BIGINT NOT NULL, project TEXT COLLATE "C" NOT NULL, bucket_us BIGINT NOT NULL, %s)',
            rollup || '_delta_block', kept);
        -- The default method takes five times as long. A server may have been built without this one.
        FOR of_array IN SELECT attname FROM pg_attribute WHERE attrelid = (rollup || '_delta_block')::regclass AND attnum > 3 LOOP
            BEGIN
                EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET COMPRESSION lz4', rollup || '_delta_block', of_array);
            EXCEPTION WHEN feature_not_supported THEN
                EXIT;
            END;
        END LOOP;
        EXECUTE format('INSERT INTO %I (commit_id, project, bucket_us, %s) SELECT commit_id, project, bucket_us, %s FROM %I '
            'GROUP BY commit_id, project, bucket_us', rollup || '_delta_block', names, gathered, rollup || '_delta');
        EXECUTE format('DROP VIEW IF EXISTS %I', rollup || '_bins_delta_each');
        EXECUTE format('DROP TABLE %I', rollup || '_delta');
        EXECUTE format('CREATE INDEX ON %I (commit_id)', rollup || '_delta_block');
        EXECUTE format('CREATE INDEX ON %I (project, bucket_us)', rollup || '_delta_block');
        EXECUTE format('CREATE VIEW %I AS SELECT block.commit_id, block.project, block.bucket_us, %s FROM %I AS block, unnest(%s) AS delta (%s)',
            rollup || '_delta', shown, rollup || '_delta_block', given, names);
    END LOOP;
END $$;

CREATE VIEW stream_bins_delta_each AS
    SELECT commit_id, project, bucket_us, stream_id, stream_platform,
        split_part(bin.key, ':', 1) COLLATE "C" AS metric, split_part(bin.key, ':', 2) COLLATE "C" AS bin,
        CAST(bin.value AS BIGINT) AS n
    FROM stream_delta, jsonb_each(stream_delta.bins) AS bin;
CREATE VIEW release_bins_delta_each AS
    SELECT commit_id, project, bucket_us, app_version, device_platform, os_major, device_class, network,
        split_part(bin.key, ':', 1) COLLATE "C" AS metric, split_part(bin.key, ':', 2) COLLATE "C" AS bin,
        CAST(bin.value AS BIGINT) AS n
    FROM release_delta, jsonb_each(release_delta.bins) AS bin;
CREATE VIEW layout_bins_delta_each AS
    SELECT commit_id, project, bucket_us, layout_type, tile_band,
        split_part(bin.key, ':', 1) COLLATE "C" AS metric, split_part(bin.key, ':', 2) COLLATE "C" AS bin,
        CAST(bin.value AS BIGINT) AS n
    FROM layout_delta, jsonb_each(layout_delta.bins) AS bin;
