//! Amazon EBS: the strategy against a stand-in (moto behind a proxy that plays what goes wrong).

use std::time::{Duration, Instant};

use bkhost_tests::aws::{Aws, Fault, REGION, Rule, States};
use bkhost_tests::{Bkhost, LoopFs, Outcome, Running, Simulator, application_none, until};

trait Refused {
    /// It failed, and says all of this.
    fn refused(self, says: &[&str]) -> Outcome;
}

impl Refused for Outcome {
    #[track_caller]
    fn refused(self, says: &[&str]) -> Outcome {
        let code = self.code;
        assert_ne!(code, 0, "{self}");
        self.fails(code, says)
    }
}

/// An account with an instance, its boot volume and its data volumes at /dev/sdf, /dev/sdg and so on.
pub(super) struct Account {
    pub(super) aws: Aws,
    instance: String,
    pub(super) volumes: Vec<String>,
}

impl Account {
    pub(super) fn new(volumes: usize) -> Self {
        Self::of(Aws::new(), volumes)
    }

    /// The id of a new instance with so many data volumes.
    pub(super) fn on(aws: &Aws, volumes: usize) -> String {
        machine(aws, volumes).0
    }

    fn of(aws: Aws, volumes: usize) -> Self {
        let (instance, volumes) = machine(&aws, volumes);
        Self { aws, instance, volumes }
    }

    /// A part for all data volumes of the instance.
    pub(super) fn part(&self, name: &str, more: &str) -> String {
        self.part_of(name, &format!("instance-id = \"{}\"\n{more}", self.instance))
    }

    pub(super) fn part_of(&self, name: &str, config: &str) -> String {
        format!(
            "[[part]]\nname = \"{name}\"\nplugin = \"amazon-ebs.wasm\"\n[part.config]\nregion = \"{REGION}\"\nendpoint = \
             \"{}\"\n{config}\n",
            self.aws.url()
        )
    }

    fn start(&self, bk: &Bkhost, args: &[&str]) -> Running {
        let mut command = bk.command(args);
        command.envs(self.aws.environment());
        Running::start(command, false)
    }

    fn run(&self, bk: &Bkhost, args: &[&str]) -> Outcome {
        self.start(bk, args).end()
    }

    /// A backup that has to succeed; its id.
    fn backup(&self, bk: &Bkhost) -> String {
        self.run(bk, &["run", "--json"]).ok().json()["id"].as_str().unwrap().to_owned()
    }

    pub(super) fn snapshots(&self) -> Vec<String> {
        self.snapshots_with(&[])
    }

    fn snapshots_with(&self, filter: &[(&str, &str)]) -> Vec<String> {
        let mut found = self.aws.texts("ec2", "DescribeSnapshots", filter, "snapshotId");
        found.sort();
        found
    }

    /// The ids of the snapshots that a run made.
    fn of_run(&self, bk: &Bkhost, id: &str) -> Vec<String> {
        let label = format!("bkhost-{}-{id}", bk.instance());
        self.snapshots_with(&[("Filter.1.Name", "tag:bkhost:run"), ("Filter.1.Value.1", &label)])
    }

    /// The volume at a device of the instance.
    fn at(&self, instance: &str, device: &str) -> Option<String> {
        let filters = [
            ("Filter.1.Name", "attachment.instance-id"),
            ("Filter.1.Value.1", instance),
            ("Filter.2.Name", "attachment.device"),
            ("Filter.2.Value.1", device),
        ];
        self.aws.texts("ec2", "DescribeVolumes", &filters, "volumeId").first().cloned()
    }

    pub(super) fn volume_count(&self) -> usize {
        let mut ids = self.aws.texts("ec2", "DescribeVolumes", &[], "volumeId");
        ids.sort();
        ids.dedup();
        ids.len()
    }

    pub(super) fn foreign(&self, tags: &[(&str, &str)]) -> String {
        let mut call = vec![("VolumeId".to_owned(), self.volumes[0].clone())];
        if !tags.is_empty() {
            call.push(("TagSpecification.1.ResourceType".to_owned(), "snapshot".to_owned()));
        }
        for (n, (key, value)) in tags.iter().enumerate() {
            call.push((format!("TagSpecification.1.Tag.{}.Key", n + 1), (*key).to_owned()));
            call.push((format!("TagSpecification.1.Tag.{}.Value", n + 1), (*value).to_owned()));
        }
        let call: Vec<_> = call.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        self.aws.texts("ec2", "CreateSnapshot", &call, "snapshotId").remove(0)
    }

