use serde_json::json;

use super::super::Code;
use super::*;
use crate::ErrorKind;

const ASKING: &str = "[[exec]]\nid = \"go\"\nprogram = \"true\"\nreason = \"x\"\n[[exec]]\nid = \"list\"\nprogram = \"acme\"\n\
    reason = \"x\"\n[[directory]]\nname = \"tree\"\npath = \"config.path\"\nreason = \"x\"\n[[directory]]\nname = \"out\"\n\
    path = \"config.out\"\naccess = \"write\"\nreason = \"x\"\n[[http]]\nurl = \"https://{config.region}.example.com\"\nreason = \"x\"";

fn asking() -> Fixture {
    Fixture::new(&manifest(ASKING)).config(json!({"path": "/srv/ac\"me", "out": "/srv/out", "region": "eu"}))
}

#[test]
fn a_third_party_without_a_grant_gets_the_stanza_to_paste() {
    let mut fixture = asking();
    fixture.origin = Origin::ThirdParty;
    let error = fixture.rights().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let hint = error.hint_text().unwrap();
    let (_, stanza) = hint.split_once("\n\n").unwrap();
    let pasted: toml::Table = toml::from_str(stanza).unwrap();
    let grant: Grant = pasted["grant"][0].clone().try_into().unwrap();
    assert_eq!(grant.plugin, "acme.wasm");
    assert_eq!(grant.sha256, DIGEST);
    assert!(grant.exec["go"].ends_with("true") && grant.exec["go"].is_absolute());
    assert_eq!(grant.exec["list"], Path::new("/path/of/acme"));
    assert_eq!(grant.read, [Path::new("/srv/ac\"me")]);
    assert_eq!(grant.write, [Path::new("/srv/out")]);
    assert_eq!(grant.http[0].url(), "https://eu.example.com");
    // Pasted as it is, it is enough.
    fixture.grant = Some(grant);
    let rights = fixture.rights().unwrap();
    assert!(rights.programs().any(|(id, program)| id == "go" && program.is_ok()));
    assert!(rights.servers().all(|(_, allowed)| allowed.is_ok()));
}

#[test]
fn what_may_be_frozen_is_in_the_stanza_if_it_was_asked_for() {
    let hint = |asking: &str| {
        let mut fixture =
            Fixture::new(&manifest(asking)).config(json!({"path": "/srv/a", "out": "/srv/out", "region": "eu"}));
        fixture.origin = Origin::ThirdParty;
        fixture.rights().unwrap_err().hint_text().unwrap().to_owned()
    };
    assert!(!hint(ASKING).contains("freeze"));
    let asking = ASKING.replacen("path = \"config.path\"", "path = \"config.path\"\nfreeze = true", 1);
    assert!(hint(&asking).contains("\nfreeze = [\"/srv/a\"]\n"), "{}", hint(&asking));
}

#[tokio::test]
async fn nothing_is_frozen_that_nobody_could_thaw_after_a_crash_or_that_was_not_asked_for() {
    let asking = "[[directory]]\nname = \"a\"\npath = \"config.a\"\nfreeze = true\nreason = \"x\"\n[[directory]]\nname = \"b\"\n\
                  path = \"config.a\"\nreason = \"x\"";
    let fixture = Fixture::new(&manifest(asking)).config(json!({"a": "/proc"}));
    let gate = fixture.gate();
    let refused = async |path: &str| gate.freeze(&[path.to_owned()]).await.map(drop).unwrap_err().code;
    assert_eq!(refused("/source/b").await, Code::Denied);
    assert_eq!(refused("/source/a/sys").await, Code::Denied);
    assert_eq!(refused("/staging").await, Code::Denied);
    let root = rustix::process::geteuid().is_root();
    assert_eq!(refused("/source/a").await, if root { Code::Unsupported } else { Code::Denied });
    assert_eq!(gate.freeze(&[]).await.map(drop).unwrap_err().code, Code::InvalidConfig);
    let place = Place { mount: "/x".into(), device: "1:2".into() };
    assert!(NoWitness.freezing(&place, std::time::Duration::from_secs(1)).is_err());
    assert_eq!(gate.settle_freezes().await, Ok(()));
}

