"""Runs the SQL of every panel on a database of our tables, with a few rows in them, and compares figures that are known.

dashboard_sql.py URL MIGRATIONS      a server on which databases may be made, and the folder of migrations
"""

import csv
import io
import json
import os
import pathlib
import subprocess
import sys
import urllib.parse

url, migrations = sys.argv[1], pathlib.Path(sys.argv[2])
name = f"streamgauge_deploy_check_{os.getpid()}"
mine = urllib.parse.urlsplit(url)._replace(path=f"/{name}").geturl()


def psql(address, text, *options):
    command = ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", *options, address]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


FROM, TO = 1_700_000_000 // 86_400 * 86_400, 1_700_000_000 // 86_400 * 86_400 + 7200
BUCKET = FROM * 1_000_000 + 600_000_000
GAMMA = 101 / 99


def bin_of(value):
    place, power = 0, 1.0
    while int(power) < value:
        place, power = place + 1, power * GAMMA
    return place + 1


def sample():
    """Half of everything is merged and half is not. Other grains, projects and times hold what must not be counted; null is 0."""
    measures = "attempts, playback_failures, ebvs, abandoned_early, watch_ms, watch_ms_rebuffer_capable, rebuffer_ms, playing_ms"
    rows = [
        f"INSERT INTO stream_merged (grain, project, bucket_us, stream_id, stream_platform, last_commit, {measures}) VALUES"
        f" ('minute', 'default', {BUCKET}, 'twitch:a', 'twitch', 1, 60, 4, 5, 10, 3600000, 3600000, 18000, 90000),"
        f" ('hour', 'default', {FROM * 1_000_000}, 'twitch:a', 'twitch', 1, 9000, 9000, 0, 0, 0, 0, 0, 0),"
        f" ('minute', 'other', {BUCKET}, 'twitch:a', 'twitch', 1, 9000, 9000, 0, 0, 0, 0, 0, 0),"
        f" ('minute', 'default', {BUCKET}, 'twitch:c', 'twitch', 1{8 * ', NULL'}),"
        f" ('minute', 'default', {BUCKET - 86_400_000_000}, 'twitch:a', 'twitch', 1, 9000, 9000, 0, 0, 0, 0, 0, 0)",
        f"INSERT INTO stream_delta_block (commit_id, project, bucket_us, stream_id, stream_platform, {measures}) VALUES"
        f" (2, 'default', {BUCKET}, '{{twitch:a,twitch:b}}', '{{twitch,twitch}}', '{{30,10}}', '{{5,1}}', '{{4,NULL}}', NULL,"
        " '{1800000,1800000}', '{1800000,1800000}', '{9000,9000}', '{30000,NULL}')",
    ]
    merged, delta = {}, {}
    for value in range(1, 101):
        bins, name = (delta if value % 2 else merged), f"startup_ms:{bin_of(value * 10)}"
        bins[name] = bins.get(name, 0) + 1
    key = f"'default', {BUCKET}, 'twitch:a', 'twitch'"
    rows += [
        "INSERT INTO stream_merged (grain, project, bucket_us, stream_id, stream_platform, bins, last_commit)"
        f" VALUES ('minute', {key}, '{json.dumps(merged)}', 1)"
        " ON CONFLICT (grain, project, bucket_us, stream_id, stream_platform) DO UPDATE SET bins = excluded.bins",
        "INSERT INTO stream_delta_block (commit_id, project, bucket_us, stream_id, stream_platform, bins)"
        f" VALUES (3, 'default', {BUCKET}, '{{twitch:a}}', '{{twitch}}', ARRAY['{json.dumps(delta)}'])",
    ]
    return ";\n".join(rows) + ";\n"


# Of the panel of that name, the first row's column.
KNOWN = {
    ("Attempts", "attempts"): 100,
    ("Failure rate", "failure rate"): 0.1,
    ("Left while waiting", "left while waiting"): 0.1,
    ("Stalled time", "stalled time"): 0.005,
    ("Hours watched", "hours"): 2,
    ("Startup time", "95 %"): 950,
    ("Startup time", "50 %"): 500,
    ("Tiles playing at once", "tiles"): 2,
}


def main():
    problems, seen, count = [], set(), 0
    for path in sorted(migrations.glob("*.sql")):
        psql(mine, path.read_text())
    psql(mine, sample())
    for path in sorted(pathlib.Path("deploy/grafana/dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                if "rawSql" not in target:
                    continue
                count += 1
                for grain in ("minute", "hour", "day"):
                    text = target["rawSql"]
                    for macro, value in (
                        ("$__unixEpochFrom()", str(FROM)),
                        ("$__unixEpochTo()", str(TO)),
                        ("${project:sqlstring}", "'default'"),
                        ("$grain", grain),
                    ):
                        text = text.replace(macro, value)
                    try:
                        rows = list(csv.DictReader(io.StringIO(psql(mine, text, "--csv"))))
                    except RuntimeError as error:
                        problems.append(f"«{panel['title']}», {grain}: {error}")
                        continue
                    if target["format"] == "time_series" and rows and "time" not in rows[0]:
                        problems.append(f"«{panel['title']}»: a series without time")
                    for column, value in (rows[0] if rows and grain == "minute" else {}).items():
                        expected = KNOWN.get((panel["title"], column))
                        if expected is not None:
                            seen.add((panel["title"], column))
                            if abs(float(value) - expected) > 0.01 * expected:
                                problems.append(f"«{panel['title']}», {column}: {value} and not {expected}")
    problems += [f"«{title}», {column}: was not there" for title, column in KNOWN.keys() - seen]
    print("\n".join(problems))
    if problems or count < 10:
        sys.exit(f"{count} statements, {len(problems)} problems")


psql(url, f'CREATE DATABASE "{name}"')
try:
    main()
finally:
    psql(url, f'DROP DATABASE "{name}" WITH (FORCE)')
