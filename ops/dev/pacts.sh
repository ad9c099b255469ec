#!/usr/bin/env bash
# `make pacts`: the desktop's typed client against the real service, what it relies on as a pact,
# and the service held to that pact; on a stack of its own. UPDATE=1 takes a changed pact over.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
# shellcheck source=ops/dev/private_stack.sh
source "$here/private_stack.sh"
# shellcheck source=ops/dev/node.sh
source "$here/node.sh"

desktop=$repository/tests/desktop
# The libraries of Pact report who uses them; not from here.
export PACT_DO_NOT_TRACK=true SCARF_ANALYTICS=false
# The flags are written during the run and are to count at once.
export FLAGS_INTERVAL=100ms DESKTOP_UPDATE_URL=https://updates.example/desktop
# Others may be using the machine: what is late here is not lost.
export SESSION_TIER_TIMEOUT=2s
# One device of a test does what hundreds do.
export RATE_PER_DEVICE=100000 RATE_PER_DEVICE_BURST=100000
export RATE_PER_TENANT=100000 RATE_PER_TENANT_BURST=100000

# The committed pacts are the contract: what the consumers' tests write has to be the same.
check_pacts() {
  local fresh=$desktop/build/pacts committed=$desktop/pacts
  if [[ ${UPDATE:-} == 1 ]]; then
    rm -f "$committed"/*.json
    cp "$fresh"/*.json "$committed/"
  elif ! diff --recursive --unified "$committed" "$fresh" >&2; then
    die 'the pacts of tests/desktop/pacts are stale: make pacts UPDATE=1, and commit the difference'
  fi
}

# Between the service and its upstreams, so that a mock server can take the place of one of them.
start_switchboard() {
  local port platform log=$STACK_DIR/log/switchboard.log
  platform=$(sed -n 's/^SIMULATOR_URL=//p' "$STACK_DIR/env")
  port=$(free_port)
  launch switchboard "$port" "$log" \
    node "$desktop/build/test/support/switchboard.js" "$port" "$platform"
  await switchboard "$log" 10 is_listening "$port"
  export SWITCHBOARD_URL=http://127.0.0.1:$port
}

finish() {
  stop switchboard
  finish_private_stack
}

# Runs a verification, which adds its counts to the file PACT_COUNTS. What the library reports, every
# header of every interaction, is kept and shown only when something is wrong.
verify() {
  local report=$repository/target/pacts-report.log
  say "$1"
  shift
  if ! "$@" >"$report" 2>&1; then
    cat "$report" >&2
    all_verified=0
  fi
}

desktop() { npm run --silent --prefix "$desktop" "$@"; }

# Servers of yours would be written to, and the pact needs their beginning.
unset DATABASE_URL DATABASE_OWNER_URL DATABASE_ADMIN_URL REDIS_SESSION_URL REDIS_CACHE_URL
unset PUBSUB_EMULATOR_HOST

require_node
claim_private_stack pacts off
trap finish EXIT
export BROKER=${BROKER:-embedded}
export PACT_COUNTS=$repository/target/pacts-counts
rm -f "$PACT_COUNTS"
say 'building the service and the simulated platform'
build_programs
install_node_packages "$desktop"
say 'checking the form and the types of the client'
rm -rf "$desktop/build"
desktop generate >/dev/null
desktop check-format
desktop build
say 'the parts of the desktop that need no service'
desktop test:unit
start_private_stack
start_switchboard
start_private_service --upstreams "$SWITCHBOARD_URL"

say 'the typed client against the service'
desktop test:service
say 'what the desktop relies on'
desktop test:consumer
say 'what the service relies on'
desktop test:upstreams
check_pacts

all_verified=1
verify 'the service held to what the desktop relies on' desktop verify
verify 'the platform held to what the service relies on' desktop verify:platform

awk '{ verified += $1; failed += $2 }
  END { printf "pacts: %d interactions verified, %d failed\n", verified, failed }' "$PACT_COUNTS"
[[ $all_verified == 1 ]]
