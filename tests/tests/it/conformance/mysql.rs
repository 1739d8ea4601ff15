//! MariaDB.

use bkhost_tests::{Bkhost, Mariadb, mariadb};

use super::{Broken, System, secret_file, suite};

const PASSWORD: &str = "conformance-of-mysql";

struct Server {
    server: &'static Mariadb,
    bk: Bkhost,
}

pub(super) fn conforms() {
    let (server, bk) = (mariadb(), Bkhost::new());
    server.create(bk.instance(), 100);
    let this = Server { server, bk };
    let user = this.user();
    server.sql("", &format!("CREATE USER '{user}' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO '{user}'"));
    suite::conforms(&this);
}

impl Server {
    fn user(&self) -> String {
        format!("u{}", self.bk.instance())
    }

    fn rows(&self, database: &str) -> String {
        self.server.sql(database, "SELECT COUNT(*), SUM(CRC32(m)), MAX(id) FROM t")
    }
}

impl System for Server {
    fn bk(&self) -> &Bkhost {
        &self.bk
    }

    fn part(&self, name: &str) -> String {
        let part = self.server.part(name, &[self.bk.instance()], &format!("username = \"{}\"", self.user()));
        format!("{part}[part.secrets]\n{}", secret_file(&self.bk, "password", PASSWORD))
    }

    fn vendor(&self) -> Vec<String> {
        let sessions = || self.server.sessions(self.bk.instance());
        bkhost_tests::until("the server has noticed", std::time::Duration::from_secs(5), || sessions() == 0);
        self.server.databases(self.bk.instance())
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
        let part = |database: &str, keys: &str| self.server.part("part", &[database], keys);
        vec![
            Broken { what: "a database that is not there", part: part("nothing", ""), code: 6, says: "does not exist" },
            Broken {
                what: "a user that is not there",
                part: part(self.bk.instance(), "username = \"nobody\""),
                code: 6,
                says: "denied",
            },
            Broken { what: "a name that is none", part: part("-x", ""), code: 3, says: "part.config.databases" },
            Broken {
                what: "no tool",
                part: format!("{}[part.programs]\nmysqldump = \"/nowhere/mysqldump\"\n", self.part("part")),
                code: 4,
                says: "/nowhere",
            },
        ]
    }
}
