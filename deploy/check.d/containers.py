"""What every container of ours must have, which no schema demands.

containers.py compose FILE..       what `docker compose config --format json` printed of a whole product
containers.py node FILE            the same of one machine of several
containers.py kubernetes FILE      what `kubectl kustomize` printed
"""

import json
import os
import sys

import yaml

problems = []


def must(holds, text):
    if not holds:
        problems.append(text)


def has_version(image):
    tag = image.rpartition("/")[2].partition(":")[2]
    return bool(tag) and tag != "latest"


def compose(path, is_node=False):
    services = json.load(open(path))["services"]
    expected = {"ingest", "processor", "query", "kafka", "proxy"} | (set() if is_node else {"postgres", "s3", "prometheus", "grafana"})
    must(expected <= set(services), f"{path}: a service is missing")
    for name, service in services.items():
        must(has_version(service["image"]), f"{name}: image {service['image']} has no version")
        must("healthcheck" in service, f"{name}: no health check")
        must(service.get("restart") == "unless-stopped", f"{name}: is not restarted")
        limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
        must("memory" in limits and "cpus" in limits, f"{name}: no limits")
        for port in service.get("ports", []):
            private = "10.0.0.1" if is_node else "127.0.0.1"
            must(port.get("host_ip") == private, f"{name}: port {port['published']} is open to the world")
        for volume in service.get("volumes", []):
            must(volume["type"] != "bind" or os.path.exists(volume["source"]), f"{name}: {volume['source']} is not there")
        for other, how in service.get("depends_on", {}).items():
            must(how["condition"] == "service_healthy", f"{name}: does not wait until {other} is healthy")
    for name in ("ingest", "processor", "query"):
        role = services[name]
        must(role["command"] == [name], f"{name}: has another role")
        must(role.get("read_only") and role.get("cap_drop") == ["ALL"], f"{name}: may write or has capabilities")
        published = {port["target"] for port in role.get("ports", [])}
        must(published <= ({9464} if is_node else set()), f"{name}: ports are published beside the proxy")
        environment = role["environment"]
        brokers = environment["STREAMGAUGE_LOG_URL"].removeprefix("kafka://").split(",")
        copies = int(environment["STREAMGAUGE_KAFKA__REPLICATION"])
        must(copies == len(brokers), f"{name}: {copies} copies on {len(brokers)} brokers")
        here = sum(other.startswith("kafka") for other in services)
        must(here == (1 if is_node else copies), f"{name}: {copies} copies, and {here} brokers")
        must(1 <= int(environment["STREAMGAUGE_KAFKA__MIN_IN_SYNC"]) <= copies, f"{name}: min_in_sync is beyond the copies")


def kubernetes(path):
    objects = [each for each in yaml.safe_load_all(open(path)) if each]
    deployments = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "Deployment"}
    must(set(deployments) == {"ingest", "processor", "query"}, f"deployments are {sorted(deployments)}")
    must(not any(each["kind"] == "Secret" for each in objects), "a secret would be applied with the rest")
    of_kind = {}
    for each in objects:
        of_kind.setdefault(each["kind"], set()).add(each["metadata"]["name"])
    scaled = {each["spec"]["scaleTargetRef"]["name"]: each for each in objects if each["kind"] == "HorizontalPodAutoscaler"}
    for name, spec in deployments.items():
        pod = spec["template"]["spec"]
        (container,) = pod["containers"]
        ports = {port["name"] for port in container["ports"]}
        must(container["args"] == [name], f"{name}: has another role")
        must(has_version(container["image"]), f"{name}: image {container['image']} has no version")
        for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
            get = container.get(probe, {}).get("httpGet", {})
            must(get == {"path": path, "port": "admin"}, f"{name}: {probe} asks {get}")
        must(pod["securityContext"].get("runAsNonRoot"), f"{name}: may be root")
        secure = container["securityContext"]
        must(secure.get("readOnlyRootFilesystem"), f"{name}: may write to its image")
        must(secure.get("allowPrivilegeEscalation") is False and secure["capabilities"]["drop"] == ["ALL"], f"{name}: privileges")
        waits = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        must(pod["terminationGracePeriodSeconds"] >= 30 + waits, f"{name}: is killed while it drains")
        resources = container["resources"]
        must({"cpu", "memory"} <= set(resources["requests"]) and "memory" in resources["limits"], f"{name}: resources")
        must(name in of_kind["PodDisruptionBudget"], f"{name}: no disruption budget")
        must(("replicas" in spec) != (name in scaled), f"{name}: its number is fixed and scaled, or neither")
        must("http" not in ports or waits > 0, f"{name}: is asked while it stops")
        must(("http" in ports) == (name in of_kind["Service"]), f"{name}: service and port http")
    for each in objects:
        if each["kind"] == "Service":
            must(all(port["targetPort"] == "http" for port in each["spec"]["ports"]), "a service opens the admin port")
        if each["kind"] == "NetworkPolicy":
            for rule in each["spec"].get("ingress", []):
                opens = {port["port"] for port in rule["ports"]}
                must("admin" not in opens or "from" in rule, f"{each['metadata']['name']}: the admin port is open to all")


verb, paths = sys.argv[1], sys.argv[2:]
for path in paths:
    kubernetes(path) if verb == "kubernetes" else compose(path, is_node=verb == "node")
print("\n".join(problems))
sys.exit(bool(problems))
