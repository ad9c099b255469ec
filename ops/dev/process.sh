# shellcheck shell=bash disable=SC2034 # record_pid and record_port are answers to the caller
# Processes that the development stack starts: who they are, whether they answer, how they stop.
#
# Every process has one record, $STACK_DIR/run/<name>.pid: "<pid> <start time> <port>". The start time
# keeps a reused pid from being taken for ours, so that nothing of anybody else is ever stopped.

say() { printf 'stack: %s\n' "$*" >&2; }
die() { printf 'stack: %s\n' "$*" >&2; exit 1; }

# Prints what tells this process from a later one with the same pid; fails when it is gone.
start_time() {
  local pid=$1 stat
  if [[ -d /proc/self ]]; then
    stat=$(cat "/proc/$pid/stat" 2>/dev/null) || return 1
    # The name in parentheses may hold spaces; what follows it may not.
    read -ra stat <<<"${stat##*) }"
    [[ ${stat[0]} != Z ]] || return 1
    printf '%s\n' "${stat[19]}"
  else
    ps -o lstart= -p "$pid" | tr -s ' ' '_' | grep .
  fi
}

record() {
  local name=$1 pid=$2 port=$3 started
  started=$(start_time "$pid") || return 1
  printf '%s %s %s\n' "$pid" "$started" "$port" >"$STACK_DIR/run/$name.pid"
}

# Sets record_pid and record_port when the recorded process still runs.
is_running() {
  local file="$STACK_DIR/run/$1.pid" started
  [[ -r $file ]] || return 1
  read -r record_pid started record_port <"$file" || return 1
  [[ $(start_time "$record_pid" || true) == "$started" ]]
}

is_listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port nobody listens on, below the range from which the kernel takes its own.
free_port() {
  local candidate
  for _ in {1..200}; do
    candidate=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    if ! is_listening "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  die 'found no free port between 20000 and 32000'
}

# Prints the port to use for a setting: its value, or a free one for 0.
choose_port() {
  local setting=$1 what=$2 port=${!1}
  [[ $port =~ ^[0-9]+$ && $port -le 65535 ]] || die "$setting=$port is not a port"
  if [[ $port == 0 ]]; then
    free_port
  elif is_listening "$port"; then
    die "port $port for $what is taken by another program; stop that or set $setting (0 = any free)"
  else
    printf '%s\n' "$port"
  fi
}

answers_redis() {
  local answer
  (
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    printf 'PING\r\n' >&3
    IFS= read -r -t 2 answer <&3
    [[ $answer == +PONG* ]]
  ) 2>/dev/null
}

# Waits until `check` succeeds; fails with the end of the log when the process dies or is too slow.
await() {
  local name=$1 log=$2 seconds=$3 deadline
  shift 3
  deadline=$((SECONDS + seconds))
  until "$@"; do
    if ! is_running "$name"; then
      tail -n 15 "$log" >&2 || true
      say "$name stopped while starting; its log is $log"
      return 1
    fi
    if ((SECONDS > deadline)); then
      tail -n 15 "$log" >&2 || true
      say "$name does not answer after $seconds s; its log is $log"
      return 1
    fi
    sleep 0.05
  done
}

# Starts a program in a process group of its own (ctrl-C at the terminal does not reach it) and
# records it. Usage: launch <name> <port> <log> <command> …
launch() {
  local name=$1 port=$2 log=$3 pid
  shift 3
  set -m
  "$@" </dev/null >"$log" 2>&1 &
  pid=$!
  set +m
  disown "$pid" 2>/dev/null || true
  record "$name" "$pid" "$port" || {
    tail -n 15 "$log" >&2
    die "$name stopped at once; its log is $log"
  }
}

# Asks the recorded process to end, insists after 10 s, and forgets it.
stop() {
  local name=$1 signal=${2:-TERM} deadline
  if is_running "$name"; then
    kill "-$signal" "$record_pid" 2>/dev/null || true
    deadline=$((SECONDS + 10))
    while is_running "$name"; do
      if ((SECONDS > deadline)); then
        say "$name did not stop within 10 s and is killed"
        kill -KILL "$record_pid" 2>/dev/null || true
        break
      fi
      sleep 0.05
    done
  fi
  rm -f "$STACK_DIR/run/$name.pid"
}
