#!/usr/bin/env bash
# Installs what tests/bench/peers needs of npm into target/peers, once: the packages of the committed
# lock file.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
# shellcheck source=ops/dev/process.sh
source "$here/process.sh"
# shellcheck source=ops/dev/node.sh
source "$here/node.sh"
sources=$repository/tests/bench/peers/node
cache=${CARGO_TARGET_DIR:-$repository/target}/peers/node
mkdir -p "$cache"
require_node

cp "$sources/package.json" "$sources/package-lock.json" "$cache/"
install_node_packages "$cache"
