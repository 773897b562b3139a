-- Least-privileged roles of the warehouse's database. Run it once, connected to that database as the role that the processor
-- uses (which owns the tables and migrates them), with the right to create roles:
--
--   psql "$STREAMGAUGE_WAREHOUSE_URL" -f deploy/postgres/roles.sql
--   CREATE ROLE query LOGIN PASSWORD '..' IN ROLE streamgauge_reader;
--   CREATE ROLE alice LOGIN PASSWORD '..' IN ROLE streamgauge_analyst;
--
-- Both read and write nothing. Later tables are covered too, if the same role makes them. May be run again.

DO $$
DECLARE
    role TEXT;
BEGIN
    FOREACH role IN ARRAY ARRAY['streamgauge_reader', 'streamgauge_analyst'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO streamgauge_reader, streamgauge_analyst', current_database());
END $$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO streamgauge_reader, streamgauge_analyst;

-- For the roles `query` and `ingest` of the program: it opens a warehouse that a processor has brought up to date.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO streamgauge_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO streamgauge_reader;

-- For people with DuckDB, psql and the like: the lake's catalogue, rollups and books of all projects, but not who has which
-- key. They need read access to the lake folder or bucket as well.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO streamgauge_analyst;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO streamgauge_analyst;
REVOKE ALL ON upload_keys, service_tokens FROM streamgauge_analyst;
