//! A strategy in a unit test, natively: the test plays the host.
//!
//! ```
//! use bkhost_sdk::exec::{self, Command, Output};
//! use bkhost_sdk::testing::{self, Host};
//!
//! struct Acme;
//! impl Host for Acme {
//!     fn run(&mut self, command: &Command) -> bkhost_sdk::Result<Output> {
//!         assert_eq!(command.id(), "version");
//!         Ok(Output { stdout: "acme 2.1\n".into(), ..Output::default() })
//!     }
//! }
//!
//! let part = testing::Part { config: "{}".into(), ..testing::Part::default() };
//! testing::host(part, Acme, || {
//!     assert_eq!(exec::run("version", &[]).unwrap().first_line(), "acme 2.1");
//! });
//! ```

use std::cell::RefCell;
use std::path::PathBuf;

use crate::digest::Algorithm;
use crate::exec::{Command, Output};
use crate::history::Earlier;
use crate::http::{Request, Response};
use crate::log::Level;
use crate::mirror::{Copied, Pass};
use crate::others::Held;
use crate::{Error, Result};

/// The host as the test plays it. What a test does not expect fails.
pub trait Host {
    /// Run a command.
    ///
    /// # Errors
    /// As the test likes.
    fn run(&mut self, command: &Command) -> Result<Output> {
        Err(Error::unsupported(format!("the test did not expect command {command:?}")))
    }

    /// Start a session.
    ///
    /// # Errors
    /// As the test likes.
    fn session(&mut self, command: &Command) -> Result<Box<dyn Process>> {
        Err(Error::unsupported(format!("the test did not expect session {command:?}")))
    }

    /// Copy a tree.
    ///
    /// # Errors
    /// As the test likes.
    fn mirror(&mut self, source: &str, destination: &str, exclude: &[String], pass: Pass) -> Result<Copied> {
        Err(Error::unsupported(format!("the test did not expect {pass:?} copy {source} {destination} {exclude:?}")))
    }

    /// Send a request.
    ///
    /// # Errors
    /// As the test likes.
    fn http(&mut self, request: &Request) -> Result<Response> {
        Err(Error::unsupported(format!("the test did not expect {:?} {}", request.method, request.url)))
    }

    /// Freeze the file systems of these directories.
    ///
    /// # Errors
    /// As the test likes.
    fn freeze(&mut self, directories: &[String]) -> Result<()> {
        Err(Error::unsupported(format!("the test did not expect a freeze of {directories:?}")))
    }

    /// Thaw them. Not called for what is only dropped.
    ///
    /// # Errors
    /// As the test likes.
    fn thaw(&mut self, directories: &[String]) -> Result<()> {
        Err(Error::unsupported(format!("the test did not expect a thaw of {directories:?}")))
    }

    /// Whether they could be frozen.
    ///
    /// # Errors
    /// As the test likes.
    fn can_freeze(&mut self, directories: &[String]) -> Result<()> {
        Err(Error::unsupported(format!("the test did not expect to be asked for a freeze of {directories:?}")))
    }

    /// Hash a file.
    ///
    /// # Errors
    /// As the test likes.
    fn digest(&mut self, path: &str, algorithm: Algorithm, gunzip: bool) -> Result<String> {
        Err(Error::unsupported(format!("the test did not expect a digest {algorithm:?} of {path} (gunzip: {gunzip})")))
    }

    /// Extract an archived tree.
    ///
    /// # Errors
    /// As the test likes.
    fn extract(&mut self, name: &str, to: &str) -> Result<u64> {
        Err(Error::unsupported(format!("the test did not expect to extract '{name}' into {to}")))
    }

    /// Extract an archived tree of this set.
    ///
    /// # Errors
    /// As the test likes.
    fn extract_from(&mut self, set: &str, name: &str, to: &str) -> Result<u64> {
        Err(Error::unsupported(format!("the test did not expect to extract '{name}' of set {set} into {to}")))
    }

    /// The label of the restore: the same one, unless the test says otherwise.
    ///
    /// # Errors
    /// As the test likes.
    fn label(&mut self) -> Result<String> {
        Ok("bkhost-test-20261121-120000-0a1b2c".to_owned())
    }

    /// A tree is back in this directory.
    ///
    /// # Errors
    /// As the test likes.
    fn restored(&mut self, _directory: &str) -> Result<()> {
        Ok(())
    }

    /// Feed an archived stream to a command.
    ///
    /// # Errors
    /// As the test likes.
    fn feed(&mut self, name: &str, command: &Command) -> Result<Output> {
        Err(Error::unsupported(format!("the test did not expect to feed '{name}' to {command:?}")))
    }