    /// What was called since, without what only looks.
    fn changes(&self, since: usize) -> Vec<String> {
        let calls = self.aws.calls().into_iter().skip(since);
        let changes = calls.filter(|c| !c.action.starts_with("Describe") && c.get("DryRun").is_none());
        changes.map(|c| c.action).collect()
    }
}

/// A running instance with so many data volumes; their ids.
fn machine(aws: &Aws, volumes: usize) -> (String, Vec<String>) {
    let image = [("ImageId", "ami-12c6146b"), ("MinCount", "1"), ("MaxCount", "1"), ("InstanceType", "m5.large")];
    let instance = aws.texts("ec2", "RunInstances", &image, "instanceId").remove(0);
    let ids = (0..volumes).map(|n| {
        let zone = format!("{REGION}a");
        let new = [("AvailabilityZone", zone.as_str()), ("Size", "100"), ("VolumeType", "gp3"), ("Iops", "4000")];
        let id = aws.texts("ec2", "CreateVolume", &new, "volumeId").remove(0);
        let device = format!("/dev/sd{}", char::from(b'f' + u8::try_from(n).unwrap()));
        aws.call("ec2", "AttachVolume", &[("VolumeId", &id), ("InstanceId", &instance), ("Device", &device)]);
        id
    });
    let ids = ids.collect();
    (instance, ids)
}

const IN_PLACE: [&str; 2] = ["restore", "--confirm"];

fn in_place<'a>(bk: &'a Bkhost, id: &'a str) -> [&'a str; 4] {
    [IN_PLACE[0], id, IN_PLACE[1], bk.instance()]
}

#[test]
fn a_whole_story_with_signatures_that_are_checked() {
    let mut account = Account::of(Aws::verifying(), 2);
    account.aws.verify();
    let (aws, bk) = (&account.aws, Bkhost::new());
    let simulator = Simulator::start(&[]);
    bk.config(&[&bk.application(&simulator, ""), &account.part("home", ""), "[retention]\nkeep-last = 2\n"]);
    account.run(&bk, &["check"]).ok();
    aws.states(States::ebs_snapshots().then("pending", 3));
    aws.page("DescribeSnapshots", 1);
    let outcome = account.run(&bk, &["run", "--json"]).ok();
    let manifest = outcome.json();
    let first = manifest["id"].as_str().unwrap().to_owned();
    simulator.is_free();
    // One call for both, tagged by itself; the boot volume is left out.
    let calls = aws.calls();
    let taken: Vec<_> = calls.iter().filter(|c| c.action == "CreateSnapshots" && c.get("DryRun").is_none()).collect();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].get("InstanceSpecification.ExcludeBootVolume"), Some("true"));
    let position = |at: Instant| calls.iter().filter(|c| c.at > at && c.action == "DescribeSnapshots").count();
    assert!(position(taken[0].at) >= 4, "it was waited for");
    assert!(outcome.stdout.contains("EBS snapshots"), "with progress: {outcome}");
    aws.trust();
    let made = account.of_run(&bk, &first);
    assert_eq!((made.len(), account.snapshots().len()), (2, 2));
    let held: Vec<_> = manifest["parts"][0].to_string().match_indices("snap-").map(|(n, _)| n).collect();
    assert!(held.len() >= 2, "{manifest}");

    // Its application has to stand still for this.
    bk.config(&[&application_none(), &account.part("home", ""), "[retention]\nkeep-last = 2\n"]);
    // In place: new volumes at the old devices, as they were; the old ones are kept.
    aws.states(States::ebs_volumes().then("creating", 2));
    // It is not the application that was locked: that has to be meant.
    let refused = account.run(&bk, &in_place(&bk, &first)).fails(9, &["its application was"]);
    let (_, accept) = refused.stderr.rsplit_once("add --accept-fingerprint ").unwrap();
    let accepted = [&in_place(&bk, &first)[..], &["--accept-fingerprint", accept.trim()]].concat();
    let before = aws.calls().len();
    let outcome = account.run(&bk, &accepted).ok();
    assert_eq!(
        account.changes(before),
        ["CreateVolume", "CreateVolume", "DetachVolume", "AttachVolume", "DetachVolume", "AttachVolume"],
        "{outcome}"
    );
    let created = aws.calls_of("CreateVolume").into_iter().filter(|c| c.get("DryRun").is_none()).collect::<Vec<_>>();
    for call in &created {
        assert_eq!((call.get("VolumeType"), call.get("Iops")), (Some("gp3"), Some("4000")));
        assert!(call.get("ClientToken").is_some_and(|token| token.len() <= 64));
        assert_eq!(call.get("AvailabilityZone"), Some("us-east-1a"));
    }
    assert_ne!(created[0].get("ClientToken"), created[1].get("ClientToken"));
    for (n, device) in ["/dev/sdf", "/dev/sdg"].iter().enumerate() {
        let new = account.at(&account.instance, device).unwrap();
        assert_ne!(new, account.volumes[n]);
        let from = aws.texts("ec2", "DescribeVolumes", &[("VolumeId.1", &new)], "snapshotId").remove(0);
        assert!(made.contains(&from));
        let old = aws.texts("ec2", "DescribeVolumes", &[("VolumeId.1", &account.volumes[n])], "status");
        assert_eq!(old, ["available"], "the old one is kept");
        assert!(outcome.stdout.contains(&new) || outcome.stderr.contains(&new), "{outcome}");
    }

    // Retention, by sets; and what is gone at Amazon is no error.
    aws.heal();
    let second = account.backup(&bk);
    let third = account.backup(&bk);
    assert_eq!(account.of_run(&bk, &first).len(), 0);
    assert_eq!(account.snapshots().len(), 4);
    let gone = account.of_run(&bk, &second).remove(0);
    aws.call("ec2", "DeleteSnapshot", &[("SnapshotId", &gone)]);
    account.run(&bk, &["prune", "--confirm", bk.instance(), "--keep-last", "1"]).ok();
    assert_eq!(account.snapshots(), account.of_run(&bk, &third));
}

