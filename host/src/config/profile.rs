//! What is known of the directories of an application: `[[part]] profile`.
//!
//! A profile is data: what of the directory need not be kept and why, where git repositories are in it, and what the
//! operator has to know after a restore. README.md tells it to people.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::Part;
use crate::archive::set::LeftOut;

/// `[[part]] profile`: which directory of which application a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Profile {
    /// The home of a Bitbucket Server that stands alone, with `shared` in it.
    BitbucketHome,
    /// The shared home of a Bitbucket Data Center.
    BitbucketSharedHome,
    /// The local home of one node of a Bitbucket Data Center. `shared`, which is mounted there, is left out: it is a part of
    /// its own.
    BitbucketLocalHome,
    /// The home of a Bitbucket Mesh node.
    BitbucketMesh,
    /// SMF SDK: the data of the proxy, `/var/service/smf/var/proxy`.
    SmfProxy,
    /// SMF SDK: the data of the heartbeat server, `/var/service/smf/var/hb`.
    SmfHb,
    /// SMF SDK: the configuration files, `/var/service/smf/etc`.
    SmfEtc,
}

/// `[part.options]`: of the part's profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProfileOptions {
    /// Of Bitbucket's: the ids of repositories to leave out, the names of their directories in `data/repositories`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_repositories: Vec<u64>,
    /// Of Bitbucket's: whether the logs are kept too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub logs: bool,
    /// Of Bitbucket's: whether the files of the built-in database are kept too. Only for one that uses it: of one that
    /// runs, they are no backup of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub internal_database: bool,
    /// Of Bitbucket's: what a restore does with lock files that git left in the repositories.
    #[serde(default, skip_serializing_if = "GitLocks::is_default")]
    pub git_locks: GitLocks,
    /// Of `smf-proxy`: results are stored in the database, and of the proxy's data the directory alone is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub results_in_database: bool,
}

/// What a restore does with lock files that git left in the repositories.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GitLocks {
    /// Remove them and say which.
    #[default]
    Remove,
    /// Only say which there are.
    Report,
}

impl GitLocks {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
    fn is_default(&self) -> bool {
        *self == Self::Remove
    }
}

impl ProfileOptions {
    /// Whether nothing is configured.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What leaving something out depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unless {
    Never,
    Logs,
    InternalDatabase,
}

