#!/usr/bin/env bash
# `make clients`: Google's Node and Python clients against an embedded broker of its own.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
export STACK_DIR=$repository/target/clients-stack BROKER=embedded PUBSUB_PORT=0
unset PUBSUB_EMULATOR_HOST
trap '"$here/stack.sh" clean' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

"$here/stack.sh" clean
"$here/stack.sh" up broker
address=$(sed -n 's/^PUBSUB_EMULATOR_HOST=//p' "$STACK_DIR/env")
"$repository/tests/platform/tests/clients/run.sh" "$address"
