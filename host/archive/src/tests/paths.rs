//! Single paths out of an archive, and how they come into their place.

use std::path::Path;

use super::fixture::{Archive, Scratch, assert_same, is_root, scratch, script, tree, tree_of_everything};
use super::open;
use crate::error::{ErrorKind, Result};
use crate::{
    Control, ExtractOptions, Extracted, PartObjects, Selection, Settled, Standing, escape, extract_paths, read_index,
    settle, standing, unescape,
};

fn extract(archive: &Archive, paths: &[&str]) -> Result<(Scratch, Extracted, Selection)> {
    let [data, index] = archive.records();
    let objects = PartObjects { data: &data, index: &index, keys: &archive.keys };
    let paths: Vec<_> = paths.iter().map(|path| unescape(path).unwrap()).collect();
    let control = Control::none();
    let selection = Selection::find(archive.index.as_slice(), &objects, &paths, &control)?;
    let (to, aside) = (scratch(), scratch());
    let (object, lines) = (archive.object.as_slice(), archive.index.as_slice());
    let into = (open(to.path()), open(aside.path()));
    let done = extract_paths(object, lines, &objects, &selection, into, &ExtractOptions::default(), &control)?;
    Ok((to, done, selection))
}

fn names(at: &Path) -> String {
    script(at, "find . -mindepth 1 | LC_ALL=C sort")
}

#[test]
fn names_survive_their_escapes() {
    for name in [&b"a/b"[..], b"back\\slash", b"new\nline", b"\xff\xfe", "grün\u{85}".as_bytes(), b"\\x41", b"", b" "]
    {
        let text = escape(name);
        assert!(!text.contains(char::is_control), "{text}");
        assert_eq!(unescape(&text).unwrap(), name, "{text}");
    }
    assert_eq!(unescape("\\q"), None);
    assert_eq!(unescape("\\x4"), None);
    assert_eq!(unescape("\\"), None);
}

#[test]
fn single_paths_with_their_directories() {
    let from = scratch();
    script(
        from.path(),
        "mkdir -p shared/config/deep other; echo 1 > shared/config/a; echo 2 > shared/config/deep/b; echo 3 > shared/c
         echo 4 > shared/config-not; echo 5 > top; chmod 2750 shared; touch -d 2001-01-01 shared/config shared",
    );
    let archive = Archive::of_tree(from.path(), "", &[]);
    let (to, done, selection) = extract(&archive, &["shared/config", "top"]).unwrap();
    assert_eq!(
        names(to.path()),
        "./shared\n./shared/config\n./shared/config/a\n./shared/config/deep\n./shared/config/deep/b\n./top\n"
    );
    assert_eq!((selection.entries, selection.bytes), (5, 6));
    assert_eq!(done.entries, 6);
    assert_eq!(script(to.path(), "stat -c %a shared; date -r shared/config +%Y"), "2750\n2001\n");
    let (to, ..) = extract(&archive, &["./shared/config/deep/b/"]).unwrap();
    assert_eq!(names(to.path()), "./shared\n./shared/config\n./shared/config/deep\n./shared/config/deep/b\n");
}

#[test]
fn every_top_by_itself_is_as_it_was() {
    let from = scratch();
    tree_of_everything(from.path());
    let archive = Archive::of_tree(from.path(), "", &[]);
    for entry in std::fs::read_dir(from.path()).unwrap() {
        use std::os::unix::ffi::OsStrExt as _;
        let name = entry.unwrap().file_name();
        let (to, ..) = extract(&archive, &[&escape(name.as_bytes())]).unwrap();
        let (a, b) = (from.path().join(&name), to.path().join(&name));
        if a.is_dir()
            && !["plain", "sparse", "root"].iter().any(|linked| name == *linked)
            && !name.as_bytes().starts_with(b"d")
        {
            assert_same(&a, &b);
        } else if a.is_file() {
            assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
        } else {
            assert_eq!(names(&a), names(&b));
        }
    }
}

#[test]
fn a_further_name_brings_its_content_along() {
    let from = scratch();
    script(
        from.path(),
        "mkdir a b c; echo content > a/first; ln a/first b/second; ln a/first c/third; ln -s x a/l; ln a/l b/l",
    );
    let archive = Archive::of_tree(from.path(), "", &[]);
    let (to, ..) = extract(&archive, &["b"]).unwrap();
    assert_eq!(names(to.path()), "./b\n./b/l\n./b/second\n");
    assert_eq!(script(to.path(), "cat b/second; readlink b/l"), "content\nx\n");
    let (to, ..) = extract(&archive, &["b", "c/third"]).unwrap();
    assert_eq!(script(to.path(), "cat c/third; stat -c %i b/second c/third | uniq | wc -l"), "content\n1\n");
}

#[test]
fn sources_with_names_are_part_of_the_path() {
    let from = scratch();
    script(from.path(), "mkdir -p x/y; echo 1 > x/y/f; echo 2 > g");
    let sources = [tree(&from.path().join("x"), "one/two", &[]), tree(from.path(), "three", &[])];
    let archive = Archive::of(&sources);
    let (to, ..) = extract(&archive, &["one/two/y", "three/g"]).unwrap();
    assert_eq!(names(to.path()), "./one\n./one/two\n./one/two/y\n./one/two/y/f\n./three\n./three/g\n");
}

