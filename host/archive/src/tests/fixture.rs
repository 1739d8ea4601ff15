//! A tree with every kind of file, and the comparison of trees.

use std::path::Path;
use std::process::Command;

use super::open;
use crate::error::Result;
use crate::object::{ObjectRecord, ObjectRole};
use crate::{
    Compression, Control, Exclude, ExtractOptions, Extracted, Format, Keys, PartObjects, PartOptions, PartSummary,
    Source, Written, extract_part, verify_part, write_part,
};

/// A directory that is removed in the end, whatever modes its directories were given.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = Command::new("chmod").args(["-R", "u+rwX"]).arg(self.path()).status();
    }
}

/// On a disk: file systems in memory are treated otherwise.
pub(crate) fn scratch() -> Scratch {
    let usual = std::env::temp_dir();
    Scratch(tempfile::tempdir_in(if is_tmpfs(&usual) { Path::new("/var/tmp") } else { &usual }).unwrap())
}

pub(crate) fn is_tmpfs(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|fs| fs.f_type == 0x0102_1994)
}

/// Runs a shell script in a directory; it has to succeed. Gives its output.
pub(crate) fn script(directory: &Path, text: &str) -> String {
    let output = Command::new("bash").args(["-euc", text]).current_dir(directory).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}\n{error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Every kind of file that an archive has to keep. What only root can make is only there for root.
pub(crate) fn tree_of_everything(at: &Path) {
    script(
        at,
        r#"
        mkdir -p plain/deep 'with space' "new
line"
        echo content > plain/file; : > plain/empty; head -c 700000 /dev/urandom > plain/random
        head -c 512 /dev/zero > plain/block; head -c 513 /dev/zero > plain/block-and-one
        touch -d '2001-02-03 04:05:06.123456789' plain/file; touch -d '1965-01-01 00:00:00.25' plain/before-1970
        touch -d '2300-01-01' plain/far-future
        ln -s file plain/symlink; ln -s /nowhere/at/all plain/dangling; ln -s "$(printf 'x%.0s' {1..300})" plain/long-link
        touch -h -d '2005-05-05 05:05:05.5' plain/symlink
        ln plain/file plain/deep/hard; ln plain/symlink plain/deep/hard-symlink; ln plain/random hard
        mkfifo -m 0640 plain/fifo; ln plain/fifo plain/deep/hard-fifo
        echo x > $'plain/not-utf8-\xff\xfe'; ln -s $'\xff-target' $'plain/\xfe-link'
        echo x > 'plain/quote"\back'; echo x > -dash; echo x > '!bang'; echo x > .hidden; echo x > '...'
        n=$(printf 'n%.0s' {1..255}); echo x > "plain/$n"; d=$(printf 'd%.0s' {1..200})
        mkdir -p "$d/$d/$d"; echo deep > "$d/$d/$d/$d"; ln "$d/$d/$d/$d" "$d/$d/hard-deep"
        d=$(printf 'D%.0s' {1..200}); mkdir -p $"$d/"$'\xff'; echo x > "$d/"$'\xff/\xff'
        p=levels; for i in $(seq 120); do p=$p/l$i; done; mkdir -p $p; echo bottom > $p/file; ln -s .. $p/up
        echo up > levels/l1/zz; echo up > levels/l1/l2/zz
        mkdir modes; for m in 0400 0444 0600 0755 1777 2755 4755 6711; do echo $m > modes/$m; chmod $m modes/$m; done
        mkdir modes/dir-0500 modes/dir-1777 modes/dir-2770; echo x > modes/dir-0500/inside
        chmod 0500 modes/dir-0500; chmod 1777 modes/dir-1777; chmod 2770 modes/dir-2770
        mkdir sparse; truncate -s 8M sparse/all-hole
        truncate -s 8M sparse/middle; echo data | dd of=sparse/middle bs=1 seek=4M conv=notrunc status=none
        truncate -s 3000001 sparse/ends; echo a | dd of=sparse/ends bs=1 conv=notrunc status=none
        echo end | dd of=sparse/ends bs=1 seek=3000001 conv=notrunc status=none
        for i in $(seq 0 2 60); do dd if=/dev/urandom of=sparse/many bs=64k count=1 seek=$i conv=notrunc status=none; done
        ln sparse/many sparse/many-hard
        truncate -s 1M "sparse/$n"
        mkdir attributes; echo x > attributes/file; mkdir attributes/dir
        setfattr -n user.note -v hello attributes/file; setfattr -n user.note -v dir attributes/dir
        setfattr -n 'user.a=b%3D' -v 0x000a3d0aff attributes/file; setfattr -n user.empty attributes/file
        setfattr -n user.large -v "$(head -c 2000 /dev/zero | tr '\0' L)" attributes/file
        echo x > attributes/acl; chmod 0640 attributes/acl; setfacl -m u:12345:rw,g:54321:r-x,m::rwx attributes/acl
        setfacl -m u:12345:rwx,d:u:12345:r-x,d:g::rwx,d:o::- attributes/dir; echo x > attributes/dir/inherits
        mkdir empty; touch -d '1999-12-31 23:59:59.999999999' empty plain with*
        "#,
    );
    if is_root() {
        script(
            at,
            r#"
            for m in 0000 0111; do echo $m > modes/$m; chmod $m modes/$m; done; mkdir -m 0 modes/dir-0000
            mkdir -p root; cd root
            mknod char c 1 3; mknod block b 7 200; chmod 0640 char; mknod large c 400 70000
            echo x > nobody; chown 65534:65534 nobody; chmod 4755 nobody; echo x > large-id
            chown 3000000000:2999999999 large-id; ln -s nobody owned-link; chown -h 1000:1001 owned-link
            mkdir owned; chown 12:34 owned; chmod 2755 owned
            echo x > capable; setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 capable
            setfattr -n trusted.note -v t capable; setfattr -h -n trusted.note -v link owned-link
            setfattr -h -n trusted.note -v pipe ../plain/fifo
            setfacl -m u:root:r,u:daemon:rwx,g:daemon:rwx capable
            "#,
        );
    }
}

/// Fails with the differences, if there are any, found by rsync and by plain listings.
pub(crate) fn assert_same(left: &Path, right: &Path) {
    let [a, b] = [left, right].map(|path| path.to_str().unwrap());
    let differences = script(left, &format!("rsync -aHAXnic --delete --modify-window=-1 --numeric-ids '{a}/' '{b}/'"));
    assert_eq!(differences, "", "rsync sees differences");
    let listing = r"
        find . -printf '%P|%y|%m|%U|%G|%T@|%l|' \( -type d -printf '\0' -o -printf '%n|%s\0' \) | LC_ALL=C sort -z
        find . -type f -links +1 -printf '%i %P\0' | LC_ALL=C sort -z -k 2 | tr '\0' '\n' | awk '{ if (!($1 in n)) n[$1] = NR; print n[$1] }'
        find . -print0 | LC_ALL=C sort -z | xargs -0 getfattr -h -d -m - -e hex --absolute-names
        find . ! -type l -print0 | LC_ALL=C sort -z | xargs -0 getfacl -n -p
        find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
        find . -type b -o -type c | LC_ALL=C sort | xargs -r stat -c '%n %t %T'";
    let [a, b] = [left, right].map(|path| script(path, listing));
    for (a, b) in a.split(['\0', '\n']).zip(b.split(['\0', '\n'])) {
        assert_eq!(a, b);
    }
    assert_eq!(a.len(), b.len());
}

/// What tests compress with.
pub(crate) fn quick() -> Format {
    Format { compression: Compression::Zstd { level: 1, threads: 2 }, recipients: None }
}

/// An archive in memory.
pub(crate) struct Archive {
    pub(crate) object: Vec<u8>,
    pub(crate) index: Vec<u8>,
    pub(crate) summary: PartSummary,
    /// What its files end in.
    pub(crate) suffix: String,
    /// What opens it.
    pub(crate) keys: Keys,
}

impl Archive {
    pub(crate) fn of(sources: &[Source]) -> Self {
        Self::in_format(sources, quick())
    }

    pub(crate) fn zst(object: Vec<u8>, index: Vec<u8>, summary: PartSummary) -> Self {
        Self { object, index, summary, suffix: ".zst".to_owned(), keys: Keys::default() }
    }

    pub(crate) fn in_format(sources: &[Source], format: Format) -> Self {
        let (mut object, mut index) = (Vec::new(), Vec::new());
        let (suffix, options) = (format.suffix(), PartOptions { format });
        let summary = write_part(sources, &mut object, &mut index, &options, &Control::none()).unwrap();
        Self { object, index, summary, suffix, keys: Keys::default() }
    }

    pub(crate) fn of_tree(path: &Path, name: &str, exclude: &[&str]) -> Self {
        Self::of(&[tree(path, name, exclude)])
    }

    pub(crate) fn records(&self) -> [ObjectRecord; 2] {
        let name = |what: &str| format!("part.{what}{}", self.suffix);
        [record(&name("tar"), &self.summary.object), record(&name("index.jsonl"), &self.summary.index)]
    }

    pub(crate) fn verify(&self) -> Result<u64> {
        let [data, index] = self.records();
        let objects = PartObjects { data: &data, index: &index, keys: &self.keys };
        verify_part(self.object.as_slice(), self.index.as_slice(), &objects, &Control::none())
    }

    pub(crate) fn extract(&self, source: &str, into: &Path) -> Result<Extracted> {
        let [data, index] = self.records();
        let objects = PartObjects { data: &data, index: &index, keys: &self.keys };
        let (object, index) = (self.object.as_slice(), self.index.as_slice());
        extract_part(object, index, &objects, source, open(into), &ExtractOptions::default(), &Control::none())
    }
}

pub(crate) fn tree(path: &Path, name: &str, exclude: &[&str]) -> Source {
    let exclude = Exclude::new(exclude).unwrap();
    Source::Tree { name: name.to_owned(), directory: open(path), exclude, one_file_system: false }
}

pub(crate) fn record(file: &str, written: &Written) -> ObjectRecord {
    ObjectRecord {
        file: file.to_owned(),
        role: ObjectRole::Data,
        source: None,
        bytes: written.bytes,
        content_bytes: written.content_bytes,
        blake3: written.blake3.clone(),
    }
}
