#!/usr/bin/env bash
# `make run`: builds, starts the stores, then `backoffice dev` with the simulated platform and the
# service, until ctrl-C; then stops all of it. Settings: the top of ops/dev/stack.sh.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
export STACK_DIR=${STACK_DIR:-$repository/.dev}
[[ $STACK_DIR == /* ]] || STACK_DIR=$PWD/$STACK_DIR
# shellcheck source=ops/dev/process.sh
source "$here/process.sh"
# shellcheck source=ops/dev/provide.sh
source "$here/provide.sh"

mkdir -p "$STACK_DIR/run"
if is_running owner; then
  die "'make run' is already running here as process $record_pid: stop it with ctrl-C there first"
fi
record owner $$ 0

tool=
finish() {
  trap '' INT TERM HUP
  "$here/stack.sh" down
  rm -f "$STACK_DIR/run/owner.pid"
}
# The tool stops the simulator and the service itself; it is given the time for that.
interrupt() {
  trap '' INT TERM HUP
  if [[ -n $tool ]]; then
    kill -TERM "$tool" 2>/dev/null || true
    wait "$tool" || true
  fi
  exit 0
}
trap finish EXIT
trap interrupt INT TERM HUP

require_rust
export SQLX_OFFLINE=true
say 'building the service and the simulated platform'
(cd "$repository" && cargo build --locked -p backoffice -p backoffice-platform --bins)
programs=$(cargo_programs)
PLATFORM_PROGRAM=$programs/platform "$here/stack.sh" up
# In the background, so that a signal to this script is acted upon at once.
"$programs/backoffice" dev --stack-dir "$STACK_DIR" --platform-program "$programs/platform" <&0 &
tool=$!
wait "$tool"
