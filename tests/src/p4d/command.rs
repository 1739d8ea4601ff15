//! The command line of the stand-in `p4d`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::checkpoint::{Compress, checkpoint, replay, rotate, tables, validate};
use super::{Database, Result, server};

/// What `-V` says.
pub(super) const VERSION: &str = "Perforce - The Fast Software Configuration Management System.\n\
    THIS IS A STAND-IN OF bkhost's TESTS, and no product of Perforce Software, Inc.\n\
    Rev. P4D/LINUX26X86_64/2023.1/STANDIN (2023/05/15).";

/// Run the stand-in with these arguments; its exit code.
#[must_use]
pub fn p4d(arguments: &[String]) -> u8 {
    match run(arguments) {
        Ok(()) => 0,
        Err(message) => {
            eprintln!("{message}");
            1
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let mut arguments = arguments.iter().map(String::as_str);
    let (mut root, mut journal, mut compress, mut table) = (PathBuf::from("."), None, Compress::Nothing, None);
    let (mut port, mut case) = (None, "0");
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("Usage: {argument} needs a value"));
        match argument {
            "-r" => root = PathBuf::from(value()?),
            "-J" => journal = Some(value()?),
            "-k" => table = Some(value()?),
            "-p" => port = Some(value()?),
            "-z" => compress = Compress::Both,
            "-Z" => compress = Compress::Checkpoint,
            "-C0" | "-C1" => case = argument.trim_start_matches("-C"),
            "-V" => {
                println!("{VERSION}");
                return Ok(());
            }
            command => {
                let rest: Vec<&str> = arguments.collect();
                let wants = if option(&root, "case-insensitive") { "1" } else { "0" };
                if command != "-jv" && !command.starts_with("-jr") && case != wants {
                    return Err("Case-handling mismatch: server uses another case-handling than p4d".into());
                }
                return one(command, &rest, &root, journal, compress, table);
            }
        }
    }
    let port = port.ok_or("Usage: a stand-in p4d that is to serve needs -p")?;
    server::serve(&root, journal, port)
}

fn option(root: &Path, name: &str) -> bool {
    std::fs::read_to_string(root.join("standin-options")).unwrap_or_default().lines().any(|line| line == name)
}

/// Remember that a checkpoint or rotation was asked for, for tests that count.
fn log(root: &Path, command: &str) {
    if matches!(command, "-jc" | "-jj")
        && let Ok(mut file) = OpenOptions::new().create(true).append(true).open(root.join("standin-log"))
    {
        let _ = writeln!(file, "{command}");
    }
}

fn one(
    command: &str,
    rest: &[&str],
    root: &Path,
    journal: Option<&str>,
    compress: Compress,
    table: Option<&str>,
) -> Result<()> {
    let mut say = |line: String| println!("{line}");
    log(root, command);
    if !root.is_dir() {
        return Err(format!("Perforce server error:\n\tchdir: {}: No such file or directory", root.display()));
    }
    let unzip = compress == Compress::Both;
    match (command, rest) {
        ("-jc", prefix @ ([] | [_])) => {
            checkpoint(&mut Database::open(root, journal)?, compress, prefix.first().copied(), &mut say)
        }
        ("-jj", prefix @ ([] | [_])) => {
            rotate(&mut Database::open(root, journal)?, unzip, prefix.first().copied(), &mut say)
        }
        ("-jd", ["-"]) => {
            print!("{}", tables(&Database::open(root, journal)?, table, None));
            Ok(())
        }
        ("-jv", files @ [_, ..]) => files.iter().try_for_each(|file| validate(Path::new(file), unzip)),
        ("-jr", files @ [_, ..]) => {
            let mut db = Database::open(root, Some("off"))?;
            for file in files {
                say(format!("Recovering from {file}..."));
                replay(&mut db, &root.join(file), unzip)?;
            }
            Ok(())
        }
        ("-xv", []) if Database::exists(root) => {
            Database::open(root, journal)?;
            say("Validating db.counters\nValidating db.rev".into());
            Ok(())
        }
        ("-cshow", []) => {
            for columns in Database::open(root, journal)?.table("db.config").values() {
                say(format!("{}: {} = {}", columns[0], columns[2], columns[3]));
            }
            Ok(())
        }
        _ => Err(format!("Usage: this stand-in does not know {command} {rest:?}")),
    }
}
