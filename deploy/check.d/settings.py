"""Every STREAMGAUGE_ variable that a file of deploy/ sets is a setting of src/default.toml. The program only warns of others."""

import pathlib
import re
import sys

text = pathlib.Path("src/default.toml").read_text()
settings, section = set(), ""
for line in text.splitlines():
    if header := re.match(r"\[([a-z_]+)\]", line):
        section = f"{header[1].upper()}__"
    elif key := re.match(r"([a-z_]+) *=", line):
        settings.add(f"STREAMGAUGE_{section}{key[1].upper()}")

files = [pathlib.Path("deploy/Dockerfile"), pathlib.Path("deploy/.env.example")]
files += sorted(path for pattern in ("compose*.yaml", "*.env.example", "kubernetes/*.yaml", "systemd/*") for path in pathlib.Path("deploy").glob(pattern))
# Ours alone, not the program's.
others = {"STREAMGAUGE_PUBLISH"}
found, unknown = 0, []
for path in files:
    for name in re.findall(r"STREAMGAUGE_[A-Z_]+[A-Z]", path.read_text()):
        found += 1
        if name not in settings | others:
            unknown.append(f"{path}: {name} is no setting of src/default.toml")
print("\n".join(sorted(set(unknown))))
if unknown or found < 20:
    sys.exit(f"{found} variables, {len(unknown)} of them unknown")