#[test]
fn a_changed_file_is_told() {
    let mut fixture = asking().granted("");
    fixture.rights().unwrap();
    if let Some(grant) = &mut fixture.grant {
        grant.sha256 = DIGEST.to_uppercase();
    }
    fixture.rights().unwrap();
    if let Some(grant) = &mut fixture.grant {
        grant.sha256 = "0".repeat(64);
    }
    let error = fixture.rights().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.hint_text().unwrap().contains(&format!("sha256 = \"{DIGEST}\"")));
    assert!(error.details().contains(&("granted sha256".into(), "0".repeat(64))));
}

#[test]
fn contradictions() {
    for (fixture, why) in [
        (asking().secret("password", "hunter2"), "no secret"),
        (asking().script("true").script("x"), ""),
        (asking().granted("exec = { gone = \"/bin/true\" }"), "\"gone\""),
        (asking().granted("read = [\"relative\"]"), "absolute"),
        (asking().granted("http = [\"https://*.example.com\"]"), "wildcards"),
        (asking().config(json!({"region": "eu.evil/"})), "region"),
    ] {
        match fixture.rights() {
            Ok(_) => assert_eq!(why, ""),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Config);
                assert!(!why.is_empty() && error.message().contains(why), "{error}");
                assert!(error.hint_text().is_some());
            }
        }
    }
    let mut fixture = asking();
    fixture.programs.insert("zfs".into(), "/bin/true".into());
    assert!(fixture.rights().unwrap_err().message().contains("zfs"));
}

#[tokio::test]
async fn what_a_grant_leaves_out_is_denied_with_its_line() {
    let fixture = asking().granted("exec = { list = \"/bin/ls\" }");
    let gate = fixture.gate();
    let error = gate.run("go", &[]).await.unwrap_err();
    assert_eq!(error.code, Code::Denied);
    let line = hint(&error).strip_prefix("in the [[grant]] for acme.wasm: ").unwrap();
    let grant: toml::Table = toml::from_str(line).unwrap();
    assert_eq!(grant["exec"]["list"].as_str(), Some("/bin/ls"));
    assert!(grant["exec"]["go"].as_str().unwrap().ends_with("/true"));

    let request = http::Request::get("https://eu.example.com/").body(http_body_util::Empty::new()).unwrap();
    let error = gate.http(request, Default::default()).await.unwrap_err();
    assert_eq!(hint(&error), "in the [[grant]] for acme.wasm: http = [\"https://eu.example.com\"]");
    assert!(fixture.commands().is_empty());
}

#[tokio::test]
async fn programs_that_may_not_run() {
    let fixture = Fixture::new(&one("[]", ""));
    let error = fixture.gate().run("go", &[]).await.unwrap_err();
    assert_eq!(error.code, Code::NotFound);
    assert!(hint(&error).contains("[part.programs]: acme = "), "{error:?}");

    let mut fixture = fixture.script("echo ran");
    std::fs::set_permissions(fixture.path("acme"), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(fixture.gate().run("go", &[]).await.unwrap_err().code, Code::Denied);
    fixture.programs.insert("acme".into(), "acme".into());
    assert_eq!(fixture.gate().run("go", &[]).await.unwrap_err().code, Code::Denied);
    let granted = fixture.granted("exec = { go = \"bin/acme\" }");
    assert_eq!(granted.gate().run("go", &[]).await.unwrap_err().code, Code::Denied);
}

#[tokio::test]
async fn a_program_that_is_replaced_does_not_run() {
    let fixture = Fixture::new(&one("[]", "")).script("echo first");
    let gate = fixture.gate();
    assert_eq!(gate.run("go", &[]).await.unwrap().stdout, "first\n");
    let other = script(&fixture.path("other"), "echo second");
    std::fs::rename(other, fixture.path("acme")).unwrap();
    let error = gate.run("go", &[]).await.unwrap_err();
    assert!(error.code == Code::Denied && error.message.contains("replaced"), "{error:?}");
}
