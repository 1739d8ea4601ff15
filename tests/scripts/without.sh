#!/bin/bash
# Shows that each promise of "a success means it restores" has a test that fails without what keeps it: builds a bkhost
# in whose sources each mechanism has a switch, and runs the test of each with its mechanism switched off. It has to fail.
#
#   tests/scripts/without.sh [NAME…]      the work tree has to be clean, and is left so
#
# The guests have to be built (`sdk/build-guests.sh --tests`). Not a part of `make test`: it builds bkhost two times more.
set -euo pipefail
cd "$(dirname "$0")/../.."

# name ~ test ~ file ~ what perl does to it; OFF is whether it is switched off
mechanisms='
rpo~alarm::luck_gave_a_snapshot_of_six_hours~host/src/run/health.rs~s/overdue: rpo_ms/overdue: !OFF && rpo_ms/
told~alarm::nobody_knew_where_the_backups_were~host/src/cli/list.rs~s/hows\.iter\(\)\.for_each/hows.iter().filter(|_| !OFF).for_each/
min-share~coverage::dumps_of_a_few_bytes~host/src/run/shrink.rs~s/if share\.0 == 0 \{/if share.0 == 0 || OFF {/
keep-proved-min~keep::the_tool_had_deleted_old_backups~host/src/store/retention/rules.rs~s/zip\(1\.\.=self\.proved_min\)/zip(1..=if OFF { 0 } else { self.proved_min })/
coverage~coverage::the_database_was_not_in_the_plan~host/src/run/coverage.rs~s/\.find\(\|wanted\| there\(\)/.find(|wanted| !OFF \&\& there()/
immutable~several::what_is_not_the_same_is_refused~host/src/run/copy.rs~s/(true if to\.manifest_bytes\(&instance, &id\)\? == bytes) =>/$1 || OFF =>/
plan~restore::plan::the_steps_are_printed_and_none_is_taken~host/src/cli/restore.rs~s/    if args\.plan \{/    if args.plan \&\& !OFF {/
read-back~s3::a_bucket_that_keeps_nothing_or_something_else~host/src/run/archiving.rs~s/    (prove\(session, &record, writer, cancel\)\.await\?;)/    if !OFF { $1 }/
drill~drill::nobody_had_ever_restored~host/src/run/drill/check.rs~s/in &session\.config\.drill\.check \{/in session.config.drill.check.iter().filter(|_| !OFF) {/
fingerprint~restore::around::rm_rf_on_the_wrong_host~host/src/run/fingerprint.rs~s/if differences\.is_empty\(\)/if differences.is_empty() || OFF/
prune-fingerprint~restore::around::sets_are_not_deleted_on_the_wrong_host~host/src/run/prune.rs~s/if !accepted/if !accepted \&\& !OFF/
system~restore::around::the_database_server_is_another_one~host/src/run/restore/plan.rs~s/if then != now/if then != now \&\& !OFF/
confirm~restore::around::sets_are_not_deleted_on_the_wrong_host~host/src/cli/confirm.rs~s/if typed == instance/if typed == instance || OFF/
heartbeat~silent::undoing_what_a_run_has_made~host/src/report/waiting.rs~s/(fn with_patience[^\n]*\n)/$1        let patience = if OFF { patience * 100 } else { patience };\n/; s/    (let mut ticks = interval)/    let every = if OFF { every * 100 } else { every };\n    $1/
strangers~keep::the_clean_up_of_a_failed_run_took_good_data~host/src/store/delete.rs~s/        (self\.refuse_strangers\(&dir\)\?;)\n        for/        if !OFF { $1 }\n        for/
channels~alarm::failure_mails_were_rejected~host/src/cli/status.rs~s/channels\.iter\(\)\.for_each/channels.iter().filter(|_| !OFF).for_each/
restore-time~drill::the_restore_took_18_hours~host/src/run/drill/record.rs~s/if !drilled\.partial \{/if !drilled.partial \&\& !OFF {/
versions~postgresql_servers::an_older_pg_dump_than_the_server_is_a_failure_before_the_lock~plugins/postgresql/src/check.rs~s/&& major < server =>/&& major < server \&\& false =>/
'

[ -z "$(git status --porcelain --untracked-files=no)" ] || { echo "without: error: the work tree has changes" >&2; exit 1; }
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
switches=$(mktemp -d)
export BKHOST_WITHOUT=$switches
export BKHOST_BIN=$target/release/bkhost BKHOST_PLUGINS=$target/plugins BKHOST_TEST_GUESTS=$target/test-guests
trap 'git checkout --quiet -- host plugins; rm -rf "$switches"' EXIT
only=" $* "
missed=0

each() { # directory command: runs the command with each mechanism that is wanted and is kept there
  local name test file how
  while IFS='~' read -r name test file how; do
    if [[ $file = "$1"/* && ($only = "  " || $only = *" $name "*) ]]; then "$2" "$name" "$test" "$file" "$how" </dev/null; fi
  done <<<"$mechanisms"
}
change() {
  local off="std::path::Path::new(env!(\"BKHOST_WITHOUT\")).join(\"$1\").exists()"
  perl -0pi -e "${4//OFF/$off}" "$3"
  ! git diff --quiet -- "$3" || { echo "without: error: $1: there is nothing to switch off in $3" >&2; exit 1; }
}
judge() {
  : >"$switches/$1"
  if cargo test --release --quiet -p bkhost-tests --test it -- --exact "$2" >"$switches/log" 2>&1; then
    missed=1
    echo "MISSED   $1: $2 passes without it"
  else
    echo "noticed  $1: $2 fails without it: $(grep -m1 -A1 'panicked at' "$switches/log" | tail -1 | cut -c1-100)"
  fi
  rm "$switches/$1"
}
build() { cargo build --release --quiet -p bkhost; }

each host change
build
each host judge
git checkout --quiet -- host
# A guest sees no files: what is in it is off for good.
each plugins change
sdk/build-guests.sh --tests >/dev/null
build
each plugins judge
git checkout --quiet -- plugins
sdk/build-guests.sh --tests >/dev/null
build
exit "$missed"
