//! EBS snapshots in another region: copied, counted, restored, deleted.

use bkhost_tests::aws::States;

use super::*;

#[test]
fn copies_in_another_region_a_whole_story() {
    let world = World::new(2);
    let (aws, there) = (world.aws(), world.there());
    world.config(&world.place("dr", "required = true\nretention = { keep-last = 2 }", "zone = \"eu-west-1b\""));
    world.run(&["check"]).ok().says(&["offsite `dr`"]);
    aws.states(States::ebs_snapshots().then("pending", 3));
    aws.page("DescribeSnapshots", 1);
    let outcome = world.run(&["run", "--json"]).ok();
    let first = outcome.json()["id"].as_str().unwrap().to_owned();
    assert!(outcome.stdout.contains("EBS copies"), "with progress: {outcome}");
    aws.heal();

    // Tagged by the call that makes them, signed for the other region, with a URL that only the host has seen.
    let calls = aws.calls_of("CopySnapshot");
    let made: Vec<_> = calls.iter().filter(|call| call.get("DryRun").is_none()).collect();
    assert_eq!(made.len(), 2, "{calls:?}");
    for call in &made {
        assert_eq!((call.region.as_str(), call.get("SourceRegion")), (THERE, Some("us-east-1")));
        let tags: Vec<_> =
            call.parameters.iter().filter(|(name, _)| name.starts_with("TagSpecification.1.Tag")).collect();
        assert!(tags.iter().any(|(_, value)| *value == world.label(&first)), "{tags:?}");
        let url = call.get("PresignedUrl").unwrap();
        for part in [
            "https://ec2.us-east-1.amazonaws.com/?",
            "Action=CopySnapshot&",
            &format!("SourceSnapshotId={}&", call.get("SourceSnapshotId").unwrap()),
            "DestinationRegion=eu-west-1&",
            "%2Fus-east-1%2Fec2%2Faws4_request",
            "&X-Amz-Signature=",
        ] {
            assert!(url.contains(part), "{part}: {url}");
        }
        assert!(!format!("{outcome}").contains("X-Amz-Signature"), "{outcome}");
    }
    let copies = snapshots(&there, Some(&world.label(&first)));
    assert_eq!(copies.len(), 2);
    assert_eq!(world.told(), [(first.clone(), "dr".to_owned(), true)]);
    world.run(&["list"]).ok().says(&["is offsite at dr"]);
    world.run(&["show", &first]).ok().says(&["is offsite at dr"]);
    // Of one that is there nothing is made again.
    let before = aws.calls_of("CopySnapshot").len();
    let again = world.run(&["offsite", &first, "--json"]).ok().json();
    assert_eq!((again["copies"][0]["present"].as_bool(), aws.calls_of("CopySnapshot").len()), (Some(true), before));

    // Retention there is its own: dry-run shows it, and the sets here have no say.
    let second = world.backup();
    let third = world.backup();
    assert_eq!(snapshots(&there, None).len(), 4);
    assert_eq!(snapshots(&there, Some(&world.label(&first))), [""; 0]);
    assert_eq!(aws.texts("ec2", "DescribeSnapshots", &[("Owner.1", "self")], "snapshotId").len(), 6, "all are here");
    world.run(&["prune", "--keep-last", "1", "--confirm", world.bk.instance()]).ok();
    assert_eq!(world.told(), [(third.clone(), "dr".to_owned(), true), (second.clone(), "dr".to_owned(), true)]);
    world.config(&world.place("dr", "required = true\nretention = { keep-last = 1 }", "zone = \"eu-west-1b\""));
    world.run(&["prune", "--dry-run"]).ok().says(&[&format!("goes   {second}")]);
    assert_eq!(snapshots(&there, None).len(), 4);

    // From a copy whose set is gone here, there.
    let outcome =
        world.run(&["restore", &second, "--from-offsite", "dr", "--to", "volumes", "--confirm", world.bk.instance()]);
    outcome.ok();
    let from = there.texts("ec2", "DescribeVolumes", &[], "snapshotId");
    let mut from: Vec<_> = from.into_iter().filter(|id| !id.is_empty()).collect();
    from.sort();
    assert_eq!(from, snapshots(&there, Some(&world.label(&second))));
    assert!(there.texts("ec2", "DescribeVolumes", &[], "availabilityZone").iter().all(|zone| zone == "eu-west-1b"));

    world.run(&["prune", "--confirm", world.bk.instance()]).ok();
    assert_eq!(snapshots(&there, None), snapshots(&there, Some(&world.label(&third))));
    assert_eq!(world.told(), [(third, "dr".to_owned(), true)]);
}

