#!/usr/bin/env bash
# `make load SCENARIO=steady|peak|burst|storm`: desktops in open loop, each signing a proof with every
# request, against one instance with optimisation, on stores that write to disk before they answer.
#   LOAD_SECONDS=60  how long the load lasts
#   DESKTOPS=2500    each with a live stream
#   PERCENT=100      of the scenario's rates
# Before its end the scenario's dashboards alone are shown by the service and by its Node peer.
# The last line is `load <scenario>: p50=… p95=… p99=… errors=…% thresholds met|missed: …`.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
cd "$repository"
# shellcheck source=ops/dev/private_stack.sh
source "$here/private_stack.sh"

scenario=${SCENARIO:-steady}
case $scenario in
  steady | peak | burst | storm) ;;
  *) die "SCENARIO=$scenario is none of: steady peak burst storm" ;;
esac
claim_private_stack load on
"$here/peers.sh"
# A stream is a descriptor here and one at the service; both inherit this.
ulimit -n "$(ulimit -H -n)"
build_benchmark load
start_private_stack
cargo bench --locked --quiet --bench load -- "$scenario" \
  --seconds "${LOAD_SECONDS:-60}" --desktops "${DESKTOPS:-2500}" --percent "${PERCENT:-100}"
