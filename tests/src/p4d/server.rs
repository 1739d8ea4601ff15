//! The stand-in's server and its client `p4`. The protocol is the stand-in's own: a line of JSON each way.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::checkpoint::{Compress, checkpoint, rotate};
use super::{Database, Result, archive};

/// Serve on `127.0.0.1:PORT` until killed.
pub(super) fn serve(root: &Path, journal: Option<&str>, port: &str) -> Result<()> {
    let listener =
        TcpListener::bind(port).map_err(|e| format!("Perforce server error:\n\tListen {port} failed: {e}"))?;
    println!("Perforce server starting... {}", listener.local_addr().unwrap());
    std::thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            scope.spawn(move || drop(answer(root, journal, stream)));
        }
    });
    Ok(())
}

fn answer(root: &Path, journal: Option<&str>, stream: TcpStream) -> std::io::Result<()> {
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    let request: Value = serde_json::from_str(&line)?;
    let text = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
    let mut arguments: Vec<&str> = request["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut said = Vec::new();
    let user = text("user");
    if arguments == ["protects", "-m"] {
        arguments.push(&user);
    }
    let outcome = allowed(root, &text("user"), &text("password"), &arguments)
        .and_then(|()| execute(root, journal, &arguments, &mut |line| said.push(line)));
    let reply = json!({ "stdout": said, "error": outcome.err() });
    writeln!(&stream, "{reply}")
}

fn allowed(root: &Path, user: &str, password: &str, arguments: &[&str]) -> Result<()> {
    let db = Database::open(root, None)?;
    match db.table("db.user").get(&vec![user.to_owned()]) {
        Some(columns) if columns[1] != password => Err("Perforce password (P4PASSWD) invalid or unset.".into()),
        Some(columns) if columns[2] != "super" && arguments.first() == Some(&"admin") => {
            Err("You don't have permission for this operation.".into())
        }
        Some(_) => Ok(()),
        None => Err(format!("User {user} doesn't exist.")),
    }
}

fn execute(root: &Path, journal: Option<&str>, arguments: &[&str], say: &mut dyn FnMut(String)) -> Result<()> {
    let mut db = Database::open(root, journal)?;
    let (compress, arguments) = match arguments {
        ["admin", command, "-z", rest @ ..] => (Compress::Both, [&["admin", command], rest].concat()),
        ["admin", command, "-Z", rest @ ..] => (Compress::Checkpoint, [&["admin", command], rest].concat()),
        other => (Compress::Nothing, other.to_vec()),
    };
    match &arguments[..] {
        ["admin", "checkpoint", prefix @ ..] => checkpoint(&mut db, compress, prefix.first().copied(), say),
        ["admin", "journal", prefix @ ..] => rotate(&mut db, compress == Compress::Both, prefix.first().copied(), say),
        ["counter", name] => {
            say(db.counter(name));
            Ok(())
        }
        ["configure", "show", name] => {
            match db.config(name) {
                Some(value) => say(format!("{name}={value} (configure)")),
                None => say(format!("No configurables have been set for {name}.")),
            }
            Ok(())
        }
        ["protects", "-m", user] => {
            say(db.table("db.user").get(&vec![(*user).to_owned()]).map_or(String::new(), |columns| columns[2].clone()));
            Ok(())
        }
        ["info"] => {
            say(format!("Server root: {}", root.display()));
            say("Server version: P4D/LINUX26X86_64/2023.1/STANDIN (2023/05/15)".into());
            Ok(())
        }
        ["verify", "-q", "//..."] => match archive::verify(&db, root) {
            wrong if wrong.is_empty() => Ok(()),
            wrong => Err(wrong.join("\n")),
        },
        other => Err(format!("Unknown command {other:?}: this is a stand-in.")),
    }
}

/// The stand-in `p4`; its exit code.
#[must_use]
pub fn p4(arguments: &[String]) -> u8 {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let (mut port, mut user) = (variable("P4PORT"), variable("P4USER"));
    let mut rest = arguments;
    while let [option, value, tail @ ..] = rest {
        match option.as_str() {
            "-p" => port.clone_from(value),
            "-u" => user.clone_from(value),
            _ => break,
        }
        rest = tail;
    }
    if rest == ["-V"] {
        println!("Rev. P4/LINUX26X86_64/2023.1/STANDIN (2023/05/15). A stand-in of bkhost's tests.");
        return 0;
    }
    let request = json!({ "user": user, "password": variable("P4PASSWD"), "args": rest });
    let reply = TcpStream::connect(&port).and_then(|stream| {
        stream.set_read_timeout(Some(Duration::from_secs(600)))?;
        writeln!(&stream, "{request}")?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        Ok(serde_json::from_str::<Value>(&line)?)
    });
    match reply {
        Err(e) => {
            eprintln!(
                "Perforce client error:\n\tConnect to server failed; check $P4PORT.\n\tTCP connect to {port} failed: {e}"
            );
            1
        }
        Ok(reply) => {
            reply["stdout"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .for_each(|line| println!("{line}"));
            if let Some(error) = reply["error"].as_str() {
                eprintln!("{error}");
                return 1;
            }
            0
        }
    }
}
