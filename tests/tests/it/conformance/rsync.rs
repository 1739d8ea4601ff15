//! rsync, staged where the loss of the state directory does not take the copies along.

use std::path::PathBuf;

use bkhost_tests::{Bkhost, listing};
use serde_json::Value;

use super::{Broken, System, suite};
use crate::rsync;

struct Tree(Bkhost);

pub(super) fn conforms() {
    let bk = Bkhost::new();
    std::fs::create_dir_all(bk.path("home/odd 'name' ü")).unwrap();
    std::fs::create_dir(bk.path("stage")).unwrap();
    std::fs::write(bk.path("home/f"), "0").unwrap();
    suite::conforms(&Tree(bk));
}

impl Tree {
    fn copy(&self, part: &Value) -> PathBuf {
        let label = part["snapshot"]["id"].as_str().unwrap();
        self.0.path("stage").join(self.0.instance()).join("part").join(format!("rsync-{label}"))
    }
}

impl System for Tree {
    fn bk(&self) -> &Bkhost {
        &self.0
    }

    fn part(&self, name: &str) -> String {
        rsync::part(name, &self.0.path("home"), &self.0.path("stage"), "keep-copies = 9")
    }

    /// The copies of this part and what looks like them. Not the live pass: what it has copied before a run was broken off
    /// saves the next one work.
    fn vendor(&self) -> Vec<String> {
        let area = self.0.path("stage").join(self.0.instance()).join("part");
        let Ok(entries) = std::fs::read_dir(area) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with("rsync-live") && name != "rsync-filter");
        names.sort();
        names
    }

    fn keeps(&self) -> bool {
        true
    }

    fn holds(&self, part: &Value) -> bool {
        self.copy(part).exists()
    }

    fn remove(&self, part: &Value) {
        std::fs::remove_dir_all(self.copy(part)).unwrap();
    }

    fn look_alikes(&self, label: &str) {
        let area = self.0.path("stage").join(self.0.instance()).join("part");
        for name in [label.to_owned(), format!("rsync-{label}"), format!("rsync-{label}.partial")] {
            std::fs::create_dir_all(area.join(name)).unwrap();
        }
    }

    fn content(&self) -> String {
        listing(&self.0.path("home"))
    }

    fn change(&self, n: u32) {
        std::fs::write(self.0.path("home/f"), n.to_string()).unwrap();
        std::fs::write(self.0.path(&format!("home/new {n}")), "new").unwrap();
    }

    fn target(&self, n: u32) -> String {
        self.0.path(&format!("restored-{n}")).display().to_string()
    }

    fn restored(&self, target: &str) -> String {
        listing(target.as_ref())
    }

    fn broken(&self) -> Vec<Broken> {
        let part = |home: &str, config: &str| rsync::part("part", &self.0.path(home), &self.0.path("stage"), config);
        vec![
            Broken {
                what: "a directory that is not there",
                part: part("nothing", ""),
                code: 6,
                says: "does not exist",
            },
            Broken { what: "no directory", part: part("home/f", ""), code: 6, says: "is no directory" },
            Broken {
                what: "a staging area that is not there",
                part: rsync::part("part", &self.0.path("home"), &self.0.path("nothing"), ""),
                code: 3,
                says: "does not exist",
            },
            Broken {
                what: "no tool",
                part: part("home", "") + "[part.programs]\nrsync = \"/nowhere/rsync\"\n",
                code: 4,
                says: "/nowhere",
            },
            Broken { what: "a key that is none", part: part("home", "paht = 1"), code: 3, says: "paht" },
            Broken { what: "a glob that is none", part: part("home", "exclude = [\"{a\"]"), code: 6, says: "{a" },
        ]
    }
}
