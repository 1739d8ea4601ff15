#!/bin/bash
# Memory of a million files: the most that a backup, a verification and a restore hold at once, beside what GNU tar holds.
# Once with a name for each file, and once as half a million files with two names each, which have to be remembered.
# Fails if bkhost takes 300 MiB or more. Called by run.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

work=$(mktemp -d "${TMPDIR:-/tmp}/bkhost-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 - "$work" "$MANY" <<'PY'
import os, sys
work, many = sys.argv[1], int(sys.argv[2])
def files(top, count):
    for n in range(count):
        directory = f"{work}/{top}/directory-{n // 1000:05}"
        if n % 1000 == 0:
            os.makedirs(directory)
        fd = os.open(f"{directory}/a-file-with-a-usual-name-{n % 1000:03}.txt", os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"content %d\n" % n)
        os.close(fd)
files("plain", many)
files("linked", many // 2)
for directory in sorted(os.listdir(f"{work}/linked")):
    os.mkdir(f"{work}/linked/again-{directory}")
    for name in os.listdir(f"{work}/linked/{directory}"):
        os.link(f"{work}/linked/{directory}/{name}", f"{work}/linked/again-{directory}/{name}")
PY

# held COMMAND...: the most memory that it held at once, in MiB.
held() {
  /usr/bin/time -f '%M' -o "$work/held" "$@" >/dev/null
  awk '{ printf "%d", $1 / 1024 }' "$work/held"
}

for tree in plain linked; do
  cat >"$work/bkhost.toml" <<C
[instance]
name = "bench-$tree"
state = "$work/state"
[application]
type = "none"
[[part]]
name = "home"
plugin = "directory.wasm"
[part.config]
path = "$work/$tree"
[[store]]
to = "$work/backups"
C
  ours() { held "$BKHOST" -q -c "$work/bkhost.toml" "$@"; }
  run=$(ours run)
  verify=$(ours verify latest)
  restore=$(ours restore latest --to "$work/restored" --confirm "bench-$tree")
  tar=$(held bash -c 'tar -C "$0" -cf - "$1" | cat' "$work" "$tree")
  rm -rf "$work/restored"
  printf '%-28s %s files, %s: run %s MiB, verify %s MiB, restore %s MiB, tar -c %s MiB\n' \
    memory "$MANY" "$tree" "$run" "$verify" "$restore" "$tar"
  for mib in "$run" "$verify" "$restore"; do
    [ "$mib" -lt 300 ] || { echo "more than 300 MiB: $mib" >&2; exit 1; }
  done
done