#[test]
fn credentials_that_are_wrong_or_missing_are_told_before_the_lock() {
    let mut account = Account::of(Aws::verifying(), 1);
    account.aws.verify();
    let bk = Bkhost::new();
    let simulator = Simulator::start(&[]);
    let application = bk.application(&simulator, "");
    bk.config(&[&application, &account.part("home", "")]);
    let mut command = bk.command(&["run"]);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    Running::start(command, false).end().refused(&["no AWS credentials", "AWS_ACCESS_KEY_ID", "[part.secrets]"]);
    let key = account.aws.environment()[0].1.clone();
    let secret = bk.path("secret");
    let secrets = format!(
        "{}[part.secrets]\naccess-key-id = {{ env = \"KEY\" }}\nsecret-access-key = {{ file = \"{}\" }}\n",
        account.part("home", ""),
        secret.display()
    );
    bk.config(&[&application, &secrets]);
    let with_key = || {
        let mut command = bk.command(&["check"]);
        command.env("KEY", &key).env("AWS_EC2_METADATA_DISABLED", "true");
        Running::start(command, false).end()
    };
    std::fs::write(&secret, "aWrongSecretThatNobodyMaySee\n").unwrap();
    let outcome = with_key().refused(&["secret"]);
    assert!(!format!("{outcome}").contains("aWrongSecret"), "{outcome}");
    std::fs::write(&secret, format!("{}\n", account.aws.environment()[1].1)).unwrap();
    let outcome = with_key().ok();
    assert!(!format!("{outcome}").contains(&account.aws.environment()[1].1), "{outcome}");
    assert_eq!(simulator.count("lock"), 0);
    account.aws.trust();
}

#[test]
fn created_snapshots_are_not_forgotten_when_a_sibling_fails() {
    let account = Account::new(3);
    let (aws, bk) = (&account.aws, Bkhost::new());
    let parts: Vec<_> = ["a", "b"]
        .iter()
        .zip(&account.volumes)
        .map(|(name, volume)| account.part_of(name, &format!("volumes = [\"{volume}\"]")))
        .collect();
    let simulator = Simulator::start(&[]);
    bk.config(&[&bk.application(&simulator, ""), &parts.concat()]);
    let denied = Rule::on("CreateSnapshot", Fault::unauthorized_operation()).with("VolumeId", &account.volumes[1]);
    // Not in the check before the lock.
    aws.fault(denied.nth(2));
    account.run(&bk, &["run"]).refused(&["part `b`", "UnauthorizedOperation"]);
    simulator.is_free();
    assert_eq!((account.snapshots(), bk.list().len()), (vec![], 0));

    // One of several that a single call made fails later.
    aws.heal();
    bk.config(&[&bk.application(&simulator, ""), &account.part("home", "")]);
    aws.fault(Rule::on(
        "DescribeSnapshots",
        Fault::Rewrite(Box::new(|text: &str| {
            text.replacen(
                "<status>completed</status>",
                "<status>error</status><statusMessage>lost it</statusMessage>",
                1,
            )
        })),
    ));
    account.run(&bk, &["run"]).refused(&["failed: lost it"]);
    simulator.is_free();
    assert_eq!((account.snapshots(), bk.list().len()), (vec![], 0));
}

