# shellcheck shell=bash disable=SC2154 # record_port, emulator and platform_program are set by the callers
# The Pub/Sub broker of the development stack: Google's emulator, or the embedded one.

start_broker() {
  local port command log=$STACK_DIR/log/broker.log
  port=$(choose_port PUBSUB_PORT 'the Pub/Sub broker') || exit 1
  if [[ $broker == google ]]; then
    command=(env JAVA_OPTS=-Xmx512m "$emulator" --host=127.0.0.1 --port="$port")
  else
    command=("$platform_program" broker --listen "127.0.0.1:$port")
  fi
  launch broker "$port" "$log" "${command[@]}"
  printf '%s\n' "$broker" >"$STACK_DIR/run/broker.kind"
}

choose_broker() {
  broker=${BROKER:-}
  case $broker in
    google)
      find_google_emulator ||
        die 'BROKER=google needs Java and the Cloud SDK component pubsub-emulator'
      ;;
    embedded) provide_embedded_broker ;;
    '')
      broker=google
      if ! find_google_emulator; then
        broker=embedded
        provide_embedded_broker
      fi
      ;;
    *) die "BROKER=$broker is neither google nor embedded" ;;
  esac
}

# Google's emulator takes a second to start, so it is started first and awaited last.
begin_broker() {
  if is_running broker; then
    if [[ -z ${BROKER:-} || $(<"$STACK_DIR/run/broker.kind") == "$BROKER" ]]; then return; fi
    stop broker
  fi
  choose_broker
  start_broker
}

await_broker() {
  is_running broker && await broker "$STACK_DIR/log/broker.log" 30 is_listening "$record_port"
}

start_and_await_broker() {
  choose_broker
  start_broker
  await_broker
}

finish_broker() {
  await_broker || { [[ $PUBSUB_PORT == 0 ]] && retry_on_free_port 0 start_and_await_broker; } ||
    die 'the Pub/Sub broker did not start'
  say "Pub/Sub broker ($(<"$STACK_DIR/run/broker.kind")) answers on port $record_port"
}
