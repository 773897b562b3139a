"""Runs statements with DuckDB over the files of a DuckLake catalogue, and says what they cost.

    python queries.py CATALOGUE.db THREADS REPEATS < STATEMENTS.json

Standard input is a JSON array of statements. Prints {"version": "..", "rss_mib": at the peak, "queries": [{"wall_ms": median,
"cpu_ms": user and system time, mean, "rows": .., "sums": {column: sum of its numbers}}, ..]}. Each statement runs once
beforehand. Rows are fetched as Python values; they are counted and added up after the last run.
"""

import json
import resource
import statistics
import sys
import time
from decimal import Decimal

import duckdb

from ducklake import connect


def measure(connection, sql, repeats):
    connection.execute(sql).fetchall()
    walls, cpu = [], time.process_time()
    for _ in range(repeats):
        begun = time.perf_counter()
        rows = connection.execute(sql).fetchall()
        walls.append(time.perf_counter() - begun)
    cpu = time.process_time() - cpu
    names = [column[0] for column in connection.description]
    is_number = lambda value: isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
    sums = {
        name: float(sum(row[idx] for row in rows))
        for idx, name in enumerate(names)
        if rows and all(is_number(row[idx]) for row in rows)
    }
    return {"wall_ms": statistics.median(walls) * 1e3, "cpu_ms": cpu / repeats * 1e3, "rows": len(rows), "sums": sums}


def main():
    catalogue, threads, repeats = sys.argv[1:]
    connection = connect(catalogue, "READ_ONLY")
    connection.execute(f"SET threads = {int(threads)}")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("USE lake.main")
    queries = [measure(connection, sql, int(repeats)) for sql in json.load(sys.stdin)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"version": duckdb.__version__, "rss_mib": peak, "queries": queries}))


main()
