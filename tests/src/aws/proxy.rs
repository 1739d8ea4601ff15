//! The proxy between bkhost and moto.

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::http::{Message, decode};
use super::{Fault, Rule, States, reply};

/// How the tokens of the proxy's pages begin.
pub(super) const PAGE: &str = "bkhost-test-page+/=";

/// How the keys of roles begin.
pub const OF_ROLE: &str = "ASIA";

/// A call that came to the proxy.
#[derive(Debug, Clone)]
pub struct Call {
    /// `CreateDBSnapshot`.
    pub action: String,
    /// `rds`; from the signature's scope, else empty.
    pub service: String,
    /// For which region it is signed; else empty.
    pub region: String,
    /// By which key it is signed; else empty.
    pub key: String,
    /// The other parameters, in their order.
    pub parameters: Vec<(String, String)>,
    /// The header of this name.
    pub authorization: Option<String>,
    /// The fault that it met.
    pub fault: Option<String>,
    /// The status of the answer; 0 if there was none.
    pub status: u16,
    /// When it came.
    pub at: Instant,
}

impl Call {
    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What it plays, and what it saw.
#[derive(Default)]
pub(super) struct Script {
    pub(super) rules: Vec<Rule>,
    pub(super) states: Vec<States>,
    pub(super) pages: HashMap<String, usize>,
    pub(super) calls: Vec<Call>,
    /// Whole answers of which pages were handed out, by their request.
    paged: HashMap<String, String>,
}

struct Shared {
    moto: SocketAddr,
    account: String,
    script: Mutex<Script>,
    stopped: AtomicBool,
}

impl Shared {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The proxy. It stops when this is dropped.
pub(super) struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Proxy {
    pub(super) fn start(moto: SocketAddr, account: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            moto,
            account: account.to_owned(),
            script: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let ours = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ours.stopped.load(Ordering::Acquire) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let ours = ours.clone();
                std::thread::spawn(move || ours.serve(&stream));
            }
        });
        Self { shared, address }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.script()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

/// What becomes of a call.
enum Plan {
    Forward { delay: Duration, lose: bool, cut: bool, rewrite: Option<usize> },
    Answer(Message),
    Close,
}

impl Shared {
    fn serve(&self, stream: &TcpStream) {
        if let Ok(Some(request)) = Message::read(stream) {
            self.exchange(stream, &request);
        }
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn exchange(&self, stream: &TcpStream, request: &Message) {
        let call = call(request);
        let (number, plan) = self.plan(&call);
        let (delay, lose, cut, rewrite) = match plan {
            Plan::Close => return,
            Plan::Answer(answer) => {
                self.answered(number, answer.status());
                let _ = answer.write(stream, 0);
                return;
            }
            Plan::Forward { delay, lose, cut, rewrite } => (delay, lose, cut, rewrite),
        };
        std::thread::sleep(delay);
        let mut answer = match self.page(&call, request) {
            Ok(answer) => answer,
            Err(e) => reply::error(&call.service, 500, "InternalFailure", &format!("moto does not answer: {e}")),
        };
        if let Some(rule) = rewrite
            && let Some(Fault::Rewrite(rewrite)) = self.script().rules.get(rule).map(|rule| &rule.fault)
        {
            answer.body = rewrite(&answer.text()).into_bytes();
        }
        if lose {
            return;
        }
        self.answered(number, answer.status());
        let announce = answer.body.len();
        if cut {
            answer.body.truncate(announce / 2);
        }
        let _ = answer.write(stream, announce - answer.body.len());
    }

    /// Note the call and find out what becomes of it.
    fn plan(&self, call: &Call) -> (usize, Plan) {
        let mut script = self.script();
        // All rules count the call; the first that hits it counts.
        let mut hit = None;
        for (n, rule) in script.rules.iter_mut().enumerate() {
            if rule.hits(&call.action, &call.region, &call.parameters) && hit.is_none() {
                hit = Some(n);
            }
        }
        let mut forward = (Duration::ZERO, false, false, None);
        let mut call = call.clone();
        let mut plan = None;
        if let Some((n, rule)) = hit.and_then(|n| script.rules.get(n).map(|rule| (n, rule))) {
            call.fault = Some(rule.fault.name());
            match &rule.fault {
                Fault::Error { status, code, message } => {
                    plan = Some(Plan::Answer(reply::error(&call.service, *status, code, message)));
                }
                Fault::Answer(text) => plan = Some(Plan::Answer(Message::response(200, "text/xml", text))),
                Fault::Html(status) => plan = Some(Plan::Answer(reply::html(*status))),
                Fault::LoseRequest => plan = Some(Plan::Close),
                Fault::LoseReply => forward.1 = true,
                Fault::CutReply => forward.2 = true,
                Fault::Slow(delay) => forward.0 = *delay,
                Fault::Rewrite(_) => forward.3 = Some(n),
                Fault::Pass => {}
            }
        }
        script.calls.push(call);
        let (delay, lose, cut, rewrite) = forward;
        (script.calls.len() - 1, plan.unwrap_or(Plan::Forward { delay, lose, cut, rewrite }))
    }

    fn answered(&self, number: usize, status: u16) {
        if let Some(call) = self.script().calls.get_mut(number) {
            call.status = status;
        }
    }

    /// The answer, or the page of it that is asked for.
    fn page(&self, call: &Call, request: &Message) -> std::io::Result<Message> {
        let Some(size) = self.script().pages.get(&call.action).copied() else { return self.forward(call, request) };
        let is_token = |name: &str| name == "NextToken" || name == "Marker";
        let others: Vec<_> = call.parameters.iter().filter(|(name, _)| !is_token(name)).collect();
        let key = format!("{} {others:?}", call.action);
        let token = call.parameters.iter().find(|(name, _)| is_token(name)).map(|(_, value)| value.as_str());
        let known = token.and_then(|token| token.strip_prefix(PAGE)).and_then(|from| from.parse::<usize>().ok());
        let (whole, from, mut answer) = match (token, known) {
            (None, _) => {
                let answer = self.forward(call, request)?;
                self.script().paged.insert(key, answer.text());
                (answer.text(), 0, answer)
            }
            // A page comes from the answer that its list began with, as if nothing had happened since.
            (Some(_), Some(from)) if self.script().paged.contains_key(&key) => {
                let whole = self.script().paged.get(&key).cloned().unwrap_or_default();
                (whole, from, Message::response(200, "text/xml", ""))
            }
            (Some(token), _) => {
                return Ok(reply::error(&call.service, 400, "InvalidParameterValue", &format!("no page {token:?}")));
            }
        };
        if answer.status() == 200 {
            answer.body = reply::page(&call.service, &whole, from, size).into_bytes();
        }
        Ok(answer)
    }

    /// What moto answers, in the states that are due.
    fn forward(&self, call: &Call, request: &Message) -> std::io::Result<Message> {
        let mut request = request.clone();
        // Each test has an account of its own, and credentials of a role act in that of the role: by their key moto knows it.
        // The header is not one that was signed; those that were stay as they are.
        if !call.key.starts_with(OF_ROLE)
            && !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-moto-account-id"))
        {
            request.headers.push(("x-moto-account-id".to_owned(), self.account.clone()));
        }
        let mut answer = request.send(self.moto)?;
        if answer.status() == 200 && !self.script().states.is_empty() {
            let mut text = answer.text();
            for states in &mut self.script().states {
                text = states.apply(&call.action, &text);
            }
            answer.body = text.into_bytes();
        }
        Ok(answer)
    }
}

fn call(request: &Message) -> Call {
    let query = request.start.split(' ').nth(1).and_then(|path| path.split_once('?')).map(|(_, query)| query);
    let mut parameters = decode(query.unwrap_or_default());
    if request.header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
        parameters.extend(decode(&request.text()));
    }
    let action = parameters.iter().find(|(name, _)| name == "Action").map(|(_, value)| value.clone());
    parameters.retain(|(name, _)| name != "Action" && name != "Version");
    let authorization = request.header("authorization").map(str::to_owned);
    let scope = authorization.as_deref().and_then(|text| text.split("Credential=").nth(1));
    let scope = |n| scope.and_then(|scope| scope.split('/').nth(n)).unwrap_or_default().to_owned();
    Call {
        action: action.unwrap_or_else(|| request.start.clone()),
        parameters,
        service: scope(3),
        region: scope(2),
        key: scope(0),
        authorization,
        fault: None,
        status: 0,
        at: Instant::now(),
    }
}
