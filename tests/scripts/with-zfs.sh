#!/bin/bash
# Runs a command with a ZFS of its own: a zfs-fuse daemon and a pool on a file, in a private mount namespace, so that any
# number of these run side by side and nothing is left of them. Needs root.
#
#   tests/scripts/with-zfs.sh [--size 512M] [--pool tank] command [argument ...]
#
# The command finds in its environment:
#   ZFS_DIR    a scratch directory, removed at the end
#   ZFS_POOL   the pool's name; the pool is mounted at $ZFS_DIR/$ZFS_POOL
# The exit status is that of the command.
set -euo pipefail

if [ "${1-}" != --inside ]; then
  [ "$(id -u)" = 0 ] || { echo "with-zfs: error: needs root" >&2; exit 1; }
  command -v zfs-fuse >/dev/null || { echo "with-zfs: error: zfs-fuse is missing: tests/scripts/install.sh" >&2; exit 1; }
  exec unshare --mount --propagation private "$0" --inside "$@"
fi
shift

size=512M pool=tank
while [ $# -gt 0 ]; do
  case $1 in
    --size) size=$2; shift 2 ;;
    --pool) pool=$2; shift 2 ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || { echo "with-zfs: error: no command was given" >&2; exit 2; }

ZFS_DIR=$(mktemp -d "${TMPDIR:-/tmp}/bkhost-zfs.XXXXXX")
chmod 755 "$ZFS_DIR"
export ZFS_DIR ZFS_POOL=$pool
daemon=
cleanup() {
  # SIGTERM takes seconds, and the pool is thrown away.
  if [ -n "$daemon" ]; then
    kill -KILL "$daemon" 2>/dev/null || true
    wait "$daemon" 2>/dev/null || true
  fi
  # The mounts are of this namespace; what is left of them would keep the scratch directory from being removed.
  awk '$3 == "fuse.zfs" { print $2 }' /proc/self/mounts | tac | while read -r mount; do
    umount -l -- "$(printf '%b' "$mount")" 2>/dev/null || true
  done
  rm -rf --one-file-system "$ZFS_DIR"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# The daemon's socket, lock and list of pools: private to this namespace.
for directory in /run/zfs /var/lock/zfs /var/lib/zfs; do
  mkdir -p "$directory"
  mount -t tmpfs tmpfs "$directory"
done
# zfs-fuse drops the whole machine's page cache at each unmount and rollback.
mount --bind /dev/null /proc/sys/vm/drop_caches 2>/dev/null || true

# It ends with this script, even if that is killed.
setpriv --pdeathsig KILL zfs-fuse --no-daemon --no-kstat-mount --disable-page-cache -x -m 64 -p "$ZFS_DIR/pid" >"$ZFS_DIR/zfs-fuse.log" 2>&1 &
daemon=$!
for _ in $(seq 500); do
  if zpool list >/dev/null 2>&1; then break; fi
  kill -0 "$daemon" 2>/dev/null || { echo "with-zfs: error: zfs-fuse has ended:" >&2; cat "$ZFS_DIR/zfs-fuse.log" >&2; exit 1; }
  sleep 0.02
done
truncate -s "$size" "$ZFS_DIR/vdev"
zpool create -f -O mountpoint="$ZFS_DIR/$pool" "$pool" "$ZFS_DIR/vdev" >>"$ZFS_DIR/zfs-fuse.log" 2>&1 ||
  { echo "with-zfs: error: the pool could not be created:" >&2; cat "$ZFS_DIR/zfs-fuse.log" >&2; exit 1; }

# In the background, so that a signal to this script is seen at once, and is passed on.
"$@" <&0 &
command=$!
trap 'kill -HUP "$command" 2>/dev/null; wait "$command" || true; exit 129' HUP
trap 'kill -INT "$command" 2>/dev/null; wait "$command" || true; exit 130' INT
trap 'kill -TERM "$command" 2>/dev/null; wait "$command" || true; exit 143' TERM
status=0
wait "$command" || status=$?
exit "$status"
