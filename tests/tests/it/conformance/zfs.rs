//! ZFS.

use std::path::PathBuf;
use std::process::Command;

use bkhost_tests::{Bkhost, Zfs, listing, tool};
use serde_json::Value;

use super::{Broken, System, suite};

struct Pool {
    zfs: Zfs,
    bk: Bkhost,
    dataset: String,
}

pub(super) fn conforms() {
    let zfs = Zfs::start();
    let bk = Bkhost::inside(&zfs);
    let dataset = zfs.create(bk.instance());
    std::fs::write(zfs.files(&dataset).join("f"), "0").unwrap();
    std::fs::create_dir(zfs.files(&dataset).join("odd 'name' ü")).unwrap();
    suite::conforms(&Pool { zfs, bk, dataset });
}

impl Pool {
    fn files(&self) -> PathBuf {
        self.zfs.files(&self.dataset)
    }

    fn snapshots(&self, of: &str) -> Vec<String> {
        let listed = self.zfs.zfs(&["list", "-H", "-o", "name", "-t", "all", "-r", of]);
        listed.lines().map(str::to_owned).collect()
    }

    fn name(&self, part: &Value) -> String {
        format!("{}@{}", self.dataset, part["snapshot"]["state"]["label"].as_str().unwrap())
    }
}

impl System for Pool {
    fn bk(&self) -> &Bkhost {
        &self.bk
    }

    fn another(&self) -> Bkhost {
        Bkhost::inside(&self.zfs)
    }

    fn part(&self, name: &str) -> String {
        self.zfs.part(name, &[&self.dataset])
    }

    fn vendor(&self) -> Vec<String> {
        let mut all = self.snapshots(self.zfs.name("").trim_end_matches('/'));
        all.sort();
        all
    }

    fn keeps(&self) -> bool {
        true
    }

    fn holds(&self, part: &Value) -> bool {
        self.snapshots(&self.dataset).contains(&self.name(part))
    }

    fn remove(&self, part: &Value) {
        self.zfs.zfs(&["destroy", &self.name(part)]);
    }

    fn look_alikes(&self, label: &str) {
        let snapshot = format!("{}@{label}", self.dataset);
        self.zfs.zfs(&["snapshot", &snapshot]);
        let tagged = format!("{}@mine", self.dataset);
        self.zfs.zfs(&["snapshot", &tagged]);
        for (key, value) in [("instance", self.bk.instance()), ("part", "part"), ("run", label)] {
            self.zfs.zfs(&["set", &format!("bkhost:{key}={value}"), &tagged]);
        }
    }

    fn content(&self) -> String {
        listing(&self.files())
    }

    fn change(&self, n: u32) {
        std::fs::write(self.files().join("f"), n.to_string()).unwrap();
        std::fs::write(self.files().join(format!("new {n}")), "new").unwrap();
        tool(Command::new("sync"));
    }

    fn target(&self, n: u32) -> String {
        format!("{}-restored-{n}", self.dataset)
    }

    fn restored(&self, target: &str) -> String {
        listing(&self.zfs.files(target))
    }

    fn broken(&self) -> Vec<Broken> {
        let part = |dataset: &str| self.zfs.part("part", &[dataset]);
        vec![
            Broken {
                what: "a dataset that is not there",
                part: part(&self.zfs.name("nothing")),
                code: 6,
                says: "does not exist",
            },
            Broken { what: "a name that is none", part: part("-r"), code: 3, says: "part.config.datasets" },
            Broken {
                what: "no tool",
                part: format!("{}[part.programs]\nzfs = \"/nowhere/zfs\"\n", self.part("part")),
                code: 4,
                says: "/nowhere",
            },
        ]
    }
}
