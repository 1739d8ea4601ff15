//! A stand-in for AWS: moto, with a proxy in front of it that plays what moto does not (see [`Fault`], [`States`]).

mod faults;
pub(crate) mod http;
mod moto;
mod proxy;
mod reply;
mod states;

pub use faults::{Fault, Rule};
pub use proxy::{Call, OF_ROLE};
pub use states::{States, Step};

use moto::Moto;
use proxy::Proxy;

/// The address of the moto that the tests share.
#[track_caller]
pub(crate) fn moto_address() -> std::net::SocketAddr {
    moto::shared().address()
}

/// The region that all tests work in.
pub const REGION: &str = "us-east-1";

/// An AWS account of a test's own, behind a proxy of its own. The server behind it is shared, unless it verifies
/// signatures.
pub struct Aws {
    proxy: Proxy,
    account: String,
    key: (String, String),
    has_user: bool,
    // After the proxy: it stops first.
    moto: Server,
}

/// A region of an account of a test.
pub struct Site<'a> {
    aws: &'a Aws,
    account: String,
    region: String,
}

impl Site<'_> {
    /// The account's number.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The region's name.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// A role of the account.
    #[must_use]
    pub fn role(&self) -> String {
        format!("arn:aws:iam::{}:role/bkhost-offsite", self.account)
    }

    /// As [`Aws::call`], there.
    #[track_caller]
    pub fn call(&self, service: &str, action: &str, parameters: &[(&str, &str)]) -> String {
        let (status, body) = self.aws.moto.get().call((&self.account, &self.region), service, action, parameters);
        assert_eq!(status, 200, "{service} {action} {parameters:?}: {body}");
        body
    }

    /// As [`Aws::texts`], there.
    #[track_caller]
    #[must_use]
    pub fn texts(&self, service: &str, action: &str, parameters: &[(&str, &str)], element: &str) -> Vec<String> {
        reply::texts(&self.call(service, action, parameters), element)
    }
}

enum Server {
    Shared(&'static Moto),
    Own(Moto),
}

impl Server {
    fn get(&self) -> &Moto {
        match self {
            Self::Shared(moto) => moto,
            Self::Own(moto) => moto,
        }
    }
}

impl Default for Aws {
    fn default() -> Self {
        Self::new()
    }
}

impl Aws {
    /// An empty account. Signatures are not looked at.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        Self::on(Server::Shared(moto::shared()))
    }

    /// An empty account of a server that can verify signatures: see [`verify`](Self::verify).
    #[must_use]
    #[track_caller]
    pub fn verifying() -> Self {
        Self::on(Server::Own(Moto::start()))
    }

    #[track_caller]
    fn on(moto: Server) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let account = format!("{:012}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let proxy = Proxy::start(moto.get().address(), &account);
        Self { proxy, account, key: ("AKIAIOSFODNN7EXAMPLE".to_owned(), "secret".to_owned()), has_user: false, moto }
    }

    /// From now on every request has to be signed by the key of [`environment`](Self::environment), which belongs to a
    /// user who may do everything. Until [`trust`](Self::trust).
    #[track_caller]
    pub fn verify(&mut self) {
        if !self.has_user {
            self.make_user();
        }
        self.moto.get().verify_after(Some(0));
    }

    #[track_caller]
    fn make_user(&mut self) {
        let user = [("UserName", "backup")];
        self.call("iam", "CreateUser", &user);
        let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
        self.call("iam", "PutUserPolicy", &[("UserName", "backup"), ("PolicyName", "all"), ("PolicyDocument", policy)]);
        let reply = self.call("iam", "CreateAccessKey", &user);
        self.key = (reply::text(&reply, "AccessKeyId").unwrap(), reply::text(&reply, "SecretAccessKey").unwrap());
        self.has_user = true;
    }

    /// Signatures are no longer looked at.
    #[track_caller]
    pub fn trust(&self) {
        self.moto.get().verify_after(None);
    }

    /// The address to configure as the endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.proxy.address())
    }

    /// The variables that give a command the account's credentials.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", self.key.0.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.key.1.clone()),
            ("AWS_REGION", REGION.to_owned()),
            // Never the machine's own: no file, no instance metadata.
            ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }

    /// Call the server itself, past the proxy and its faults; the XML of its answer, which has to be a success.
    #[track_caller]
    pub fn call(&self, service: &str, action: &str, parameters: &[(&str, &str)]) -> String {
        let (status, body) = self.try_call(service, action, parameters);
        assert_eq!(status, 200, "{service} {action} {parameters:?}: {body}");
        body
    }

    /// The same; its status and XML, whatever they are.
    #[track_caller]
    #[must_use]
    pub fn try_call(&self, service: &str, action: &str, parameters: &[(&str, &str)]) -> (u16, String) {
        self.moto.get().call((&self.account, REGION), service, action, parameters)
    }

    /// Another region of the account.
    #[must_use]
    pub fn region(&self, region: &str) -> Site<'_> {
        Site { aws: self, account: self.account.clone(), region: region.to_owned() }
    }

    /// Another account, in this region: it belongs to the same test. Credentials of a role of it act there.
    #[must_use]
    pub fn other_account(&self, region: &str) -> Site<'_> {
        let account = format!("9{}", self.account.get(1..).unwrap_or_default());
        Site { aws: self, account, region: region.to_owned() }
    }

    /// The texts of all elements of this name in what a call answers, in their order.
    #[track_caller]
    #[must_use]
    pub fn texts(&self, service: &str, action: &str, parameters: &[(&str, &str)], element: &str) -> Vec<String> {
        reply::texts(&self.call(service, action, parameters), element)
    }

    /// Play a fault. Of several rules that match a call, the first that was added and is not used up counts.
    pub fn fault(&self, rule: Rule) {
        self.proxy.script().rules.push(rule);
    }

    /// Show things in these states before (or instead of) their own.
    pub fn states(&self, states: States) {
        self.proxy.script().states.push(states);
    }

    /// Answer this action in pages of so many items.
    pub fn page(&self, action: &str, size: usize) {
        self.proxy.script().pages.insert(action.to_owned(), size);
    }

    /// No more faults, states and pages.
    pub fn heal(&self) {
        let mut script = self.proxy.script();
        script.rules.clear();
        script.states.clear();
        script.pages.clear();
    }

    /// All calls that came to the proxy so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.proxy.script().calls.clone()
    }

    /// Those of this action.
    #[must_use]
    pub fn calls_of(&self, action: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.action == action).collect()
    }
}
