//! A proxy between bkhost and an application, which spoils one sort of call.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A call of the maintenance API, as a run makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// The version, at the check.
    Version,
    /// Whether something is under way, at the check.
    Status,
    /// The lock.
    Lock,
    /// The beginning of the backup.
    Begin,
    /// Whether it has drained.
    Poll,
    /// Whether it stayed quiet, after the capture.
    Confirm,
    /// How far it is.
    Progress,
    /// The unlock.
    Unlock,
    /// The cancel, when a run fails.
    Cancel,
    /// Whose the lock is.
    Owner,
}

impl Call {
    /// All that a run needs.
    pub const ALL: [Self; 9] = [
        Self::Version,
        Self::Status,
        Self::Lock,
        Self::Begin,
        Self::Poll,
        Self::Confirm,
        Self::Progress,
        Self::Unlock,
        Self::Cancel,
    ];

    /// Its method and path.
    #[must_use]
    pub fn line(self) -> (&'static str, &'static str) {
        match self {
            Self::Version => ("GET", "/rest/api/1.0/application-properties"),
            Self::Status | Self::Poll | Self::Confirm => ("GET", "/mvc/maintenance"),
            Self::Lock => ("POST", "/mvc/maintenance/lock"),
            Self::Begin => ("POST", "/mvc/admin/backups"),
            Self::Progress => ("POST", "/mvc/admin/backups/progress/client"),
            Self::Unlock => ("DELETE", "/mvc/maintenance/lock"),
            Self::Cancel => ("POST", "/mvc/maintenance"),
            Self::Owner => ("GET", "/mvc/maintenance/lock"),
        }
    }

    /// The call after whose answer this one comes, and the how many-th of that sort; none: it is the first.
    fn after(self) -> Option<(Self, u32)> {
        match self {
            Self::Version | Self::Owner => None,
            Self::Status => Some((Self::Version, 1)),
            Self::Lock => Some((Self::Version, 2)),
            Self::Begin => Some((Self::Lock, 1)),
            Self::Poll => Some((Self::Begin, 1)),
            // Of a run that does not drain.
            Self::Cancel => Some((Self::Poll, 1)),
            // The poll that says that it has drained.
            Self::Confirm => Some((Self::Poll, u32::MAX)),
            Self::Progress => Some((Self::Confirm, 1)),
            Self::Unlock => Some((Self::Progress, 1)),
        }
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens, from the answer to the call before on.
    Refused,
    /// The application's name is not known, from the answer to the call before on.
    Nameless,
    /// Another answer, of this status. The application hears nothing.
    Status(u16),
    /// A page for a browser, of this status. The application hears nothing.
    Html(u16),
    /// The connection's other half is closed after the request, which goes nowhere. Ours stays open.
    HalfClosed,
    /// The application does it; a page for a browser is the answer.
    HtmlAfter,
    /// The application does it; the connection is closed without an answer.
    Lost,
    /// The application does it; half of the answer's body comes, then the connection is half-closed.
    Cut,
    /// The application does it; the answer takes this long.
    Late(Duration),
    /// The application does it; the answer is no JSON.
    Garbage,
    /// The application does it; the answer's JSON is cut off, and its length is that.
    Truncated,
    /// The application does it; its answer claims to be an image.
    WrongType,
    /// The application does it; the answer never ends.
    Huge,
}

/// A proxy. It ends when this is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    address: SocketAddr,
    listener: Mutex<Option<TcpListener>>,
    hosts: Option<PathBuf>,
    call: Call,
    fault: Fault,
    /// So many more calls are spoilt.
    left: AtomicU32,
    /// How long an outage lasts.
    outage: Duration,
    again: Mutex<Option<Instant>>,
    drained: AtomicBool,
    seen: Mutex<Vec<Call>>,
    hit: AtomicU32,
    stop: AtomicBool,
}

/// The name by which bkhost knows the proxy, where it has one.
const NAME: &str = "bitbucket.test";

