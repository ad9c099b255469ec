#!/usr/bin/env bash
# `make pacts`: the desktop's typed client against the real service, what it relies on as a pact, and
# the service held to that pact; on a stack of its own. UPDATE=1 takes a changed pact over.
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
# One device of a test does what hundreds do.
export RATE_PER_DEVICE=100000 RATE_PER_DEVICE_BURST=100000
export RATE_PER_TENANT=100000 RATE_PER_TENANT_BURST=100000

# The committed pact is the contract: what the consumer's tests write has to be the same.
check_pact() {
  local name=$1 fresh=$desktop/build/pacts/$1 committed=$desktop/pacts/$1
  if [[ ${UPDATE:-} == 1 ]]; then
    mkdir -p "$desktop/pacts"
    cp "$fresh" "$committed"
  elif ! diff -u "$committed" "$fresh" >&2; then
    die "tests/desktop/pacts/$name is stale: make pacts UPDATE=1 and commit the difference"
  fi
}

# Servers of yours would be written to, and the pact needs their beginning.
unset DATABASE_URL DATABASE_OWNER_URL DATABASE_ADMIN_URL REDIS_SESSION_URL REDIS_CACHE_URL
unset PUBSUB_EMULATOR_HOST

require_node
claim_private_stack pacts off
export BROKER=${BROKER:-embedded}
say 'building the service and the simulated platform'
build_programs
install_node_packages "$desktop"
say 'checking the types of the client'
rm -rf "$desktop/build"
npm run --silent --prefix "$desktop" generate >/dev/null
npm run --silent --prefix "$desktop" build
start_private_stack
start_private_service

say 'the typed client against the service'
npm run --silent --prefix "$desktop" test:service
say 'what the desktop relies on'
npm run --silent --prefix "$desktop" test:consumer
check_pact backoffice-desktop-bff-backoffice-service.json
say 'the service held to it'
npm run --silent --prefix "$desktop" verify
