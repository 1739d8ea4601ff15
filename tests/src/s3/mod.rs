//! Buckets: on a real S3 server in this process, or on moto, which also lists uploads; with a proxy in front.

mod proxy;
mod server;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub use self::proxy::{Fault, Rule, Seen};

use self::proxy::Proxy;
use self::server::{KEYS, Server};
use crate::Bkhost;
use crate::aws::http::Message;

/// The name of each bucket's bucket.
const BUCKET: &str = "backups";
/// What is before the keys.
const PREFIX: &str = "some/where";

/// Keys of a store of which what fails is given up soon.
pub const IMPATIENT: &str = "timeout = \"10s\"\nretry-for = \"1s\"\n";

/// A bucket behind a proxy.
pub struct Bucket {
    proxy: Proxy,
    name: String,
    // After the proxy: it stops first.
    _server: Option<Server>,
    address: SocketAddr,
    root: tempfile::TempDir,
}

impl Default for Bucket {
    fn default() -> Self {
        Self::new()
    }
}

impl Bucket {
    /// On a server of its own, which keeps objects as files.
    #[must_use]
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("bkhost-s3-").tempdir().unwrap();
        std::fs::create_dir(root.path().join(BUCKET)).unwrap();
        let server = Server::start(root.path());
        let address = server.address();
        let proxy = Proxy::start(address, root.path().to_owned());
        Self { proxy, name: BUCKET.to_owned(), _server: Some(server), address, root }
    }

    /// On the moto that the tests share: it verifies nothing, and lists uploads.
    #[must_use]
    #[track_caller]
    pub fn moto() -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let root = tempfile::tempdir().unwrap();
        let address = crate::aws::moto_address();
        let name = format!("backups-{}-{number}", std::process::id());
        let this = Self { proxy: Proxy::start(address, root.path().to_owned()), name, _server: None, address, root };
        assert_eq!(this.ask("PUT", &format!("/{}", this.name)).0, 200);
        this
    }

    /// A `[[store]]` for it, with these further keys.
    #[must_use]
    pub fn store(&self, bk: &Bkhost, keys: &str) -> String {
        let patience = if keys.contains("timeout") { "" } else { "timeout = \"20s\"\nretry-for = \"30s\"\n" };
        format!("[[store]]\n{}{patience}{keys}\n", self.place(bk))
    }

    /// Where it is, and the keys to it.
    #[must_use]
    pub fn place(&self, bk: &Bkhost) -> String {
        for (name, text) in [("s3-key", KEYS.0), ("s3-secret", KEYS.1)] {
            std::fs::write(bk.path(name), text).unwrap();
            std::fs::set_permissions(bk.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        format!(
            "to = \"{}\"\nendpoint = \"{}\"\naccess-key = {{ file = \"{}\" }}\nsecret-key = {{ file = \"{}\" }}\n",
            self.location(),
            self.endpoint(),
            bk.path("s3-key").display(),
            bk.path("s3-secret").display()
        )
    }

    /// Its location.
    #[must_use]
    pub fn location(&self) -> String {
        format!("s3://{}/{PREFIX}", self.name)
    }

    /// The proxy's address.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.proxy.address())
    }

    /// The keys to it.
    #[must_use]
    pub fn keys() -> (&'static str, &'static str) {
        KEYS
    }

    /// Where its server keeps all.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Where its server keeps what is below the prefix.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.root.path().join(BUCKET).join(PREFIX)
    }

    /// Spoil requests.
    pub fn spoil(&self, method: &'static str, target: &'static str, times: u32, fault: Fault) {
        self.proxy.spoil(Rule { method, target, skip: 0, times, fault });
    }

    /// Spoil requests after the first ones.
    pub fn spoil_after(&self, skip: u32, method: &'static str, target: &'static str, times: u32, fault: Fault) {
        self.proxy.spoil(Rule { method, target, skip, times, fault });
    }

    /// From now on all is well.
    pub fn heal(&self) {
        self.proxy.heal();
    }

    /// How many requests were spoilt.
    #[must_use]
    pub fn hits(&self) -> u32 {
        self.proxy.hits()
    }

    /// The requests that came by.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.proxy.seen()
    }

    /// Each object below the prefix, by its key there, and its BLAKE3. Not the lease, which changes.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<String, String> {
        let mut objects = BTreeMap::new();
        collect(&self.dir(), &self.dir(), &mut objects);
        objects.retain(|key, _| !key.ends_with("lease.json"));
        objects
    }

    /// The uploads that the server keeps and that did not end. A part that was on its way when its upload was given up is the
    /// server's to forget.
    #[must_use]
    pub fn uploads(&self) -> Vec<String> {
        if self._server.is_none() {
            let (status, text) = self.ask("GET", &format!("/{}?uploads", self.name));
            assert_eq!(status, 200, "{text}");
            return text.split("<UploadId>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect();
        }
        let names = std::fs::read_dir(self.root.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with(".upload-")).collect()
    }

    /// The keys that moto has.
    #[must_use]
    pub fn keys_of_moto(&self) -> Vec<String> {
        let (status, text) = self.ask("GET", &format!("/{}?list-type=2", self.name));
        assert_eq!(status, 200, "{text}");
        text.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
    }

    fn ask(&self, method: &str, target: &str) -> (u16, String) {
        let request = Message {
            start: format!("{method} {target} HTTP/1.1"),
            headers: vec![
                ("Host".to_owned(), self.address.to_string()),
                (
                    "Authorization".to_owned(),
                    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=none"
                        .to_owned(),
                ),
            ],
            body: Vec::new(),
        };
        let answer = request.send(self.address).unwrap();
        (answer.status(), answer.text())
    }
}

/// The files of a directory by their paths below `root`, and their BLAKE3.
pub fn collect(root: &Path, dir: &Path, files: &mut BTreeMap<String, String>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let hash = blake3::hash(&std::fs::read(&path).unwrap()).to_hex().to_string();
            files.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), hash);
        }
    }
}
