//! The user that commands run as.

use std::path::PathBuf;

use crate::{Error, ErrorKind, Result};

/// An entry of the system's user database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: PathBuf,
}

impl User {
    /// Look a user up by name: in /etc/passwd, else with `getent`, which knows directory services, too.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: there is none, or we may not run commands as them.
    pub(super) fn find(name: &str) -> Result<Self> {
        let file = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let user = entry(&file, name).or_else(|| entry(&getent(name)?, name)).ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("there is no user {name:?} for run-as"))
                .hint("name a user of this machine, or drop run-as")
        })?;
        let us = rustix::process::geteuid();
        if !us.is_root() && us.as_raw() != user.uid {
            return Err(Error::new(ErrorKind::Config, format!("run-as = {name:?} needs bkhost to run as root"))
                .hint("start bkhost as root, or as this user without run-as"));
        }
        Ok(user)
    }
}

fn entry(passwd: &str, name: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [found, _, uid, gid, _, home, ..] if *found == name => {
                Some(User { name: name.to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()?, home: home.into() })
            }
            _ => None,
        }
    })
}

fn getent(name: &str) -> Option<String> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@\\".contains(&b)) && !name.starts_with('-');
    let output = plain.then(|| {
        std::process::Command::new("/usr/bin/getent")
            .args(["passwd", name])
            .env_clear()
            .stdin(std::process::Stdio::null())
            .output()
    })?;
    String::from_utf8(output.ok()?.stdout).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let root = User::find("root");
        if rustix::process::geteuid().is_root() {
            assert_eq!(root.unwrap().uid, 0);
        } else {
            assert_eq!(root.unwrap_err().kind(), ErrorKind::Config);
        }
        assert!(User::find("no such user").unwrap_err().hint_text().is_some());
        let passwd = "broken\npg:x:70:71:,,,:/var/lib/pg:/bin/sh\n";
        assert_eq!(entry(passwd, "pg"), Some(User { name: "pg".into(), uid: 70, gid: 71, home: "/var/lib/pg".into() }));
        assert_eq!(entry(passwd, "p"), None);
    }
}
