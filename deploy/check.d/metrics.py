"""Every metric that a rule, a test of a rule or a dashboard names is one of the program's, and every runbook's heading exists."""

import pathlib
import re
import sys

# Named in alerts before the program has them. Take a name away when it does.
ANNOUNCED: set[str] = set()

folders = ("src", "ingest", "processor", "query")
sources = [path.read_text() for folder in folders for path in pathlib.Path(folder).rglob("*.rs")]
known = {name for text in sources for name in re.findall(r'"(streamgauge_[a-z_]+)"', text)}
for name in ANNOUNCED & known:
    print(f"note: {name} is there now, deploy/check.d/metrics.py need not announce it")

problems = []
for path in [*pathlib.Path("deploy/prometheus").glob("*.yml"), *pathlib.Path("deploy/grafana/dashboards").glob("*.json")]:
    for name in sorted(set(re.findall(r"\bstreamgauge_[a-z_]+", path.read_text()))):
        if name not in known | ANNOUNCED and re.sub(r"_(bucket|count|sum)$", "", name) not in known:
            problems.append(f"{path}: there is no metric {name}")

rules = pathlib.Path("deploy/prometheus/streamgauge.rules.yml").read_text()
links = re.findall(r"runbook: (.*)", rules)
for link in sorted(set(links)):
    page, _, anchor = link.partition("#")
    headings = re.findall(r"^#+ (.*)$", pathlib.Path(page).read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    if anchor not in anchors:
        problems.append(f"{page} has no heading #{anchor}")
if len(links) != rules.count("- alert:"):
    problems.append("an alert has no runbook")

print("\n".join(problems))
sys.exit(bool(problems))