#[test]
fn retention_never_keeps_failed_snapshots_and_deletes_good_ones() {
    let account = Account::new(1);
    let bk = Bkhost::new();
    bk.config(&[&application_none(), &account.part("home", ""), "[retention]\nkeep-last = 1\n"]);
    let good = account.backup(&bk);
    let kept = account.of_run(&bk, &good);
    account.aws.states(States::ebs_snapshots().then("pending", 1).then("error", 1).forever());
    for _ in 0..2 {
        assert_ne!(account.run(&bk, &["run"]).code, 0);
    }
    assert_eq!(account.snapshots(), kept, "the failed ones are gone, the good one is here");
    account.run(&bk, &in_place(&bk, &good)).refused(&["none to restore from"]);
    account.aws.heal();
    account.run(&bk, &["prune", "--confirm", bk.instance(), "--keep-last", "1"]).ok();
    assert_eq!(account.snapshots(), kept);
    let better = account.backup(&bk);
    assert_eq!(account.snapshots(), account.of_run(&bk, &better));
}

#[test]
fn a_snapshot_that_does_not_come_to_an_end_is_a_failure() {
    let account = Account::new(1);
    let bk = Bkhost::new();
    let simulator = Simulator::start(&[]);
    bk.config(&[&bk.application(&simulator, ""), &account.part("home", "timeout = 2")]);
    account.aws.states(States::ebs_snapshots().then("pending", 1).forever());
    account.run(&bk, &["run"]).refused(&["not complete after 2 s", "raise timeout"]);
    simulator.is_free();
    assert_eq!(account.snapshots(), [""; 0]);
}

#[test]
fn throttling_and_expired_tokens_are_overcome() {
    let account = Account::new(2);
    let (aws, bk) = (&account.aws, Bkhost::new());
    bk.config(&[&application_none(), &account.part("home", "")]);
    aws.fault(Rule::on("DescribeVolumes", Fault::request_limit_exceeded()).first(2));
    aws.fault(Rule::on("DescribeInstances", Fault::request_expired()).first(1));
    aws.fault(Rule::on("CreateSnapshots", Fault::snapshot_rate_exceeded()).calls(2..=3));
    aws.fault(Rule::on("DescribeSnapshots", Fault::Html(502)).calls(2..=2));
    let id = account.backup(&bk);
    assert_eq!(account.of_run(&bk, &id).len(), 2);
    // For good, it is said, and nothing was locked.
    let simulator = Simulator::start(&[]);
    bk.config(&[&bk.application(&simulator, ""), &account.part("home", "")]);
    aws.heal();
    aws.fault(Rule::on("*", Fault::request_expired()));
    account.run(&bk, &["run"]).refused(&["expired"]);
    assert_eq!(simulator.count("lock"), 0);
    assert_eq!(account.snapshots().len(), 2);
}

#[test]
fn a_lost_answer_is_looked_up_by_its_tag() {
    let account = Account::new(2);
    let (aws, bk) = (&account.aws, Bkhost::new());
    let part = |volumes: &str| account.part("home", volumes);
    for (fault, volumes) in [
        (Fault::LoseReply, String::new()),
        (Fault::CutReply, String::new()),
        (Fault::LoseReply, format!("volumes = [\"{}\"]", account.volumes[0])),
    ] {
        bk.config(&[&application_none(), &part(&volumes)]);
        aws.heal();
        // The first is the dry run of the check.
        let action = if volumes.is_empty() { "CreateSnapshots" } else { "CreateSnapshot" };
        aws.fault(Rule::on(action, fault).nth(2));
        let before = account.snapshots().len();
        let id = account.backup(&bk);
        let expected = if volumes.is_empty() { 2 } else { 1 };
        assert_eq!(account.of_run(&bk, &id).len(), expected);
        assert_eq!(account.snapshots().len(), before + expected, "nothing was made twice");
    }
    // What never arrived was not done.
    aws.heal();
    bk.config(&[&application_none(), &part("")]);
    let before = account.snapshots();
    aws.fault(Rule::on("CreateSnapshots", Fault::LoseRequest).calls(2..=99));
    account.run(&bk, &["run"]).refused(&["CreateSnapshots"]);
    assert_eq!(account.snapshots(), before);
    // What was done and is found nowhere at first is discarded later.
    aws.heal();
    aws.fault(Rule::on("CreateSnapshots", Fault::LoseReply).nth(2));
    let hidden = |text: &str| {
        let (start, end) = (text.find("<snapshotSet>").unwrap(), text.find("</snapshotSet>").unwrap());
        format!("{}<snapshotSet>{}", &text[..start], &text[end..])
    };
    let rule = Rule::on("DescribeSnapshots", Fault::Rewrite(Box::new(hidden)));
    aws.fault(rule.with("Filter.3.Name", "tag:bkhost:run").calls(1..=5));
    account.run(&bk, &["run"]).refused(&["CreateSnapshots"]);
    assert_eq!(account.snapshots(), before);
}

