//! The stand-in for p4d.
//!
//! A checkpoint that p4d has completed is p4d's own: a cancel cannot take it back, and does not. What must not be left is
//! one that is not complete, and anything that this part would take for its own later.

use std::path::PathBuf;

use bkhost_tests::{Bkhost, P4};
use serde_json::Value;

use super::{Broken, System, suite};
use crate::p4d;

struct Server {
    p4: P4,
    bk: Bkhost,
}

pub(super) fn conforms() {
    let bk = Bkhost::new();
    let p4 = p4d::server(&bk.path("root"));
    std::fs::create_dir(bk.path("ckp")).unwrap();
    p4.configure("journalPrefix", bk.path("ckp/p4_1").to_str().unwrap());
    suite::conforms(&Server { p4, bk });
}

impl Server {
    fn part_of(&self, name: &str, root: &str) -> String {
        format!(
            "[[part]]\nname = \"{name}\"\nplugin = \"p4d.wasm\"\n[part.config]\nroot = {root:?}\ncheckpoints = {:?}\n\
             remove-checkpoints = true\n",
            self.bk.path("ckp")
        )
    }

    fn file(part: &Value) -> PathBuf {
        PathBuf::from(part["snapshot"]["id"].as_str().unwrap())
    }
}

impl System for Server {
    fn bk(&self) -> &Bkhost {
        &self.bk
    }

    fn part(&self, name: &str) -> String {
        self.part_of(name, self.p4.root().to_str().unwrap()) + &self.p4.programs()
    }

    fn vendor(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.bk.path("ckp")).unwrap();
        let all: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        // A checkpoint is complete when its .md5 is there; p4d removes what is older than what it rotated by itself never.
        let complete = |name: &String| {
            let stem = name.trim_end_matches(".md5").trim_end_matches(".gz");
            name.contains(".jnl.") || (name.contains(".ckp.") && all.contains(&format!("{stem}.md5")))
        };
        let mut rest: Vec<_> = all.iter().filter(|name| !complete(name)).cloned().collect();
        rest.sort();
        rest
    }

    fn keeps(&self) -> bool {
        true
    }

    fn holds(&self, part: &Value) -> bool {
        Self::file(part).exists()
    }

    fn remove(&self, part: &Value) {
        std::fs::remove_file(Self::file(part)).unwrap();
    }

    /// The files carry no mark of ours: what was made is remembered, and nothing is deleted on a guess.
    fn marks(&self) -> bool {
        false
    }

    fn look_alikes(&self, label: &str) {
        for name in [label.to_owned(), "p4_1.ckp.777".to_owned(), "p4_1.ckp.old".to_owned()] {
            std::fs::write(self.bk.path("ckp").join(name), "mine").unwrap();
        }
    }

    fn content(&self) -> String {
        self.p4.records()
    }

    fn change(&self, n: u32) {
        self.p4.submit(&format!("//depot/main/new{n}.txt"), b"new\n", true);
    }

    fn target(&self, n: u32) -> String {
        self.bk.path(&format!("restored-{n}")).display().to_string()
    }

    fn restored(&self, target: &str) -> String {
        self.p4.at(target.as_ref()).records()
    }

    fn broken(&self) -> Vec<Broken> {
        let nothing = self.bk.path("nothing");
        vec![
            Broken {
                what: "a root that is not there",
                part: self.part_of("part", nothing.to_str().unwrap()) + &self.p4.programs(),
                code: 6,
                says: "it does not exist",
            },
            Broken {
                what: "a root that is none",
                part: self.part_of("part", self.bk.path("ckp").to_str().unwrap()) + &self.p4.programs(),
                code: 6,
                says: "db.counters",
            },
            Broken {
                what: "a name that is none",
                part: self.part_of("part", "not-absolute") + &self.p4.programs(),
                code: 3,
                says: "part.config.root",
            },
            Broken {
                what: "no tool",
                part: self.part("part").replace(self.p4.program("p4d").to_str().unwrap(), "/nowhere/p4d"),
                code: 4,
                says: "/nowhere",
            },
        ]
    }
}
