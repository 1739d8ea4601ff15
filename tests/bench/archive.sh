#!/bin/bash
# Archive throughput of one tree. Called by run.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)

work=$(mktemp -d "${TMPDIR:-/tmp}/bkhost-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/tree"
python3 - "$work/tree" "$ARCHIVE_MIB" <<'PY'
import os, random, sys
root, mib = sys.argv[1], int(sys.argv[2])
random.seed(1)
words = [bytes(random.choices(b"abcdefghijklmnopqrstuvwxyz", k=random.randint(2, 9))) for _ in range(5000)]
# Half of it small files of text, half of it large files that do not compress well.
done, n = 0, 0
while done < mib << 19:
    os.makedirs(f"{root}/small/{n // 500}", exist_ok=True)
    text = b" ".join(random.choices(words, k=random.randint(200, 3000)))
    open(f"{root}/small/{n // 500}/{n}", "wb").write(text)
    done += len(text); n += 1
for k in range(mib // 128 or 1):
    with open(f"{root}/large{k}", "wb") as f:
        for _ in range(64):
            f.write(os.urandom(512 << 10) + b" ".join(random.choices(words, k=80000))[:512 << 10])
PY
bytes=$(du -sb "$work/tree" | cut -f1)
cat "$work"/tree/large* >/dev/null

timed() { local start; start=$(now); bash -c "$1"; echo $(($(now) - start)); }
mibs() { awk -v b="$bytes" -v ms="$1" 'BEGIN { printf "%.0f MiB/s", b / 1048576 / (ms / 1000) }'; }

key=$(age-keygen 2>/dev/null | sed -n 's/^# public key: //p')
gzip_ms=$(timed "tar -C '$work/tree' -cf - . | gzip >'$work/a.tar.gz'")
zstd_ms=$(timed "tar -C '$work/tree' -cf - . | zstd -q -T0 -3 -o '$work/a.tar.zst'")
age_ms=$(timed "tar -C '$work/tree' -cf - . | zstd -q -T0 -3 | age -r '$key' -o '$work/a.tar.zst.age'")
# The archive alone: what a run does besides (mirror, verify) is told in its own phases.
ours() { (cd "$root" && env "$@" cargo bench -q --profile release -p bkhost --bench archive -- "$work/tree" "$work/ours"); rm -f "$work/ours"*; }
told() { # name ours_ms what theirs_ms
  printf '%-28s %s MiB: bkhost %s, %s %s: %s times as fast\n' \
    "$1" $((bytes / 1048576)) "$(mibs "$2")" "$3" "$(mibs "$4")" "$(ratio "$2" "$4")"
}
ours_ms=$(ours)
echo "commands: the archiver of bkhost, level 3, all processors, BLAKE3 of every file and an index included   |   as named"
told archive "$ours_ms" "tar -cf - . | gzip" "$gzip_ms"
told archive "$ours_ms" "tar -cf - . | zstd -T0 -3" "$zstd_ms"
told "archive, format tar.gz" "$(ours BENCH_GZIP=1)" "tar -cf - . | gzip" "$gzip_ms"
told "archive, encrypted" "$(ours "BENCH_AGE=$key")" "tar -cf - . | zstd -T0 -3 | age -r KEY" "$age_ms"