#[test]
fn foreign_snapshots_survive_and_two_instances_do_not_meet() {
    let account = Account::new(1);
    let (one, two) = (Bkhost::new(), Bkhost::new());
    let (first, second) = (account.part("home", ""), account.part("home", ""));
    one.config(&[&application_none(), &first, "[retention]\nkeep-last = 1\n"]);
    two.config(&[&application_none(), &second, "[retention]\nkeep-last = 1\n"]);
    let (name, other) = (one.instance().to_owned(), two.instance().to_owned());
    let label = format!("bkhost-{name}-20200101-000000-abcdef");
    let tagged = |instance: &str, part: &str, run: &str| {
        account.foreign(&[("bkhost:instance", instance), ("bkhost:part", part), ("bkhost:run", run)])
    };
    let mut foreign = vec![
        account.foreign(&[]),
        account.foreign(&[("Name", &label)]),
        account.foreign(&[("bkhost:run", &label), ("Name", "x")]),
        account.foreign(&[("bkhost:instance", &name), ("bkhost:part", "home")]),
        account.foreign(&[("Name", "a \"quoted\" <&> 'name' -rf $(x) ü\u{202e}"), ("bkhost:instance", "*")]),
        tagged(&name, "other", &label),
        tagged("*", "*", "*"),
        tagged("it*", "home", &label),
        tagged(&name, "home", "not-a-run"),
        tagged(&format!("{name}x"), "home", &label),
    ];
    foreign.sort();
    let sets = [account.backup(&one), account.backup(&one), account.backup(&two), account.backup(&two)];
    assert_eq!((account.of_run(&one, &sets[0]).len(), account.of_run(&two, &sets[2]).len()), (0, 0));
    assert_eq!((account.of_run(&one, &sets[1]).len(), account.of_run(&two, &sets[3]).len()), (1, 1));
    account.aws.states(States::ebs_snapshots().then("error", 1).forever());
    assert_ne!(account.run(&two, &["run"]).code, 0);
    account.aws.heal();
    let mut expected: Vec<_> = foreign.to_vec();
    expected.extend(account.of_run(&one, &sets[1]));
    expected.extend(account.of_run(&two, &sets[3]));
    expected.sort();
    assert_eq!(account.snapshots(), expected);
    assert_ne!(name, other);
}

#[test]
fn a_failed_restore_leaves_the_old_volumes_attached() {
    let account = Account::new(2);
    let (aws, bk) = (&account.aws, Bkhost::new());
    bk.config(&[&application_none(), &account.part("home", "attach-timeout = 2\ntimeout = 5")]);
    let id = account.backup(&bk);
    let count = account.volume_count();
    let untouched = |outcome: &Outcome| {
        for (device, volume) in ["/dev/sdf", "/dev/sdg"].iter().zip(&account.volumes) {
            assert_eq!(account.at(&account.instance, device).as_ref(), Some(volume), "{outcome}");
        }
        assert_eq!(account.volume_count(), count, "what it created is gone: {outcome}");
        aws.heal();
    };
    // A new volume does not become available: nothing is detached.
    let before = aws.calls().len();
    aws.states(States::ebs_volumes().then("creating", 1).then("error", 1).forever().only("vol-"));
    let outcome = account.run(&bk, &in_place(&bk, &id)).refused(&["is error"]);
    assert!(!account.changes(before).contains(&"DetachVolume".to_owned()), "{outcome}");
    untouched(&outcome);
    aws.fault(Rule::on("CreateVolume", Fault::error(400, "VolumeLimitExceeded", "no more")).nth(2));
    untouched(&account.run(&bk, &in_place(&bk, &id)).refused(&["VolumeLimitExceeded"]));
    // No right to attach: known before anything is made.
    let before = aws.calls().len();
    aws.fault(Rule::on("AttachVolume", Fault::unauthorized_operation()));
    let outcome = account.run(&bk, &in_place(&bk, &id)).refused(&["UnauthorizedOperation"]);
    assert_eq!(account.changes(before), [""; 0]);
    untouched(&outcome);
    // The second new volume cannot be attached: both old ones come back.
    aws.fault(
        Rule::on("AttachVolume", Fault::error(400, "AttachmentLimitExceeded", "too many"))
            .with("Device", "/dev/sdg")
            .nth(2),
    );
    untouched(&account.run(&bk, &in_place(&bk, &id)).refused(&["AttachmentLimitExceeded"]));
    // Still mounted: it is not detached within its time.
    aws.states(States::ebs_volumes().then("in-use", 1).forever().only(&account.volumes[0]));
    untouched(&account.run(&bk, &in_place(&bk, &id)).refused(&["is not detached", "unmount"]));
    // The two before are the dry runs.
    aws.fault(Rule::on("DetachVolume", Fault::error(400, "IncorrectState", "not now")).nth(4));
    untouched(&account.run(&bk, &in_place(&bk, &id)).refused(&["not now"]));
    // And then it works, even when answers are lost.
    aws.fault(Rule::on("CreateVolume", Fault::LoseReply).first(1));
    aws.fault(Rule::on("DetachVolume", Fault::LoseReply).nth(3));
    aws.fault(Rule::on("AttachVolume", Fault::LoseReply).nth(3));
    account.run(&bk, &in_place(&bk, &id)).ok();
    assert_ne!(account.at(&account.instance, "/dev/sdf").as_ref(), Some(&account.volumes[0]));
    assert_ne!(account.at(&account.instance, "/dev/sdg").as_ref(), Some(&account.volumes[1]));
}

