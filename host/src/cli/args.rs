//! The command line as clap sees it. Words and defaults only.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::prune::{Consent, KeepFlags};
use crate::archive::OwnersBy;
use crate::run::Depth;

/// Application-consistent backups whose vendor-specific parts are sandboxed WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(name = "bkhost", version = crate::VERSION, max_term_width = 120, after_long_help = EXIT_CODES)]
pub(super) struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 the operating system failed, or a bug; 2 wrong command line; 3 wrong configuration; 4 denied;
5 the application could not be locked, drained or given back; 6 a strategy or its tool failed; 7 the store failed;
8 damaged; 9 refused, something is in the way; 10 busy; 11 cancelled; 12 a deadline passed; 13 no such thing;
14 overdue: the newest proved set is older than `rpo` (of `bkhost status`).";

/// What holds for every command.
#[derive(Debug, Clone, Args)]
pub(super) struct Global {
    /// The configuration [default: ./bkhost.toml, else /etc/bkhost/bkhost.toml]
    #[arg(short, long, global = true, value_name = "FILE", env = "BKHOST_CONFIG")]
    pub config: Option<PathBuf>,
    /// Set a key: `application.drain-timeout=2m`, `part.home.config.datasets=tank/home`; with --plugin a key of the
    /// plugin: `datasets=tank/home`. May be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Where journals, locks and compiled plugins are kept
    #[arg(long, global = true, value_name = "DIR", env = "BKHOST_STATE")]
    pub state: Option<PathBuf>,
    /// Print JSON: events as lines, then the result
    #[arg(long, global = true)]
    pub json: bool,
    /// Print only warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print debug messages too
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// A backup without a configuration file.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Adhoc {
    /// Back up one part with this plugin and no configuration file
    #[arg(long, value_name = "WASM", requires = "to")]
    pub plugin: Option<String>,
    /// The store
    #[arg(long, value_name = "STORE", requires = "plugin")]
    pub to: Option<String>,
    /// The instance's name
    #[arg(long, value_name = "INSTANCE", requires = "plugin")]
    pub name: Option<String>,
    /// A secret of the plugin: `name=env:VARIABLE`, `name=file:/path` or `name=credential:name`. May be repeated
    #[arg(long, value_name = "SECRET", requires = "plugin")]
    pub secret: Vec<String>,
    /// So many of the newest proved sets stay; 0 keeps all
    #[arg(long, value_name = "N", requires = "plugin")]
    pub keep_last: Option<u32>,
}

/// A store that is named on the command line instead of in a configuration file.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Place {
    /// Only this store: its name in the configuration, or where it is
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// The instance, if the store holds several
    #[arg(long, value_name = "INSTANCE", requires = "store")]
    pub instance: Option<String>,
}

