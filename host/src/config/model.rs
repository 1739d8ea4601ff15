//! The keys of `bkhost.toml`. The doc comments are the reference: the JSON Schema carries them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::application::{CommandApplication, ServiceApplication};
use super::drill::Drill;
use super::encryption::AgeEncryption;
use super::keep::{Coverage, Metrics, Retention};
use super::notify::Notify;
use super::offsite::Offsite;
use super::profile::{Profile, ProfileOptions};
use super::restore::RestoreConfig;
use crate::archive::Compression;
use crate::capability::{Grant, SecretSource};
use crate::units::{Percent, Size, Span};

/// The whole of `bkhost.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// What is backed up, as a whole.
    pub instance: Instance,
    /// What is locked while the consistency points are fixed.
    pub application: Application,
    /// What is backed up, piece by piece.
    #[serde(rename = "part")]
    pub parts: Vec<Part>,
    /// Where sets are kept.
    #[serde(rename = "store")]
    pub stores: Vec<StoreConfig>,
    /// Which sets are kept.
    #[serde(default)]
    pub retention: Retention,
    /// What has to be in every set.
    #[serde(default, skip_serializing_if = "Coverage::is_default")]
    pub coverage: Coverage,
    /// Figures for a monitoring system.
    #[serde(default, skip_serializing_if = "Metrics::is_default")]
    pub metrics: Metrics,
    /// How parts are archived.
    #[serde(default)]
    pub archive: Archive,
    /// What happens around a restore to the original place.
    #[serde(default, skip_serializing_if = "RestoreConfig::is_default")]
    pub restore: RestoreConfig,
    /// To whom what is stored is encrypted; left out: nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<AgeEncryption>,
    /// How restores are rehearsed.
    #[serde(default, skip_serializing_if = "Drill::is_default")]
    pub drill: Drill,
    /// Who is told how a run ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Notify>,
    /// What plugins that did not come with this bkhost may do.
    #[serde(default, rename = "grant")]
    pub grants: Vec<Grant>,
    /// The directory from which relative paths to plugins are taken.
    #[serde(skip)]
    pub(super) dir: PathBuf,
    /// The file it was read from, for errors that are found later; none: the flags.
    #[serde(skip)]
    pub(super) file: Option<PathBuf>,
}

/// `[instance]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Instance {
    /// Names sets, snapshots, and what a restore asks to be typed: 1 to 32 characters of `a-z`, `0-9` and `-`.
    pub name: String,
    /// Where the journal, locks and the compilation cache are kept: an absolute path. Default: /var/lib/bkhost for root,
    /// else $XDG_STATE_HOME/bkhost or ~/.local/state/bkhost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PathBuf>,
    /// How old the newest proved set may be: when it is older, or there is none, `bkhost status` fails and the metrics say
    /// so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo: Option<Span>,
}

/// `[application]`: what is locked while the consistency points are fixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Application {
    /// Bitbucket, by its maintenance API.
    Bitbucket(Bitbucket),
    /// Services that are stopped for the time.
    Service(ServiceApplication),
    /// Commands of the operator's bring it to rest and back.
    Command(CommandApplication),
    /// There is nothing to lock.
    None(NoApplication),
}

impl Application {
    /// The value of `type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bitbucket(_) => "bitbucket",
            Self::Service(_) => "service",
            Self::Command(_) => "command",
            Self::None(_) => "none",
        }
    }

    /// The largest time between the first and the last consistency point that a run without a lock accepts.
    #[must_use]
    pub fn max_skew(&self) -> std::time::Duration {
        match self {
            Self::Bitbucket(Bitbucket { max_skew, .. }) | Self::None(NoApplication { max_skew }) => max_skew.0,
            // They always stand still.
            Self::Service(_) | Self::Command(_) => std::time::Duration::MAX,
        }
    }
}

