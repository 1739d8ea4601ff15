//! The stub of Elasticsearch's API of snapshots. It is no search server; its repository is a directory of files.

use bkhost_tests::Bkhost;
use bkhost_tests::elasticsearch::{Auth, Flavor, Search};
use serde_json::{Value, json};

use super::{Broken, System, secret_file, suite};

const PASSWORD: &str = "as-long-as-it-is-secret";

struct Cluster {
    search: Search,
    bk: Bkhost,
}

pub(super) fn conforms() {
    let search = Search::new(Flavor::Elastic8);
    search.create("bitbucket-search", 3);
    search.create("bitbucket-project", 1);
    for n in 0..50 {
        search.put("bitbucket-search", &format!("file-{n}"), json!({ "content": format!("line {n}") }));
    }
    search.put("bitbucket-project", "1", json!({ "key": "PROJECT_1" }));
    search.auth(Auth::Basic("backup".to_owned(), PASSWORD.to_owned()));
    search.register("bkhost", "bkhost", &[]);
    suite::conforms(&Cluster { search, bk: Bkhost::new() });
}

impl Cluster {
    fn part_of(&self, name: &str, config: &str, location: &str) -> String {
        format!(
            "[[part]]\nname = \"{name}\"\nplugin = \"elasticsearch.wasm\"\n[part.config]\nurl = \"{}\"\nusername = \
             \"backup\"\n{config}\n[part.config.repository]\nname = \"bkhost\"\ntype = \"fs\"\nlocation = \"{location}\"\n\
             [part.secrets]\n{}",
            self.search.url(),
            secret_file(&self.bk, "password", PASSWORD)
        )
    }

    fn location(&self) -> String {
        self.search.path_repo().join("bkhost").display().to_string()
    }
}

impl System for Cluster {
    fn bk(&self) -> &Bkhost {
        &self.bk
    }

    fn part(&self, name: &str) -> String {
        self.part_of(name, "indices = [\"bitbucket-*\"]", &self.location())
    }

    fn vendor(&self) -> Vec<String> {
        let repositories = self.search.repositories().into_keys();
        [self.search.snapshots("bkhost"), self.search.indices(), repositories.collect()].concat()
    }

    fn keeps(&self) -> bool {
        true
    }

    fn holds(&self, part: &Value) -> bool {
        let name = part["snapshot"]["id"].as_str().unwrap();
        self.search.snapshots("bkhost").iter().any(|known| *known == format!("{name} SUCCESS"))
    }

    fn remove(&self, part: &Value) {
        self.search.delete_snapshot("bkhost", part["snapshot"]["id"].as_str().unwrap());
    }

    fn look_alikes(&self, label: &str) {
        let instance = self.bk.instance();
        let of = |part: &str, instance: &str, run: &str| json!({ "bkhost-instance": instance, "bkhost-part": part, "bkhost-run": run });
        self.search.snapshot("bkhost", &format!("{label}-part"), &Value::Null);
        self.search.snapshot("bkhost", &format!("{label}-elsewhere"), &of("elsewhere", instance, label));
        self.search.snapshot("bkhost", &format!("{label}-another"), &of("part", "another", label));
        self.search.snapshot("bkhost", &format!("{label}-renamed"), &of("part", instance, label));
        self.search.snapshot("bkhost", "nightly", &json!({ "taken_by": "somebody" }));
    }

    fn content(&self) -> String {
        format!("{:?}{:?}", self.search.documents("bitbucket-search"), self.search.documents("bitbucket-project"))
    }

    fn change(&self, n: u32) {
        self.search.put("bitbucket-search", "file-1", json!({ "content": format!("changed {n}") }));
        self.search.put("bitbucket-search", &format!("new-{n}"), json!({ "content": "new" }));
    }

    fn target(&self, n: u32) -> String {
        format!("restored-{n}")
    }

    fn restored(&self, target: &str) -> String {
        let of = |name: &str| self.search.documents(&format!("{target}-{name}"));
        format!("{:?}{:?}", of("bitbucket-search"), of("bitbucket-project"))
    }

    fn secret(&self) -> Option<String> {
        Some(PASSWORD.to_owned())
    }

    fn broken(&self) -> Vec<Broken> {
        vec![
            Broken {
                what: "an index that is not there",
                part: self.part_of("part", "indices = [\"bitbucket-*\", \"nothing\"]", &self.location()),
                code: 6,
                says: "nothing",
            },
            Broken {
                what: "a repository that is another one",
                part: self.part_of("part", "", "/elsewhere"),
                code: 6,
                says: "is registered with other settings",
            },
            Broken {
                what: "a name that is none",
                part: self.part_of("part", "indices = [\"-x\"]", &self.location()),
                code: 3,
                says: "part.config.indices",
            },
            Broken {
                what: "a wrong password",
                part: self.part("part").replace("username = \"backup\"", "username = \"somebody\""),
                code: 6,
                says: "401",
            },
        ]
    }
}
