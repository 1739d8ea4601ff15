//! PostgreSQL.

use bkhost_tests::{Bkhost, Postgres, postgres};

use super::{Broken, System, secret_file, suite};

const PASSWORD: &str = "conformance-of-postgresql";

struct Server {
    server: &'static Postgres,
    bk: Bkhost,
}

pub(super) fn conforms() {
    let (server, bk) = (postgres(), Bkhost::new());
    server.create(bk.instance(), 100);
    suite::conforms(&Server { server, bk });
}

impl Server {
    fn rows(&self, database: &str) -> String {
        self.server.sql(database, "SELECT count(*), sum(hashtext(m)), max(id) FROM t")
    }
}

impl System for Server {
    fn bk(&self) -> &Bkhost {
        &self.bk
    }

    fn part(&self, name: &str) -> String {
        let part = self.server.part(name, self.bk.instance(), "");
        // The server trusts whoever comes by its socket: this one is only not to be seen anywhere.
        format!("{part}[part.secrets]\n{}", secret_file(&self.bk, "password", PASSWORD))
    }

    fn vendor(&self) -> Vec<String> {
        let mut all = self.server.databases(self.bk.instance());
        let sessions = || self.server.sessions(self.bk.instance());
        bkhost_tests::until("the server has noticed", std::time::Duration::from_secs(5), || sessions() == 0);
        all.push(format!("prepared: {}", self.server.sql("postgres", "SELECT count(*) FROM pg_prepared_xacts")));
        all
    }

    fn look_alikes(&self, label: &str) {
        self.server.create(&format!("{}-{label}", self.bk.instance()), 1);
    }

    fn content(&self) -> String {
        self.rows(self.bk.instance())
    }

    fn change(&self, n: u32) {
        self.server.sql(self.bk.instance(), &format!("INSERT INTO t VALUES ({}, 'new')", 1000 + n));
    }

    fn target(&self, n: u32) -> String {
        format!("{}_restored_{n}", self.bk.instance())
    }

    fn restored(&self, target: &str) -> String {
        self.rows(target)
    }

    fn secret(&self) -> Option<String> {
        Some(PASSWORD.to_owned())
    }

    fn broken(&self) -> Vec<Broken> {
        let part = |database: &str, keys: &str| self.server.part("part", database, keys);
        vec![
            Broken { what: "a database that is not there", part: part("nothing", ""), code: 6, says: "does not exist" },
            Broken {
                what: "a user that is not there",
                part: part(self.bk.instance(), "username = \"nobody-of-that-name\""),
                code: 6,
                says: "nobody-of-that-name",
            },
            Broken { what: "a name that is none", part: part("-x", ""), code: 3, says: "part.config.database" },
            Broken {
                what: "no tool",
                part: format!("{}[part.programs]\npg_dump = \"/nowhere/pg_dump\"\n", self.part("part")),
                code: 4,
                says: "/nowhere",
            },
        ]
    }
}