/// `bkhost restore`
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The set's id, or `latest`
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    pub id: Option<String>,
    /// Instead of a set of the store: the archive that `bkhost export` wrote
    #[arg(long, value_name = "FILE", conflicts_with_all = ["store", "instance"])]
    pub from: Option<PathBuf>,
    /// Where that archive is unpacked, before anything is restored [default: the state directory]
    #[arg(long, value_name = "DIR", requires = "from")]
    pub work_dir: Option<PathBuf>,
    /// Only this part. May be repeated
    #[arg(long, value_name = "PART")]
    pub part: Vec<String>,
    /// Where to: a directory, a dataset, a database, as the plugin says; `PART=TARGET` if there are several parts.
    /// Default: the original place
    #[arg(long, value_name = "[PART=]TARGET")]
    pub to: Vec<String>,
    /// Only this file, or this directory with all that is in it, of the one part that is chosen: a path as `bkhost ls`
    /// prints it, below --to (a directory, whatever the part is) or below the original place. May be repeated
    #[arg(long, value_name = "PATH")]
    pub path: Vec<String>,
    /// With --path: files take the place of files that are there
    #[arg(long, requires = "path")]
    pub replace: bool,
    /// Whom files are given to: the user and group of the archived name, where this machine has them, or the archived
    /// numbers
    #[arg(long, value_name = "BY", default_value = "name")]
    pub owners: Owners,
    /// The set is of another instance than the configuration's: restore it by the configuration of the instance that is
    /// named here, whose parts have to have the same names
    #[arg(long = "as", value_name = "INSTANCE", requires = "instance")]
    pub r#as: Option<String>,
    /// Restore to the original place although this is another machine or application than the set was made of: the
    /// fingerprint of this one, as the refusal tells it
    #[arg(long, value_name = "FINGERPRINT")]
    pub accept_fingerprint: Option<String>,
    /// From the copy at this place ([[part.offsite]]), of one part, and there: --to says where to, as the plugin has it. The
    /// set may be gone here, and so may the stores
    #[arg(long, value_name = "PLACE", conflicts_with_all = ["from", "path", "as", "accept_fingerprint", "plan", "again", "store"])]
    pub from_offsite: Option<String>,
    /// Print the steps, and what would refuse them, and take none
    #[arg(long)]
    pub plan: bool,
    /// Restore also the parts that a restore of this set has completed which did not come to its end
    #[arg(long)]
    pub again: bool,
    /// The instance's name, instead of being asked for it
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
    /// What opens it.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Which store.
    #[command(flatten)]
    pub place: Place,
}

/// `bkhost export`
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The set's id, or `latest`
    pub id: String,
    /// Where to: a name that ends in .tar, .tar.gz or .tar.zst, perhaps with .age after it (encrypted as [encryption]
    /// says); `-` for stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// The format of what goes to stdout [default: tar.gz]
    #[arg(long, value_name = "FORMAT", value_parser = ["tar", "tar.gz", "tar.zst", "tar.age", "tar.gz.age", "tar.zst.age"])]
    pub format: Option<String>,
    /// Replace the file if there is one
    #[arg(long)]
    pub force: bool,
    /// What opens it.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Which store.
    #[command(flatten)]
    pub place: Place,
}

/// Whom files are given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Owners {
    /// The user and group of the archived name.
    Name,
    /// The archived numbers.
    Number,
}

/// How deep to verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DepthArg {
    /// The manifest, and that all objects are there in their sizes
    Quick,
    /// Every byte of every object, as it is stored
    Objects,
    /// Every file against the index too, and what the plugins' own tools say of what was archived
    Full,
}

impl From<DepthArg> for Depth {
    fn from(depth: DepthArg) -> Self {
        match depth {
            DepthArg::Quick => Self::Quick,
            DepthArg::Objects => Self::Objects,
            DepthArg::Full => Self::Full,
        }
    }
}

impl From<Owners> for OwnersBy {
    fn from(owners: Owners) -> Self {
        match owners {
            Owners::Name => Self::Name,
            Owners::Number => Self::Number,
        }
    }
}