/// `[application] type = "bitbucket"`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Bitbucket {
    /// Its base URL: `http://127.0.0.1:7990`.
    pub url: String,
    /// A user with the permission SYS_ADMIN.
    pub username: String,
    /// That user's password: where it is, never itself.
    pub password: SecretSource,
    /// Certificates (PEM) that are trusted besides the system's: an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// How long it may take to finish what it was doing, once locked.
    #[serde(default = "drain_timeout")]
    pub drain_timeout: Span,
    /// How long it may stay locked, all in all: then it is given back, whatever happens to the backup.
    #[serde(default = "max_lock_time")]
    pub max_lock_time: Span,
    /// Take no lock. Refused for parts whose consistency is `copied`, and by servers older than 4.8.
    #[serde(default)]
    pub zero_downtime: bool,
    /// With `zero-downtime`: the largest time between the first and the last part's consistency point.
    #[serde(default = "max_skew")]
    pub max_skew: Span,
}

/// `[application] type = "none"`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NoApplication {
    /// The largest time between the first and the last part's consistency point.
    #[serde(default = "max_skew")]
    pub max_skew: Span,
}

impl Default for NoApplication {
    fn default() -> Self {
        Self { max_skew: max_skew() }
    }
}

/// `[[part]]`: one thing to back up, handled by one strategy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Part {
    /// Names its objects in a set: 1 to 32 characters of `a-z`, `0-9` and `-`, unlike those of all other parts.
    pub name: String,
    /// The strategy: a path to a `.wasm` file, or a file name that is looked up beside the program.
    pub plugin: String,
    /// Parts whose consistency point has to be fixed before this one's.
    #[serde(default)]
    pub after: Vec<String>,
    /// The user whose rights the plugin's commands get. Default: the user that bkhost runs as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as: Option<String>,
    /// Where the plugin stages what it copies or dumps: an absolute path of a directory that exists. The part gets a
    /// directory of its own in it, `<instance>/<part>`. Default: below the state directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging: Option<PathBuf>,
    /// Words in front of every command of the plugin, which run it elsewhere: `["/usr/bin/docker", "exec", "-i",
    /// "--env={env}", "postgres"]`. The first is a program of this machine, which is checked like any other; the plugin's
    /// own programs are then those of the container. With `ssh` (`["/usr/bin/ssh", "-i", "/etc/bkhost/node-key",
    /// "root@node-2"]`) they run on another machine, and only what they write into a pipe is archived. A word with `{env}` is repeated for each variable of a command's
    /// environment, with the variable's name in its place: values, such as passwords, are in no argument.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<String>,
    /// What the part is: its profile knows what of it need not be kept, and what has to be looked after when it is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// What is left out besides, whatever the strategy: globs relative to the part's root, or to that of each of its trees.
    /// One without a slash matches a name at any depth, one with a slash (a leading one counts) the whole path; a slash at
    /// its end restricts it to directories; `*` matches no slash, `**` does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Of the profile.
    #[serde(default, skip_serializing_if = "ProfileOptions::is_default")]
    pub options: ProfileOptions,
    /// The plugin's own keys, checked against its schema.
    #[serde(default, deserialize_with = "super::json::plugin_config")]
    pub config: serde_json::Map<String, Value>,
    /// The secrets that the plugin's commands get, by name: where each is, never itself.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretSource>,
    /// Where a program is that the plugin's commands name, if not in the system's directories: `pg_dump =
    /// "/opt/pg/bin/pg_dump"`.
    #[serde(default)]
    pub programs: BTreeMap<String, PathBuf>,
    /// A set in which this part's content is under this share of that of the last proved set is refused. Default: that of
    /// `[coverage]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_share: Option<Percent>,
    /// What its plugin may use up.
    #[serde(default)]
    pub limits: Limits,
    /// Other places at the vendor to which what was captured is copied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offsite: Vec<Offsite>,
    /// The keys of `config` that came from a flag as bare text, whose type only the plugin's schema can tell: see
    /// [`Part::fit`].
    #[serde(skip)]
    pub(super) loose: BTreeMap<String, String>,
}

/// `[part.limits]`: what a plugin may use up. What is left out is as the plugin's manifest says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Limits {
    /// Memory, all in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// CPU time of one call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Span>,
    /// Wall time of one call, other than `finish` and `restore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Span>,
    /// Wall time of one call of `finish` and `restore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_call: Option<Span>,
    /// Bytes of log messages in a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Size>,
    /// How long file systems may stand frozen, at most 5 minutes: after that they are thawed, and the capture fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Span>,
}

