//! What is parsed, and where files are.

use bkhost_sdk::Severity;
use bkhost_sdk::exec::{Command, Output};
use bkhost_sdk::testing::{self, Host, Part};

use crate::config::{Config, Layout, Place};
use crate::files::parse_md5;
use crate::server::{Counters, configured, parse_counters, release, shown};

fn config(more: &str) -> Config {
    let text = format!(
        r#"{{"method":"p4d","root":"/p4/1/root/","compress":"none","checkpoint-every":1,"timeout":"6h","remove-checkpoints":false{more}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

#[test]
fn counters_of_a_dump() {
    let dump = "@pv@ 1 @db.counters@ @change@ @538@ \n@pv@ 1 @db.counters@ @journal@ @14@ \n\
        @pv@ 1 @db.counters@ @lastCheckpointAction@ @1736740861 (2025/01/12 20:01:01 -0800 PST) checkpoint completed@ \n\
        @pv@ 1 @db.counters@ @upgrade@ 24 \n";
    let counters = parse_counters(dump).unwrap();
    assert_eq!((counters.journal, counters.completed()), (14, Some(1_736_740_861)));
    let bare = parse_counters("@pv@ 1 @db.counters@ @journal@ 7 \n").unwrap();
    assert_eq!((bare.journal, bare.completed()), (7, None));
    assert_eq!(parse_counters("@pv@ 1 @db.counters@ @change@ 7 \n"), None);
    assert_eq!(parse_counters("@pv@ 1 @db.counters@ @journal@ @x@ \n"), None);
    assert_eq!(parse_counters(""), None);
}

#[test]
fn only_a_completed_checkpoint_is_one() {
    let completed = |action: &str| Counters { journal: 1, action: action.into() }.completed();
    assert_eq!(completed("1382723831 (2013/10/25 10:57:11 -0700 PDT) checkpoint completed"), Some(1_382_723_831));
    for action in [
        "",
        "0",
        "1382723831",
        "1382723831 (2013/10/25 10:57:11 -0700 PDT) checkpoint failed",
        "1382723831 (2013/10/25 10:57:11 -0700 PDT) checkpoint started",
        "1382723831 (2013/10/25 10:57:11 -0700 PDT) no checkpoint completed",
        "yesterday (2013/10/25 10:57:11 -0700 PDT) checkpoint completed",
    ] {
        assert_eq!(completed(action), None, "{action}");
    }
}

#[test]
fn configurables() {
    let output = "any: P4JOURNAL = /p4/1/logs/journal\nany: journalPrefix = /p4/1/ck pt/p4_1\nmaster: monitor = 1\n";
    assert_eq!(configured(output, "journalPrefix").as_deref(), Some("/p4/1/ck pt/p4_1"));
    let both = "master: journalPrefix = /own\nany: journalPrefix = /all\n";
    assert_eq!(configured(both, "journalPrefix").as_deref(), Some("/own"));
    assert_eq!(configured("", "journalPrefix"), None);
    assert_eq!(shown("journalPrefix=/p4/1/a (b)/p4_1 (configure)\n").as_deref(), Some("/p4/1/a (b)/p4_1"));
    assert_eq!(shown("No configurables have been set for server 'x'.\n"), None);
    assert_eq!(release("Rev. P4D/LINUX26X86_64/2023.1/2442900 (2023/05/15).\n"), Some("2023.1"));
}

#[test]
fn md5_files() {
    let hex = "0123456789abcdef0123456789ABCDEF";
    assert_eq!(parse_md5(&format!("MD5 (p4 = 1.ckp.42) = {hex}\n")), Some(hex.to_lowercase()));
    assert_eq!(parse_md5(hex), Some(hex.to_lowercase()));
    for text in
        ["", "MD5 (x) =", "MD5 (x) = 0123", &format!("MD5 (x) = {hex}0"), "MD5 (x) = 0123456789abcdef0123456789abcdeg"]
    {
        assert_eq!(parse_md5(text), None, "{text}");
    }
}

#[test]
fn where_files_are() {
    let place = |more: &str, prefix: Option<&str>| Layout::new(&config(more), prefix).map(|l| (l.place, l.checkpoint));
    assert_eq!(place("", None).unwrap(), (Place::Root, "checkpoint".to_owned()));
    assert_eq!(place("", Some("p4_1")).unwrap(), (Place::Root, "p4_1.ckp".to_owned()));
    assert_eq!(place("", Some("/p4//1/./root/x")).unwrap(), (Place::Root, "x.ckp".to_owned()));
    let checkpoints = r#","checkpoints":"/p4/1/check points/""#;
    assert_eq!(place(checkpoints, Some("/p4/1/check points/ä b")).unwrap(), (Place::Checkpoints, "ä b.ckp".to_owned()));
    let relative = r#","checkpoints":"/p4/1/root/ck""#;
    assert_eq!(place(relative, Some("ck/p4")).unwrap(), (Place::Checkpoints, "p4.ckp".to_owned()));
    assert_eq!(place(r#","prefix":"own""#, Some("/elsewhere/p4")).unwrap(), (Place::Root, "own.ckp".to_owned()));
    for prefix in ["/elsewhere/p4", "../p4", "/p4", "/p4/1/rooty/p4"] {
        let error = place("", Some(prefix)).unwrap_err();
        assert!(error.hint.unwrap().contains("checkpoints = "), "{prefix}");
    }
}

struct Nothing;

impl Host for Nothing {
    fn run(&mut self, command: &Command) -> bkhost_sdk::Result<Output> {
        let said = |stdout: &str| Ok(Output { stdout: stdout.into(), ..Output::default() });
        match command.id() {
            "version" => said("Rev. P4D/LINUX26X86_64/2023.1/1 (2023/05/15).\n"),
            id => Err(bkhost_sdk::Error::unsupported(format!("unexpected: {id}"))),
        }
    }
}

#[test]
fn a_root_that_is_none_is_found_before_p4d_is_asked() {
    let (found, _) = testing::host(Part::default(), Nothing, || crate::check::check(&config("")));
    let failures: Vec<_> = found.iter().filter(|finding| finding.severity == Severity::Failure).collect();
    assert!(failures.len() == 1 && failures[0].message.contains("no db.counters"), "{found:?}");
}
