#!/bin/bash
# A PostgreSQL server of one's own, in a directory of its own. Any number run side by side: without --tcp a server
# listens on its socket only. Runs as root (the server then belongs to the user postgres) or as any user.
#
#   tests/scripts/postgres.sh start DIR [--tcp PORT] [--bin DIRECTORY]   start it; prints PGHOST=, PGPORT=, PGUSER=
#   tests/scripts/postgres.sh stop DIR [--bin DIRECTORY]                 stop it; done if it does not run
#   tests/scripts/postgres.sh run [--tcp PORT] [--bin DIRECTORY] command [argument ...]
#       start one in a temporary directory, run the command with PGHOST, PGPORT and PGUSER, stop and remove it
#
# DIR is created; the socket is DIR/sock. The role is postgres, and the socket asks for no password. TCP asks for
# $POSTGRES_PASSWORD if that is set. Data is not synced to the disk: for tests only.
set -euo pipefail

fail() { echo "postgres: error: $*" >&2; exit 1; }

bin=/usr/lib/postgresql/15/bin tcp= directory=
action=${1-}
shift || true
case $action in
  start | stop)
    [ $# -gt 0 ] || fail "which directory?"
    directory=$(realpath -m "$1")
    shift
    ;;
  run) ;;
  *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
esac
while [ $# -gt 0 ]; do
  case $1 in
    --tcp) tcp=$2; shift 2 ;;
    --bin) bin=$2; shift 2 ;;
    *) break ;;
  esac
done
[ -x "$bin/initdb" ] || fail "$bin/initdb is missing: tests/scripts/install.sh"

as=()
if [ "$(id -u)" = 0 ]; then
  as=(setpriv --reuid=postgres --regid=postgres --clear-groups env HOME=/nonexistent)
fi

start() {
  local password= host=trust port=${tcp:-5432}
  [ ! -e "$directory/data" ] || fail "$directory/data exists"
  mkdir -p "$directory/sock"
  if [ "$(id -u)" = 0 ]; then chown postgres:postgres "$directory" "$directory/sock"; fi
  (
    cd /
    "${as[@]}" "$bin/initdb" -D "$directory/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync -k
  ) >"$directory/initdb.log" 2>&1 || { cat "$directory/initdb.log" >&2; fail "initdb failed"; }
  if [ -n "${POSTGRES_PASSWORD-}" ]; then password=$POSTGRES_PASSWORD host=scram-sha-256; fi
  printf 'local all all trust\nhost all all samehost %s\n' "$host" >"$directory/data/pg_hba.conf"
  cat >>"$directory/data/postgresql.conf" <<CONF
listen_addresses = '${tcp:+127.0.0.1}'
port = $port
unix_socket_directories = '$directory/sock'
wal_level = replica
fsync = off
shared_buffers = 32MB
CONF
  (cd / && "${as[@]}" "$bin/pg_ctl" -D "$directory/data" -l "$directory/server.log" -w -t 30 start) \
    >"$directory/start.log" 2>&1 || { cat "$directory/start.log" "$directory/server.log" >&2; fail "the server did not start"; }
  if [ -n "$password" ]; then
    # psql reads the variable from its environment and quotes it: the password is in nobody's argument list.
    BKHOST_TEST_PASSWORD=$password "$bin/psql" -X -q -h "$directory/sock" -p "$port" -U postgres -d postgres \
      -v ON_ERROR_STOP=1 <<'SQL'
\getenv password BKHOST_TEST_PASSWORD
ALTER ROLE postgres PASSWORD :'password';
SQL
  fi
  printf 'PGHOST=%s\nPGPORT=%s\nPGUSER=postgres\n' "$directory/sock" "$port" >"$directory/environment"
}

stop() {
  # pg_ctl looks at the process' id in the data directory: it ends this server and no other.
  [ -f "$directory/data/postmaster.pid" ] || return 0
  (cd / && "${as[@]}" "$bin/pg_ctl" -D "$directory/data" -m immediate -w -t 30 stop) >/dev/null
}

case $action in
  start)
    start
    cat "$directory/environment"
    ;;
  stop) stop ;;
  run)
    [ $# -gt 0 ] || fail "no command was given"
    directory=$(mktemp -d "${TMPDIR:-/tmp}/bkhost-pg.XXXXXX")
    chmod 755 "$directory"
    cleanup() { stop || true; rm -rf "$directory"; }
    trap cleanup EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    start
    set -a
    . "$directory/environment"
    set +a
    "$@" <&0 &
    command=$!
    trap 'kill -TERM "$command" 2>/dev/null; wait "$command" || true; exit 143' HUP INT TERM
    status=0
    wait "$command" || status=$?
    exit "$status"
    ;;
esac
