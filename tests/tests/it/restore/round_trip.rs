//! Ten thousand files of every kind, there and back, compared by tools that are not ours.

use std::process::Command;
use std::time::Instant;

use bkhost_tests::{Bkhost, application_none, directory_part, listing, tool};

/// Ten thousand files, and all that a file system can hold beside them.
const TREE: &str = r#"
    mkdir many many/{00..99}
    for d in many/*; do for f in {00..99}; do echo "$d/$f" > "$d/$f"; done; done
    # Every mode, owners, times.
    n=0; for f in many/0?/*; do n=$((n + 1)); printf -v m %04o $((n * 37 % 4096)); chmod "$m" "$f"; done
    chown -h 12345:54321 many/10/*; touch -d '1999-12-31 23:59:59.123456789' many/11/*; touch -d '1960-01-01' many/12/*
    chmod 1777 many/13; chmod 2750 many/14; chmod 0000 many/15/00; chmod 4711 many/15/01
    # Links.
    mkdir links; ln many/20/* links; ln -s ../many/20/00 links/symbolic; ln links/symbolic links/symbolic-too
    ln -s /nowhere/at/all links/dangling; ln -s . links/loop
    # Attributes and ACLs.
    setfattr -n user.comment -v 'a comment' many/30/*; setfattr -n user.binary -v 0x00ff00 many/31
    setfattr -n trusted.note -v mine many/32/00
    setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 many/32/01
    setfacl -m u:12345:rwx,g:54321:r many/33/*; setfacl -d -m u:12345:rx many/34; echo x > many/34/inherits
    # Names.
    mkdir names; cd names; echo 1 > $'latin-\xe9\xff'; echo 2 > $'new\nline'; echo 3 > 'quote"\back'; echo 4 > -rf; echo 5 > ' '
    echo 6 > "$(printf 'x%.0s' {1..255})"; echo 7 > 'grün ☃'; echo 8 > '*'; echo 9 > ...; cd ..
    # Sizes: nothing, and 5 GiB that are mostly holes.
    touch empty; mkdir empty-directory; truncate -s 5G sparse
    for at in 0 1G 4294967295 5300000000; do echo data | dd of=sparse bs=1 seek=$at conv=notrunc status=none; done
    head -c 3000000 /dev/urandom > noise
    # Far down.
    p=deep; for i in {1..300}; do p=$p/level-$i; done; mkdir -p "$p"; echo bottom > "$p/file"
    # What is no file.
    mkfifo -m 620 fifo; mknod null c 1 3; mknod loop b 7 200; touch -d 2010-01-01 many links names .
"#;

/// What `listing` says, but for the content of the file with the holes: reading 5 GiB of nothing takes its time.
fn compared(root: &std::path::Path) -> (String, String) {
    let mut holes = Command::new("bash");
    holes.current_dir(root).args([
        "-euc",
        "stat -c '%s %a %u %Y' sparse; for at in 0 1073741824 4294967295 5300000000; do tail -c +$((at + 1)) sparse | head -c 5; done; \
         [ $(stat -c %b sparse) -lt 50000 ]; stat -c '%n %t %T' null loop; rm sparse",
    ]);
    let holes = tool(holes);
    (listing(root), holes)
}

#[test]
fn ten_thousand_files_of_every_kind() {
    let start = Instant::now();
    let bk = Bkhost::new();
    let (home, restored) = (bk.path("home"), bk.path("restored"));
    std::fs::create_dir(&home).unwrap();
    let mut make = Command::new("bash");
    make.args(["-euc", TREE]).current_dir(&home);
    tool(make);
    bk.config(&[&application_none(), &directory_part("home", &home)]);
    let made = start.elapsed();
    let set = bk.backup();
    let id = set["id"].as_str().unwrap();
    assert!(set["parts"][0]["entries"].as_u64().unwrap() > 10_500, "{}", set["parts"][0]["entries"]);
    bk.run(&["restore", id, "--to", restored.to_str().unwrap(), "--confirm", bk.instance()]).ok();
    let worked = start.elapsed() - made;
    let original = compared(&home);
    assert_eq!(original, compared(&restored));
    println!(
        "10,000 files: made in {made:?}, backed up and restored in {worked:?}, compared until {:?}",
        start.elapsed()
    );
}