/// A drill creates volumes, looks at them, and leaves none: not when it fails, and not when it is killed.
#[test]
fn a_drill_leaves_no_volume() {
    let account = Account::new(2);
    let (aws, bk) = (&account.aws, Bkhost::new());
    bk.config(&[&application_none(), &account.part("home", "")]);
    let id = account.backup(&bk);
    let before = account.volume_count();
    account.run(&bk, &["drill"]).refused(&["drill = true", "[drill] skip"]);
    bk.config(&[&application_none(), &account.part("home", "drill = true\ntimeout = 5")]);
    let drilled = account.run(&bk, &["drill", "--json"]).ok().json();
    assert_eq!((&drilled["ok"], &drilled["id"]), (&true.into(), &id.as_str().into()), "{drilled}");
    assert_eq!(drilled["parts"][0]["findings"].as_array().unwrap().len(), 2, "{drilled}");
    assert_eq!((account.volume_count(), aws.calls_of("AttachVolume").len()), (before, 0));
    // The snapshot became something else; it becomes nothing; the second one becomes nothing.
    let smaller = Fault::Rewrite(Box::new(|text| {
        text.replace("<encrypted>true<", "<encrypted>false<").replace("<size>100<", "<size>4<")
    }));
    aws.fault(Rule::on("DescribeVolumes", smaller));
    account.run(&bk, &["drill"]).refused(&["became a volume of 4 GiB"]);
    aws.heal();
    aws.states(States::ebs_volumes().then("creating", 1).then("error", 1).forever().only("vol-"));
    account.run(&bk, &["drill"]).refused(&["is error"]);
    aws.heal();
    aws.fault(Rule::on("CreateVolume", Fault::error(400, "VolumeLimitExceeded", "no more")).nth(2));
    account.run(&bk, &["drill"]).refused(&["VolumeLimitExceeded"]);
    aws.heal();
    assert_eq!(account.volume_count(), before);

    // Killed while they are being created. What somebody else has tagged alike is not this part's.
    aws.states(States::ebs_volumes().then("creating", 1).forever().only("vol-"));
    let created = aws.calls_of("CreateVolume").len();
    let mut running = account.start(&bk, &["drill"]);
    until("volumes are created", Duration::from_secs(30), || aws.calls_of("CreateVolume").len() == created + 2);
    running.signal(rustix::process::Signal::KILL);
    running.code();
    aws.heal();
    assert_eq!(account.volume_count(), before + 2);
    let tags = [("bkhost:instance", bk.instance()), ("bkhost:part", "home2"), ("bkhost:drill", "yes")];
    let mut call =
        vec![("AvailabilityZone", "us-east-1a"), ("Size", "1"), ("TagSpecification.1.ResourceType", "volume")];
    let names: Vec<_> = (1..=3)
        .map(|n| [format!("TagSpecification.1.Tag.{n}.Key"), format!("TagSpecification.1.Tag.{n}.Value")])
        .collect();
    for ([key, value], (tag, of)) in names.iter().zip(tags) {
        call.extend([(key.as_str(), tag), (value.as_str(), of)]);
    }
    aws.call("ec2", "CreateVolume", &call);
    account.run(&bk, &["recover"]).ok();
    assert_eq!(account.volume_count(), before + 1);
    account.run(&bk, &["drill"]).ok();
    assert_eq!(account.volume_count(), before + 1);
}

