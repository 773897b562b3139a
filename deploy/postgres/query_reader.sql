-- The user of query services: it reads what the roles keep in the database, and writes nothing. Run by an administrator in the
-- product's database, whose owner is `streamgauge`, at any time; `compose.yaml` does it when the database is made. Where the owner
-- has another name, or tables are there already, `roles.sql` is the way.
\getenv password QUERY_DB_PASSWORD
CREATE ROLE query_reader LOGIN PASSWORD :'password';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO query_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE streamgauge IN SCHEMA public GRANT SELECT ON TABLES TO query_reader;
