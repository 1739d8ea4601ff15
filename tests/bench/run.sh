#!/bin/bash
# Measures bkhost against the usual tools, in one run on the same data, and prints ratios with the commands behind them.
# Needs root (ZFS on FUSE, PostgreSQL). Figures are of this machine, now: only the ratios mean something.
#
#   tests/bench/run.sh [--files 20000] [--rows 2000000] [--archive-mib 1024] [--many 1000000]
#
# 1. Downtime: lock to unlock (without the application's own draining) of bkhost, against `rsync` + `pg_dump` under the same
#    lock, as the usual scripts do it; and again after the data has doubled.
# 2. Archive: bkhost's archive of a tree, against `tar | gzip` and `tar | zstd -T0 -3`.
# 3. Start-up: to the first answer of a plugin, with its compiled code in the cache.
# 4. Memory: the most that a backup, a verification and a restore of a million files hold at once.
set -euo pipefail

files=20000 rows=2000000 archive_mib=1024 many=1000000
while [ $# -gt 0 ]; do
  case $1 in
    --files) files=$2; shift 2 ;;
    --rows) rows=$2; shift 2 ;;
    --archive-mib) archive_mib=$2; shift 2 ;;
    --many) many=$2; shift 2 ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
  esac
done
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")
export BKHOST=${BKHOST_BIN:-$target/release/bkhost} BKHOST_PLUGINS=${BKHOST_PLUGINS:-$target/plugins}
export FILES=$files ROWS=$rows ARCHIVE_MIB=$archive_mib MANY=$many

pool=$((files / 100 + 1024))M
"$root/tests/scripts/with-zfs.sh" --size "$pool" "$root/tests/scripts/postgres.sh" run "$here/downtime.sh"
"$here/archive.sh"
"$here/startup.sh"
"$here/memory.sh"