/// What opens an encrypted set.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct KeyArgs {
    /// An age identity file that opens encrypted sets; one with a passphrase is asked for it. May be repeated
    /// [default: `identity` or `passphrase` of [encryption]]
    #[arg(long, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
    /// A file with the passphrase that opens the set, or the identity file
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Ask for the passphrase that opens the set
    #[arg(long, conflicts_with = "passphrase_file")]
    pub ask_passphrase: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Back up: lock, capture, unlock, archive, verify, publish, prune
    Run {
        /// Print every command and call that would be made, and make none of them
        #[arg(long)]
        dry_run: bool,
        /// Accept, this once, that this part has become much smaller. May be repeated
        #[arg(long, value_name = "PART")]
        accept_shrink: Vec<String>,
        /// Without a configuration file.
        #[command(flatten)]
        adhoc: Adhoc,
    },
    /// Look for what would make a run fail; changes nothing
    Check {
        /// Without a configuration file.
        #[command(flatten)]
        adhoc: Adhoc,
    },
    /// Print every command and call that a run would make; changes nothing
    Plan {
        /// Without a configuration file.
        #[command(flatten)]
        adhoc: Adhoc,
    },
    /// List the sets of the store
    List {
        /// Which store.
        #[command(flatten)]
        place: Place,
    },
    /// Show one set
    Show {
        /// The set's id, or `latest`
        id: String,
        /// What opens it.
        #[command(flatten)]
        keys: KeyArgs,
        /// Which store.
        #[command(flatten)]
        place: Place,
    },
    /// Look for lock files that git left in the repositories of a directory that was restored, such as a volume that a
    /// strategy brought back as a whole. The application may not run
    GitLocks {
        /// The root of what the profile describes
        directory: PathBuf,
        /// The profile: bitbucket-home, bitbucket-shared-home or bitbucket-mesh
        #[arg(long, value_name = "PROFILE")]
        profile: String,
        /// Remove them; without it they are only listed
        #[arg(long)]
        remove: bool,
    },
    /// List the files of a part of a set: what `restore --path` can be given
    Ls {
        /// The set's id, or `latest`
        id: String,
        /// Only what is at or below this path
        path: Option<String>,
        /// The part, if there are several
        #[arg(long, value_name = "PART")]
        part: Option<String>,
        /// What opens it.
        #[command(flatten)]
        keys: KeyArgs,
        /// Which store.
        #[command(flatten)]
        place: Place,
    },
    /// List the snapshots that the parts' vendors hold, and the sets that they belong to; changes nothing
    Snapshots,
    /// Read a set back, and compare it with what was written
    Verify {
        /// The set's id, or `latest`
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All sets
        #[arg(long, conflicts_with = "id")]
        all: bool,
        /// What opens it.
        #[command(flatten)]
        keys: KeyArgs,
        /// How deep
        #[arg(long, value_name = "DEPTH", default_value = "full")]
        depth: DepthArg,
        /// Which store.
        #[command(flatten)]
        place: Place,
    },
    /// Write a set into one large archive, which `restore --from` takes
    Export(ExportArgs),
    /// Restore a set, or parts of it
    Restore(RestoreArgs),
    /// Rehearse a restore: into scratch space, where it is checked, timed and removed again
    Drill {
        /// The set's id, or `latest`: the newest proved one
        #[arg(default_value = "latest")]
        id: String,
        /// Only this part. May be repeated
        #[arg(long, value_name = "PART")]
        part: Vec<String>,
        /// What opens it.
        #[command(flatten)]
        keys: KeyArgs,
        /// Which store.
        #[command(flatten)]
        place: Place,
    },
    /// Delete old sets, and their vendors' snapshots
    Prune {
        /// Which stay.
        #[command(flatten)]
        keep: KeepFlags,
        /// Print what would go and why, and delete nothing
        #[arg(long)]
        dry_run: bool,
        /// Who says so.
        #[command(flatten)]
        consent: Consent,
        /// What opens it.
        #[command(flatten)]
        keys: KeyArgs,
        /// Which store.
        #[command(flatten)]
        place: Place,
    },
    /// Pin a set: it is not deleted until the pin is taken away
    Keep {
        /// The set's id, or `latest`
        id: String,
        /// Why, for those who wonder later
        #[arg(long, value_name = "TEXT", conflicts_with = "release")]
        note: Option<String>,
        /// Take the pin away
        #[arg(long)]
        release: bool,
        /// Which store.
        #[command(flatten)]
        place: Place,
    },
    /// Take the pin of a set away: the same as `keep ID --release`
    Unkeep {
        /// The set's id, or `latest`
        id: String,
        /// Which store.
        #[command(flatten)]
        place: Place,
    },
    /// Copy sets, and those that they build on, to another store: proved on reading and by reading back
    Copy {
        /// The set's id, or `latest`
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All proved sets
        #[arg(long, conflicts_with = "id")]
        all: bool,
        /// From this store: its name, or where it is [default: the first one of the configuration that has the set]
        #[arg(long, value_name = "STORE")]
        from: Option<String>,
        /// To this store: its name, or where it is
        #[arg(long, value_name = "STORE")]
        to: String,
        /// The instance, if there is no configuration and the store holds several
        #[arg(long, value_name = "INSTANCE")]
        instance: Option<String>,
    },
    /// Copy what a set holds at its vendors to the other places of the configuration ([[part.offsite]]): what is there already
    /// and good is not copied again
    Offsite {
        /// The set's id, or `latest`
        id: String,
        /// Only this part. May be repeated
        #[arg(long, value_name = "PART")]
        part: Vec<String>,
        /// Only to this place. May be repeated
        #[arg(long, value_name = "PLACE")]
        to: Vec<String>,
    },
    /// Undo what a run that died has left, and give the application back
    Recover,
    /// Cancel the run under way: the application is given back, and what the run made is undone
    Cancel,
    /// Show the run under way and the last ones, how old the newest proved set is, and which notifications failed. Fails with
    /// code 14 if that set is older than `[instance] rpo`
    Status {
        /// Print the tokens that unlock the application and cancel its backup too
        #[arg(long)]
        show_tokens: bool,
    },
    /// Print figures for a monitoring system, in Prometheus' text format
    Metrics,
    /// Send a trial on every notification channel
    Notify,
    /// Watch over a run: started by it
    #[command(hide = true)]
    Guard {
        /// The run, to be seen in the list of processes
        run: Option<String>,
    },
    /// Print the fault points of crash tests
    #[command(hide = true)]
    FaultPoints,
    /// Play an application, for trials and tests
    Simulate {
        /// Which.
        #[command(subcommand)]
        what: Simulate,
    },
    /// Back up and restore a small home behind a simulated Bitbucket
    Demo {
        /// Keep the directory that the demo works in
        #[arg(long)]
        keep: bool,
    },
    /// About plugins
    Plugin {
        /// What about them.
        #[command(subcommand)]
        what: PluginCommand,
    },
    /// About the configuration
    Config {
        /// What about it.
        #[command(subcommand)]
        what: ConfigCommand,
    },
}

