#!/bin/bash
# Builds every strategy plugin as a WebAssembly component.
#
#   sdk/build-guests.sh            plugins  -> $T/plugins/<name>.wasm and $T/plugins/SHA256SUMS
#   sdk/build-guests.sh --tests    also the guests of tests/guests -> $T/test-guests/<name>.wasm
#
# $T is $CARGO_TARGET_DIR, by default the workspace's target/. What it needs and does not find, it installs:
# the Rust target wasm32-wasip2 through rustup, or else (no network to Rust's servers) Debian's rustc-web, rust-web-src
# and wasi-libc through apt-get, from which the target's standard library is then built. A second run does nearly nothing.
#
# The digests do not depend on where the checkout or the cargo home lie. They do depend on the compiler.
set -euo pipefail

target=wasm32-wasip2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
out=$(realpath -m "${CARGO_TARGET_DIR:-target}")
build=$out/guests
with_tests=no
for argument in "$@"; do
  case $argument in
    --tests) with_tests=yes ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "build-guests: unknown argument '$argument' (known: --tests)" >&2; exit 2 ;;
  esac
done

say() { echo "build-guests: $*" >&2; }
die() { say "error: $*"; exit 1; }

command -v cargo >/dev/null || die "cargo was not found: install Rust 1.95 or newer (https://rustup.rs)"
sysroot=$(rustc --print sysroot)
host=$(rustc -vV | sed -n 's/^host: //p')

# --- the target -------------------------------------------------------------------------------------------------------

# The compiler in use has the target's standard library.
has_target() { compgen -G "$sysroot/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null; }

# Debian's compiler, its sources and the C library are there.
has_fallback() {
  [ -x /usr/bin/rustc ] && [ -f /usr/lib/rustlib/src/rust/library/std/Cargo.toml ] && [ -e /usr/lib/wasm32-wasi/libc.a ]
}

install_fallback() {
  local as_root=() attempt
  command -v apt-get >/dev/null || die "target $target is missing: run 'rustup target add $target' on a machine with network"
  if [ "$(id -u)" != 0 ]; then
    { command -v sudo >/dev/null && sudo -n true 2>/dev/null; } ||
      die "target $target is missing: run 'rustup target add $target', or as root 'apt-get install rustc-web rust-web-src wasi-libc'"
    as_root=(sudo -n)
  fi
  for attempt in 1 2 3; do
    say "installing rustc-web, rust-web-src and wasi-libc (attempt $attempt of 3)"
    "${as_root[@]}" apt-get -q -o DPkg::Lock::Timeout=300 update >&2 || true
    if "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
      install --no-install-recommends rustc-web rust-web-src wasi-libc >&2 && has_fallback; then
      return
    fi
    sleep 2
  done
  die "cannot install rustc-web, rust-web-src and wasi-libc (see above), and 'rustup target add $target' did not work either"
}

fallback=no
if ! has_target; then
  if has_fallback; then
    fallback=yes
  elif command -v rustup >/dev/null && timeout -k 5 60 rustup target add "$target" >&2 && has_target; then
    say "added the Rust target $target"
  else
    install_fallback
    fallback=yes
  fi
fi

# --- the build --------------------------------------------------------------------------------------------------------

flags=("--remap-path-prefix=$root=/bkhost" "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" "--remap-path-prefix=$build=/build")
arguments=(build --locked --profile guest --target "$target" --target-dir "$build")
if [ $fallback = yes ]; then
  tools=$sysroot/lib/rustlib/$host/bin
  for tool in "$tools/wasm-component-ld" "$tools/gcc-ld/wasm-ld"; do
    [ -x "$tool" ] || die "$tool is missing: it comes with the Rust toolchain of rustup.rs"
  done
  export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
  flags+=("-Clinker=$tools/wasm-component-ld" "-Clink-arg=--wasm-ld-path=$tools/gcc-ld/wasm-ld" "-Clink-self-contained=no"
    "-Lnative=/usr/lib/wasm32-wasi")
  arguments+=(-Zbuild-std=std,panic_abort)
fi

# One build for a list of cargo's package and target arguments; prints the path of each component that came out of it.
components() {
  local messages
  messages=$(mktemp "$build/messages.XXXXXX")
  if ! (
    IFS=$'\x1f'
    unset RUSTFLAGS RUSTC_WRAPPER CARGO_BUILD_TARGET
    CARGO_ENCODED_RUSTFLAGS="${flags[*]}" exec cargo "${arguments[@]}" --message-format=json-render-diagnostics "$@"
  ) >"$messages"; then
    rm -f "$messages"
    die "the build failed (see above)"
  fi
  { grep -o '"[^"]*\.wasm"' "$messages" || true; } | tr -d '"' | sort -u
  rm -f "$messages"
}

# Put a file in place in one step, and only when it is another one.
place() {
  cmp -s "$1" "$2" && return
  local temporary
  temporary=$(mktemp "$2.XXXXXX")
  cp "$1" "$temporary"
  chmod 644 "$temporary"
  mv -f "$temporary" "$2"
}

# Copy components into a directory under their plugin names, and drop those that are no longer built.
publish() {
  local directory=$1 prefix=$2 file name keep=" "
  shift 2
  mkdir -p "$directory"
  for file in "$@"; do
    name=$(basename "$file" .wasm)
    name=${name//_/-}
    name=${name#"$prefix"}
    place "$file" "$directory/$name.wasm"
    keep+="$name.wasm "
  done
  for file in "$directory"/*.wasm; do
    [[ $keep == *" $(basename "$file") "* ]] || rm -f "$file"
  done
}

mkdir -p "$build"
packages=()
for manifest in plugins/*/Cargo.toml; do
  packages+=(-p "$(sed -n 's/^name = "\(.*\)"/\1/p' "$manifest" | head -1)")
done
built=$(components --lib "${packages[@]}")
mapfile -t files <<<"$built"
[ "${#files[@]}" = $((${#packages[@]} / 2)) ] || die "$((${#packages[@]} / 2)) plugins were asked for, ${#files[@]} came out: $built"
publish "$out/plugins" bkhost- "${files[@]}"

sums=$(mktemp "$build/sums.XXXXXX")
(cd "$out/plugins" && sha256sum -- *.wasm) >"$sums"
place "$sums" "$out/plugins/SHA256SUMS"
rm -f "$sums"

if [ $with_tests = yes ]; then
  # Every example of the crate is a component of its own.
  built=$(components --examples -p bkhost-test-guests)
  mapfile -t files <<<"$built"
  [ -n "$built" ] || files=()
  publish "$out/test-guests" "" "${files[@]}"
fi
