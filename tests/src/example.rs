//! The configurations of `host/examples`, as they stand but for names and places.

use std::path::Path;

use crate::{Bkhost, Simulator};

impl Bkhost {
    /// Use the example of this file name, with these texts in the place of others, each of which it has to hold. The
    /// instance, the store and the password's file become this scratch instance's.
    #[track_caller]
    pub fn example(&self, name: &str, simulator: Option<&Simulator>, replace: &[(&str, &str)]) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/examples").join(name);
        let mut text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let mut swap = |from: &str, to: &str| {
            assert!(text.contains(from), "{name} does not say `{from}`");
            text = text.replace(from, to);
        };
        for (from, to) in replace {
            swap(from, to);
        }
        swap("\"/backups\"", &format!("{:?}", self.path("backups")));
        if let Some(simulator) = simulator {
            swap("\"/etc/bkhost/bitbucket.password\"", &format!("{:?}", self.path("password")));
            swap("username = \"backup\"", "username = \"admin\"");
            let url = file_value(&text, "url = \"");
            text = text.replace(&url, &simulator.url());
        }
        let instance = file_value(&text, "[instance]\nname = \"");
        text = text.replacen(
            &format!("[instance]\nname = \"{instance}\""),
            &format!("[instance]\nname = \"{}\"", self.instance()),
            1,
        );
        std::fs::write(self.path("bkhost.toml"), text).unwrap();
    }
}

/// What follows up to the next quotation mark.
#[track_caller]
fn file_value(text: &str, beginning: &str) -> String {
    let (_, rest) = text.split_once(beginning).unwrap_or_else(|| panic!("no `{beginning}` in {text}"));
    rest.split('"').next().unwrap().to_owned()
}
