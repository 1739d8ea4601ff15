//! btrfs.

use std::process::Command;

use bkhost_tests::{Bkhost, Btrfs, listing, tool};
use serde_json::Value;

use super::{Broken, System, suite};

pub(super) struct Volume {
    pub(super) btrfs: Btrfs,
    pub(super) bk: Bkhost,
}

pub(super) fn conforms() {
    let (btrfs, bk) = (Btrfs::default(), Bkhost::new());
    let data = btrfs.create("da ta");
    std::fs::write(data.join("f"), "0").unwrap();
    std::fs::create_dir(data.join("odd 'name' ü")).unwrap();
    suite::conforms(&Volume { btrfs, bk });
}

impl Volume {
    fn name(part: &Value) -> String {
        let label = part["snapshot"]["state"]["label"].as_str().unwrap();
        format!("snaps/{label}.part.0")
    }
}

impl System for Volume {
    fn bk(&self) -> &Bkhost {
        &self.bk
    }

    fn part(&self, name: &str) -> String {
        self.btrfs.part(name, &["da ta"], "")
    }

    fn vendor(&self) -> Vec<String> {
        self.btrfs.inventory()
    }

    fn keeps(&self) -> bool {
        true
    }

    fn holds(&self, part: &Value) -> bool {
        self.btrfs.path(&Self::name(part)).exists()
    }

    fn remove(&self, part: &Value) {
        self.btrfs.delete(&Self::name(part));
    }

    fn look_alikes(&self, label: &str) {
        // Named like ours; with a mark of another part beside it; and one that our mark tells of, but which is another.
        self.btrfs.snapshot("da ta", &format!("snaps/{label}.part.0"));
        let mark = |instance: &str, part: &str, run: &str| {
            format!(
                "{{\"instance\":\"{instance}\",\"part\":\"{part}\",\"run\":\"{run}\",\"created\":1,\"subvolumes\":\
                 [{{\"path\":\"{}\",\"source\":\"x\",\"snapshot\":\"another\"}}]}}",
                self.btrfs.text("da ta")
            )
        };
        let write = |name: &str, text: String| std::fs::write(self.btrfs.path(&format!("snaps/{name}")), text).unwrap();
        write(&format!("{label}.part.json"), mark(self.bk.instance(), "part", label));
        write(&format!("{label}x.part.json"), mark("somebody", "part", label));
        write("bkhost-odd.part.json", "no mark".to_owned());
    }

    fn content(&self) -> String {
        listing(&self.btrfs.path("da ta"))
    }

    fn change(&self, n: u32) {
        let data = self.btrfs.path("da ta");
        std::fs::write(data.join("f"), n.to_string()).unwrap();
        std::fs::write(data.join(format!("new {n}")), "new").unwrap();
        tool(Command::new("sync"));
    }

    fn target(&self, n: u32) -> String {
        self.btrfs.text(&format!("restored {n}"))
    }

    fn restored(&self, target: &str) -> String {
        listing(target.as_ref())
    }

    fn broken(&self) -> Vec<Broken> {
        let directory = self.btrfs.path("plain");
        let _ = std::fs::create_dir(directory);
        let part = |subvolume: &str| self.btrfs.part("part", &[subvolume], "");
        vec![
            Broken { what: "a subvolume that is not there", part: part("nothing"), code: 6, says: "does not exist" },
            Broken { what: "a directory", part: part("plain"), code: 6, says: "is no subvolume" },
            Broken { what: "a path that climbs", part: part("../m/da ta"), code: 3, says: "`..`" },
            Broken {
                what: "no tool",
                part: format!("{}[part.programs]\nbtrfs = \"/nowhere/btrfs\"\n", self.part("part")),
                code: 4,
                says: "/nowhere",
            },
        ]
    }
}
