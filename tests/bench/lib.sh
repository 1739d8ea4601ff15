# What the benchmarks share. Sourced.

# Milliseconds since some moment.
now() { echo $(($(date +%s%N) / 1000000)); }

# ratio A B: how many times B is A.
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { if (a <= 0) a = 1; printf "%.1f", b / a }'; }

# median NUMBER...
median() { printf '%s\n' "$@" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# sql DATABASE STATEMENT
sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 -d "$1" -c "$2"; }

# many_files DIRECTORY COUNT: files of 4 KiB, a thousand per directory.
many_files() {
  python3 - "$1" "$2" <<'PY'
import os, sys
root, count = sys.argv[1], int(sys.argv[2])
start = sum(len(f) for _, _, f in os.walk(root))
for n in range(start, start + count):
    directory = f"{root}/d{n // 1000}"
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/f{n}", "wb") as f:
        f.write(os.urandom(2048) + b"text " * 410)
PY
}
