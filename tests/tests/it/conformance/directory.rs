//! A directory.

use bkhost_tests::{Bkhost, directory_part, listing};

use super::{Broken, System, suite};

struct Tree(Bkhost);

pub(super) fn conforms() {
    let bk = Bkhost::new();
    std::fs::create_dir_all(bk.path("home/odd 'name' ü")).unwrap();
    std::fs::write(bk.path("home/f"), "0").unwrap();
    suite::conforms(&Tree(bk));
}

impl System for Tree {
    fn bk(&self) -> &Bkhost {
        &self.0
    }

    fn part(&self, name: &str) -> String {
        directory_part(name, &self.0.path("home"))
    }

    fn vendor(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path("home")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn look_alikes(&self, label: &str) {
        std::fs::write(self.0.path("home").join(label), "mine").unwrap();
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
        let part =
            |path: &str| format!("[[part]]\nname = \"part\"\nplugin = \"directory.wasm\"\n[part.config]\n{path}\n");
        let nothing = self.0.path("nothing");
        vec![
            Broken {
                what: "a directory that is not there",
                part: directory_part("part", &nothing),
                code: 6,
                says: "it does not exist",
            },
            Broken {
                what: "no directory",
                part: directory_part("part", &self.0.path("home/f")),
                code: 6,
                says: "is no directory",
            },
            Broken { what: "no path", part: part(""), code: 3, says: "part.config.path" },
            Broken { what: "a key that is none", part: part("path = \"/\"\npaht = 1"), code: 3, says: "paht" },
        ]
    }
}