/// `[[store]]`: a place for sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StoreConfig {
    /// Where: the absolute path of a directory, or `s3://bucket/prefix`. The other keys are those of a bucket.
    pub to: String,
    /// What messages and `--store` call it: 1 to 32 characters of `a-z`, `0-9` and `-`. Default: the last name in `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether a set that is not in it is no backup. If not, and it fails, a run goes on without it and says so.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub required: bool,
    /// The server, if it is not Amazon's: `https://minio.example.org:9000`. Default: $AWS_ENDPOINT_URL_S3,
    /// $AWS_ENDPOINT_URL, `endpoint_url` of the profile in `~/.aws/config`, or Amazon's of the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The bucket's region. Default: $AWS_REGION, $AWS_DEFAULT_REGION, that of the profile in `~/.aws/config`, and
    /// `us-east-1` if there is an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether the bucket stands in the path of requests, and not in the server's name. Default: if there is an endpoint,
    /// or a dot in the bucket's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// Certificates (PEM) that are trusted besides the system's: an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The access key's id: where it is, never itself. Default: what the usual places have: the environment, the profile in
    /// `~/.aws`, a web identity, the container, the instance's metadata service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<SecretSource>,
    /// The secret that belongs to `access-key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<SecretSource>,
    /// The token that belongs to temporary keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<SecretSource>,
    /// The storage class of objects, such as `STANDARD_IA`. One from which nothing can be read at once is refused: each
    /// object is read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// How the server encrypts what it keeps. Default: as the bucket says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// With `encryption = "aws-kms"`: the key's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// A request on which nothing moves for so long has failed. Default: 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// A failed request is repeated for so long. Default: 2m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_for: Option<Span>,
}

impl StoreConfig {
    /// A store of which only the location is known.
    #[must_use]
    pub fn at(location: &str) -> Self {
        Self {
            to: location.to_owned(),
            name: None,
            required: true,
            endpoint: None,
            region: None,
            path_style: None,
            ca_file: None,
            access_key: None,
            secret_key: None,
            session_token: None,
            storage_class: None,
            encryption: None,
            kms_key: None,
            timeout: None,
            retry_for: None,
        }
    }
}

impl StoreConfig {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let last = self.to.trim_end_matches('/').rsplit('/').find(|name| !name.is_empty()).unwrap_or("store");
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let name: String = last.chars().map(plain).take(32).collect();
        let name = name.trim_matches('-');
        if name.is_empty() { "store".to_owned() } else { name.to_owned() }
    }
}

/// How the server of a bucket encrypts what it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// With the server's own keys.
    Aes256,
    /// With a key of its key management service.
    AwsKms,
}

/// `[archive]`: how parts are archived.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Archive {
    /// The format of archives, indexes and streams.
    #[serde(default)]
    pub format: ArchiveFormat,
    /// The level: of zstd 1 (fast) to 19 (small), 3 if it is left out; of gzip 1 to 9, 6 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 19))]
    pub level: Option<u8>,
    /// Threads that compress one part; 0 is one per processor.
    #[serde(default)]
    #[schemars(range(max = 256))]
    pub threads: u32,
}

/// The format of what is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ArchiveFormat {
    /// tar and zstd: small, and fast on all processors.
    #[default]
    #[serde(rename = "tar.zst")]
    TarZst,
    /// tar and gzip: for those who have nothing else to read it with.
    #[serde(rename = "tar.gz")]
    TarGz,
}

impl ArchiveFormat {
    /// The highest level.
    pub(super) fn max_level(self) -> u8 {
        match self {
            Self::TarZst => 19,
            Self::TarGz => 9,
        }
    }
}

impl Archive {
    /// How content is compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        let threads = self.threads;
        match self.format {
            ArchiveFormat::TarZst => Compression::Zstd { level: self.level.unwrap_or(3).into(), threads },
            ArchiveFormat::TarGz => Compression::Gzip { level: self.level.unwrap_or(6).into(), threads },
        }
    }
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_yes(value: &bool) -> bool {
    *value
}

fn drain_timeout() -> Span {
    Span::from_secs(5 * 60)
}

pub(super) fn max_lock_time() -> Span {
    Span::from_secs(15 * 60)
}

fn max_skew() -> Span {
    Span::from_secs(60)
}
