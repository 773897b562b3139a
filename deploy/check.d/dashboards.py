"""Dashboards are whole: ids and places are their own, data sources are provisioned, panels say what they show.

dashboards.py FILE      writes all PromQL to FILE as rules, for promtool to read
"""

import json
import pathlib
import re
import sys

import yaml

folder = pathlib.Path("deploy/grafana")
problems, expressions, uids = [], [], {}
provisioned = yaml.safe_load((folder / "provisioning/datasources/streamgauge.yaml").read_text())["datasources"]
sources = {(each["type"], each["uid"]) for each in provisioned}


def must(holds, text):
    if not holds:
        problems.append(text)


for path in sorted((folder / "dashboards").glob("*.json")):
    board = json.loads(path.read_text())
    must(uids.setdefault(board["uid"], path) == path, f"{path}: uid {board['uid']} is that of {uids[board['uid']]}")
    must(board["title"] and board["description"], f"{path}: no title or description")
    names = {variable["name"] for variable in board["templating"]["list"]}
    ids, taken = set(), {}
    for panel in board["panels"]:
        where = f"{path.name}, «{panel['title']}»"
        must(panel["id"] not in ids, f"{where}: id {panel['id']} is used twice")
        ids.add(panel["id"])
        place = panel["gridPos"]
        must(place["x"] + place["w"] <= 24, f"{where}: beyond the page")
        for cell in ((x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])):
            must(taken.setdefault(cell, where) == where, f"{where}: lies over {taken[cell]}")
        if panel["type"] == "row":
            continue
        must(panel.get("description"), f"{where}: says not what it shows")
        must(panel["targets"], f"{where}: asks nothing")
        for target in panel["targets"]:
            source = target["datasource"]
            must((source["type"], source["uid"]) in sources, f"{where}: data source {source} is not provisioned")
            text = target.get("expr") or target["rawSql"]
            used = {name for name in re.findall(r"\$\{?(\w+)", text) if not name.startswith("__")}
            must(used <= names, f"{where}: unknown variables {used - names}")
            if "expr" in target:
                expressions.append(target["expr"].replace("$__rate_interval", "1m"))

rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions)]
pathlib.Path(sys.argv[1]).write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
must(len(expressions) > 20 and len(uids) == 2, "dashboards or expressions were not found")
print("\n".join(problems))
sys.exit(bool(problems))
