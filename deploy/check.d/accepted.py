"""The program itself takes the settings that containers get, without a warning, as those of a cluster.

accepted.py PROGRAM KUBERNETES COMPOSE..      what kustomize and `docker compose config --format json` printed
"""

import json
import subprocess
import sys
import tempfile

import yaml

program, kubernetes, *composes = sys.argv[1:]
sets = {}
for path in composes:
    for name in ("ingest", "processor", "query"):
        sets[f"{path}, {name}"] = json.load(open(path))["services"][name]["environment"]
objects = [*yaml.safe_load_all(open(kubernetes)), yaml.safe_load(open("deploy/kubernetes/secret.example.yaml"))]
of_pods = {}
for each in objects:
    of_pods.update(each.get("data", {}) | each.get("stringData", {}) if each else {})
sets["Kubernetes"] = of_pods
lines = open("deploy/systemd/cluster.env.example").read().splitlines()
sets["systemd"] = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

problems = []
with tempfile.TemporaryDirectory() as folder:
    for name, environment in sets.items():
        environment = {**environment, "STREAMGAUGE_DATA_DIR": folder}
        done = subprocess.run([program, "config", "check"], env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0 or "profile: cluster" not in done.stdout or done.stderr:
            problems.append(f"{name}: {done.stdout}{done.stderr}")
print("\n".join(problems))
sys.exit(bool(problems))
