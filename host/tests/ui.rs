//! Golden tests of `bkhost.toml`: what each file in `ui/valid` means, and what the operator reads about each file in
//! `ui/invalid`. Lines `# --set key=value` at a file's beginning are flags. `BLESS=1` rewrites the expectations: read the
//! difference before it is committed.

// Test code: a failed expectation is reported by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bkhost::Error;
use bkhost::config::Config;

fn files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui").join(directory);
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "toml"));
    files.sort();
    files
}

fn parse(path: &Path) -> Result<Config, Error> {
    let text = fs::read_to_string(path).unwrap();
    let set: Vec<String> = text.lines().map_while(|line| line.strip_prefix("# --set ")).map(str::to_owned).collect();
    Config::parse(Path::new("bkhost.toml"), text, &set)
}

fn rendered(error: &Error) -> String {
    let mut text = format!("error: {error}\n");
    for (name, value) in error.details() {
        writeln!(text, "{name}: {value}").unwrap();
    }
    for cause in error.causes() {
        writeln!(text, "cause: {cause}").unwrap();
    }
    if let Some(hint) = error.hint_text() {
        writeln!(text, "hint: {hint}").unwrap();
    }
    text
}

/// The differences from what is expected; with `BLESS`, none.
fn compare(path: &Path, extension: &str, is: &str) -> Option<String> {
    let golden = path.with_extension(extension);
    if std::env::var_os("BLESS").is_some() {
        fs::write(golden, is).unwrap();
        return None;
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    (expected != is).then(|| format!("{}\n--- expected\n{expected}--- is\n{is}", golden.display()))
}

#[test]
fn valid_files_mean_what_they_say() {
    let files = files("valid");
    assert!(!files.is_empty());
    let wrong: Vec<String> = files
        .iter()
        .filter_map(|path| match parse(path) {
            Ok(config) => compare(path, "json", &format!("{}\n", serde_json::to_string_pretty(&config).unwrap())),
            Err(error) => Some(format!("{}\n{}", path.display(), rendered(&error))),
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn invalid_files_get_a_place_and_a_hint() {
    let files = files("invalid");
    assert!(files.len() > 40, "{}", files.len());
    let mut wrong = Vec::new();
    for path in &files {
        let Err(error) = parse(path) else {
            wrong.push(format!("{} is accepted", path.display()));
            continue;
        };
        assert_eq!(error.kind(), bkhost::ErrorKind::Config);
        let text = rendered(&error);
        assert!(text.contains("hint: ") || text.contains(": write "), "{}: {text}", path.display());
        assert!(!text.contains("hunter2"), "{} shows a secret: {text}", path.display());
        wrong.extend(compare(path, "err", &text));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
