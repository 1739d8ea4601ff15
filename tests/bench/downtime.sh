#!/bin/bash
# Downtime with a ZFS dataset and a PostgreSQL database behind a simulated Bitbucket. Called by run.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

work=$ZFS_DIR/bench
mkdir -p "$work/backups" "$work/classic"
zfs create "$ZFS_POOL/home"
home=$(zfs get -H -o value mountpoint "$ZFS_POOL/home")
createdb app
sql app 'create table t (id bigint primary key, a text, b text)'

echo admin >"$work/password" && chmod 600 "$work/password"
"$BKHOST" simulate bitbucket --listen 127.0.0.1:0 --drain 0s >"$work/simulator" 2>&1 &
simulator=$!
trap 'kill $simulator 2>/dev/null || true' EXIT
for _ in $(seq 100); do grep -q http: "$work/simulator" && break; sleep 0.05; done
url=$(grep -o 'http://[0-9.:]*' "$work/simulator" | head -1)

cat >"$work/bkhost.toml" <<C
[instance]
name = "bench"
state = "$work/state"
[application]
type = "bitbucket"
url = "$url"
username = "admin"
password = { file = "$work/password" }
[[part]]
name = "home"
plugin = "zfs.wasm"
[part.config]
datasets = ["$ZFS_POOL/home"]
[[part]]
name = "database"
plugin = "postgresql.wasm"
[part.config]
host = "$PGHOST"
port = $PGPORT
database = "app"
jobs = 2
[[store]]
to = "$work/backups"
[retention]
keep-last = 1
C

grow() {
  many_files "$home" "$FILES"
  sql app "insert into t select g, md5(g::text), repeat(md5((g * 7)::text), 20)
    from generate_series((select coalesce(max(id), 0) + 1 from t), (select coalesce(max(id), 0) + $ROWS from t)) g"
  sync
}

# Lock to unlock less draining, as the set's manifest has it.
of_bkhost() {
  "$BKHOST" -c "$work/bkhost.toml" run --json --quiet |
    python3 -c 'import json,sys; a=json.loads(sys.stdin.readlines()[-1])["application"]; print(a["locked-ms"]-a["drain-ms"])'
}

# What the usual scripts do between lock and unlock: the second pass of rsync (the first ran live), and the dump.
of_scripts() {
  rsync -a --delete "$home/" "$work/classic/home/"
  local start; start=$(now)
  rsync -a --delete "$home/" "$work/classic/home/"
  pg_dump -Fc -Z1 -f "$work/classic/app.dump" app
  echo $(($(now) - start))
}

report() {
  local size; size=$(sql app 'select pg_size_pretty(pg_database_size(current_database()))')
  local ours=() theirs
  for _ in 1 2 3; do ours+=("$(of_bkhost)"); done
  theirs=$(of_scripts)
  local median; median=$(median "${ours[@]}")
  printf '%-28s %s files, %s: bkhost %s ms (of %s), rsync + pg_dump %s ms: %s times as long\n' \
    "downtime, $1" "$(find "$home" -type f | wc -l)" "$size" "$median" "${ours[*]}" "$theirs" "$(ratio "$median" "$theirs")"
}

echo "commands: bkhost run   |   rsync -a --delete HOME COPY (second pass); pg_dump -Fc -Z1   (under the same lock)"
grow
report "first"
grow
report "data doubled"
