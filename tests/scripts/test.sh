#!/bin/bash
# Runs every test. An integration test that fails is run once more, alone: those tests drive real systems and measure
# time, and a machine that is busy with something else makes some late. What fails twice has failed; what fails once is
# named at the end, because it wants to be looked at all the same.
#
# Shown is what there is to be looked at. All of it is in test.log in the target directory.
set -euo pipefail

# The tests wait as often as they work: for a server, a lock, a time that has to pass.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) + 1))}
everything=(cargo test --release --workspace --exclude bkhost-test-guests)
log=${CARGO_TARGET_DIR:-target}/test.log
worth() { sed -u '/^test .* \.\.\. ok$/d; /^running [0-9]* tests\?$/d; /^$/d'; }

if "${everything[@]}" --no-fail-fast 2>&1 | tee "$log" | worth; then
  exit 0
fi
# Cargo names the test programs that failed. The others are quick and touch nothing: they are not forgiven.
programs=$(sed -n 's/^ *`\(-p .*\)`$/\1/p' "$log")
if [ "$programs" != "-p bkhost-tests --test it" ]; then
  echo "test: error: failed: ${programs:-it does not build, or cargo did not say what}" >&2
  exit 1
fi
mapfile -t failed < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log")
if [ "${#failed[@]}" = 0 ] || [ "${#failed[@]}" -gt 5 ]; then
  echo "test: error: ${#failed[@]} integration tests failed" >&2
  exit 1
fi
echo "test: ${#failed[@]} integration tests failed; once more, one after the other: ${failed[*]}" >&2
"${everything[@]}" --test it -- --exact --test-threads=1 "${failed[@]}" 2>&1 | worth
echo "test: FAILED ONCE, and passed alone: ${failed[*]}" >&2