#[test]
fn elsewhere_and_nowhere() {
    let account = Account::new(1);
    let (aws, bk) = (&account.aws, Bkhost::new());
    bk.config(&[
        &application_none(),
        &account.part("home", "restore = { type = \"io2\", iops = 900, kms-key = \"alias/k\" }"),
    ]);
    let id = account.backup(&bk);
    let (other, _) = machine(aws, 0);
    let (full, _) = machine(aws, 1);
    let to = |to: &str| account.run(&bk, &["restore", &id, &format!("--to={to}"), "--confirm", bk.instance()]);
    to("volumes").ok();
    let calls = aws.calls_of("CreateVolume");
    let created = calls.last().unwrap();
    assert_eq!((created.get("VolumeType"), created.get("Iops")), (Some("io2"), Some("900")));
    assert_eq!((created.get("Encrypted"), created.get("KmsKeyId")), (Some("true"), Some("alias/k")));
    to(&other).ok();
    assert!(account.at(&other, "/dev/sdf").is_some());
    let before = aws.calls().len();
    to(&full).refused(&["/dev/sdf", "--to volumes"]);
    to("i-0123456789abcdef0").refused(&["i-0123456789abcdef0"]);
    to("/dev/sdf").refused(&["--to volumes"]);
    to("-i").refused(&["names no place"]);
    assert_eq!(account.changes(before), [""; 0]);
    assert_eq!(account.at(&account.instance, "/dev/sdf").as_ref(), Some(&account.volumes[0]), "nothing was detached");
    // What is at the device is not what the set knows, and nobody named it.
    account.run(&bk, &in_place(&bk, &id)).ok();
    account.run(&bk, &in_place(&bk, &id)).refused(&["is at /dev/sdf", "[part.config] volumes"]);
    bk.config(&[&application_none(), &account.part("home", "volumes = [\"/dev/sdf\"]")]);
    account.run(&bk, &in_place(&bk, &id)).ok();
    let again = account.backup(&bk);
    account.run(&bk, &in_place(&bk, &again)).ok();
}

#[test]
fn a_volume_that_nobody_asked_for_is_not_kept() {
    // The stand-in cannot leave out a data volume, as EC2 can.
    let account = Account::new(3);
    let bk = Bkhost::new();
    let volumes = format!("volumes = [\"/dev/sdf\", \"{}\"]", account.volumes[1]);
    bk.config(&[&application_none(), &account.part("home", &volumes)]);
    let id = account.backup(&bk);
    assert_eq!((account.of_run(&bk, &id).len(), account.snapshots().len()), (2, 2));
    let calls = account.aws.calls_of("CreateSnapshots");
    let call = calls.last().unwrap();
    assert_eq!(call.get("InstanceSpecification.ExcludeDataVolumeId.1"), Some(account.volumes[2].as_str()));
}

#[test]
fn volumes_of_two_instances_stand_frozen_together() {
    let account = Account::new(1);
    let (_, others) = machine(&account.aws, 1);
    let bk = Bkhost::new();
    let systems = [LoopFs::new(&bk.path(""), "fs one", "ext4"), LoopFs::new(&bk.path(""), "fs-two", "ext4")];
    let [one, two] = [systems[0].point().display(), systems[1].point().display()];
    let volumes = format!("volumes = [\"{}\", \"{}\"]", account.volumes[0], others[0]);
    let simulator = Simulator::start(&[]);
    let part = account.part_of("home", &format!("{volumes}\nfreeze = [\"{one}\", \"{two}\"]"));
    bk.config(&[&bk.application(&simulator, ""), &part]);
    let outcome = account.run(&bk, &["run", "--json"]).ok();
    assert!(outcome.stdout.contains("stood frozen for"), "{outcome}");
    let thawed = || systems.iter().all(|system| !system.frozen());
    assert!(thawed());
    let kept = account.snapshots();
    assert_eq!(kept.len(), 2);
    // The second call fails while they stand frozen: they go on, and the first snapshot goes.
    let fault = Rule::on("CreateSnapshot", Fault::error(400, "IncorrectState", "not now"));
    account.aws.fault(fault.with("VolumeId", &others[0]));
    account.run(&bk, &["run"]).refused(&["not now"]);
    assert!(thawed());
    simulator.is_free();
    assert_eq!(account.snapshots(), kept);
    // Not mounted, or not there: known before the lock.
    let part = account.part_of("home", &format!("{volumes}\nfreeze = [\"{one}\", \"{two}/none\"]"));
    bk.config(&[&bk.application(&simulator, ""), &part]);
    let before = simulator.count("lock");
    account.run(&bk, &["run"]).refused(&["none"]);
    assert_eq!(simulator.count("lock"), before);
}

