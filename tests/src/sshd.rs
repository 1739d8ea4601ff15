//! Another machine: a real sshd on loopback, with keys of its own.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{Running, Zfs, tool, until};

/// A server that runs until this is dropped.
pub struct Sshd {
    running: Running,
    master: Option<Running>,
    place: PathBuf,
    port: u16,
}

impl Sshd {
    /// Start one that sees this ZFS, with its files in a new directory `place`.
    #[must_use]
    #[track_caller]
    pub fn start(zfs: &Zfs, place: &Path) -> Self {
        std::fs::create_dir(place).unwrap();
        for name in ["host", "client"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(place.join(name));
            tool(keygen);
        }
        // The kernel's choice, free a moment ago; should somebody have taken it since, another one.
        for _ in 0..10 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            if let Some(running) = serve(zfs, place, port) {
                let public = std::fs::read_to_string(place.join("host.pub")).unwrap();
                std::fs::write(place.join("known"), format!("[127.0.0.1]:{port} {public}")).unwrap();
                return Self { running, master: None, place: place.to_owned(), port };
            }
        }
        panic!("sshd does not start");
    }

    /// The words of `via`, without brackets.
    #[must_use]
    pub fn via(&self) -> String {
        format!(
            "\"/usr/bin/ssh\", \"-i\", {:?}, \"-oUserKnownHostsFile={}\", \"-oStrictHostKeyChecking=yes\", \"-p\", \"{}\", \"root@127.0.0.1\"",
            self.place.join("client"),
            self.place.join("known").display(),
            self.port
        )
    }

    /// The same over one connection that all commands share: a tenth of the work.
    #[must_use]
    #[track_caller]
    pub fn via_shared(&mut self) -> String {
        let socket = self.place.join("shared");
        let option = format!("-S{}", socket.display());
        if self.master.is_none() {
            let mut command = Command::new("setpriv");
            command
                .args(["--pdeathsig", "KILL", "/usr/bin/ssh", "-M", "-N", &option, "-i"])
                .arg(self.place.join("client"));
            command.arg(format!("-oUserKnownHostsFile={}", self.place.join("known").display()));
            command.args(["-oBatchMode=yes", "-p", &self.port.to_string(), "root@127.0.0.1"]);
            self.master = Some(Running::start(command, false));
            until("ssh has its connection", Duration::from_secs(60), || socket.exists());
        }
        self.via().replacen("\"-i\"", &format!("{option:?}, \"-i\""), 1)
    }

    /// Where its keys are.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stop it: the machine is gone.
    pub fn stop(self) {
        drop(self.master);
        drop(self.running);
    }
}

fn serve(zfs: &Zfs, place: &Path, port: u16) -> Option<Running> {
    std::fs::create_dir_all("/run/sshd").unwrap();
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {host}\nAuthorizedKeysFile {client}\nPidFile none\nUsePAM no\nStrictModes no\n\
         PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 200\n\
         MaxSessions 100\nUseDNS no\nPrintMotd no\nSetEnv HOME={home}\n",
        // What root's shell reads at its start on this machine is not the test's.
        home = place.display(),
        host = place.join("host").display(),
        client = place.join("client.pub").display()
    );
    std::fs::write(place.join("config"), config).unwrap();
    let mut command = Command::new("setpriv");
    // Should the tests be killed, it goes with them.
    let inside = zfs.command("/usr/sbin/sshd", &["-D", "-e", "-f"]);
    command.args(["--pdeathsig", "KILL"]).arg(inside.get_program()).args(inside.get_args()).arg(place.join("config"));
    let mut running = Running::start(command, false);
    let mut up = false;
    until("sshd answers, or has ended", Duration::from_secs(20), || {
        up = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        up || !running.runs()
    });
    (up && running.runs()).then_some(running)
}
