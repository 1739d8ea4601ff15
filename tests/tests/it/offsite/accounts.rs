//! Copies in another account: shared for just as long as they take, made and deleted by a role that the host assumes.

use std::time::{Duration, Instant};

use bkhost_tests::aws::{Fault, OF_ROLE, Rule, States};
use rustix::process::Signal;

use super::*;

/// The keys of a place in the account of this site.
fn by_role(site: &Site<'_>) -> String {
    format!("role = \"{}\"\nzone = \"{}a\"", site.role(), site.region())
}

#[test]
fn copies_in_another_account_and_region_a_whole_story() {
    let world = World::new(2);
    let (aws, other) = (world.aws(), world.aws().other_account(THERE));
    let secret = "[part.offsite.secrets]\nexternal-id = { env = \"EXTERNAL_ID\" }";
    let place = world.place("vault", "required = true\nretention = { keep-last = 1 }", &by_role(&other));
    world.config(&format!("{place}{secret}\n"));
    world.run(&["check"]).ok().says(&["offsite `vault`", other.account()]);
    let first = world.backup();
    let sources = snapshots(&aws.region("us-east-1"), None);
    let copies = snapshots(&other, Some(&world.label(&first)));
    assert_eq!((sources.len(), copies.len(), snapshots(&world.there(), None).len()), (2, 2, 0));
    // The host assumed the role, with the external id; what copied, looked and tagged there was signed by its keys.
    let assumed = aws.calls_of("AssumeRole");
    assert!(!assumed.is_empty());
    for call in &assumed {
        assert_eq!(
            (call.get("ExternalId"), call.get("RoleArn")),
            (Some("the-external-id"), Some(other.role().as_str()))
        );
        assert_eq!((call.service.as_str(), call.region.as_str(), call.key.starts_with(OF_ROLE)), ("sts", THERE, false));
    }
    for call in aws.calls().iter().filter(|call| call.service == "ec2") {
        assert_eq!(call.key.starts_with(OF_ROLE), call.region == THERE, "{call:?}");
    }
    // What is presigned is so by who copies, for where the source is.
    for call in aws.calls_of("CopySnapshot").iter().filter(|call| call.get("DryRun").is_none()) {
        let url = call.get("PresignedUrl").unwrap();
        assert!(url.contains(&format!("X-Amz-Credential={OF_ROLE}")) && url.contains("us-east-1%2Fec2"), "{url}");
        assert!(url.contains("X-Amz-Security-Token="), "{url}");
    }
    // Shared before, and not any more.
    let changed = aws.calls_of("ModifySnapshotAttribute");
    let operations: Vec<_> = changed.iter().map(|call| call.get("OperationType").unwrap()).collect();
    assert_eq!(operations, ["add", "add", "remove", "remove"]);
    assert!(sources.iter().all(|id| shared(aws, id).is_empty()));

    // Of the other account's own nothing is touched, whatever it looks like.
    let volume =
        other.texts("ec2", "CreateVolume", &[("AvailabilityZone", "eu-west-1a"), ("Size", "1")], "volumeId").remove(0);
    let (name, label) = (world.bk.instance().to_owned(), world.label(&first));
    let foreign = |tags: &[(&str, &str)]| {
        let mut call = vec![
            ("VolumeId".to_owned(), volume.clone()),
            ("TagSpecification.1.ResourceType".to_owned(), "snapshot".to_owned()),
        ];
        for (n, (key, value)) in tags.iter().enumerate() {
            call.push((format!("TagSpecification.1.Tag.{}.Key", n + 1), (*key).to_owned()));
            call.push((format!("TagSpecification.1.Tag.{}.Value", n + 1), (*value).to_owned()));
        }
        let call: Vec<_> = call.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        other.texts("ec2", "CreateSnapshot", &call, "snapshotId").remove(0)
    };
    let ours = [("bkhost:instance", name.as_str()), ("bkhost:part", "home"), ("bkhost:run", label.as_str())];
    let with = |more: (&'static str, &'static str)| [&ours[..], &[more]].concat();
    let strangers = [
        foreign(&[("Name", &label)]),
        // Ours by its tags but for the place: an ordinary snapshot, or a copy of another place.
        foreign(&ours),
        foreign(&with(("bkhost:offsite", "dr"))),
        foreign(&with(("bkhost:offsite", "vault*"))),
        foreign(&[("bkhost:instance", "*"), ("bkhost:part", "*"), ("bkhost:run", "*"), ("bkhost:offsite", "vault")]),
    ];
    let second = world.backup();
    let mut expected = snapshots(&other, Some(&world.label(&second)));
    assert_eq!(expected.len(), 2);
    expected.extend(strangers);
    expected.sort();
    assert_eq!(snapshots(&other, None), expected, "the first copies are gone, and nothing else");

    // Restored there, by the role.
    let outcome = world.run(&["restore", "latest", "--from-offsite", "vault", "--to", "volumes", "--confirm", &name]);
    outcome.ok();
    let from = other.texts("ec2", "DescribeVolumes", &[], "snapshotId");
    assert_eq!(from.iter().filter(|id| !id.is_empty()).count(), 2);
}

