//! What is restored is what was there at the consistency point, by another tool's account of it taken then.

use bkhost_tests::{Bkhost, LoopFs, application_none, listing, noise};
use serde_json::Value;

use super::{Busy, World, part, portable, sh, state};
use crate::directory::hard_to_keep;

/// What rsync's quick look does not see, done between the two passes to files that both the last good copy and the live
/// pass have; and whatever else can change.
const CHANGE: &str = r#"
same() { stamp=$(stat -c %y "$1"); printf %s "$2" >"$1"; touch -d "$stamp" "$1"; }
same racy "$(printf '%05d' $RANDOM)"                 # the same size, and a time that is the same to the nanosecond
stamp=$(stat -c %y second); printf %04d $RANDOM >second
touch -d "${stamp%.*}.$(printf %09d $RANDOM)" second  # the same size and the same second, years ago
chmod $((600 + RANDOM % 8)) attributes/mode
chown $((RANDOM)):$((RANDOM)) attributes/owner
setfattr -n user.n -v $RANDOM attributes/xattr
setfacl -m u:$((RANDOM)):r attributes/acl
cp --remove-destination -p linked/b linked/c && mv linked/c linked/b && echo $RANDOM >linked/b  # no longer a name of a
ln -f linked/a "linked/new $RANDOM"
rm -rf turned; if [ -e odd ]; then mkdir turned; echo x >turned/f; rm odd; else echo f >turned; touch odd; fi
mv -T moved.d "moved.d.$RANDOM"; mkdir moved.d; echo $RANDOM >moved.d/f
printf %s $RANDOM | dd of=large bs=1 seek=$((RANDOM * 100)) conv=notrunc status=none
touch -d '2010-01-01 00:00:00.000000001' attributes
"#;

fn changeable(world: &World) {
    hard_to_keep(&world.home);
    sh(
        &world.home,
        "mkdir attributes linked moved.d; echo f >turned; echo 0000 >racy; echo -n 0000 >second; touch -d '2019-05-05 05:05:05.1' second
         for f in mode owner xattr acl; do echo $f >attributes/$f; done; echo a >linked/a; ln linked/a linked/b",
    );
    std::fs::write(world.home.join("large"), noise(1, 6 << 20)).unwrap();
}

/// Three runs under continuous writes, everything changing before and between their passes.
fn survives(world: &World, sharing: &str, shares: &str) {
    changeable(world);
    let quiesce = format!(
        "{}\n{CHANGE}\n{:?} \"$PWD\" >../truth",
        Busy::REST,
        concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/listing.sh")
    );
    let beside = world.home.parent().unwrap();
    let program = world.bk.program("quiesce", &format!("set -e\ncd {:?}\n{quiesce}", world.home));
    let resume = world.bk.program("resume", &format!("rm -f {0:?}/rest {0:?}/resting", beside));
    world.bk.config(&[
        &format!("[application]\ntype = \"command\"\nquiesce = [{program:?}]\nresume = [{resume:?}]\n"),
        &part("home", &world.home, &world.stage, &format!("keep-copies = 9\nsharing = \"{sharing}\"")),
    ]);
    let busy = Busy::start(&world.home);
    let mut made: Vec<(String, String)> = Vec::new();
    for n in 0..3 {
        // Just before a run, too.
        sh(&world.home, &format!("{CHANGE}\necho 0000 >racy"));
        let manifest = world.bk.backup();
        let set = manifest["id"].as_str().unwrap();
        made.push((set.to_owned(), std::fs::read_to_string(beside.join("truth")).unwrap()));
        assert_eq!(state(&manifest)["sharing"], shares, "run {n}: {manifest}");
        busy.goes_on();
    }
    drop(busy);
    sh(&world.home, "rm -rf -- * .dot; echo other >f");
    for (set, truth) in &made {
        assert!(truth.lines().count() > 50, "{truth}");
        // Neither a later run nor what became of the home has touched it.
        assert_eq!(portable(&world.listing(set)), portable(truth), "the copy of {set}");
        assert_eq!(portable(&world.restored(set)), portable(truth), "{set}");
    }
    let (first, last) = (&made[0].1, &made[2].1);
    assert_ne!(first, last);
}

#[test]
fn on_ext4() {
    let bk = Bkhost::new();
    let fs = LoopFs::sized(bk.path("").as_path(), "disk", "ext4", 256 << 20);
    survives(&World::on(bk, &sub(&fs)), "auto", "hard-links");
}

#[test]
fn on_xfs() {
    let bk = Bkhost::new();
    let fs = LoopFs::sized(bk.path("").as_path(), "disk", "xfs", 512 << 20);
    survives(&World::on(bk, &sub(&fs)), "auto", "reflink");
}

#[test]
fn on_btrfs() {
    let bk = Bkhost::new();
    let fs = LoopFs::sized(bk.path("").as_path(), "disk", "btrfs", 512 << 20);
    survives(&World::on(bk, &sub(&fs)), "auto", "reflink");
}

/// Apart from what the file system itself has at its top.
fn sub(fs: &LoopFs) -> std::path::PathBuf {
    let dir = fs.point().join("all of it");
    std::fs::create_dir(&dir).unwrap();
    dir
}

