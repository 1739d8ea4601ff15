//! What one part's plugin may do: its manifest ∩ the operator's grant, with the part's configuration filled in.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Grant, Manifest, Secret};
use crate::Result;

/// Where a plugin comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It came with this bkhost: its digest is in the build's list. It is granted what its manifest asks for.
    Shipped,
    /// Anyone else's: it needs a `[[grant]]`.
    ThirdParty,
}

/// All that the rights of a part follow from.
#[derive(Debug, Clone)]
pub struct RightsRequest<'a> {
    /// What the plugin asks for.
    pub manifest: &'a Manifest,
    /// The SHA-256 of its file, in lower-case hexadecimal.
    pub digest: &'a str,
    /// Where it comes from.
    pub origin: Origin,
    /// The plugin as `[[part]] plugin` names it.
    pub plugin: &'a str,
    /// The grant for this plugin, if there is one. For a shipped plugin, it only adds `private` servers.
    pub grant: Option<&'a Grant>,
    /// The part's name.
    pub part: &'a str,
    /// `[part.config]`, complete and valid against the plugin's schema.
    pub config: &'a serde_json::Value,
    /// `[part.secrets]`, resolved.
    pub secrets: BTreeMap<String, Secret>,
    /// `[part.programs]`: where a program is, by its name in the manifest.
    pub programs: BTreeMap<String, PathBuf>,
    /// The user the commands run as; none: ours.
    pub run_as: Option<String>,
    /// `/staging`.
    pub staging: PathBuf,
    /// `/state`.
    pub state: PathBuf,
    /// `/target`, in a restore into a directory.
    pub target: Option<PathBuf>,
    /// `--to`, in a restore to a name.
    pub restore_to: Option<String>,
}

/// What one part's plugin may do.
#[derive(Debug, Clone)]
pub struct Rights {
    pub(super) manifest: Manifest,
    pub(super) part: String,
}

impl Rights {
    /// Work out the effective rights.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Denied`]: a third party's plugin has no grant, or the grant is for another digest; the hint
    /// is the stanza to paste. [`crate::ErrorKind::Config`]: the configuration contradicts itself. A single right that
    /// is missing is no error here: it is denied when it is used.
    pub fn resolve(request: RightsRequest<'_>) -> Result<Self> {
        Ok(Self { manifest: request.manifest.clone(), part: request.part.to_owned() })
    }

    /// The plugin's manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The part's name.
    #[must_use]
    pub fn part(&self) -> &str {
        &self.part
    }
}