#[test]
fn what_is_not_there_is_told_with_near_names() {
    let from = scratch();
    script(from.path(), "mkdir -p shared/config; echo 1 > shared/config/bitbucket.properties");
    let archive = Archive::of_tree(from.path(), "", &[]);
    for (path, near) in [
        ("bitbucket.properties", "shared/config/bitbucket.properties"),
        ("shared/confg", "shared/config"),
        ("shared/Config", "shared/config"),
    ] {
        let error = extract(&archive, &[path]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.hint_text().unwrap().contains(near), "{error}: {:?}", error.hint_text());
    }
    for path in ["", ".", "/", "/etc", "../x", "shared/../x"] {
        assert_eq!(extract(&archive, &[path]).err().unwrap().kind(), ErrorKind::Config, "{path}");
    }
}

#[test]
fn a_damaged_archive_gives_no_single_path_either() {
    let from = scratch();
    script(from.path(), "echo 1 > a; head -c 100000 /dev/urandom > b");
    let mut archive = Archive::of_tree(from.path(), "", &[]);
    let at = archive.object.len() - 100;
    archive.object[at] ^= 1;
    assert_eq!(extract(&archive, &["a"]).err().unwrap().kind(), ErrorKind::Damaged);
    let mut archive = Archive::of_tree(from.path(), "", &[]);
    let at = archive.index.len() / 2;
    archive.index[at] ^= 1;
    assert_eq!(extract(&archive, &["a"]).err().unwrap().kind(), ErrorKind::Damaged);
}

fn settled(from: &Path, into: &Path, replace: bool) -> Settled {
    settle(open(from), open(into), replace, &Control::none()).unwrap()
}

#[test]
fn nothing_is_moved_while_something_is_in_the_way() {
    let (base, control) = (scratch(), "cat into/d/a into/d/b");
    let (from, into) = (base.path().join("from"), base.path().join("into"));
    script(
        base.path(),
        "mkdir -p from/d from/new/deep into/d; echo new | tee from/d/a from/d/b from/new/deep/f > from/e; echo old > into/d/a; echo other > into/d/b",
    );
    let done = settled(&from, &into, false);
    assert_eq!(done.in_the_way.names, ["d/a", "d/b"]);
    assert_eq!(script(base.path(), control), "old\nother\n");
    assert!(!into.join("e").exists() && !into.join("new").exists());
    let done = settled(&from, &into, true);
    assert_eq!((done.moved, done.replaced, done.same), (4, 2, 0));
    assert_eq!(script(base.path(), control), "new\nnew\n");
    assert_eq!(names(&from), "");
    assert_eq!(script(&into, "cat new/deep/f e"), "new\nnew\n");
    // Again, as after an interruption.
    assert_eq!(settled(&from, &into, false), Settled::default());
}

#[test]
fn what_is_the_same_is_not_in_the_way() {
    let base = scratch();
    script(
        base.path(),
        "mkdir from into; for d in from into; do echo x > $d/f; touch -d 2001-01-01 $d/f; ln -s t $d/l; touch -h -d 2001-01-01 $d/l; done",
    );
    let (from, into) = (base.path().join("from"), base.path().join("into"));
    let done = settled(&from, &into, false);
    assert_eq!((done.moved, done.same, done.in_the_way.total), (0, 2, 0));
    assert_eq!(names(&from), "");
}

#[test]
fn links_and_directories_in_the_way_are_never_replaced() {
    let base = scratch();
    script(
        base.path(),
        "mkdir -p outside from/l from/f into/d; echo 1 > from/l/x; echo 2 > from/d; echo 3 > into/f; ln -s ../outside into/l",
    );
    let (from, into) = (base.path().join("from"), base.path().join("into"));
    let done = settled(&from, &into, true);
    assert_eq!(done.in_the_way.names, ["d", "f", "l"]);
    assert_eq!(names(&base.path().join("outside")), "");
}

#[test]
fn what_stands_in_the_target_is_seen_before() {
    let from = scratch();
    tree_of_everything(from.path());
    let archive = Archive::of_tree(from.path(), "", &[]);
    let [data, index] = archive.records();
    let objects = PartObjects { data: &data, index: &index, keys: &archive.keys };
    let to = scratch();
    let look = |into: &Path| {
        let mut seen = Vec::new();
        read_index(archive.index.as_slice(), &objects, &Control::none(), |path, line| {
            if !path.is_empty() {
                seen.push((path.to_vec(), standing(open(into), path, line, &Control::none())?));
            }
            Ok(())
        })
        .unwrap();
        seen
    };
    assert!(look(to.path()).iter().all(|(_, standing)| *standing == Standing::Free));
    for (path, standing) in look(from.path()) {
        let device = is_root() && (path.starts_with(b"root/"));
        assert!(standing == Standing::Same || device, "{}: {standing:?}", escape(&path));
    }
    script(to.path(), "mkdir modes; echo other > modes/0600; mkdir -- -dash; ln -s /etc plain");
    let seen = look(to.path());
    let of = |path: &[u8]| seen.iter().find(|(seen, _)| seen == path).unwrap().1;
    assert_eq!(of(b"modes"), Standing::Same);
    assert_eq!(of(b"modes/0600"), Standing::Other);
    assert_eq!(of(b"modes/0444"), Standing::Free);
    assert_eq!(of(b"-dash"), Standing::Blocked);
    assert_eq!(of(b"plain/file"), Standing::Blocked);
}