/// One thing that need not be kept: a glob relative to the root, and when it is kept all the same.
type Rule = (&'static str, Unless);

/// Caches that are filled again, exports and scratch files, the lock of the running process, logs, what installed plugins
/// unpack on start (the plugins themselves are in `installed-plugins`, and are kept), the built-in database's files, and the
/// index of the built-in search, which Bitbucket builds anew.
const HOME: &[Rule] = &[
    ("/caches", Unless::Never),
    ("/export", Unless::Never),
    ("/tmp", Unless::Never),
    ("/.lock", Unless::Never),
    ("/shared/.lock", Unless::Never),
    ("/log", Unless::Logs),
    ("/shared/log", Unless::Logs),
    ("/plugins/.*/", Unless::Never),
    ("/shared/plugins/.*/", Unless::Never),
    ("/data/db.*", Unless::InternalDatabase),
    ("/shared/data/db.*", Unless::InternalDatabase),
    ("/search/data", Unless::Never),
    ("/shared/search/data", Unless::Never),
];

/// The same below `shared`.
const SHARED_HOME: &[Rule] = &[
    ("/.lock", Unless::Never),
    ("/log", Unless::Logs),
    ("/plugins/.*/", Unless::Never),
    ("/data/db.*", Unless::InternalDatabase),
    ("/search/data", Unless::Never),
];

const LOCAL_HOME: &[Rule] = &[
    ("/shared", Unless::Never),
    ("/caches", Unless::Never),
    ("/export", Unless::Never),
    ("/tmp", Unless::Never),
    ("/.lock", Unless::Never),
    ("/log", Unless::Logs),
    ("/plugins/.*/", Unless::Never),
    ("/search/data", Unless::Never),
];

/// A mesh node's own small database is kept: nobody else has what is in it.
const MESH: &[Rule] =
    &[("/caches", Unless::Never), ("/tmp", Unless::Never), ("/.lock", Unless::Never), ("/log", Unless::Logs)];

const BITBUCKET_CHECKS: &str = "before people work again, have Bitbucket run its integrity checks: write \
     `disaster.recovery=true` into shared/bitbucket.properties, start it, look for what it finds in \
     log/atlassian-bitbucket.log, and take the line out again; the index of the built-in search is built anew";
const MESH_CHECKS: &str = "restore the database and all mesh nodes from the same set: Bitbucket repairs a replica that differs to \
     what most nodes have, with the next push; look for inconsistent replicas (Administration, Git, Bitbucket Mesh) first";
const HEARTBEATS: &str = "the state of heartbeats may differ from that of the devices: what was reported between the backup and \
     now is not in it, until the devices report again";

impl Profile {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::BitbucketHome,
        Self::BitbucketSharedHome,
        Self::BitbucketLocalHome,
        Self::BitbucketMesh,
        Self::SmfProxy,
        Self::SmfHb,
        Self::SmfEtc,
    ];

    /// Its name in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BitbucketHome => "bitbucket-home",
            Self::BitbucketSharedHome => "bitbucket-shared-home",
            Self::BitbucketLocalHome => "bitbucket-local-home",
            Self::BitbucketMesh => "bitbucket-mesh",
            Self::SmfProxy => "smf-proxy",
            Self::SmfHb => "smf-hb",
            Self::SmfEtc => "smf-etc",
        }
    }

    /// The profile of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    fn rules(self) -> &'static [Rule] {
        match self {
            Self::BitbucketHome => HOME,
            Self::BitbucketSharedHome => SHARED_HOME,
            Self::BitbucketLocalHome => LOCAL_HOME,
            Self::BitbucketMesh => MESH,
            Self::SmfProxy | Self::SmfHb | Self::SmfEtc => &[],
        }
    }

    /// The directories, from the root, below which git repositories are.
    #[must_use]
    pub fn repositories(self) -> &'static [&'static str] {
        match self {
            Self::BitbucketHome => &["shared/data/repositories", "data/repositories"],
            Self::BitbucketSharedHome => &["data/repositories"],
            Self::BitbucketMesh => &["repositories"],
            Self::BitbucketLocalHome | Self::SmfProxy | Self::SmfHb | Self::SmfEtc => &[],
        }
    }

    /// What the operator has to know after a restore.
    #[must_use]
    pub fn after_restore(self) -> Option<&'static str> {
        match self {
            Self::BitbucketHome | Self::BitbucketSharedHome => Some(BITBUCKET_CHECKS),
            Self::BitbucketMesh => Some(MESH_CHECKS),
            Self::SmfHb => Some(HEARTBEATS),
            Self::BitbucketLocalHome | Self::SmfProxy | Self::SmfEtc => None,
        }
    }

    /// What is left out with these options: globs relative to the root.
    #[must_use]
    pub fn excludes(self, options: &ProfileOptions) -> Vec<String> {
        if self.keeps_nothing(options) {
            return vec!["/*".to_owned()];
        }
        let kept = |unless| match unless {
            Unless::Never => false,
            Unless::Logs => options.logs,
            Unless::InternalDatabase => options.internal_database,
        };
        let rules = self.rules().iter().filter(|(_, unless)| !kept(*unless)).map(|(glob, _)| (*glob).to_owned());
        let repositories = options.exclude_repositories.iter().flat_map(|id| {
            // A mesh node keeps them under names of its own.
            let roots = if self == Self::BitbucketMesh { &[] } else { self.repositories() };
            roots.iter().map(move |root| format!("/{root}/{id}"))
        });
        rules.chain(repositories).collect()
    }

    /// Whether these options leave out all that is in the directory, so that nothing of it is no mistake.
    #[must_use]
    pub fn keeps_nothing(self, options: &ProfileOptions) -> bool {
        self == Self::SmfProxy && options.results_in_database
    }

    /// Keys of `[part.options]` that this profile has.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::BitbucketHome | Self::BitbucketSharedHome => {
                &["exclude-repositories", "logs", "internal-database", "git-locks"]
            }
            Self::BitbucketLocalHome => &["logs"],
            Self::BitbucketMesh => &["logs", "git-locks"],
            Self::SmfProxy => &["results-in-database"],
            Self::SmfHb | Self::SmfEtc => &[],
        }
    }

    /// A key of these options that this profile does not have, with those that it has.
    pub(super) fn stray_option(self, options: &ProfileOptions) -> Option<(&'static str, &'static [&'static str])> {
        let valid = self.options();
        set(options).into_iter().find(|key| !valid.contains(key)).map(|key| (key, valid))
    }
}

