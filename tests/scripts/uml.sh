#!/bin/bash
# Runs a command as root in User-Mode Linux: a kernel of its own with all of device-mapper, on a throw-away overlay of this
# machine's files. So every program and the checkout are at their paths, and nothing that the command does is left. There
# are two blank disks of 1 GiB, /dev/ubda and /dev/ubdb.
#
#   tests/scripts/uml.sh command [argument ...]
#
# Prints what the command prints, and returns its status. UML_TIMEOUT: seconds until it is killed, by default 300.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ $# = 0 ]; then echo "uml: error: no command was given" >&2; exit 2; fi
[ "$(id -u)" = 0 ] || { echo "uml: error: needs root" >&2; exit 1; }
for program in linux.uml lvm busybox cc; do
  command -v $program >/dev/null || { echo "uml: error: $program is missing: tests/scripts/install.sh" >&2; exit 1; }
done

built=${CARGO_TARGET_DIR:-$here/../../target}/uml
shim=$built/umlxstate-$(sha256sum <"$here/umlxstate.c" | cut -c1-16).so
if [ ! -f "$shim" ]; then
  mkdir -p "$built"
  cc -O2 -shared -fPIC -o "$shim.$$" "$here/umlxstate.c"
  mv -f "$shim.$$" "$shim"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/bkhost-uml.XXXXXX")
trap 'rm -rf "$work"' EXIT
truncate -s 1G "$work/a" "$work/b"
printf '%q ' "$@" >"$work/command"
echo 99 >"$work/status"

# In a namespace of its own, so that nothing survives this script.
unshare --fork --pid --kill-child env LD_PRELOAD="$shim" TMPDIR=/dev/shm timeout -k 5 "${UML_TIMEOUT:-300}" \
  linux.uml mem=1G quiet root=/dev/root rootfstype=hostfs rootflags=/ rw init="$here/uml-init.sh" bkhost_work="$work" bkhost_cwd="$PWD" \
  ubda="$work/a" ubdb="$work/b" con=null con0=null,fd:1 uml_dir="$work" umid=vm </dev/null >"$work/console" 2>&1 || true
cat "$work/output" 2>/dev/null || true
status=$(cat "$work/status")
if [ "$status" = 99 ]; then
  echo "uml: error: the kernel ended before the command did; its console:" >&2
  tail -40 "$work/console" >&2
fi
exit "$status"
