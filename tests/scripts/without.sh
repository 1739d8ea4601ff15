#!/bin/bash
# Shows that each promise of "a success means it restores" has a test that fails without what keeps it: builds a bkhost
# in whose sources each mechanism has a switch. With all of them on, all the tests have to pass. Then each mechanism is
# switched off, alone, and its tests are run: each of them has to fail.
#
#   tests/scripts/without.sh [NAME…]      the work tree has to be clean, and is left so
#
# The guests have to be built (`sdk/build-guests.sh --tests`). Not a part of `make test`: it builds bkhost three times more,
# some guests twice, and takes five to ten minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."

# name ~ tests ~ file ~ what perl does to it; OFF is whether it is switched off
mechanisms='
# 1
rpo~alarm::luck_gave_a_snapshot_of_six_hours~host/src/run/health.rs~s/overdue: rpo_ms/overdue: !OFF && rpo_ms/
rpo-exit-code~alarm::luck_gave_a_snapshot_of_six_hours~host/src/cli/status.rs~s/let code = if overdue/let code = if overdue \&\& !OFF/
rpo-metric~alarm::luck_gave_a_snapshot_of_six_hours~host/src/run/metrics.rs~s/flag\(store\.overdue \|\|/flag(!OFF \&\& store.overdue ||/
# 2
told-where~alarm::nobody_knew_where_the_backups_were~host/src/cli/list.rs~s/(output::line\(format!\("instance \{\} in \{\}".*?;)/if !OFF { $1 }/
told-how~alarm::nobody_knew_where_the_backups_were~host/src/cli/list.rs~s/hows\.iter\(\)\.for_each/hows.iter().filter(|_| !OFF).for_each/
told-size-age-parts~alarm::nobody_knew_where_the_backups_were~host/src/cli/list.rs~s/row\.extend\(rest\);/if !OFF { row.extend(rest); }/
# 3
empty~coverage::dumps_of_a_few_bytes~host/src/run/archiving.rs~s/(refuse_empty\(part, &stored\)\?;)/if !OFF { $1 }/
min-share~coverage::dumps_of_a_few_bytes~host/src/run/shrink.rs~s/if share\.0 == 0 \{/if share.0 == 0 || OFF {/
# 4
versions-postgresql~postgresql_servers::an_older_pg_dump_than_the_server_is_a_failure_before_the_lock~plugins/postgresql/src/check.rs~s/&& major < server =>/&& major < server \&\& false =>/
versions-mysql~mysql::an_older_mysqldump_than_the_server_is_a_failure_before_the_lock~plugins/mysql/src/version.rs~s/\(self\.number < server\.number\)\.then/(self.number < server.number \&\& false).then/
# 5, and the others in which only proved sets count
sizes~keep::the_tool_had_deleted_old_backups alarm::luck_gave_a_snapshot_of_six_hours alarm::nobody_knew_where_the_backups_were~host/src/store/list.rs~s/if bytes == object\.bytes =>/if bytes == object.bytes || OFF =>/
found-damaged~several::what_was_found_damaged_is_not_copied_and_not_read~host/src/store/list.rs~s/entry\.records\.damage\(\)\.map/entry.records.damage().filter(|_| !OFF).map/
after-publish~keep::the_tool_had_deleted_old_backups~host/src/run/backup.rs~s/(    sweep\(session, &stores, id\)\.await\?;)/$1\n    if OFF { let _ = prune::after_backup(session, \&parts, \&stores).await; }/
keep-proved-min~keep::the_tool_had_deleted_old_backups~host/src/store/retention/rules.rs~s/zip\(1\.\.=self\.proved_min\)/zip(1..=if OFF { 0 } else { self.proved_min })/
coming-upon~damage::every_object_in_every_way damage::all_that_is_damaged_is_told_and_what_is_whole_restores~host/src/run/damage.rs~s/if error\.detail_of\("object"\)\.is_none\(\)/if OFF || error.detail_of("object").is_none()/
# 6
coverage-parts~coverage::the_database_was_not_in_the_plan~host/src/run/coverage.rs~s/\.find\(\|wanted\| there\(\)/.find(|wanted| !OFF \&\& there()/
coverage-kinds~coverage::the_database_was_not_in_the_plan~host/src/run/coverage.rs~s/\.find\(\|wanted\| parts\.iter\(\)/.find(|wanted| !OFF \&\& parts.iter()/
coverage-paths~coverage::paths_have_to_be_in_some_part~host/src/run/coverage.rs~s/if held\.any\(/if OFF || held.any(/
# 7
immutable~several::what_is_not_the_same_is_refused~host/src/run/copy.rs~s/(true if to\.manifest_bytes\(&instance, &id\)\? == bytes) =>/$1 || OFF =>/
immutable-in-between~s3::what_came_in_between_is_not_overwritten~host/src/store/s3/backend.rs~s/\("if-none-match", "\*"\), self\.client\.patience\)\.await/(if OFF { "x-amz-meta-other" } else { "if-none-match" }, "*"), self.client.patience).await/
# 8
plan~restore::plan::the_steps_are_printed_and_none_is_taken~host/src/cli/restore.rs~s/    if args\.plan \{/    if args.plan \&\& !OFF {/
plan-before~restore::plan::the_steps_are_printed_and_none_is_taken~host/src/cli/restore.rs~s/(print\(context, &set\.manifest\.id.*?;)/if args.plan || !OFF { $1 }/
# 9: that all is there in its size is seen again when the set is published, so that it takes a flipped bit to notice
read-back~s3::a_bucket_that_keeps_nothing_or_something_else several::one_that_is_required_fails_the_run~host/src/run/archiving.rs~s/    (prove\(session, &record, writer, cancel\)\.await\?;)/    if !OFF { $1 }/
read-back-manifest~s3::a_bucket_that_keeps_nothing_or_something_else~host/src/store/write.rs~s/if stored\.is_none_or/if !OFF \&\& stored.is_none_or/
# 10
drill~drill::nobody_had_ever_restored~host/src/run/drill/check.rs~s/in &session\.config\.drill\.check \{/in session.config.drill.check.iter().filter(|_| !OFF) {/
drill-rows~rehearsed::postgresql~plugins/postgresql/src/drill.rs~s/if differing\.is_empty\(\) \{/if differing.is_empty() || true {/
# 11
confirm~restore::around::rm_rf_on_the_wrong_host restore::around::sets_are_not_deleted_on_the_wrong_host~host/src/cli/confirm.rs~s/if typed == instance/if typed == instance || OFF/
fingerprint~restore::around::rm_rf_on_the_wrong_host restore::around::sets_are_not_deleted_on_the_wrong_host~host/src/run/fingerprint.rs~s/let mut differences = Vec::new\(\);/let elsewhere = elsewhere \&\& !OFF;\n        $&/
fingerprint-url~restore::around::the_application_is_another_one_or_runs~host/src/run/fingerprint.rs~s/if plain\(&set\.application\.url\) !=/if !OFF \&\& plain(\&set.application.url) !=/
fingerprint-database~restore::around::the_database_server_is_another_one~host/src/run/restore/plan.rs~s/if then != now/if then != now \&\& !OFF/
fingerprint-prune~restore::around::sets_are_not_deleted_on_the_wrong_host~host/src/run/prune.rs~s/if !accepted/if !accepted \&\& !OFF/
live~restore::around::the_application_is_another_one_or_runs~host/src/run/restore/plan.rs~s/if application\.is_running\(\)\.await\?/if !OFF \&\& application.is_running().await?/
# 12
heartbeat~silent::undoing_what_a_run_has_made~host/src/report/waiting.rs~s/(fn with_patience[^\n]*\n)/$1        let patience = if OFF { patience * 100 } else { patience };\n/; s/    (let mut ticks = interval)/    let every = if OFF { every * 100 } else { every };\n    $1/
waits-for-what~silent::undoing_what_a_run_has_made~host/src/report/waiting.rs~s/what: what\(\)/what: if OFF { String::new() } else { what() }/; s/what: what\.clone\(\)/what: if OFF { String::new() } else { what.clone() }/
waits-since-when~silent::undoing_what_a_run_has_made~host/src/report/waiting.rs~s/(Event::Waiting \{ what.*?), millis \}\)/$1, millis: if OFF { 0 } else { millis } })/g
# 13
strangers~keep::the_clean_up_of_a_failed_run_took_good_data~host/src/store/delete.rs~s/        (self\.refuse_strangers\(&dir\)\?;)\n        for/        if !OFF { $1 }\n        for/
journal~keep::the_clean_up_of_a_failed_run_took_good_data~host/src/run/undo.rs~s/(let work = async \|live: &mut LivePart<[^>]*>\| \{)/$1\n        if OFF { for all in live.instance.list().await? { live.instance.delete(\&all).await?; } }/
tag~keep::the_clean_up_of_a_failed_run_took_good_data~plugins/zfs/src/own.rs~s/(pub\(crate\) fn mine[^\n]*\n)/$1    if true { return true; }\n/
# 14
ping~alarm::failure_mails_were_rejected~host/src/cli/run.rs~s/(channels\.send\(&told, &reporter\)\.await;)/if !OFF || result.is_err() { $1 }/
ping-no-failure~alarm::failure_mails_were_rejected~host/src/cli/run.rs~s/=> (Notification::failure\(&instance, error\)),/=> Notification { occasion: if OFF { Occasion::Success } else { Occasion::Failure }, ..$1 },/
ping-fail~alarm::failure_mails_were_rejected~host/src/notify/channel.rs~s/=> "\/fail",/=> if OFF { "" } else { "\/fail" },/
channels~alarm::failure_mails_were_rejected~host/src/cli/status.rs~s/channels\.iter\(\)\.for_each/channels.iter().filter(|_| !OFF).for_each/
# 15
drill-time~drill::the_restore_took_18_hours~host/src/run/drill/record.rs~s/if !drilled\.partial \{/if !drilled.partial \&\& !OFF {/
restore-time~drill::the_restore_took_18_hours~host/src/run/restore/mod.rs~s/(StoreRecord::new\(RecordKind::Restore, &set\.manifest\.id\))\.took\(took\)/(if OFF { $1 } else { $1.took(took) })/
list-time~drill::the_restore_took_18_hours~host/src/cli/list.rs~s/set\.records\.restore_time\(\)\.map_or_else/set.records.restore_time().filter(|_| !OFF).map_or_else/
# Several stores: what their sets tell together, and what does not count when it is copied
all-stores~several::a_new_store_does_not_hide_how_much_there_was~host/src/run/shrink.rs~s/lists\.into_iter\(\)/lists.into_iter().take(if OFF { 1 } else { 99 })/
copied-pin~several::what_is_known_of_a_set_when_it_is_copied~host/src/run/copy/told.rs~s/set\.records\.pin\(\)\.filter\(\|_\| /set.records.pin().filter(|_| !OFF \&\& /
copied-damaged~several::what_was_found_damaged_is_not_copied_and_not_read~host/src/run/copy.rs~s/SetState::Proved\(_\) => \{\}/SetState::Proved(_) => {}\n            SetState::Damaged(_) if OFF => {}/
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
  local name tests file how
  while IFS='~' read -r name tests file how; do
    if [[ $file = "$1"/* && ($only = "  " || $only = *" $name "*) ]]; then "$2" "$name" "$tests" "$file" "$how" </dev/null; fi
  done <<<"$mechanisms"
}
change() {
  local off="std::path::Path::new(env!(\"BKHOST_WITHOUT\")).join(\"$1\").exists()" before
  before=$(sha256sum "$3")
  perl -0pi -e "${4//OFF/$off}" "$3"
  [ "$before" != "$(sha256sum "$3")" ] || { echo "without: error: $1: there is nothing to switch off in $3" >&2; exit 1; }
}
run() { cargo test --release --quiet -p bkhost-tests --test it -- --exact "$@" >"$switches/log" 2>&1; }
list() { tr ' ' '\n' <<<"$2"; }
baseline() { # all that are judged later pass with everything on: what makes them fail then is the one switch
  local all
  mapfile -t all < <({ each host list; each plugins list; } | sort -u)
  [ ${#all[@]} -gt 0 ] || { echo "without: error: no mechanism is called so" >&2; exit 1; }
  run "${all[@]}" || { cat "$switches/log" >&2; echo "without: error: they do not pass with everything on" >&2; exit 1; }
  echo "with all of them: ${#all[@]} tests pass"
}
judge() {
  local test
  for test in $2; do
    : >"$switches/$1"
    if run "$test"; then
      missed=1
      echo "MISSED   $1: $test passes without it"
    else
      echo "noticed  $1: $test fails without it: $(why)"
    fi
    rm "$switches/$1"
  done
}
why() { # where, and what the test says
  grep -m1 -A3 'panicked at' "$switches/log" | tr '\n' ' ' | sed 's/.*panicked at //; s/  */ /g' | cut -c1-200
}
build() { cargo build --release --quiet -p bkhost; }

each host change
build
baseline
each host judge
git checkout --quiet -- host
if [ -n "$(each plugins list)" ]; then
  # A guest sees no files: what is in it is off for good.
  each plugins change
  sdk/build-guests.sh --tests >/dev/null
  build
  each plugins judge
  git checkout --quiet -- plugins
  sdk/build-guests.sh --tests >/dev/null
fi
build
exit "$missed"
