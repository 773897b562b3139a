#!/usr/bin/env bash
# Installs the clients and readers of the end-to-end tests into a folder, by default target/clients of the repository.
#
#   setup.sh [FOLDER]
#
# Afterwards run the scripts that lie in the folder: `node FOLDER/x.mjs`, `FOLDER/venv/bin/python FOLDER/x.py`, `FOLDER/duckdb`. They are
# copies, since Node looks for packages beside the file that it runs. The folder is installed again when the pinned
# versions or the interpreters changed. Safe to call at the same time; prints nothing if there is nothing to install.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-$here/../../target/clients}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

exec 9>"$folder/.lock"
flock 9

# The scripts themselves may change without a new installation; replaced by renaming, as one may be about to run.
for script in "$here"/*.mjs "$here"/*.py "$here"/duckdb; do
    copy=$folder/${script##*/}
    if ! cmp -s "$script" "$copy"; then
        cp "$script" "$copy.new"
        mv "$copy.new" "$copy"
    fi
done

stamp=$({
    cat "$here/package.json" "$here/package-lock.json" "$here/requirements.txt"
    node --version
    python3 --version
    echo "$folder"
} | sha256sum)
if [[ -f $folder/.stamp && $(<"$folder/.stamp") == "$stamp" ]]; then
    exit 0
fi

echo "installing test clients into $folder" >&2
rm -rf "$folder/.stamp" "$folder/node_modules" "$folder/venv"
cp "$here/package.json" "$here/package-lock.json" "$folder/"
(cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$here/requirements.txt" >&2
echo "$stamp" >"$folder/.stamp"
