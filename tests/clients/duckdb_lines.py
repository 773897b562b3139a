"""Runs statements with DuckDB as its command does when it is called as `duckdb -bail -jsonlines`.

    python duckdb_lines.py [ARGUMENT ..] < STATEMENTS

Each line of standard input is one statement. It runs when its line has come, and its rows are printed at once, one JSON object a
line, so that a program can ask and read in turn. The extensions of installed packages are loaded beforehand; arguments are
ignored. A statement that fails ends it, with the reason on standard error and exit code 1.
"""

import sys

import duckdb

from ducklake import with_extensions

ROWS_AT_ONCE = 5_000


def main():
    connection = with_extensions("sqlite_scanner", "postgres_scanner", "ducklake")
    for line in sys.stdin:
        statement = line.strip().rstrip(";")
        if not statement:
            continue
        # DuckDB writes the JSON, so that values look as they do in its own command.
        asks = statement.upper().startswith("SELECT")
        result = connection.execute(f"SELECT to_json(answer)::VARCHAR FROM ({statement}) answer" if asks else statement)
        while asks and (rows := result.fetchmany(ROWS_AT_ONCE)):
            sys.stdout.write("".join(f"{row}\n" for (row,) in rows))
        sys.stdout.flush()


try:
    main()
except duckdb.Error as error:
    sys.exit(str(error))
