-- The user of the dashboard «stream health»: it reads what the roles keep in the database, cannot write, and waits for nothing
-- long. Of upload keys and tokens there are hashes only. Run by an administrator in the product's database, whose owner is
-- `streamgauge`; compose.yaml does it when the database is made.
\getenv password GRAFANA_DB_PASSWORD
CREATE ROLE grafana_reader LOGIN PASSWORD :'password';
ALTER ROLE grafana_reader SET default_transaction_read_only = on;
ALTER ROLE grafana_reader SET statement_timeout = '20s';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO grafana_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE streamgauge IN SCHEMA public GRANT SELECT ON TABLES TO grafana_reader;
