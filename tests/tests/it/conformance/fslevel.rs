//! PostgreSQL whose files a disk part captures: both parts together, as neither is a backup of it alone.

use bkhost_tests::{Bkhost, Btrfs, PgFiles, listing};
use serde_json::Value;

use super::btrfs::Volume;
use super::{Broken, System, suite};

/// The subvolume: as odd a name as `pg_ctl` itself takes.
const PG: &str = "-p g ü";

struct Server {
    server: PgFiles,
    disk: Volume,
}

pub(super) fn conforms() {
    let (btrfs, bk) = (Btrfs::default(), Bkhost::new());
    let server = PgFiles::start(&btrfs.create(PG), &[]);
    std::fs::create_dir(btrfs.path(&format!("{PG}/payload"))).unwrap();
    std::fs::write(btrfs.path(&format!("{PG}/payload/f")), "0").unwrap();
    suite::conforms(&Server { server, disk: Volume { btrfs, bk } });
}

impl Server {
    /// The disk part is the first: it is the one that makes something.
    fn parts(&self, name: &str, keys: &str) -> String {
        let disk = self
            .disk
            .btrfs
            .part(name, &[PG], "")
            .replace("[part.config]", &format!("after = [\"{name}-db\"]\n[part.config]"));
        format!(
            "{disk}[[part]]\nname = \"{name}-db\"\nplugin = \"postgresql-fslevel.wasm\"\n[part.config]\ndisk-part = \"{name}\"\n\
             data-directory = {:?}\nhost = {:?}\n{keys}\n",
            self.server.data(),
            self.server.socket()
        )
    }
}

impl System for Server {
    fn bk(&self) -> &Bkhost {
        self.disk.bk()
    }

    fn command(&self, bk: &Bkhost, args: &[&str]) -> std::process::Command {
        // Each of the two parts has a target.
        let mut all: Vec<String> = Vec::new();
        for (n, &arg) in args.iter().enumerate() {
            if n > 0 && args[n - 1] == "--to" {
                all.extend([format!("part={arg}"), "--to".to_owned(), "part-db=elsewhere".to_owned()]);
            } else {
                all.push(arg.to_owned());
            }
        }
        bk.command(&all)
    }

    fn part(&self, name: &str) -> String {
        self.parts(name, "")
    }

    fn vendor(&self) -> Vec<String> {
        self.disk.vendor()
    }

    fn keeps(&self) -> bool {
        self.disk.keeps()
    }

    fn holds(&self, part: &Value) -> bool {
        self.disk.holds(part)
    }

    fn remove(&self, part: &Value) {
        self.disk.remove(part);
    }

    fn look_alikes(&self, label: &str) {
        self.disk.btrfs.snapshot(PG, &format!("snaps/{label}.part.0"));
    }

    fn content(&self) -> String {
        listing(&self.disk.btrfs.path(&format!("{PG}/payload")))
    }

    fn change(&self, n: u32) {
        std::fs::write(self.disk.btrfs.path(&format!("{PG}/payload/new {n}")), "new").unwrap();
    }

    fn target(&self, n: u32) -> String {
        self.disk.target(n)
    }

    fn restored(&self, target: &str) -> String {
        listing(&std::path::Path::new(target).join("payload"))
    }

    fn broken(&self) -> Vec<Broken> {
        let nowhere = self.part("part").replace(&format!("host = {:?}", self.server.socket()), "host = \"/nowhere\"");
        vec![
            Broken { what: "no server", part: nowhere, code: 6, says: "/nowhere" },
            Broken {
                what: "no such disk part",
                part: self.part("part").replace("disk-part = \"part\"", "disk-part = \"other\""),
                code: 6,
                says: "no other part `other`",
            },
            Broken {
                what: "no tool",
                part: self.parts("part", "[part.programs]\npsql = \"/nowhere/psql\""),
                code: 4,
                says: "/nowhere",
            },
        ]
    }
}