#[test]
fn in_the_same_region_of_another_account() {
    let world = World::new(1);
    let other = world.aws().other_account("us-east-1");
    let place = world.place("vault", "", &by_role(&other)).replace(THERE, "us-east-1");
    world.config(&place);
    let id = world.backup();
    assert_eq!(snapshots(&other, Some(&world.label(&id))).len(), 1);
    assert_eq!(snapshots(&world.aws().region("us-east-1"), None).len(), 1);
    // Nobody has to ask another region.
    assert!(world.aws().calls_of("CopySnapshot").iter().all(|call| call.get("PresignedUrl").is_none()));
    // The role of the account itself is no other place.
    let own = world.aws().texts("ec2", "DescribeSnapshots", &[("Owner.1", "self")], "ownerId").remove(0);
    world.config(&place.replace(other.account(), &own));
    world.run(&["check"]).says(&["no other place"]);
    world.run(&["offsite", &id]).says(&["no other place"]);
    assert_eq!(snapshots(&world.aws().region("us-east-1"), None).len(), 1);
}

#[test]
fn a_role_that_is_denied_is_named_with_what_it_needs() {
    let world = World::new(1);
    let (aws, other) = (world.aws(), world.aws().other_account(THERE));
    world.config(&world.place("vault", "required = true", &by_role(&other)));
    aws.fault(Rule::on("AssumeRole", Fault::access_denied("sts:AssumeRole")));
    let says = [&other.role(), "AccessDenied", "trust policy", "sts:AssumeRole"];
    let outcome = world.run(&["check"]);
    assert_ne!(outcome.code, 0, "{outcome}");
    outcome.says(&says);
    let outcome = world.run(&["run"]);
    assert_ne!(outcome.code, 0, "{outcome}");
    outcome.says(&says).says(&["is published, but part `home` is not offsite at `vault`"]);
    assert_eq!((world.bk.list().len(), snapshots(&other, None).len()), (1, 0));
    // Nothing was shared with an account that nobody could act in.
    assert!(shared(aws, &snapshots(&aws.region("us-east-1"), None)[0]).is_empty());
    aws.heal();
    world.run(&["recover"]).ok();
    // Keys that ran out are renewed.
    aws.fault(Rule::on("CopySnapshot", Fault::request_expired()).first(1));
    let before = aws.calls_of("AssumeRole").len();
    world.run(&["offsite", "latest"]).ok();
    assert!(aws.calls_of("AssumeRole").len() >= before + 2);
    assert_eq!(snapshots(&other, None).len(), 1);
}

#[test]
fn a_share_that_a_dead_host_has_left_is_taken_back() {
    let world = World::new(2);
    let (aws, other) = (world.aws(), world.aws().other_account(THERE));
    world.config("");
    let id = world.backup();
    let sources = snapshots(&aws.region("us-east-1"), None);
    world.config(&world.place("vault", "", &by_role(&other)));
    aws.states(States::ebs_snapshots().then("pending", 1).forever().except(&sources));
    for signal in [Signal::KILL, Signal::TERM] {
        let running = world.start(&["offsite", &id]);
        let limit = Instant::now() + Duration::from_secs(60);
        while snapshots(&other, None).len() < 2 {
            assert!(Instant::now() < limit, "no copy was begun");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(sources.iter().all(|source| shared(aws, source) == [other.account()]));
        running.signal(signal);
        let outcome = running.end();
        assert_ne!(outcome.code, 0, "{outcome}");
        if signal == Signal::KILL {
            world.run(&["recover"]).ok();
        }
        assert!(sources.iter().all(|source| shared(aws, source).is_empty()), "{signal:?}: {outcome}");
        assert_eq!(snapshots(&other, None), [""; 0], "{signal:?}");
    }
    // One that cannot be shared is not left shared in part.
    aws.heal();
    aws.fault(Rule::on("ModifySnapshotAttribute", Fault::error(400, "InvalidParameter", "default key")).nth(2));
    world.run(&["offsite", &id]).says(&["default key"]);
    assert!(sources.iter().all(|source| shared(aws, source).is_empty()));
    world.run(&["offsite", &id]).ok();
    assert_eq!(snapshots(&other, None).len(), 2);
}

#[test]
fn two_instances_side_by_side_in_one_other_account() {
    let world = World::new(1);
    let other = world.aws().other_account(THERE);
    let second = Bkhost::new();
    let place = world.place("vault", "retention = { keep-last = 1 }", &by_role(&other));
    world.config(&place);
    second.config(&[&application_none(), &world.account.part("home", ""), &place, "[retention]\nkeep-last = 9\n"]);
    let run = |bk: &Bkhost| {
        let mut command = bk.command(&["run", "--json"]);
        command.envs(world.aws().environment()).env("EXTERNAL_ID", "x");
        Running::start(command, false).end().ok().json()["id"].as_str().unwrap().to_owned()
    };
    let (_, _, one, two) = (run(&world.bk), run(&second), run(&world.bk), run(&second));
    let of = |bk: &Bkhost, id: &str| snapshots(&other, Some(&format!("bkhost-{}-{id}", bk.instance())));
    assert_eq!((of(&world.bk, &one).len(), of(&second, &two).len(), snapshots(&other, None).len()), (1, 1, 2));
}
