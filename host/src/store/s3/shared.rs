//! What AWS's own tools are told about a profile: `~/.aws/config`. The credentials in it are found elsewhere.

use std::path::PathBuf;

use ini::{Ini, ParseOption};

/// The settings of the profile in use. None of them is needed: what cannot be read is as if it were not there.
pub(super) struct Shared {
    file: Option<Ini>,
    section: String,
}

impl Shared {
    /// Where AWS's tools look, by `variable` of the environment: `AWS_CONFIG_FILE` or else below `HOME`, and there for
    /// `AWS_PROFILE` or else `default`.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let path = variable("AWS_CONFIG_FILE").map(PathBuf::from);
        let path = path.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".aws/config")));
        let section = match variable("AWS_PROFILE").filter(|profile| profile != "default") {
            Some(profile) => format!("profile {profile}"),
            None => "default".to_owned(),
        };
        let literal = ParseOption { enabled_quote: false, enabled_escape: false, ..ParseOption::default() };
        let file = path.and_then(|path| Ini::load_from_file_opt(path, literal).ok());
        Self { file, section }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<String> {
        let value = self.file.as_ref()?.section(Some(self.section.as_str()))?.get(key)?;
        (!value.is_empty()).then(|| value.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[default]\nregion = eu-central-1\n\n# the other one\n[profile backup]\nregion=eu-west-1\n\
        endpoint_url = https://s3.example.org\ncredential_process = /bin/keys \"a\"\n[backup]\nregion = no-section\n";

    #[test]
    fn the_profile_in_use() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        let file = home.path().join(".aws/config");
        std::fs::write(&file, FILE).unwrap();
        let home = home.path().display().to_string();
        let shared = |profile: Option<&'static str>| {
            Shared::read(|name| match name {
                "HOME" => Some(home.clone()),
                "AWS_PROFILE" => profile.map(str::to_owned),
                _ => None,
            })
        };
        let of = |profile| (shared(profile).get("region"), shared(profile).get("endpoint_url"));
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of(None), (some("eu-central-1"), None));
        assert_eq!(of(Some("default")), (some("eu-central-1"), None));
        assert_eq!(of(Some("backup")), (some("eu-west-1"), some("https://s3.example.org")));
        assert_eq!(of(Some("absent")), (None, None));
        // Another file; none; one that is none.
        let elsewhere = |file: &str| Shared::read(|name| (name == "AWS_CONFIG_FILE").then(|| file.to_owned()));
        assert_eq!(elsewhere(&file.display().to_string()).get("region"), some("eu-central-1"));
        assert_eq!(elsewhere("/nowhere").get("region"), None);
        assert_eq!(Shared::read(|_| None).get("region"), None);
    }
}
