-- Least-privileged roles of the warehouse's database. Run it once a processor has made the tables, and again after an upgrade:
-- a table that is new then is not shown to analysts before. Connected to that database as the role that the processor uses
-- (which owns the tables and migrates them), with the right to create roles:
--
--   psql -v ON_ERROR_STOP=1 "$STREAMGAUGE_WAREHOUSE_URL" -f deploy/postgres/roles.sql
--   CREATE ROLE query LOGIN PASSWORD '..' IN ROLE streamgauge_reader;
--   CREATE ROLE alice LOGIN PASSWORD '..' IN ROLE streamgauge_analyst;
--
-- Both read and write nothing.

DO $$
DECLARE
    role TEXT;
BEGIN
    IF to_regclass('public.upload_keys') IS NULL OR to_regclass('public.service_tokens') IS NULL THEN
        RAISE EXCEPTION 'there are no tables yet: start a processor first';
    END IF;
    FOREACH role IN ARRAY ARRAY['streamgauge_reader', 'streamgauge_analyst'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO streamgauge_reader, streamgauge_analyst', current_database());
END $$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO streamgauge_reader, streamgauge_analyst;

-- For the roles `query` and `ingest` of the program: it opens a warehouse that a processor has brought up to date. Tables that
-- come later are read too.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO streamgauge_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO streamgauge_reader;

-- For people with DuckDB, psql and the like: the lake's catalogue, rollups and books of all projects, but not who has which
-- key. They need read access to the lake folder or bucket as well.
DO $$
DECLARE
    shown REGCLASS;
BEGIN
    FOR shown IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')
            AND relname NOT IN ('upload_keys', 'service_tokens') LOOP
        EXECUTE format('GRANT SELECT ON TABLE %s TO streamgauge_analyst', shown);
    END LOOP;
    REVOKE ALL ON upload_keys, service_tokens FROM streamgauge_analyst;
END $$;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM streamgauge_analyst;
