-- Blocks that are there keep zeroes, which say the same as null.
DO $$
DECLARE
    rollup TEXT;
    of_array TEXT;
BEGIN
    FOREACH rollup IN ARRAY ARRAY['usage', 'quality', 'ledger', 'stream', 'release', 'layout', 'error'] LOOP
        FOR of_array IN SELECT attname FROM pg_attribute WHERE attrelid = (rollup || '_delta_block')::regclass AND attnum > 3 LOOP
            BEGIN
                EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET COMPRESSION lz4', rollup || '_delta_block', of_array);
            EXCEPTION WHEN feature_not_supported THEN
                EXIT;
            END;
        END LOOP;
    END LOOP;
END $$;
