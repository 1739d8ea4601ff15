//! What is left out, compared with what git makes of the same patterns.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use bkhost_tests::{application_none, tool};

use super::{World, part};

/// Patterns that mean the same to git, but for braces.
const PATTERNS: &[&str] = &[
    "*.tmp",
    "cache/",
    "/top",
    "deep/er/gone",
    "deep/*/x",
    "any/**/x",
    "below/**",
    "**/both/x",
    "a[0-2x]c",
    "n[!a]t",
    "br[]-]",
    "a\\*b",
    "q\\?",
    "b\\\\s",
    "mixed\\\\*\\[",
    "# comment",
    "\\!bang",
    "- minus",
    "+ plus",
    " lead",
    ". dot",
    "ünï/c?de*",
    "--delete",
    "trail\\ x ",
    "/anchored/*.d/",
    "du**mp",
];
/// Names that these are about, and names that look like them.
const NAMES: &[&str] = &[
    "a.tmp",
    "a.tmp.b",
    "x/.tmp",
    "cache/f",
    "x/cache/f",
    "y/cache",
    "top",
    "x/top",
    "deep/er/gone",
    "x/deep/er/gone",
    "deep/er/gone2",
    "deep/a/x",
    "deep/a/b/x",
    "deep/x",
    "any/x",
    "any/a/x",
    "any/a/b/x",
    "any/a/bx",
    "anyx",
    "below/a",
    "below/b/c",
    "x/below/a",
    "both/x",
    "a/both/x",
    "a/b/both/x",
    "both/y/x",
    "a1c",
    "a3c",
    "axc",
    "x/a2c",
    "nbt",
    "nat",
    "br]",
    "br-",
    "br[",
    "a*b",
    "aab",
    "q?",
    "qq",
    "b\\s",
    "bs",
    "mixed\\y[",
    "mixedy[",
    "# comment",
    "#comment",
    "!bang",
    "bang",
    "- minus",
    "minus",
    "+ plus",
    "plus",
    " lead",
    "lead",
    ". dot",
    "dot",
    "ünï/c\u{f8}de",
    "ünï/code1",
    "ünï/xode",
    "--delete",
    "-delete",
    "trail x ",
    "trail x",
    "anchored/a.d/f",
    "anchored/b.d",
    "x/anchored/a.d/f",
    "dump",
    "du/mp",
    "du mp",
    "new\nline.tmp",
    "new\nline",
    "quote\"'`$(x)",
];

fn names(root: &Path) -> BTreeSet<Vec<u8>> {
    let mut find = Command::new("find");
    find.arg(root).args(["(", "-type", "f", "-o", "-type", "l", ")", "-printf", "%P\\0"]);
    find.output().unwrap().stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

/// What git would not ignore.
fn oracle(world: &World) -> BTreeSet<Vec<u8>> {
    let (repository, patterns) = (world.bk.path("git"), world.bk.path("patterns"));
    let mut init = Command::new("git");
    init.args(["init", "-q", "--bare"]).arg(&repository);
    tool(init);
    // git strips spaces at the end of a line, and takes a `#` at its beginning for a comment.
    let line = |pattern: &&str| match pattern.strip_suffix(' ') {
        Some(rest) => format!("{rest}\\ \n"),
        None if pattern.starts_with('#') => format!("\\{pattern}\n"),
        None => format!("{pattern}\n"),
    };
    std::fs::write(&patterns, PATTERNS.iter().map(line).collect::<String>()).unwrap();
    let mut list = Command::new("git");
    list.arg("--git-dir").arg(&repository).arg("--work-tree").arg(&world.home).current_dir(&world.home);
    list.args(["ls-files", "-z", "--others", "--exclude-from"]).arg(&patterns);
    let listed = list.output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    listed.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

#[test]
fn excludes_ignored() {
    let world = World::new();
    let odd = [OsStr::from_bytes(b"latin-\xe9.tmp"), OsStr::from_bytes(b"latin-\xe9"), OsStr::from_bytes(b"n\xfft")];
    for name in NAMES.iter().map(OsStr::new).chain(odd) {
        let path = world.home.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    std::os::unix::fs::symlink("deep", world.home.join("z.tmp")).unwrap();
    let (all, wanted) = (names(&world.home), oracle(&world));
    assert!(wanted.len() > 20 && all.len() > wanted.len() + 20, "{} of {}", wanted.len(), all.len());

    // By the plugin's own key, by that of the part, and half and half: in a first copy, and where an earlier one has more.
    let quoted = |patterns: &[&str]| patterns.iter().map(|p| toml(p)).collect::<Vec<_>>().join(", ");
    let half = PATTERNS.len() / 2;
    world.config("keep-copies = 9");
    let everything = world.bk.backup_id();
    assert_eq!(names(&world.copy(&everything)), all);
    let text =
        |names: &BTreeSet<Vec<u8>>| names.iter().map(|n| String::from_utf8_lossy(n).into_owned()).collect::<Vec<_>>();
    for (own, parts, fresh) in
        [(PATTERNS, &[][..], false), (&[], PATTERNS, true), (&PATTERNS[..half], &PATTERNS[half..], false)]
    {
        let keys = format!("keep-copies = 9\nexclude = [{}]", quoted(own));
        let part = part("home", &world.home, &world.stage, &keys)
            .replace("[part.config]", &format!("exclude = [{}]\n[part.config]", quoted(parts)));
        if fresh {
            std::fs::remove_dir_all(world.area()).unwrap();
        }
        world.bk.config(&[&application_none(), &part]);
        let set = world.bk.backup_id();
        // The host leaves them out of what it archives in any case: this is what rsync has made of them.
        assert_eq!(text(&names(&world.copy(&set))), text(&wanted));
        let _ = world.restored(&set);
        assert_eq!(text(&names(&world.bk.path(&format!("restored-{set}")))), text(&wanted));
    }
}

fn toml(text: &str) -> String {
    let escaped: String = text
        .chars()
        .flat_map(|c| match c {
            '\\' | '"' => vec!['\\', c],
            c => vec![c],
        })
        .collect();
    format!("\"{escaped}\"")
}
