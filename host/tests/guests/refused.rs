//! Components that must not start at all.

use std::fs;

use bkhost::ErrorKind;
use bkhost::plugin::{HostOptions, Origin, PluginHost};

use super::fixture::{HOST, guest};

/// (guest, kind, what the message names, what the hint names)
const REFUSED: &[(&str, ErrorKind, &str, &str)] = &[
    ("sockets", ErrorKind::Denied, "imports `wasi:sockets/", "sockets would go round the gate"),
    ("http-unasked", ErrorKind::Denied, "imports `wasi:http/", "[[http]]"),
    ("exec-unasked", ErrorKind::Denied, "imports `bkhost:snapshot/exec@0.1.0`", "[[exec]]"),
    ("mirror-unasked", ErrorKind::Denied, "imports `bkhost:snapshot/mirror@0.1.0`", "[[directory]]"),
    ("freeze-unasked", ErrorKind::Denied, "imports `bkhost:snapshot/freeze@0.1.0`", "freeze = true"),
    ("digest-unasked", ErrorKind::Denied, "imports `bkhost:snapshot/digest@0.1.0`", "[[directory]]"),
    ("no-strategy", ErrorKind::Plugin, "it is no strategy", "export macro"),
    ("no-manifest", ErrorKind::Plugin, "no section `bkhost:manifest`", "export macro"),
    ("other-api", ErrorKind::Plugin, "api \"0.9\"", "SDK of this bkhost"),
];

#[test]
fn what_did_not_ask_or_does_not_fit_is_refused_before_it_runs() {
    for (name, kind, message, hint) in REFUSED {
        let path = guest(name);
        let error = HOST.load(&path).expect_err(name);
        assert_eq!(error.kind(), *kind, "{name}: {error}");
        assert!(error.message().contains(message), "{name}: {error}");
        assert!(error.message().contains(path.to_str().unwrap()), "{name}: {error}");
        assert!(error.hint_text().unwrap_or_default().contains(hint), "{name}: {:?}", error.hint_text());
    }
}

#[test]
fn every_guest_is_tested() {
    let dir = guest("hostile").parent().unwrap().to_owned();
    for entry in fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_suffix(".wasm") else { continue };
        // The freezer and the holder are at home in the tests from outside.
        assert!(
            ["hostile", "freezer", "holder"].contains(&name) || REFUSED.iter().any(|(refused, ..)| *refused == name),
            "{name} has no test"
        );
    }
}

#[test]
fn a_truncated_component_is_refused_wherever_it_is_cut() {
    let whole = fs::read(guest("hostile")).unwrap();
    let file = tempfile::Builder::new().suffix(".wasm").tempfile().unwrap();
    for tenth in 0..10 {
        fs::write(file.path(), &whole[..whole.len() * tenth / 10]).unwrap();
        let error = HOST.load(file.path()).expect_err("truncated");
        assert_eq!(error.kind(), ErrorKind::Plugin, "{error}");
        assert!(error.hint_text().is_some(), "{error}");
    }
}

#[test]
fn a_component_with_a_broken_function_is_refused_before_it_runs() {
    let mut bytes = fs::read(guest("hostile")).unwrap();
    // Inside of the largest section of the embedded module: the code.
    let middle = bytes.len() / 3;
    bytes[middle..middle + 64].fill(0xff);
    let file = tempfile::Builder::new().suffix(".wasm").tempfile().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let error = HOST.load(file.path()).and_then(|plugin| plugin.compile()).expect_err("broken");
    assert_eq!(error.kind(), ErrorKind::Plugin, "{error}");
}

#[test]
fn only_the_file_that_was_shipped_is_ours() {
    let path = guest("hostile");
    let digest = HOST.load(&path).unwrap().digest().to_owned();
    let origin = |name: &str, sha256: &str| {
        let options = HostOptions { shipped: vec![(name.to_owned(), sha256.to_owned())], ..HostOptions::default() };
        PluginHost::new(options).unwrap().load(&path).unwrap().origin()
    };
    assert_eq!(origin("hostile", &digest), Origin::Shipped);
    assert_eq!(origin("zfs", &digest), Origin::ThirdParty);
    assert_eq!(origin("hostile", &"0".repeat(64)), Origin::ThirdParty);
}
