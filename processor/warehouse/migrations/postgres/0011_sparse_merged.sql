-- Merged rows of views have null for a measure of 0 too: they tell some dozen of 65, and took 1.2 KB each.
DO $$
DECLARE
    wide TEXT;
    changes TEXT;
BEGIN
    FOREACH wide IN ARRAY ARRAY['stream_merged', 'release_merged', 'layout_merged'] LOOP
        SELECT string_agg(format('ALTER COLUMN %1$I DROP NOT NULL, ALTER COLUMN %1$I DROP DEFAULT', attname), ', ')
            INTO changes FROM pg_attribute WHERE attrelid = wide::regclass AND atthasdef AND NOT attisdropped;
        EXECUTE format('ALTER TABLE %I %s', wide, changes);
    END LOOP;
END $$;
