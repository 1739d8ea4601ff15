#!/bin/bash
# Shows that each promise of "a success means it restores" has a test that fails without what keeps it: switches one
# mechanism after the other off in the sources, builds, and runs its test, which has to fail.
#
#   tests/scripts/without.sh [NAME…]      a quarter of an hour for all; the work tree has to be clean, and is left so
#
# The guests have to be built (`sdk/build-guests.sh --tests`). Not a part of `make test`: it builds bkhost once for each.
set -euo pipefail
cd "$(dirname "$0")/../.."

# name | test | file | what perl does to it
mechanisms='
rpo|alarm::luck_gave_a_snapshot_of_six_hours|host/src/run/health.rs|s/overdue: rpo_ms/overdue: false && rpo_ms/
told|alarm::nobody_knew_where_the_backups_were|host/src/cli/list.rs|s/hows\.iter\(\)\.for_each/hows.iter().take(0).for_each/
min-share|coverage::dumps_of_a_few_bytes|host/src/run/shrink.rs|s/if share\.0 == 0 \{/if share.0 < 255 {/
versions|postgresql_servers::an_older_pg_dump_than_the_server_is_a_failure_before_the_lock|plugins/postgresql/src/check.rs|s/&& major < server =>/&& major < server && false =>/
keep-proved-min|keep::the_tool_had_deleted_old_backups|host/src/store/retention/rules.rs|s/zip\(1\.\.=self\.proved_min\)/zip(1..=0)/
coverage|coverage::the_database_was_not_in_the_plan|host/src/run/coverage.rs|s/\.find\(\|wanted\| there\(\)/.find(|wanted| false \&\& there()/
plan|restore::plan::the_steps_are_printed_and_none_is_taken|host/src/cli/restore.rs|s/    if args\.plan \{/    if false {/
read-back|s3::a_bucket_that_keeps_nothing_or_something_else|host/src/run/archiving.rs|s/    prove\(session, &record, writer, cancel\)\.await\?;/    if false { prove(session, \&record, writer, cancel).await?; }/
drill|drill::nobody_had_ever_restored|host/src/run/drill/check.rs|s/in &session\.config\.drill\.check \{/in session.config.drill.check.iter().take(0) {/
fingerprint|restore::around::rm_rf_on_the_wrong_host|host/src/run/fingerprint.rs|s/if differences\.is_empty\(\)/if true/
prune-fingerprint|restore::around::sets_are_not_deleted_on_the_wrong_host|host/src/run/prune.rs|s/if !accepted/if false/
system|restore::around::the_database_server_is_another_one|host/src/run/restore/plan.rs|s/if then != now/if false/
confirm|restore::around::sets_are_not_deleted_on_the_wrong_host|host/src/cli/confirm.rs|s/if typed == instance/if true/
heartbeat|silent::undoing_what_a_run_has_made|host/src/report/waiting.rs|s/from_secs\(4\)/from_secs(400)/
strangers|keep::the_clean_up_of_a_failed_run_took_good_data|host/src/store/delete.rs|s/        self\.refuse_strangers\(&dir\)\?;\n        for/        for/
channels|alarm::failure_mails_were_rejected|host/src/cli/status.rs|s/FAILED/taken/g
restore-time|drill::the_restore_took_18_hours|host/src/run/drill/record.rs|s/record = record\.took\([^;]*;/();/
'

[ -z "$(git status --porcelain --untracked-files=no)" ] || { echo "without: error: the work tree has changes" >&2; exit 1; }
target=${CARGO_TARGET_DIR:-target}
export BKHOST_BIN=$(realpath -m "$target/release/bkhost") BKHOST_PLUGINS=$(realpath -m "$target/plugins")
export BKHOST_TEST_GUESTS=$(realpath -m "$target/test-guests")
trap 'git checkout --quiet -- host plugins' EXIT
build() {
  case $1 in plugins/*) sdk/build-guests.sh --tests ;; esac
  cargo build --release --quiet -p bkhost
}
declare -i noticed=0
missed=()
while IFS='|' read -r name test file change; do
  [ -n "$name" ] || continue
  [ $# = 0 ] || [[ " $* " = *" $name "* ]] || continue
  perl -0pi -e "$change" "$file"
  if git diff --quiet -- "$file"; then
    echo "without: error: $name: $file is not what it was: nothing was switched off" >&2
    exit 1
  fi
  build "$file" >/dev/null 2>&1 </dev/null || { echo "without: error: $name: it does not build any more" >&2; exit 1; }
  if cargo test --release --quiet -p bkhost-tests --test it -- --exact "$test" >/dev/null 2>&1 </dev/null; then
    missed+=("$name")
    echo "MISSED   $name: $test passes without it"
  else
    noticed+=1
    echo "noticed  $name: $test fails without it"
  fi
  git checkout --quiet -- "$file"
  case $file in plugins/*) build "$file" >/dev/null 2>&1 </dev/null ;; esac
done <<<"$mechanisms"
build host >/dev/null 2>&1 </dev/null
echo "$noticed noticed, ${#missed[@]} missed"
[ ${#missed[@]} = 0 ]
