//! One suite over every plugin that is shipped: what the contract asks of all of them.
//!
//! The list is taken from the directory of the built plugins: one without a system here fails the suite. Each system is
//! real, or the stand-in that the plugin's own tests use, and is driven through the binary, each command a process of its
//! own. What only one plugin promises is in its own module.

mod amazon;
mod btrfs;
mod directory;
mod elasticsearch;
mod fslevel;
mod lvm;
mod mysql;
mod offsite;
mod p4d;
mod postgresql;
mod rsync;
mod shipped;
mod suite;
mod zfs;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use bkhost_tests::Bkhost;
use serde_json::Value;

/// What a plugin needs to be put through the suite.
trait System {
    /// An instance that reaches it.
    fn bk(&self) -> &Bkhost;

    /// Another instance that reaches it.
    fn another(&self) -> Bkhost {
        Bkhost::new()
    }

    /// A command of an instance.
    fn command(&self, bk: &Bkhost, args: &[&str]) -> Command {
        bk.command(args)
    }

    /// A `[[part]]` of this name. What its plugin makes stays at the vendor, if that can be had.
    fn part(&self, name: &str) -> String;

    /// Everything at the vendor that a backup could make or remove, sorted; also what is not ours.
    fn vendor(&self) -> Vec<String>;

    /// Whether a snapshot stays at the vendor when the run is over.
    fn keeps(&self) -> bool {
        false
    }

    /// Whether the vendor has the snapshot of this part of a set.
    fn holds(&self, part: &Value) -> bool {
        let _ = part;
        false
    }

    /// Remove that snapshot, as an administrator does by hand.
    fn remove(&self, part: &Value) {
        let _ = part;
    }

    /// Whether a fresh state directory still knows what was made: the vendor keeps a mark of ours with it.
    fn marks(&self) -> bool {
        true
    }

    /// Make things at the vendor that look as if the run with this label had made them, and are not ours.
    fn look_alikes(&self, label: &str);

    /// What is to be backed up, as it is now.
    fn content(&self) -> String;

    /// Change it.
    fn change(&self, n: u32);

    /// The n-th new place to restore into, for `--to`.
    fn target(&self, n: u32) -> String;

    /// What was restored there.
    fn restored(&self, target: &str) -> String;

    /// Whether each command takes its time here: points that are much like others are left out.
    fn slow(&self) -> bool {
        false
    }

    /// Whether a second restore to the same target is another one beside it.
    fn restores_beside(&self) -> bool {
        false
    }

    /// A secret that `part` gives to the plugin.
    fn secret(&self) -> Option<String> {
        None
    }

    /// Another place for copies, for a plugin that can make them: a `[[part.offsite]]` called [`offsite::PLACE`] with
    /// `retention = {}`.
    fn place(&self) -> Option<String> {
        None
    }

    /// Everything at that place that a copy or a restore from it could make or remove, sorted.
    fn elsewhere(&self) -> Vec<String> {
        Vec::new()
    }

    /// As `look_alikes`, there.
    fn look_alikes_elsewhere(&self, label: &str) {
        let _ = label;
    }

    /// Parts that cannot work.
    fn broken(&self) -> Vec<Broken>;
}

/// A part that cannot work.
struct Broken {
    /// What is wrong with it.
    what: &'static str,
    /// The `[[part]]`.
    part: String,
    /// The exit code.
    code: i32,
    /// What is said of it.
    says: &'static str,
}

/// A file with the secret in it, in the instance's scratch directory; for a secret of a part: `password = { file = … }`.
fn secret_file(bk: &Bkhost, name: &str, secret: &str) -> String {
    let path = bk.path(name);
    std::fs::write(&path, format!("{secret}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    format!("{name} = {{ file = \"{}\" }}\n", path.display())
}

macro_rules! systems {
    ($($plugin:literal => $test:ident: $conforms:path),* $(,)?) => {
        /// The plugins that have a system here.
        const SYSTEMS: &[&str] = &[$($plugin),*];
        $(
            #[test]
            fn $test() {
                $conforms();
            }
        )*
    };
}

systems! {
    "amazon-ebs" => amazon_ebs: amazon::ebs,
    "amazon-rds" => amazon_rds: amazon::rds,
    "btrfs" => btrfs: btrfs::conforms,
    "directory" => directory: directory::conforms,
    "elasticsearch" => elasticsearch: elasticsearch::conforms,
    "lvm" => lvm: lvm::conforms,
    "mysql" => mysql: mysql::conforms,
    "p4d" => p4d: p4d::conforms,
    "postgresql" => postgresql: postgresql::conforms,
    "postgresql-fslevel" => postgresql_fslevel: fslevel::conforms,
    "rsync" => rsync: rsync::conforms,
    "zfs" => zfs: zfs::conforms,
}
