"""Reads a DuckLake catalogue with DuckDB, read-only, as a reader that shares no code with the product.

    python ducklake.py CATALOGUE.db|postgres://.. [--at VERSION]
    python ducklake.py --ddl [postgres://..]

The first form prints, of the newest snapshot or of the given one:

    {"snapshot": newest snapshot id, "at": VERSION or null,
     "tables": {table of schema main: rows},
     "events": {"by_type": {type: rows}, "by_project": {project: rows}, "min_corrected_at", "max_corrected_at" (RFC 3339 with
                microseconds, or null), "sum_log_position", "distinct_event_ids"},
     "records": {"events", "stored", "duplicate", "quarantined", "suppressed": sums},
     "quarantine": {"by_reason": {reason: rows}},
     "views": {"playing_ms", "rebuffer_ms", "revisions": sums}, "slices": {"attempts", "playing_ms", "viewer_ms", "any_stall_ms": sums},
     "app_sessions": {"duration_ms", "viewer_ms": sums}}

A part whose table is not in that snapshot is null. The second form lets DuckDB create a catalogue of version 1.0 on SQLite in a
temporary folder, or in a schema of its own on that server, and prints {ducklake_* table: [[column, type], ..]}.

A lake in a bucket is read with the variables that the product has for it: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION.
"""

import argparse
import glob
import importlib.util
import json
import os
import sqlite3
import tempfile
import uuid
from datetime import datetime, timedelta, timezone

import duckdb

RECORD_SUMS = ("events", "stored", "duplicate", "quarantined", "suppressed")


def is_postgres(catalogue):
    return catalogue.startswith(("postgres://", "postgresql://"))


def connect(catalogue, options):
    """Opens DuckDB with the catalogue attached as `lake`."""
    kind = "postgres" if is_postgres(catalogue) else "sqlite"
    connection = with_extensions(f"{kind}_scanner", "ducklake")
    connection.execute(f"ATTACH {literal(f'ducklake:{kind}:{catalogue}')} AS lake ({options})")
    return connection


def with_extensions(*names):
    """Opens DuckDB; the extensions are files of installed packages. With a store in the environment it reads its buckets."""
    config = {"allow_unsigned_extensions": "true", "autoinstall_known_extensions": "false"}
    connection = duckdb.connect(config=config)
    store = os.environ.get("AWS_ENDPOINT_URL")
    for name in (*names, "httpfs") if store else names:
        home = importlib.util.find_spec(f"duckdb_extension_{name}").submodule_search_locations[0]
        (file,) = glob.glob(os.path.join(home, "extensions", "*", f"{name}.duckdb_extension"))
        connection.execute(f"LOAD {literal(file)}")
    if store:
        connection.execute(bucket_secret(store))
    return connection


def bucket_secret(store):
    """The statement that lets DuckDB read buckets of the store at this URL, with the keys of the environment."""
    scheme, _, endpoint = store.partition("://")
    options = {
        "KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
        "SECRET": os.environ["AWS_SECRET_ACCESS_KEY"],
        "REGION": os.environ.get("AWS_REGION", "us-east-1"),
        "ENDPOINT": endpoint,
        "URL_STYLE": "path",
    }
    given = "".join(f", {name} {literal(value)}" for name, value in options.items())
    return f"CREATE SECRET (TYPE s3{given}, USE_SSL {str(scheme == 'https').lower()})"


def literal(text):
    return "'" + text.replace("'", "''") + "'"