    /// Feed an archived stream of this set to a command.
    ///
    /// # Errors
    /// As the test likes.
    fn feed_from(&mut self, set: &str, name: &str, command: &Command) -> Result<Output> {
        Err(Error::unsupported(format!("the test did not expect to feed '{name}' of set {set} to {command:?}")))
    }

    /// Whether another part captures a directory.
    ///
    /// # Errors
    /// As the test likes.
    fn holds(&mut self, part: &str, directory: &str, through: bool) -> Result<Option<Held>> {
        let asked = format!("part {part} to be asked for {directory} (through: {through})");
        Err(Error::unsupported(format!("the test did not expect {asked}")))
    }

    /// The earlier set that can be built on: none, unless the test says so.
    ///
    /// # Errors
    /// As the test likes.
    fn previous(&mut self) -> Result<Option<Earlier>> {
        Ok(None)
    }
}

/// A session's process as the test plays it. The methods are those of the contract.
pub trait Process: std::fmt::Debug {
    /// A line is sent.
    ///
    /// # Errors
    /// As the test likes.
    fn send(&self, line: &str, slots: &[(&str, &str)]) -> Result<()>;
    /// A line is asked for; none at the end of the output.
    ///
    /// # Errors
    /// As the test likes.
    fn read_line(&self, timeout_ms: u32) -> Result<Option<String>>;
    /// Its input is closed.
    ///
    /// # Errors
    /// As the test likes.
    fn close_input(&self) -> Result<()>;
    /// Its end is waited for.
    ///
    /// # Errors
    /// As the test likes.
    fn wait(&self, timeout_ms: u32) -> Result<Output>;
    /// It is killed.
    ///
    /// # Errors
    /// As the test likes.
    fn kill(&self) -> Result<()>;
}

/// Which part the strategy under test works for.
#[derive(Debug, Clone)]
pub struct Part {
    /// `[part.config]` as JSON, complete.
    pub config: String,
    /// The instance's name.
    pub instance: String,
    /// The part's name.
    pub part: String,
    /// What the operator leaves out.
    pub excludes: Vec<String>,
    /// The directory that stands for `/`: `/staging` is its subdirectory `staging`.
    pub root: PathBuf,
}

impl Default for Part {
    fn default() -> Self {
        Self {
            config: "{}".into(),
            instance: "instance".into(),
            part: "part".into(),
            excludes: Vec::new(),
            root: "/nonexistent".into(),
        }
    }
}

struct Played {
    part: Part,
    host: Option<Box<dyn Host>>,
    log: Vec<(Level, String)>,
}

thread_local! {
    static PLAYED: RefCell<Option<Played>> = const { RefCell::new(None) };
}

/// Call `body` with `host` as the host of this thread. Returns its result and what was logged.
pub fn host<T>(part: Part, host: impl Host + 'static, body: impl FnOnce() -> T) -> (T, Vec<(Level, String)>) {
    PLAYED.set(Some(Played { part, host: Some(Box::new(host)), log: Vec::new() }));
    let result = body();
    (result, PLAYED.take().map(|played| played.log).unwrap_or_default())
}

pub(crate) fn with<T>(call: impl FnOnce(&mut dyn Host) -> Result<T>) -> Result<T> {
    // Taken out during the call, so that the test's host may log.
    let taken = PLAYED.with_borrow_mut(|played| played.as_mut().and_then(|played| played.host.take()));
    let Some(mut host) = taken else {
        return Err(Error::unsupported("there is no host here").hint("call it inside bkhost_sdk::testing::host"));
    };
    let result = call(&mut *host);
    PLAYED.with_borrow_mut(|played| {
        if let Some(played) = played {
            played.host = Some(host);
        }
    });
    result
}

pub(crate) fn log(level: Level, message: &str) {
    PLAYED.with_borrow_mut(|played| {
        if let Some(played) = played {
            played.log.push((level, message.to_owned()));
        }
    });
}

fn part() -> Part {
    PLAYED.with_borrow(|played| played.as_ref().map(|played| played.part.clone()).unwrap_or_default())
}

pub(crate) fn local(guest: &str) -> PathBuf {
    part().root.join(guest.trim_start_matches('/'))
}

pub(crate) mod config {
    pub(crate) fn get() -> String {
        super::part().config
    }

    pub(crate) fn instance() -> String {
        super::part().instance
    }

    pub(crate) fn part() -> String {
        super::part().part
    }

    pub(crate) fn excludes() -> Vec<String> {
        super::part().excludes
    }
}
