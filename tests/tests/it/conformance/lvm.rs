//! LVM, in a kernel of its own.

use std::path::PathBuf;

use bkhost_tests::{Bkhost, listing};
use serde_json::Value;

use super::{Broken, System, suite};
use crate::lvm::{bkhost, classic, group, inside, mount, part, sh};

struct Volumes {
    bk: Bkhost,
    files: PathBuf,
}

pub(super) fn conforms() {
    inside("conformance::lvm", || {
        group();
        let files = classic("home", "ext4", "64M");
        std::fs::write(files.join("f"), "0").unwrap();
        std::fs::create_dir(files.join("odd 'name' ü")).unwrap();
        sh("sync");
        suite::conforms(&Volumes { bk: bkhost(), files });
    });
}

impl Volumes {
    fn snapshot(part: &Value) -> String {
        format!("vg0/home-{}", part["snapshot"]["state"]["label"].as_str().unwrap())
    }
}

impl System for Volumes {
    fn bk(&self) -> &Bkhost {
        &self.bk
    }

    fn another(&self) -> Bkhost {
        bkhost()
    }

    fn part(&self, name: &str) -> String {
        part(name, &["vg0/home"], "snapshot-size = \"16MiB\"\nkeep-snapshots = true")
    }

    fn vendor(&self) -> Vec<String> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains("/staging/"), "{mounts}");
        let listed = sh("lvs --noheadings -o lv_full_name,lv_tags,lv_suspended 2>/dev/null | sort");
        listed.lines().map(|line| line.trim().to_owned()).collect()
    }

    fn slow(&self) -> bool {
        true
    }

    fn keeps(&self) -> bool {
        true
    }

    fn holds(&self, part: &Value) -> bool {
        let name = Self::snapshot(part);
        self.vendor().iter().any(|line| line.split_whitespace().next() == Some(&name))
    }

    fn remove(&self, part: &Value) {
        sh(&format!("lvremove -q -y {} 2>/dev/null", Self::snapshot(part)));
    }

    fn look_alikes(&self, label: &str) {
        sh(&format!("lvcreate -q -y -s -L 8M -n home-{label} vg0/home 2>/dev/null"));
        sh(&format!(
            "lvcreate -q -y -L 8M -n mine --addtag bkhost:instance={} --addtag bkhost:part=part --addtag bkhost:run={label} \
             vg0 2>/dev/null",
            self.bk.instance()
        ));
    }

    fn content(&self) -> String {
        listing(&self.files)
    }

    fn change(&self, n: u32) {
        std::fs::write(self.files.join("f"), n.to_string()).unwrap();
        std::fs::write(self.files.join(format!("new {n}")), "new").unwrap();
        sh("sync");
    }

    fn target(&self, n: u32) -> String {
        format!("vg0/restored-{n}")
    }

    fn restored(&self, target: &str) -> String {
        let name = target.trim_start_matches("vg0/");
        let files = mount(name);
        let found = listing(&files);
        sh(&format!("umount {}", files.display()));
        found
    }

    fn broken(&self) -> Vec<Broken> {
        vec![
            Broken {
                what: "a volume that is not there",
                part: part("part", &["vg0/nothing"], ""),
                code: 6,
                says: "does not exist",
            },
            Broken {
                what: "a group that is not there",
                part: part("part", &["nowhere/x"], ""),
                code: 6,
                says: "does not exist",
            },
            Broken {
                what: "a name that is none",
                part: part("part", &["vg0/-x"], ""),
                code: 3,
                says: "part.config.volumes",
            },
            Broken {
                what: "no tool",
                part: format!("{}[part.programs]\nlvm = \"/nowhere/lvm\"\n", self.part("part")),
                code: 6,
                says: "/nowhere",
            },
        ]
    }
}