/// A file that was changed within the tick of a clock before the locked pass of an earlier run, and again within it after.
#[test]
fn a_change_that_no_time_tells_is_seen_by_the_next_run() {
    let world = World::new();
    world.config("");
    for n in 0..3 {
        std::fs::write(world.home.join("f"), "0000").unwrap();
        std::fs::write(world.home.join("still"), "still").unwrap();
        let _ = world.bk.backup();
        sh(&world.home, &format!("stamp=$(stat -c %y f); printf 111{n} >f; touch -d \"$stamp\" f"));
        let before = listing(&world.home);
        let set = world.bk.backup_id();
        assert_eq!(world.restored(&set), before);
    }
}

/// What only reading everything can tell.
#[test]
fn a_time_that_was_set_back_hides_nothing_from_checksums() {
    let world = World::new();
    let change = "stamp=$(stat -c %y old); printf $RANDOM >new; printf '%05d' $(cat new) >old; touch -d \"$stamp\" old";
    sh(&world.home, "printf 00000 >old; touch -d 2001-01-01 old");
    world.config("");
    let _ = world.bk.backup();
    for (checksum, between) in [("live", false), ("always", true)] {
        sh(&world.home, change);
        let script = if between { change } else { "" };
        world.config_with_quiesce(script, &format!("checksum = \"{checksum}\""));
        let set = world.bk.backup_id();
        assert_eq!(world.restored(&set), listing(&world.home), "{checksum}");
    }
}

/// An rsync that does this besides when it copies for the n-th time.
fn meddling(world: &World, n: u32, script: &str) -> String {
    let counter = world.bk.path("counter");
    std::fs::write(&counter, "").unwrap();
    let program = world.bk.program(
        "rsync",
        &format!(
            "case \" $* \" in *' --stats '*) ;; *) exec rsync \"$@\" ;; esac\necho >>{counter:?}\n\
             [ $(wc -l <{counter:?}) = {n} ] || exec rsync \"$@\"\ncd {:?}\n{script}",
            world.home
        ),
    );
    format!("[part.programs]\nrsync = {program:?}\n")
}

#[test]
fn who_ignores_the_lock_is_found() {
    let world = World::new();
    std::fs::write(world.home.join("f"), "1").unwrap();
    let run = |keys: &str, n: u32, script: &str| {
        let programs = meddling(&world, n, script);
        world.bk.config(&[&application_none(), &part("home", &world.home, &world.stage, keys), &programs]);
        world.bk.run(&["run", "--json"])
    };
    let writes = "rsync \"$@\" || exit; echo $RANDOM >f; echo >'new file'; exit 0";
    let vanishes = "rsync \"$@\"; echo 'file has vanished: \"/srv/lost\"' >&2; exit 24";
    let partial =
        "rsync \"$@\"; echo 'rsync: [sender] send_files failed to open \"/f\": Permission denied (13)' >&2; exit 23";

    let outcome = run("verify-pass = true", 2, writes);
    assert_ne!(outcome.code, 0, "{outcome}");
    let said = |outcome: &bkhost_tests::Outcome, texts: &[&str]| {
        let all = format!("{}{}", outcome.stdout, outcome.stderr);
        texts.iter().for_each(|text| assert!(all.contains(text), "{text}: {outcome}"));
    };
    said(&outcome, &["changed while it was copied", "new file", "changes = "]);
    assert_eq!((world.staged(), world.bk.stored()), (Vec::new(), Vec::new()));
    // For a tree that nothing locks: named in the set.
    let outcome = run("verify-pass = true\nchanges = \"warn\"", 2, writes).ok();
    said(&outcome, &["changed while it was copied", "new file"]);
    assert!(state(&outcome.json())["changed"].to_string().contains("new file"), "{outcome}");
    // It is a mistake only under the lock.
    assert_eq!(state(&run("", 1, vanishes).ok().json())["changed"], Value::Array(Vec::new()));
    let outcome = run("", 2, vanishes);
    assert_ne!(outcome.code, 0, "{outcome}");
    said(&outcome, &["/srv/lost", "changes = "]);
    assert_eq!(state(&run("changes = \"warn\"", 2, vanishes).ok().json())["changed"][0], "/srv/lost");
    // This is one in both passes, whatever is allowed.
    for n in 1..3 {
        let outcome = run("changes = \"warn\"", n, partial);
        assert_ne!(outcome.code, 0, "{outcome}");
        said(&outcome, &["Permission denied", "root"]);
    }
}

/// The lock lasts as long as looking at every file and copying what has changed: data that stays does not count.
#[test]
fn the_lock_does_not_grow_with_the_data() {
    let world = World::new();
    world.config_with_quiesce("echo $RANDOM >changed", "");
    let mut figures = Vec::new();
    for round in 0_u8..2 {
        for n in 0..4 {
            std::fs::write(world.home.join(format!("{round}-{n}")), noise(u64::from(round * 9 + n), 24 << 20)).unwrap();
        }
        let _ = world.bk.backup();
        let locked = |_| world.bk.backup()["application"]["locked-ms"].as_u64().unwrap();
        figures.push((0..3).map(locked).min().unwrap());
        println!("{} MiB: locked for {} ms", (u32::from(round) + 1) * 96, figures[usize::from(round)]);
    }
    // Copying 96 MiB more takes longer than this on any disk.
    assert!(figures[1] < figures[0] * 3 + 300, "{figures:?}");
}