#[test]
fn a_copy_is_attached_to_an_instance_there_and_found_without_a_store() {
    let world = World::new(2);
    let there = world.there();
    world.config(&world.place("dr", "", ""));
    let id = world.backup();
    // The store is lost with everything in it: the copies' own tags are enough.
    std::fs::remove_dir_all(world.bk.set(&id).parent().unwrap().parent().unwrap()).unwrap();
    let image = [("ImageId", "ami-12c6146b"), ("MinCount", "1"), ("MaxCount", "1"), ("InstanceType", "m5.large")];
    let instance = there.texts("ec2", "RunInstances", &image, "instanceId").remove(0);
    let restore = |id: &str, to: &str| {
        world.run(&["restore", id, "--from-offsite", "dr", "--to", to, "--confirm", world.bk.instance()])
    };
    restore(&id, &instance).ok().says(&["found by its name and tags"]);
    let at = |device: &str| {
        let filters = [("Filter.1.Name", "attachment.device"), ("Filter.1.Value.1", device)];
        // Each is told twice: as a volume, and as attached.
        let found = there.texts("ec2", "DescribeVolumes", &filters, "volumeId");
        found.iter().collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!((at("/dev/sdf"), at("/dev/sdg")), (1, 1));
    // What has no place there is refused, and so is what is not there.
    let none = "20200101-000000-abcdef";
    restore(none, "volumes").fails(13, &["no complete copy", none]);
    restore(&id, "volumes").fails(3, &["[part.offsite.config]", "zone"]);
    let outcome = world.run(&["restore", &id, "--from-offsite", "dr", "--confirm", world.bk.instance()]);
    outcome.fails(3, &["--to"]);
    let outcome = world.run(&["restore", &id, "--from-offsite", "moon", "--to", "x", "--confirm", world.bk.instance()]);
    outcome.fails(13, &["moon"]);
    // One copy of two is none.
    let one = snapshots(&there, Some(&world.label(&id))).remove(0);
    there.call("ec2", "DeleteSnapshot", &[("SnapshotId", &one)]);
    restore(&id, &instance).fails(13, &["no complete copy"]);
}

#[test]
fn of_an_encrypted_set_the_records_tell_no_names_and_the_copy_is_found_all_the_same() {
    let world = World::new(1);
    let file = world.bk.path("identity");
    let age = |args: &[&str]| {
        let mut keygen = std::process::Command::new("age-keygen");
        keygen.args(args);
        bkhost_tests::tool(keygen).trim().to_owned()
    };
    age(&["-o", file.to_str().unwrap()]);
    let recipient = age(&["-y", file.to_str().unwrap()]);
    let place = world.place("dr", "retention = { keep-last = 1 }", "zone = \"eu-west-1a\"");
    let encryption = format!("[encryption]\nrecipients = [\"{recipient}\"]\n");
    world.config_of(&world.account.part("home", ""), &place, &encryption);
    let id = world.backup();
    let copy = snapshots(&world.there(), Some(&world.label(&id))).remove(0);
    for record in std::fs::read_dir(world.bk.set("records")).unwrap() {
        let text = std::fs::read_to_string(record.unwrap().path()).unwrap();
        assert!(text.contains("\"offsite\"") && !text.contains("snap-") && !text.contains("vol-"), "{text}");
    }
    assert_eq!(world.told(), [(id.clone(), "dr".to_owned(), true)]);
    world.run(&["offsite", &id]).ok().says(&["is there already"]);
    world.run(&["restore", &id, "--from-offsite", "dr", "--to", "volumes", "--confirm", world.bk.instance()]).ok();
    assert!(world.there().texts("ec2", "DescribeVolumes", &[], "snapshotId").contains(&copy));
    // What is not recorded by its name is deleted by its tags.
    let second = world.backup();
    assert_eq!(snapshots(&world.there(), None), snapshots(&world.there(), Some(&world.label(&second))));
}

#[test]
fn a_pinned_sets_copy_stays() {
    let world = World::new(1);
    world.config(&world.place("dr", "retention = { keep-last = 1 }", ""));
    let first = world.backup();
    world.run(&["keep", &first]).ok();
    let second = world.backup();
    assert_eq!((world.told().len(), snapshots(&world.there(), None).len()), (2, 2));
    world.run(&["unkeep", &first]).ok();
    world.run(&["prune", "--confirm", world.bk.instance()]).ok();
    assert_eq!(world.told(), [(second, "dr".to_owned(), true)]);
}
