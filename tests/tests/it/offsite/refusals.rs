//! Configurations that cannot work, told before anything is copied; and names that attack.

use bkhost_tests::aws::{Fault, Rule};
use bkhost_tests::directory_part;

use super::*;

#[test]
fn places_that_cannot_be_are_refused() {
    let world = World::new(1);
    let role = world.aws().other_account(THERE).role();
    let place = |keys: &str, config: &str| world.place("dr", keys, config);
    for (places, says) in [
        (world.place("dr", "", "").replace(THERE, "us-east-1"), "no other place"),
        (world.place("dr", "", "").replace(THERE, "-rf"), "part.offsite.config.region"),
        (world.place("dr", "", "").replace(THERE, "eu'west"), "part.offsite.config.region"),
        (world.place("../x", "", ""), "name"),
        (world.place("-x", "", ""), "name"),
        (world.place("ü", "", ""), "name"),
        (place("", "role = \"dr\""), "role"),
        (place("", &format!("role = \"{role} --\"")), "role"),
        (place("", &format!("role = \"{role}&Action=x\"")), "role"),
        (place("", "kms-key = \"$(id)\""), "kms-key"),
        (place("", "moon = 1"), "part.offsite.config.moon"),
        (place("", "name = \"other\"\nregin = \"x\""), "regin"),
        (place("moon = 1", ""), "moon"),
        (place("timeout = \"0s\"", ""), "timeout"),
        (place("retention = { keep-proved-min = 0 }", ""), "keep-proved-min"),
        (place("retention = { keep-lots = 1 }", ""), "keep-lots"),
        (format!("{0}{0}", place("", "")), "two places"),
        (format!("{}[part.offsite.secrets]\nexternal-id = \"written out\"\n", place("", "")), "written out"),
        (format!("{}[part.offsite.secrets]\nmoon = {{ env = \"X\" }}\n", place("", "")), "moon"),
        ("offsite = { name = \"dr\", region = \"eu-west-1\" }\n".to_owned(), "[[part.offsite]]"),
    ] {
        world.config(&places);
        let before = world.aws().calls_of("CopySnapshot").len();
        let outcome = world.run(&["check"]);
        let all = format!("{outcome}");
        assert!(all.contains(says), "{says}: {places}: {outcome}");
        assert!(outcome.code != 0 || all.contains("warning"), "{says}: {outcome}");
        assert_eq!(world.aws().calls_of("CopySnapshot").len(), before);
        assert!(!all.contains("\"written out\""), "a secret is not shown: {outcome}");
    }
    // What archives its parts has no vendor to copy at.
    let tree = world.bk.path("tree");
    std::fs::create_dir_all(&tree).unwrap();
    world.config_of(&directory_part("home", &tree), &world.place("dr", "", ""), "");
    world.run(&["run"]).fails(3, &["cannot copy", "[[store]]"]);
    world.config("");
    let id = world.backup();
    world.run(&["offsite", &id]).fails(3, &["no part has a place"]);
    world.config(&world.place("dr", "", ""));
    world.run(&["offsite", &id, "--to", "moon"]).fails(13, &["moon", "dr"]);
    world.run(&["offsite", &id, "--part", "moon"]).fails(13, &["moon", "home"]);
    world.run(&["offsite", "20200101-000000-abcdef"]).fails(13, &["20200101-000000-abcdef"]);
}

#[test]
fn a_check_tells_what_a_copy_lacks_and_a_run_goes_on() {
    let world = World::new(1);
    let aws = world.aws();
    for required in [true, false] {
        world.config(&world.place("dr", &format!("required = {required}"), ""));
        for (rule, says) in [
            (
                Rule::on("DescribeSnapshots", Fault::error(401, "AuthFailure", "no such region for you"))
                    .signed_for(THERE),
                "no such region",
            ),
            (Rule::on("CopySnapshot", Fault::unauthorized_operation()), "ec2:CreateTags"),
        ] {
            aws.fault(rule);
            let outcome = world.run(&["check"]);
            assert_eq!(outcome.code == 0, !required, "{outcome}");
            outcome.says(&["offsite `dr`", says]);
            let outcome = world.run(&["run"]);
            assert_eq!(outcome.code == 0, !required, "{outcome}");
            outcome.says(&["not offsite at `dr`"]);
            aws.heal();
            world.run(&["recover"]).ok();
        }
    }
    assert_eq!(world.bk.list().len(), 4, "each run has published its set");
    assert_eq!(snapshots(&world.there(), None), [""; 0]);
    // A plan makes nothing there.
    let before = aws.calls().len();
    world.run(&["plan"]).ok();
    assert!(aws.calls().iter().skip(before).all(|call| call.region != THERE));
}
