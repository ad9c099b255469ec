#!/bin/sh
# Runs Google's Node and Python clients against a Pub/Sub broker: run.sh HOST:PORT
# Installs them once into target/clients (of CARGO_TARGET_DIR where set).
set -eu

if [ $# -ne 1 ]; then
    echo "usage: $0 HOST:PORT" >&2
    exit 2
fi

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../../.." && pwd)
cache="${CARGO_TARGET_DIR:-$root/target}/clients"
mkdir -p "$cache/node" "$cache/python"

# The stamp is written last, so that an interrupted installation is done again.
if ! cmp -s "$here/node/package-lock.json" "$cache/node/installed.json"; then
    rm -f "$cache/node/installed.json"
    cp "$here/node/package.json" "$here/node/package-lock.json" "$cache/node/"
    (cd "$cache/node" && npm ci --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error)
    cp "$here/node/package-lock.json" "$cache/node/installed.json"
fi
if ! cmp -s "$here/python/requirements.txt" "$cache/python/installed.txt"; then
    rm -rf "$cache/python"
    python3 -m venv "$cache/python"
    "$cache/python/bin/pip" install --quiet --disable-pip-version-check \
        --requirement "$here/python/requirements.txt"
    cp "$here/python/requirements.txt" "$cache/python/installed.txt"
fi

PUBSUB_EMULATOR_HOST=$1
# There is no Google Cloud to ask for credentials.
METADATA_SERVER_DETECTION=none
export PUBSUB_EMULATOR_HOST METADATA_SERVER_DETECTION
cp "$here/node/check.mjs" "$cache/node/check.mjs"
failed=0
node "$cache/node/check.mjs" || failed=1
"$cache/python/bin/python" "$here/python/check.py" || failed=1
exit $failed
