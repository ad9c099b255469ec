#!/usr/bin/env bash
# `make clients`: Google's Node and Python clients against an embedded broker of its own.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
# shellcheck source=ops/dev/private_stack.sh
source "$here/private_stack.sh"

unset PUBSUB_EMULATOR_HOST
export BROKER=embedded
claim_private_stack clients off
start_private_stack broker
"$repository/tests/platform/tests/clients/run.sh" "$PUBSUB_EMULATOR_HOST"
