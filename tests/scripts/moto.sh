#!/bin/bash
# A stand-in for AWS (moto): EC2, EBS, RDS, S3, IAM and STS on a free port of 127.0.0.1. Any number run side by side.
#
#   tests/scripts/moto.sh install                      put it into its place, once (from PyPI)
#   tests/scripts/moto.sh run command [argument ...]   start one, run the command with MOTO_URL set, stop it
#
# Its place is moto/ in $CARGO_TARGET_DIR, by default the workspace's target/.
set -euo pipefail

fail() { echo "moto: error: $*" >&2; exit 1; }

packages=('moto[ec2,s3,rds,iam]==5.2.5' flask flask-cors)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
place=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")/moto
stamp=$place/installed

install() {
  [ "$(cat "$stamp" 2>/dev/null)" != "${packages[*]}" ] || return 0
  local attempt
  mkdir -p "$(dirname "$place")"
  for attempt in 1 2 3; do
    echo "moto: installing ${packages[*]} (attempt $attempt of 3)" >&2
    rm -rf "$place"
    if python3 -m venv "$place" && "$place/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" >&2; then
      printf '%s\n' "${packages[*]}" >"$stamp"
      return 0
    fi
    sleep 2
  done
  fail "PyPI does not give ${packages[*]} (see above)"
}

run() {
  [ -f "$stamp" ] || fail "it is not installed: tests/scripts/moto.sh install"
  [ $# -gt 0 ] || fail "no command was given"
  local command status=0 url= i
  # Not local: the trap at the end needs them.
  log=$(mktemp "${TMPDIR:-/tmp}/bkhost-moto.XXXXXX")
  # Without the second setting, more than a thousand foreign snapshots would be there from the start.
  env -u MOTO_PORT MOTO_EC2_LOAD_DEFAULT_AMIS=false MOTO_IAM_LOAD_MANAGED_POLICIES=true \
    "$place/bin/python3" -B "$root/tests/scripts/moto_sharing.py" -H 127.0.0.1 -p 0 >"$log" 2>&1 </dev/null &
  server=$!
  trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; rm -f "$log"' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  for ((i = 0; i < 600; i++)); do
    url=$(sed -n 's/.*Running on \(http:[^ ]*\).*/\1/p' "$log")
    [ -z "$url" ] || break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.05
  done
  [ -n "$url" ] || { cat "$log" >&2; fail "it did not start"; }
  export MOTO_URL=$url
  "$@" <&0 &
  command=$!
  trap 'kill -TERM "$command" 2>/dev/null; wait "$command" || true; exit 143' HUP INT TERM
  wait "$command" || status=$?
  return "$status"
}

action=${1-}
shift || true
case $action in
  install) install ;;
  run) run "$@" ;;
  *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
esac
