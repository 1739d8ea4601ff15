//! The server behind the proxy.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::OnceLock;

use super::http::{Message, encode};
use crate::{Running, script};

/// A moto server.
pub(super) struct Moto {
    _holder: Running,
    address: SocketAddr,
}

/// The server that all tests share, each with an account of its own. It starts when the first test needs it, and stops
/// when the tests end.
#[track_caller]
pub(super) fn shared() -> &'static Moto {
    static SERVER: OnceLock<Moto> = OnceLock::new();
    SERVER.get_or_init(Moto::start)
}

impl Moto {
    #[track_caller]
    pub(super) fn start() -> Self {
        let mut command = Command::new(script("moto.sh"));
        command.args(["run", "bash", "-c", "echo \"server $MOTO_URL\"; read -r _"]);
        let mut holder = Running::start(command, true);
        let line = holder.says("server ");
        let address = line.trim_start_matches("server http://").trim_end_matches('/').parse().unwrap();
        Self { _holder: holder, address }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Verify signatures and rights after so many further calls; none: never.
    #[track_caller]
    pub(super) fn verify_after(&self, calls: Option<u32>) {
        let request = Message {
            start: "POST /moto-api/reset-auth HTTP/1.1".to_owned(),
            headers: vec![
                ("Host".to_owned(), self.address.to_string()),
                ("Content-Type".to_owned(), "text/plain".to_owned()),
            ],
            body: calls.map_or("inf".to_owned(), |calls| calls.to_string()).into_bytes(),
        };
        let response = request.send(self.address).unwrap();
        assert_eq!(response.status(), 200, "{}", response.text());
    }

    #[track_caller]
    pub(super) fn call(
        &self,
        (account, region): (&str, &str),
        service: &str,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> (u16, String) {
        let version = match service {
            "rds" => "2014-10-31",
            "ec2" => "2016-11-15",
            "iam" => "2010-05-08",
            "sts" => "2011-06-15",
            other => panic!("which version does {other} have?"),
        };
        let mut all = vec![("Action", action), ("Version", version)];
        all.extend(parameters);
        let scope = format!("Credential=test/20260101/{region}/{service}/aws4_request");
        let request = Message {
            start: "POST / HTTP/1.1".to_owned(),
            headers: vec![
                ("Host".to_owned(), self.address.to_string()),
                ("Content-Type".to_owned(), "application/x-www-form-urlencoded; charset=utf-8".to_owned()),
                ("x-moto-account-id".to_owned(), account.to_owned()),
                // Not verified: it only tells moto which service is meant.
                ("Authorization".to_owned(), format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=none")),
            ],
            body: encode(&all).into_bytes(),
        };
        let response = request.send(self.address).unwrap();
        (response.status(), response.text())
    }
}