#[test]
fn what_would_fail_later_is_found_before_the_lock() {
    let account = Account::new(2);
    let (aws, bk) = (&account.aws, Bkhost::new());
    let simulator = Simulator::start(&[]);
    let application = bk.application(&simulator, "");
    let (stranger, theirs) = machine(aws, 1);
    for (config, says) in [
        ("instance-id = \"i-0123456789abcdef0\"".to_owned(), "i-0123456789abcdef0"),
        ("volumes = [\"vol-0123456789abcdef0\"]".to_owned(), "vol-0123456789abcdef0"),
        (format!("instance-id = \"{}\"\nvolumes = [\"{}\"]", account.instance, theirs[0]), stranger.as_str()),
        (format!("instance-id = \"{}\"\nvolumes = [\"/dev/sdz\"]", account.instance), "/dev/sdz"),
    ] {
        bk.config(&[&application, &account.part_of("home", &config)]);
        account.run(&bk, &["run"]).refused(&[says]);
    }
    for (config, says) in [
        (format!("volumes = [\"{}\", \"{}\"]", account.volumes[0], account.volumes[1]), "instance-id"),
        ("volumes = [\"/dev/sdf\"]".to_owned(), "instance-id"),
        ("volumes = [\"-rf\"]".to_owned(), "volumes"),
        ("volumes = [\"vol-1' or '1\"]".to_owned(), "volumes"),
        (String::new(), "instance-id"),
    ] {
        bk.config(&[&application, &account.part_of("home", &config)]);
        let outcome = account.run(&bk, &["run"]);
        assert_ne!(outcome.code, 0);
        assert!(outcome.stderr.contains(says), "{config}: {outcome}");
    }
    bk.config(&[&application, &account.part("home", "")]);
    aws.fault(Rule::on("CreateSnapshots", Fault::unauthorized_operation()));
    account.run(&bk, &["run"]).refused(&["CreateSnapshots", "ec2:CreateTags"]);
    aws.heal();
    aws.fault(Rule::on("DetachVolume", Fault::unauthorized_operation()));
    let outcome = account.run(&bk, &["check"]).ok();
    assert!(format!("{outcome}").contains("DetachVolume"), "{outcome}");
    aws.heal();
    // A plan looks, and makes nothing.
    let before = aws.calls().len();
    account.run(&bk, &["plan"]).ok();
    assert_eq!(account.changes(before), [""; 0]);
    assert_eq!(simulator.count("lock"), 0);
    assert_eq!(account.snapshots(), [""; 0]);
}

#[test]
fn a_cancelled_run_leaves_nothing() {
    let account = Account::new(2);
    let bk = Bkhost::new();
    let simulator = Simulator::start(&[]);
    bk.config(&[&bk.application(&simulator, ""), &account.part("home", "")]);
    // While it waits for the snapshots, and while the call is on its way.
    for slow in [false, true] {
        if slow {
            account.aws.fault(Rule::on("CreateSnapshots", Fault::Slow(Duration::from_millis(800))).nth(2));
        } else {
            account.aws.states(States::ebs_snapshots().then("pending", 1).forever());
        }
        let mut running = account.start(&bk, &["run", "--json"]);
        let calls = || account.aws.calls_of("CreateSnapshots").iter().filter(|c| c.get("DryRun").is_none()).count();
        let before = calls();
        until("the call is made", Duration::from_secs(30), || calls() > before);
        running.signal(rustix::process::Signal::TERM);
        assert_ne!(running.code(), 0);
        simulator.is_free();
        assert_eq!((account.snapshots(), bk.list().len()), (vec![], 0), "slow: {slow}");
        account.aws.heal();
    }
}

#[test]
fn under_the_lock_there_is_one_call_whatever_the_size() {
    let account = Account::new(2);
    let bk = Bkhost::new();
    let simulator = Simulator::start(&[]);
    bk.config(&[&bk.application(&simulator, ""), &account.part("home", "")]);
    let mut locked = Vec::new();
    for size in ["200", "400", "800"] {
        for volume in &account.volumes {
            account.aws.call("ec2", "ModifyVolume", &[("VolumeId", volume), ("Size", size)]);
        }
        account.aws.states(States::ebs_snapshots().then("pending", 4));
        let before = account.aws.calls_of("CreateSnapshots").len();
        let manifest = account.run(&bk, &["run", "--json"]).ok().json();
        locked.push(manifest["application"]["locked-ms"].as_u64().unwrap());
        // The dry run of the check, and the one under the lock.
        assert_eq!(account.aws.calls_of("CreateSnapshots").len() - before, 2);
        assert!(account.aws.calls_of("CreateSnapshot").is_empty());
        account.aws.heal();
    }
    eprintln!("locked for {locked:?} ms with 200, 400 and 800 GiB a volume");
}
