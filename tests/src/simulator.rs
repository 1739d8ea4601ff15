//! The simulator, as a process of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::{Bkhost, Running};

/// A simulator that runs until this is dropped.
pub struct Simulator {
    _bkhost: Bkhost,
    running: Running,
    address: String,
}

impl Simulator {
    /// Start one on a free port, with these further arguments.
    #[must_use]
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        Self::listen("127.0.0.1:0", args)
    }

    /// Stop it, and start another on the same port, which nobody has locked.
    #[must_use]
    #[track_caller]
    pub fn restart(self) -> Self {
        let address = self.address.clone();
        self.stop();
        Self::listen(&address, &[])
    }

    #[track_caller]
    fn listen(address: &str, args: &[&str]) -> Self {
        let bkhost = Bkhost::new();
        let mut all = vec!["simulate", "bitbucket", "--listen", address];
        if !args.contains(&"--drain") {
            all.extend(["--drain", "100ms"]);
        }
        all.extend(args);
        let command = bkhost.command(&all);
        // Should the tests be killed, it goes with them.
        let mut guarded = std::process::Command::new("setpriv");
        guarded.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
        let mut running = Running::start(guarded, false);
        let line = running.says("listens on http://");
        let address = line.rsplit("http://").next().unwrap().trim().to_owned();
        assert!(!address.ends_with(":0"), "the simulator does not say which port it took: {line}");
        Self { _bkhost: bkhost, running, address }
    }

    /// Its address for the configuration.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How it stands, and what was done to it.
    #[must_use]
    #[track_caller]
    pub fn state(&self) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let request = format!("GET /simulator/state HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (_, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{reply}"));
        serde_json::from_str(body).unwrap_or_else(|e| panic!("{e} in {reply}"))
    }

    /// Whether somebody holds its lock.
    #[must_use]
    #[track_caller]
    pub fn locked(&self) -> bool {
        self.state()["locked"].as_bool().unwrap()
    }

    /// The calls that were made to it, one after the other.
    #[must_use]
    #[track_caller]
    pub fn calls(&self) -> Vec<String> {
        let state = self.state();
        let call = |entry: &Value| entry["call"].as_str().unwrap().to_owned();
        state["history"].as_array().unwrap().iter().map(call).collect()
    }

    /// How often a call was made.
    #[must_use]
    #[track_caller]
    pub fn count(&self, call: &str) -> usize {
        self.calls().iter().filter(|name| *name == call).count()
    }

    /// It is free, and no backup task runs.
    #[track_caller]
    pub fn is_free(&self) {
        let state = self.state();
        assert_eq!(state["locked"], false, "still locked: {state}");
        assert_ne!(state["backup"], "RUNNING", "{state}");
        assert_eq!(state["db-state"], "AVAILABLE", "{state}");
    }

    /// Send it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        self.running.signal(signal);
    }

    /// Stop it, as an operator does.
    pub fn stop(mut self) {
        self.running.begin_again();
        self.running.signal(rustix::process::Signal::TERM);
        let _ = self.running.end().ok();
    }
}
