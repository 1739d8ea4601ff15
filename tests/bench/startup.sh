#!/bin/bash
# From exec to the first answer of a plugin. Called by run.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

work=$(mktemp -d "${TMPDIR:-/tmp}/bkhost-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/tree" "$work/backups"
check() { "$BKHOST" --state "$work/state" -q check --plugin directory.wasm --set "path=$work/tree" --to "$work/backups" >/dev/null; }
cold=$(now); check; cold=$(($(now) - cold))
warm=() bare=()
for _ in $(seq 11); do
  start=$(now); check; warm+=($(($(now) - start)))
  start=$(now); "$BKHOST" --version >/dev/null; bare+=($(($(now) - start)))
done
echo "commands: bkhost check --plugin directory.wasm (whole process)   |   bkhost --version"
printf '%-28s cold (compiles) %s ms, warm cache %s ms, of which the bare process %s ms: %s times as long cold\n' \
  start-up "$cold" "$(median "${warm[@]}")" "$(median "${bare[@]}")" "$(ratio "$(median "${warm[@]}")" "$cold")"