/// The keys that are set.
pub(super) fn set(options: &ProfileOptions) -> Vec<&'static str> {
    [
        ("exclude-repositories", !options.exclude_repositories.is_empty()),
        ("logs", options.logs),
        ("internal-database", options.internal_database),
        ("git-locks", !options.git_locks.is_default()),
        ("results-in-database", options.results_in_database),
    ]
    .into_iter()
    .filter_map(|(key, is)| is.then_some(key))
    .collect()
}

impl Part {
    /// What is left out of it, by its profile and by the operator; none: nothing.
    #[must_use]
    pub fn left_out(&self) -> Option<LeftOut> {
        let mut globs = self.profile.map(|profile| profile.excludes(&self.options)).unwrap_or_default();
        globs.extend(self.exclude.iter().cloned());
        if self.profile.is_none() && globs.is_empty() {
            return None;
        }
        Some(LeftOut {
            profile: self.profile.map(|profile| profile.name().to_owned()),
            options: if self.options.is_default() {
                serde_json::Value::Null
            } else {
                serde_json::to_value(&self.options).unwrap_or_default()
            },
            exclude: self.exclude.clone(),
            globs,
        })
    }

    /// The globs that are left out.
    #[must_use]
    pub fn excludes(&self) -> Vec<String> {
        self.left_out().map(|left_out| left_out.globs).unwrap_or_default()
    }

    /// Whether its configuration says that nothing of its content is kept.
    #[must_use]
    pub fn keeps_nothing(&self) -> bool {
        self.profile.is_some_and(|profile| profile.keeps_nothing(&self.options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Exclude;

    #[test]
    fn names_are_those_of_the_configuration() {
        for profile in Profile::ALL {
            assert_eq!(serde_json::to_value(profile).unwrap(), profile.name());
            assert_eq!(Profile::named(profile.name()), Some(profile));
            Exclude::new(profile.excludes(&ProfileOptions::default())).unwrap();
        }
    }

    #[test]
    fn options_keep_and_leave_out() {
        let plain = ProfileOptions::default();
        let all = Profile::BitbucketHome.excludes(&plain);
        assert!(all.iter().any(|glob| glob == "/log") && all.iter().any(|glob| glob == "/shared/data/db.*"));
        let kept = ProfileOptions { logs: true, internal_database: true, exclude_repositories: vec![7], ..plain };
        let some = Profile::BitbucketHome.excludes(&kept);
        assert!(!some.iter().any(|glob| glob.contains("log") || glob.contains("db.")), "{some:?}");
        assert!(some.contains(&"/shared/data/repositories/7".to_owned()));
        assert_eq!(Profile::SmfHb.stray_option(&kept).unwrap().0, "exclude-repositories");
        assert_eq!(Profile::BitbucketHome.stray_option(&kept), None);
    }

    #[test]
    fn nothing_is_kept_only_where_that_was_said() {
        let options = ProfileOptions { results_in_database: true, ..ProfileOptions::default() };
        assert!(Profile::SmfProxy.keeps_nothing(&options));
        assert!(!Profile::SmfHb.keeps_nothing(&options));
        assert!(!Profile::SmfProxy.keeps_nothing(&ProfileOptions::default()));
    }
}
