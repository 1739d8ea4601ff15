#!/bin/bash
# A MariaDB server of one's own, in a directory of its own. Any number run side by side: without --tcp a server listens
# on its socket only. Runs as root (the server then belongs to the user nobody) or as any user.
#
#   tests/scripts/mariadb.sh start DIR [--tcp PORT] [option of mariadbd ...]   start it; prints SOCKET= and PID=
#   tests/scripts/mariadb.sh stop DIR                                          stop it; done if it does not run
#   tests/scripts/mariadb.sh run [--tcp PORT] [option of mariadbd ...] -- command [argument ...]
#       start one in a temporary directory, run the command with SOCKET and PID, stop and remove it
#
# The user is root without a password. It writes a binary log. Data is not synced to the disk: for tests only.
set -euo pipefail

fail() { echo "mariadb: error: $*" >&2; exit 1; }

options=() directory=
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
listen=(--skip-networking)
while [ $# -gt 0 ]; do
  case $1 in
    --tcp) listen=(--skip-networking=0 --bind-address=127.0.0.1 "--port=$2"); shift 2 ;;
    --) shift; break ;;
    --*) options+=("$1"); shift ;;
    *) break ;;
  esac
done
server=$(PATH=$PATH:/usr/sbin command -v mariadbd) || fail "mariadbd is missing: tests/scripts/install.sh"

as=()
if [ "$(id -u)" = 0 ]; then
  as=(setpriv "--reuid=nobody" "--regid=$(id -g nobody)" --clear-groups env HOME=/nonexistent)
fi

alive() { [ -f "$directory/pid" ] && kill -0 "$(cat "$directory/pid")" 2>/dev/null; }

start() {
  [ ! -e "$directory/data" ] || fail "$directory/data exists"
  mkdir -p "$directory/data" "$directory/tmp"
  if [ "$(id -u)" = 0 ]; then chown -R nobody "$directory"; fi
  (
    cd /
    # Not /tmp: servers that start remove each other's temporary tables there.
    "${as[@]}" env "TMPDIR=$directory/tmp" mariadb-install-db --no-defaults --datadir="$directory/data" --auth-root-authentication-method=normal \
      --skip-test-db --skip-name-resolve --innodb-flush-log-at-trx-commit=0 --innodb-log-file-size=8M
  ) >"$directory/install.log" 2>&1 || { cat "$directory/install.log" >&2; fail "mariadb-install-db failed"; }
  (
    cd /
    exec "${as[@]}" setsid "$server" --no-defaults --datadir="$directory/data" --tmpdir="$directory/tmp" \
      --socket="$directory/sock" --pid-file="$directory/pid" "${listen[@]}" --log-bin=binlog --server-id=1 \
      --innodb-buffer-pool-size=64M --innodb-log-file-size=64M --innodb-flush-log-at-trx-commit=0 --sync-binlog=0 \
      --key-buffer-size=1M "${options[@]}"
  ) >"$directory/server.log" 2>&1 </dev/null &
  for _ in $(seq 600); do
    if mariadb-admin --no-defaults -uroot --socket="$directory/sock" ping >/dev/null 2>&1 && [ -s "$directory/pid" ]; then
      printf 'SOCKET=%s\nPID=%s\n' "$directory/sock" "$(cat "$directory/pid")" >"$directory/environment"
      return
    fi
    sleep 0.05
  done
  cat "$directory/server.log" >&2
  fail "the server did not start"
}

# By the process' id in its own file: it ends this server and no other.
stop() {
  alive || return 0
  local pid
  pid=$(cat "$directory/pid")
  kill -KILL "$pid" 2>/dev/null || true
  for _ in $(seq 200); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.05; done
  fail "server $pid does not end"
}

case $action in
  start)
    start
    cat "$directory/environment"
    ;;
  stop) stop ;;
  run)
    [ $# -gt 0 ] || fail "no command was given"
    base=${TMPDIR:-/tmp}
    if [ -w /dev/shm ]; then base=/dev/shm; fi
    directory=$(mktemp -d "$base/bkhost-maria.XXXXXX")
    chmod 755 "$directory"
    # Whoever read what this prints may be gone: the word that the server was killed must not kill this by SIGPIPE.
    cleanup() { exec >/dev/null 2>&1; stop || true; rm -rf "$directory"; }
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
