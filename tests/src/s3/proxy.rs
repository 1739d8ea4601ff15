//! The proxy between bkhost and a bucket, which spoils what a rule says.

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::aws::http::Message;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An answer of this status and code. The server hears nothing.
    Status(u16, &'static str),
    /// The server does it, and the connection is closed without an answer.
    Lost,
    /// The connection is closed in the middle of the request. The server hears nothing.
    Reset,
    /// The server does it; half of the answer comes.
    Cut,
    /// The answer is that all is well. The server hears nothing.
    Swallow,
    /// The server does it, and keeps so many bytes less than it was given.
    Shorten(u64),
    /// The server does it, and keeps one bit another way.
    Flip,
    /// One bit of the request's body is another on the way.
    Garble,
    /// Nothing happens for so long; then all is well.
    Stall(Duration),
    /// An answer without a body, that all is well. The server hears nothing.
    Empty,
    /// A page for a browser, that all is well. The server hears nothing.
    Page,
    /// The server does not see the conditions. Only for one that verifies no signatures.
    Unconditional,
}

/// Which requests are spoilt.
#[derive(Debug, Clone)]
pub struct Rule {
    /// `PUT`; empty for all.
    pub method: &'static str,
    /// What their target contains.
    pub target: &'static str,
    /// So many of them pass first.
    pub skip: u32,
    /// So many are spoilt then.
    pub times: u32,
    /// How.
    pub fault: Fault,
}

/// A request that came by: method, target and the status of the answer (0: there was none).
pub type Seen = (String, String, u16);

struct Shared {
    server: SocketAddr,
    root: PathBuf,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
    hits: Mutex<u32>,
    stopped: AtomicBool,
}

/// The proxy. It ends when this is dropped.
pub(super) struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// In front of this server, which keeps its objects below `root`.
    pub(super) fn start(server: SocketAddr, root: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            root,
            rules: Mutex::default(),
            seen: Mutex::default(),
            hits: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let ours = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ours.stopped.load(Ordering::Acquire) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let ours = Arc::clone(&ours);
                // A client that goes away half-way is what these tests are about.
                std::thread::spawn(move || ours.serve(&stream));
            }
        });
        Self { shared, address }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn spoil(&self, rule: Rule) {
        lock(&self.shared.rules).push(rule);
    }

    pub(super) fn heal(&self) {
        lock(&self.shared.rules).clear();
    }

    pub(super) fn hits(&self) -> u32 {
        *lock(&self.shared.hits)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    /// What becomes of this request.
    fn fault(&self, method: &str, target: &str) -> Option<Fault> {
        for rule in lock(&self.rules).iter_mut() {
            if (rule.method.is_empty() || rule.method == method) && target.contains(rule.target) && rule.times > 0 {
                if rule.skip > 0 {
                    rule.skip -= 1;
                    continue;
                }
                rule.times -= 1;
                *lock(&self.hits) += 1;
                return Some(rule.fault);
            }
        }
        None
    }

    fn serve(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        // Enough to know what it is, before the body has been sent.
        let mut start = [0; 2048];
        let n = stream.peek(&mut start)?;
        let line = String::from_utf8_lossy(&start[..n]).lines().next().unwrap_or_default().to_owned();
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if method.is_empty() {
            return Ok(());
        }
        let fault = self.fault(method, target);
        let note = |status| lock(&self.seen).push((method.to_owned(), target.to_owned(), status));
        if fault == Some(Fault::Reset) {
            note(0);
            let mut some = [0; 4096];
            let _ = stream.read(&mut some)?;
            return stream.shutdown(Shutdown::Both);
        }
        let Some(mut request) = Message::read(stream)? else { return Ok(()) };
        let ok = |headers: &[(&str, &str)], body: &str| {
            let mut answer = Message::response(200, "application/xml", body);
            answer.headers.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
            answer
        };
        let instead = match fault {
            Some(Fault::Status(status, code)) => Some(Message::response(
                status,
                "application/xml",
                &format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>No.</Message></Error>"),
            )),
            Some(Fault::Swallow) => Some(ok(&[("ETag", "\"d41d8cd98f00b204e9800998ecf8427e\"")], "")),
            Some(Fault::Empty) => Some(ok(&[], "")),
            Some(Fault::Page) => {
                Some(Message::response(200, "text/html", "<!DOCTYPE html><html><body>Sign in</body></html>"))
            }
            Some(Fault::Stall(time)) => {
                std::thread::sleep(time);
                None
            }
            Some(Fault::Garble) => {
                if let Some(byte) = request.body.get_mut(0) {
                    *byte ^= 1;
                }
                None
            }
            Some(Fault::Unconditional) => {
                request.headers.retain(|(name, _)| !name.to_ascii_lowercase().starts_with("if-"));
                None
            }
            _ => None,
        };
        if let Some(answer) = instead {
            note(answer.status());
            return answer.write(stream, 0);
        }
        let answer = request.send_as(self.server, method == "HEAD")?;
        note(answer.status());
        match fault {
            Some(Fault::Lost) => return stream.shutdown(Shutdown::Both),
            Some(Fault::Cut) => {
                let half = Message { body: answer.body[..answer.body.len() / 2].to_vec(), ..answer.clone() };
                return half.write(stream, answer.body.len() - half.body.len());
            }
            Some(kept @ (Fault::Shorten(_) | Fault::Flip)) => self.keep(target, kept),
            _ => {}
        }
        if method == "HEAD" { answer.write_head(stream) } else { answer.write(stream, 0) }
    }

    /// Changes what the server has just stored.
    fn keep(&self, target: &str, fault: Fault) {
        let path = self.root.join(target.split('?').next().unwrap().trim_start_matches('/'));
        match fault {
            Fault::Shorten(bytes) => {
                let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
                file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
            }
            _ => {
                let mut bytes = std::fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(path, bytes).unwrap();
            }
        }
    }
}