/// What can be played.
#[derive(Debug, Subcommand)]
pub(super) enum Simulate {
    /// A simulator of Bitbucket's maintenance API. Not a Bitbucket
    Bitbucket {
        /// Where to listen
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7990")]
        listen: SocketAddr,
        /// How long draining takes
        #[arg(long, value_name = "TIME", default_value = "2s")]
        drain: String,
        /// The version it claims to be
        #[arg(long, value_name = "VERSION", default_value = "9.4.1")]
        app_version: String,
        /// The user it accepts
        #[arg(long, value_name = "USER", default_value = "admin")]
        username: String,
        /// The password it accepts
        #[arg(long, value_name = "PASSWORD", default_value = "admin")]
        password: String,
        /// Fail: CALL=WHAT[xTIMES], such as `unlock=503x3`, `begin=hang`, `lock=html`. May be repeated
        #[arg(long, value_name = "FAULT")]
        fault: Vec<String>,
        /// Somebody else holds the lock already
        #[arg(long)]
        locked_by_other: bool,
        /// An operator cancels the backup in the web page so long after it began
        #[arg(long, value_name = "TIME")]
        operator_cancel_after: Option<String>,
    },
}

/// About plugins.
#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// Show what a plugin is, what it asks for and why, and the grant to paste
    Inspect {
        /// The plugin: a path, or a name that is looked up beside the program
        plugin: String,
    },
    /// Look for what a plugin's author should put right: settings that are not described, rights that are not used
    Check {
        /// The plugin: a path, or a name that is looked up beside the program
        plugin: String,
    },
}

/// About the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the JSON Schema of bkhost.toml
    Schema,
}
