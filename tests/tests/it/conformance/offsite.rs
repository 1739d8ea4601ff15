//! What the contract asks of plugins that export `offsite`: a fixture without a place fails those, and one with a place those
//! that do not.

use bkhost_tests::{Running, application_none};
use rustix::process::Signal;
use serde_json::Value;

use super::suite::{Suite, id, part};

/// The name of the place of every fixture.
pub(super) const PLACE: &str = "elsewhere";

impl Suite<'_> {
    pub(super) fn copies_at_another_place(&self) {
        let Some(place) = self.system.place() else {
            assert!(!self.exports_offsite(), "it exports offsite, and its system here has no place");
            return;
        };
        assert!(self.exports_offsite(), "its system here has a place, and it does not export offsite");
        let with_place = || self.bk.config(&[&application_none(), &self.system.part("part"), &place]);
        with_place();
        self.system.look_alikes_elsewhere(&format!("bkhost-{}-20200101-000000-abcdef", self.bk.instance()));
        let (vendor, strangers) = (self.system.vendor(), self.system.elsewhere());
        let _ = self.run(&["check"]).ok();
        let _ = self.run(&["plan"]).ok();
        assert_eq!(
            (self.system.vendor(), self.system.elsewhere()),
            (vendor, strangers.clone()),
            "looking changes nothing"
        );

        let set = self.backup();
        let copied = self.system.elsewhere();
        assert!(copied.len() > strangers.len(), "{copied:?}");
        let told = self.copies();
        assert_eq!((told.len(), told[0]["set"].as_str(), &told[0]["ok"]), (1, Some(id(&set)), &Value::Bool(true)));
        let record = told[0].to_string();
        assert!(record.len() < 256 << 10);
        assert!(self.system.secret().is_none_or(|secret| !record.contains(&secret)), "{record}");
        assert_ne!(told[0]["snapshot"]["state"], part(&set)["snapshot"]["state"], "a copy is another thing");

        // Again, from nothing: the journal and the records may be lost.
        let vendor = self.system.vendor();
        for lost in [false, true] {
            if lost {
                std::fs::remove_dir_all(self.bk.set("records")).unwrap();
            }
            self.forget_everything();
            let _ = self.run(&["offsite", id(&set)]).ok();
            assert_eq!((self.system.vendor(), self.system.elsewhere()), (vendor.clone(), copied.clone()), "{lost}");
            assert_eq!(self.copies().len(), 1);
        }

        // One that dies is a good copy that is recorded, or nothing.
        for (n, point) in ["after:copying-offsite:1", "before:copied-offsite:1"].into_iter().enumerate() {
            let again = self.only_here();
            with_place();
            let mut command = self.system.command(self.bk, &["offsite", &again]);
            command.env("BKHOST_TEST", "1").env("BKHOST_FAULT_POINT", format!("{point}:stop"));
            let mut doomed = Running::start(command, false);
            assert!(doomed.stops(), "{point} was not reached");
            doomed.signal(Signal::KILL);
            let _ = doomed.end();
            let _ = self.run(&["recover"]).ok();
            let recorded = self.copies().iter().filter(|copy| copy["ok"] == true).count();
            assert_eq!(recorded, 1 + n, "{point}");
            assert_eq!(self.system.elsewhere().len() - strangers.len(), (copied.len() - strangers.len()) * recorded);
        }

        // From the copy, in a fresh process.
        let target = self.system.target(7);
        let args = ["restore", id(&set), "--from-offsite", PLACE, "--to", &target, "--confirm", self.bk.instance()];
        self.forget_everything();
        let vendor = self.system.vendor();
        let before = self.system.elsewhere().len();
        let _ = self.run(&args).ok();
        assert_eq!(self.system.vendor(), vendor, "nothing happens here");
        assert!(self.system.elsewhere().len() > before, "something is restored there");

        // Retention: the last good one stays, what is not ours too; twice is as once.
        let restored = self.system.elsewhere().len() - before;
        let keeping = place.replace("retention = {}", "retention = { keep-last = 1 }");
        assert_ne!(keeping, place, "the place of a fixture has `retention = {{}}`");
        self.bk.config(&[&application_none(), &self.system.part("part"), &keeping]);
        for _ in 0..2 {
            let _ = self.run(&["prune", "--confirm", self.bk.instance()]).ok();
            assert_eq!(self.copies().len(), 1);
            assert_eq!(self.system.elsewhere().len(), copied.len() + restored);
        }
        assert!(strangers.iter().all(|stranger| self.system.elsewhere().contains(stranger)));
        self.configure(&self.system.part("part"));
    }

    /// A set that was made without a place.
    fn only_here(&self) -> String {
        self.configure(&self.system.part("part"));
        id(&self.backup()).to_owned()
    }

    fn copies(&self) -> Vec<Value> {
        let list = self.run(&["list", "--json"]).ok().json();
        list["stores"][0]["offsite"].as_array().unwrap().clone()
    }

    fn exports_offsite(&self) -> bool {
        let part = self.system.part("part");
        let name = part.split("plugin = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let bytes = std::fs::read(bkhost_tests::plugins().join(name)).unwrap();
        let export = b"bkhost:snapshot/offsite@";
        bytes.windows(export.len()).any(|window| window == export)
    }
}
