#!/usr/bin/env bash
# `make schemas`: writes the contracts under schemas/ from the code. Needs no stores.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
cd "$repository"
# shellcheck source=ops/dev/process.sh
source "$here/process.sh"
# shellcheck source=ops/dev/provide.sh
source "$here/provide.sh"

require_rust
say 'writing schemas/'
# The tests that compare them are what writes them.
UPDATE_SCHEMAS=1 SQLX_OFFLINE=true \
  cargo test --workspace --locked --quiet --test it -- schemas::
git status --short -- schemas