impl Proxy {
    /// Spoil this call so many times. An outage lasts as long as it says; one of the name service needs a file that stands
    /// in for `/etc/hosts`.
    #[must_use]
    pub fn start(
        upstream: &str,
        call: Call,
        fault: Fault,
        times: u32,
        outage: Duration,
        hosts: Option<PathBuf>,
    ) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // An address of its own: while nobody listens there, nobody else gets the port.
        let [_, a, b, _] = std::process::id().to_be_bytes();
        let [_, _, c, d] = number.to_be_bytes();
        let address = Ipv4Addr::new(127, 64 | a ^ b, c ^ b, d.max(2));
        let listener = TcpListener::bind((address, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::new(Shared {
            upstream: upstream.trim_start_matches("http://").to_owned(),
            address: listener.local_addr().unwrap(),
            listener: Mutex::new(Some(listener)),
            hosts,
            call,
            fault,
            left: AtomicU32::new(times),
            outage,
            again: Mutex::new(None),
            drained: AtomicBool::new(false),
            seen: Mutex::default(),
            hit: AtomicU32::new(0),
            stop: AtomicBool::new(false),
        });
        shared.name(true);
        if call.after().is_none() {
            shared.begin_outage();
        }
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accepting.accept());
        Self { shared }
    }

    /// Its address for the configuration.
    #[must_use]
    pub fn url(&self) -> String {
        match self.shared.hosts {
            Some(_) => format!("http://{NAME}:{}", self.shared.address.port()),
            None => format!("http://{}", self.shared.address),
        }
    }

    /// From now on all is well.
    pub fn heal(&self) {
        self.shared.left.store(0, Ordering::Relaxed);
        self.shared.end_outage();
    }

