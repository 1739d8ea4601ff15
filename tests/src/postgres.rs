//! A PostgreSQL server that all tests share; each makes databases of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{Running, script, tool};

/// A server.
pub struct Postgres {
    _holder: Running,
    host: String,
    port: String,
    bin: Option<PathBuf>,
}

/// The server. It starts when the first test needs it, and stops when the tests end.
pub fn postgres() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start(None, &[]))
}

/// Where the programs of another major version are.
#[must_use]
pub fn postgres_bin(major: u32) -> PathBuf {
    // <target>/release/deps/<test>
    let place = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("postgres");
    let bin = std::env::var_os("CARGO_TARGET_DIR").map_or(place, |dir| PathBuf::from(dir).join("postgres"));
    let bin = bin.join(major.to_string()).join("bin");
    assert!(bin.exists(), "{} is missing: run `tests/scripts/postgres.sh install` first", bin.display());
    bin
}

impl Postgres {
    /// A server of its own, of this major version (none: that of Debian), with these options of `postgres.sh`.
    #[must_use]
    pub fn start(major: Option<u32>, options: &[&str]) -> Self {
        let mut command = Command::new(script("postgres.sh"));
        let bin = major.map(postgres_bin);
        command.arg("run").args(options);
        if let Some(bin) = &bin {
            command.arg("--bin").arg(bin);
        }
        command.args(["bash", "-c", "echo \"server $PGHOST $PGPORT\"; read -r _"]);
        let mut holder = Running::start(command, true);
        let line = holder.says("server ");
        let words: Vec<_> = line.split(' ').collect();
        Self { host: words[1].to_owned(), port: words[2].to_owned(), bin, _holder: holder }
    }

    /// The directory that holds the server's data and its socket's directory.
    #[must_use]
    pub fn place(&self) -> PathBuf {
        Path::new(&self.host).parent().unwrap().to_owned()
    }

    /// `[part.programs]` with the programs of this server's own version, but for those named here.
    #[must_use]
    pub fn programs(&self, except: &[&str]) -> String {
        let bin = self.bin.as_ref().unwrap();
        let all = [
            "psql",
            "pg_dump",
            "pg_dumpall",
            "pg_restore",
            "createdb",
            "dropdb",
            "vacuumdb",
            "initdb",
            "postgres",
            "pg_ctl",
        ];
        let lines = all.iter().filter(|program| !except.contains(program));
        let lines: String = lines.map(|program| format!("{program} = \"{}/{program}\"\n", bin.display())).collect();
        format!("[part.programs]\n{lines}")
    }
}

impl Postgres {
    /// A client of it.
    #[must_use]
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("PGHOST", &self.host).env("PGPORT", &self.port).env("PGUSER", "postgres");
        command.env("PGCONNECT_TIMEOUT", "10");
        command
    }

    /// What a statement returns: unaligned rows.
    #[track_caller]
    pub fn sql(&self, database: &str, statement: &str) -> String {
        let mut command = self.client("psql");
        // Neither a name nor a statement is taken for anything else.
        command.env("PGDATABASE", database).args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f"]);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, statement.as_bytes()).unwrap();
        command.arg(file.path());
        tool(command).trim_end().to_owned()
    }

    /// Make a database with a table `t` of so many rows.
    #[track_caller]
    pub fn create(&self, database: &str, rows: u32) {
        self.sql("postgres", &format!("CREATE DATABASE \"{database}\""));
        self.sql(
            database,
            &format!("CREATE TABLE t AS SELECT g AS id, md5(g::text) AS m FROM generate_series(1, {rows}) g"),
        );
    }

    /// Drop a database.
    #[track_caller]
    pub fn drop(&self, database: &str) {
        self.sql("postgres", &format!("DROP DATABASE \"{}\"", database.replace('"', "\"\"")));
    }

    /// A new directory that belongs to the server.
    #[must_use]
    pub fn directory(&self, name: &str) -> PathBuf {
        let directory = self.place().join(name);
        std::fs::create_dir(&directory).unwrap();
        let owner = std::fs::metadata(&self.host).unwrap();
        let (uid, gid) = (std::os::unix::fs::MetadataExt::uid(&owner), std::os::unix::fs::MetadataExt::gid(&owner));
        std::os::unix::fs::chown(&directory, Some(uid), Some(gid)).unwrap();
        directory
    }

    /// The databases whose names begin like this.
    #[track_caller]
    pub fn databases(&self, prefix: &str) -> Vec<String> {
        let all = self.sql("postgres", "SELECT datname FROM pg_database ORDER BY 1");
        all.lines().filter(|name| name.starts_with(prefix)).map(str::to_owned).collect()
    }

    /// How many sessions a database has.
    #[track_caller]
    pub fn sessions(&self, database: &str) -> u32 {
        let count = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'");
        self.sql("postgres", &count).parse().unwrap()
    }

    /// A `[[part]]` for a database of it, with these further keys of `[part.config]`.
    #[must_use]
    pub fn part(&self, name: &str, database: &str, keys: &str) -> String {
        format!(
            "[[part]]\nname = \"{name}\"\nplugin = \"postgresql.wasm\"\n[part.config]\nhost = \"{}\"\nport = {}\n\
             database = \"{database}\"\n{keys}\n",
            self.host, self.port
        )
    }
}