def rfc3339(microseconds):
    if microseconds is None:
        return None
    time = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=microseconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def report(catalogue, at):
    if not is_postgres(catalogue) and not os.path.isfile(catalogue):
        raise SystemExit(f"no such file: {catalogue}")
    connection = connect(catalogue, "READ_ONLY")
    # One transaction, so that every number is of the same snapshot while a server goes on committing.
    connection.execute("BEGIN TRANSACTION")
    rows = lambda sql: connection.execute(sql).fetchall()
    newest = rows("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')")[0][0]
    version = newest if at is None else at
    catalogue_tables = "__ducklake_metadata_lake." + ("public" if is_postgres(catalogue) else "main")
    tables = [name for (name,) in rows(
        f"SELECT t.table_name FROM {catalogue_tables}.ducklake_table t"
        f" JOIN {catalogue_tables}.ducklake_schema s USING (schema_id) WHERE s.schema_name = 'main'"
        f" AND t.begin_snapshot <= {version} AND coalesce(t.end_snapshot, {version} + 1) > {version} ORDER BY 1"
    )]
    of = lambda table: f'lake.main."{table}" AT (VERSION => {version})'
    counts = lambda table, column: dict(rows(f"SELECT {column}, count(*) FROM {of(table)} GROUP BY 1 ORDER BY 1"))

    events = records = quarantine = None
    if "events" in tables:
        first, last, positions, ids = rows(
            "SELECT epoch_us(min(corrected_at)), epoch_us(max(corrected_at)), coalesce(sum(log_position), 0),"
            f" count(DISTINCT event_id) FROM {of('events')}"
        )[0]
        events = {
            "by_type": counts("events", "type"),
            "by_project": counts("events", "project"),
            "min_corrected_at": rfc3339(first),
            "max_corrected_at": rfc3339(last),
            "sum_log_position": int(positions),
            "distinct_event_ids": ids,
        }
    if "records" in tables:
        sums = ", ".join(f"coalesce(sum({column}), 0)" for column in RECORD_SUMS)
        records = dict(zip(RECORD_SUMS, map(int, rows(f"SELECT {sums} FROM {of('records')}")[0])))
    if "quarantine" in tables:
        quarantine = {"by_reason": counts("quarantine", "reason")}
    sums_of = lambda table, columns: dict(zip(columns, map(int, rows(
        "SELECT " + ", ".join(f"coalesce(sum({column}), 0)" for column in columns.values()) + f" FROM {of(table)}"
    )[0]))) if table in tables else None
    return {
        "snapshot": newest,
        "at": at,
        "tables": {table: rows(f"SELECT count(*) FROM {of(table)}")[0][0] for table in tables},
        "events": events,
        "records": records,
        "quarantine": quarantine,
        "views": sums_of("views", {"playing_ms": "playing_ms", "rebuffer_ms": "rebuffer_ms", "revisions": "revision"}),
        "slices": sums_of("slices", {name: name for name in ("attempts", "playing_ms", "viewer_ms", "any_stall_ms")}),
        "app_sessions": sums_of("app_sessions", {"duration_ms": "duration_ms", "viewer_ms": "viewer_ms"}),
    }


def ddl():
    with tempfile.TemporaryDirectory() as folder:
        catalogue = os.path.join(folder, "catalogue.db")
        connect(catalogue, f"DATA_PATH {literal(os.path.join(folder, 'lake'))}").close()
        database = sqlite3.connect(catalogue)
        ((version,),) = database.execute("SELECT value FROM ducklake_metadata WHERE key = 'version'")
        if version != "1.0":
            raise SystemExit(f"this DuckDB creates version {version}, not 1.0")
        tables = [name for (name,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'ducklake_*' ORDER BY name"
        )]
        columns = lambda table: [list(row) for row in database.execute("SELECT name, type FROM pragma_table_info(?)", (table,))]
        result = {table: columns(table) for table in tables}
        database.close()
    return result


def ddl_on_postgres(url):
    schema = f"reference_{uuid.uuid4().hex}"
    server = with_extensions("postgres_scanner")
    server.execute(f"ATTACH {literal(url)} AS server (TYPE postgres)")
    run = lambda sql: server.execute(f"CALL postgres_execute('server', {literal(sql)})")
    ask = lambda sql: server.execute(f"SELECT * FROM postgres_query('server', {literal(sql)})").fetchall()
    run(f"CREATE SCHEMA {schema}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            connect(url, f"DATA_PATH {literal(folder)}, META_SCHEMA {literal(schema)}").close()
        ((version,),) = ask(f"SELECT value::text FROM {schema}.ducklake_metadata WHERE key = 'version'")
        if version != "1.0":
            raise SystemExit(f"this DuckDB creates version {version}, not 1.0")
        result = {}
        for table, column, type_name in ask(
            "SELECT table_name::text, column_name::text, udt_name::text FROM information_schema.columns"
            f" WHERE table_schema = '{schema}' AND table_name LIKE 'ducklake%' ORDER BY table_name, ordinal_position"
        ):
            type_name = {"int8": "BIGINT", "bool": "BOOLEAN"}.get(type_name, type_name.upper())
            result.setdefault(table, []).append([column, type_name])
    finally:
        run(f"DROP SCHEMA {schema} CASCADE")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalogue", nargs="?")
    parser.add_argument("--at", type=int, metavar="VERSION")
    parser.add_argument("--ddl", action="store_true")
    arguments = parser.parse_args()
    if arguments.ddl:
        result = ddl_on_postgres(arguments.catalogue) if arguments.catalogue else ddl()
    elif arguments.catalogue:
        result = report(arguments.catalogue, arguments.at)
    else:
        parser.error("either a catalogue or --ddl")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