    /// How often it spoilt a call.
    #[must_use]
    pub fn hits(&self) -> u32 {
        self.shared.hit.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn name(&self, known: bool) {
        let Some(hosts) = &self.hosts else { return };
        let line = if known { format!("{} {NAME}\n", self.address.ip()) } else { String::new() };
        // In place: it is mounted over the system's.
        std::fs::write(hosts, format!("127.0.0.1 localhost\n{line}")).unwrap();
    }

    fn begin_outage(&self) {
        let outage = matches!(self.fault, Fault::Refused | Fault::Nameless);
        if !outage || self.left.swap(0, Ordering::Relaxed) == 0 {
            return;
        }
        match self.fault {
            Fault::Refused => drop(self.listener().take()),
            _ => self.name(false),
        }
        self.hit.fetch_add(1, Ordering::Relaxed);
        *self.again.lock().unwrap() = Instant::now().checked_add(self.outage);
    }

    fn end_outage(&self) {
        if self.again.lock().unwrap().take().is_none() {
            return;
        }
        match self.fault {
            Fault::Refused => {
                let listener = TcpListener::bind(self.address).unwrap();
                listener.set_nonblocking(true).unwrap();
                *self.listener() = Some(listener);
            }
            _ => self.name(true),
        }
    }

    fn listener(&self) -> std::sync::MutexGuard<'_, Option<TcpListener>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: Arc<Self>) {
        while !self.stop.load(Ordering::Relaxed) {
            let over = self.again.lock().unwrap().is_some_and(|again| Instant::now() >= again);
            if over {
                self.end_outage();
            }
            let accepted = self.listener().as_ref().map(TcpListener::accept);
            if let Some(Ok((stream, _))) = accepted {
                let serving = Arc::clone(&self);
                // A client that goes away half-way is what these tests are about.
                std::thread::spawn(move || serving.serve(stream));
            } else {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// One request, one reply.
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nonblocking(false)?;
        client.set_read_timeout(Some(Duration::from_secs(60)))?;
        let request = head(&mut client)?;
        let call = self.classify(&request);
        let spoilt = self.call == call
            && !matches!(self.fault, Fault::Refused | Fault::Nameless)
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if spoilt {
            self.hit.fetch_add(1, Ordering::Relaxed);
            return self.spoil(client, &request);
        }
        let reply = self.forward(&request)?;
        if call == Call::Poll && reply.contains("DRAINED") {
            self.drained.store(true, Ordering::Relaxed);
        }
        let count = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(call);
            u32::try_from(seen.iter().filter(|other| **other == call).count()).unwrap()
        };
        let next = match self.call.after() {
            Some((before, u32::MAX)) => before == call && self.drained.load(Ordering::Relaxed),
            Some((before, n)) => before == call && n == count,
            None => false,
        };
        if next {
            self.begin_outage();
        }
        client.write_all(reply.as_bytes())
    }

    fn classify(&self, request: &str) -> Call {
        let mut words = request.split_whitespace();
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let path = target.split('?').next().unwrap();
        let authorised = request.to_ascii_lowercase().contains("\r\nx-atlassian-maintenance-token:");
        match (method, path) {
            ("GET", "/mvc/maintenance") if !authorised => Call::Status,
            ("GET", "/mvc/maintenance") if self.drained.load(Ordering::Relaxed) => Call::Confirm,
            ("GET", "/mvc/maintenance") => Call::Poll,
            _ => Call::ALL
                .into_iter()
                .chain([Call::Owner])
                .find(|call| call.line() == (method, path))
                .unwrap_or_else(|| panic!("bkhost called {method} {path}")),
        }
    }

    /// The application's whole reply.
    fn forward(&self, request: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(&self.upstream)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let request = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        stream.write_all(request.as_bytes())?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Ok(reply)
    }

    fn spoil(&self, mut client: TcpStream, request: &str) -> io::Result<()> {
        let page = "<!DOCTYPE html><html><body>Sign in to the corporate proxy</body></html>";
        let refusal = r#"{"errors":[{"context":null,"message":"No.","exceptionName":null}]}"#;
        let whole = match self.fault {
            Fault::Refused | Fault::Nameless => unreachable!(),
            Fault::Status(status) => answer(status, "application/json", refusal),
            Fault::Html(status) => answer(status, "text/html; charset=utf-8", page),
            Fault::HalfClosed => {
                client.shutdown(Shutdown::Write)?;
                // Until the client has enough of it.
                let _ = client.read(&mut [0]);
                return Ok(());
            }
            _ => {
                let reply = self.forward(request)?;
                let (head, body) = reply.split_once("\r\n\r\n").unwrap();
                match self.fault {
                    Fault::Lost => return Ok(()),
                    Fault::Late(time) => {
                        std::thread::sleep(time);
                        reply
                    }
                    Fault::Cut => {
                        let body = if body.is_empty() { "{\"some\":\"thing\"}" } else { body };
                        let whole = answer(202, "application/json", body);
                        client.write_all(&whole.as_bytes()[..whole.len() - body.len() / 2])?;
                        client.shutdown(Shutdown::Write)?;
                        let _ = client.read(&mut [0]);
                        return Ok(());
                    }
                    Fault::Garbage => answer(200, "application/json", "\u{1}\u{fffd} not { JSON"),
                    Fault::Truncated => answer(200, "application/json", &body[..body.len() / 2]),
                    Fault::WrongType => answer(status(head), "image/png", body),
                    Fault::Huge => {
                        client.write_all(
                            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n[",
                        )?;
                        let chunk = vec![b' '; 1 << 16];
                        while client.write_all(&chunk).is_ok() {}
                        return Ok(());
                    }
                    _ => answer(200, "text/html; charset=utf-8", page),
                }
            }
        };
        client.write_all(whole.as_bytes())
    }
}

/// A request's head. Those of this API have no body.
fn head(stream: &mut TcpStream) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !bytes.ends_with(b"\r\n\r\n") {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..n]);
    }
    Ok(String::from_utf8(bytes).unwrap())
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

fn answer(status: u16, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
