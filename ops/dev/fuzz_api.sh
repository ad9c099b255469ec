#!/usr/bin/env bash
# `make fuzz-api`: schemathesis over the OpenAPI document as the service serves it, with signed
# proofs, against the real service on stores and a simulated platform of its own.
#
# Settings, all from the environment:
#   SEED             the same one makes the same requests, but for keys, times and ids     (1)
#   EXAMPLES         requests made up for each operation, beside those of its boundaries  (100)
#   BACKOFFICE_URL   with base path: a service of yours is asked, and nothing started; then
#   SIMULATOR_URL    is the simulated platform behind it. Its rates have to be high: RATE_PER_…
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
cd "$repository"
# shellcheck source=ops/dev/private_stack.sh
source "$here/private_stack.sh"

readonly REACHED_PERCENT_MIN=95
sources=$repository/tests/fuzz_api
work=${CARGO_TARGET_DIR:-$repository/target}/fuzz-api
export SEED=${SEED:-1} SUMMARY=$work/summary
examples=${EXAMPLES:-100}
[[ $SEED =~ ^[0-9]+$ && $examples =~ ^[1-9][0-9]*$ ]] ||
  die "SEED=$SEED and EXAMPLES=$examples have to be whole numbers"
python=$work/python/bin/python

install_tools() {
  if ! python3 -m venv --help >/dev/null 2>&1; then
    die 'needs Python 3.11 or newer with venv: sudo apt-get install python3-venv'
  fi
  mkdir -p "$work"
  # The stamp is written last, so that an interrupted installation is done again.
  if cmp -s "$sources/requirements.txt" "$work/python/installed.txt"; then return; fi
  say 'fetching schemathesis (once)'
  rm -rf "$work/python"
  python3 -m venv "$work/python"
  "$work/python/bin/pip" install --quiet --disable-pip-version-check --no-deps \
    --requirement "$sources/requirements.txt"
  cp "$sources/requirements.txt" "$work/python/installed.txt"
}

finish() {
  stop scheduler-keys
  finish_private_stack
}

# The scheduler's keys are served where Google's would be, so that jobs can be started too.
serve_scheduler_keys() {
  local port log=$STACK_DIR/log/scheduler-keys.log
  export SCHEDULER_KEYS=$work/scheduler SCHEDULER_EMAIL=scheduler@fuzz-api.example
  "$python" "$sources/scheduler.py" "$SCHEDULER_KEYS"
  port=$(free_port)
  launch scheduler-keys "$port" "$log" \
    "$python" -m http.server "$port" --bind 127.0.0.1 --directory "$SCHEDULER_KEYS/served"
  await scheduler-keys "$log" 10 is_listening "$port"
  export SCHEDULER_JWKS_URL=http://127.0.0.1:$port/jwks.json
}

start_service() {
  claim_private_stack fuzz-api off
  trap finish EXIT
  export BROKER=${BROKER:-embedded}
  say 'building the service and the simulated platform'
  build_programs
  start_private_stack
  serve_scheduler_keys
  # One device asks what hundreds do.
  export RATE_PER_DEVICE=100000 RATE_PER_DEVICE_BURST=100000
  export RATE_PER_TENANT=100000 RATE_PER_TENANT_BURST=100000
  # On a machine that builds and tests at the same time, what is late is not lost.
  export SESSION_TIER_TIMEOUT=2s
  start_private_service
}

install_tools
export PYTHONPATH=$sources PYTHONDONTWRITEBYTECODE=1 NO_PROXY='*'
if [[ -z ${BACKOFFICE_URL:-} ]]; then
  start_service
elif [[ -z ${SIMULATOR_URL:-} ]]; then
  die 'BACKOFFICE_URL is set without SIMULATOR_URL: set both, or neither'
fi
root=${BACKOFFICE_URL%/bff/backoffice/v1}

rm -f "$SUMMARY"
# Whatever schemathesis leaves behind is left in its own folder.
cd "$work"
say "asking $root, seed $SEED, $examples examples an operation"
status=0
"$work/python/bin/schemathesis" --config-file "$sources/schemathesis.toml" run "$root/openapi.json" \
  --url "$root" --seed "$SEED" --max-examples "$examples" --no-color >&2 || status=$?
[[ -s $SUMMARY ]] || die "schemathesis ended with status $status and counted nothing"
cat "$SUMMARY"
[[ $(tail -n 1 "$SUMMARY") =~ operations=([0-9]+)\ cases=[1-9][0-9]*\ reached_2xx=([0-9]+)\ failures=0$ ]]
((status == 0 && BASH_REMATCH[1] * REACHED_PERCENT_MIN <= BASH_REMATCH[2] * 100))
