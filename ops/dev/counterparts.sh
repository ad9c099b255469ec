#!/usr/bin/env bash
# Installs what tests/counterparts needs of npm and PyPI into target/counterparts, once: the packages
# of the committed lock file, and the pinned versions of requirements.txt.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
# shellcheck source=ops/dev/process.sh
source "$here/process.sh"
# shellcheck source=ops/dev/node.sh
source "$here/node.sh"
sources=$repository/tests/counterparts
cache=${CARGO_TARGET_DIR:-$repository/target}/counterparts
mkdir -p "$cache/node" "$cache/python"
require_node

cp "$sources/node/package.json" "$sources/node/package-lock.json" "$cache/node/"
install_node_packages "$cache/node"
# A stamp is written last, so that an interrupted installation is done again.
if ! cmp -s "$sources/python/requirements.txt" "$cache/python/installed.txt"; then
  rm -rf "$cache/python"
  python3 -m venv "$cache/python"
  "$cache/python/bin/pip" install --quiet --disable-pip-version-check --no-deps \
    --requirement "$sources/python/requirements.txt"
  cp "$sources/python/requirements.txt" "$cache/python/installed.txt"
fi
