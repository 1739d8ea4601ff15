//! Plugins as they are loaded, and what they share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::aot::Cache;
use super::component::Parsed;
use super::exports::Compiled;
use super::instance::{Instance, PartContext};
use super::schema::ConfigSchema;
use super::state::State;
use super::{component, engine, find, imports, state};
use crate::capability::{Manifest, Origin};
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// What plugins are loaded with.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    /// The directory of compiled code: ours alone, made if it is not there. None: every start compiles.
    pub aot_dir: Option<PathBuf>,
    /// The plugins that came with this build: their names (`zfs`) and the SHA-256 of their files.
    pub shipped: Vec<(String, String)>,
    /// Where a plugin is looked for by name; see [`super::default_search`].
    pub search: Vec<PathBuf>,
}

/// Loads plugins. One for the whole process: they share its engine.
pub struct PluginHost {
    shared: Arc<Shared>,
    shipped: Vec<(String, String)>,
    search: Vec<PathBuf>,
}

struct Shared {
    engine: Engine,
    linker: Linker<State>,
    cache: Option<Cache>,
}

/// A component that was read and checked. Not a line of it has run.
pub struct Plugin {
    shared: Arc<Shared>,
    path: PathBuf,
    manifest: Manifest,
    manifest_text: String,
    digest: String,
    origin: Origin,
    schema: ConfigSchema,
    imports: BTreeMap<String, Vec<String>>,
    exports: Vec<String>,
    bytes: Vec<u8>,
    compiled: Mutex<Option<Compiled>>,
}

impl PluginHost {
    /// A host for plugins.
    ///
    /// # Errors
    /// The directory of compiled code belongs to others too, or cannot be made; the engine does not start.
    pub fn new(options: HostOptions) -> Result<Self> {
        let engine = engine::new()?;
        let linker = state::linker(&engine)?;
        let cache = options.aot_dir.as_deref().map(|dir| Cache::open(dir, &engine)).transpose()?;
        let shared = Arc::new(Shared { engine, linker, cache });
        Ok(Self { shared, shipped: options.shipped, search: options.search })
    }

    /// The file that `[[part]] plugin` names: a path if it has a slash, else a name, with or without `.wasm`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], with where it was looked for.
    pub fn find(&self, name: &str) -> Result<PathBuf> {
        find::find(name, &self.search)
    }

    /// Reads and checks the component at `path`, without compiling it.
    ///
    /// # Errors
    /// It is no strategy for this bkhost ([`ErrorKind::Plugin`]), imports what its manifest does not ask for
    /// ([`ErrorKind::Denied`]), or cannot be read.
    pub fn load(&self, path: &Path) -> Result<Arc<Plugin>> {
        let parsed = component::read(path)?;
        self.accept(path, parsed).map(Arc::new).map_err(|e| e.within(path.display()))
    }

    fn accept(&self, path: &Path, parsed: Parsed) -> Result<Plugin> {
        let Parsed { bytes, digest, manifest: manifest_text, schema, imports, exports } = parsed;
        let manifest = Manifest::parse(&manifest_text)?;
        imports::check(&manifest, &imports, &exports)?;
        let schema = ConfigSchema::parse(&schema)?;
        Ok(Plugin {
            shared: self.shared.clone(),
            origin: self.origin(path, &digest),
            path: path.to_owned(),
            manifest,
            manifest_text,
            digest,
            schema,
            imports,
            exports,
            bytes,
            compiled: Mutex::new(None),
        })
    }

    fn origin(&self, path: &Path, digest: &str) -> Origin {
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let shipped = self.shipped.iter().any(|(shipped, sha256)| Some(shipped.as_str()) == name && sha256 == digest);
        if shipped { Origin::Shipped } else { Origin::ThirdParty }
    }
}

impl Plugin {
    /// Its name, from its manifest.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.manifest.plugin.name
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is and what it asks for.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The manifest as its author wrote it.
    #[must_use]
    pub fn manifest_text(&self) -> &str {
        &self.manifest_text
    }

    /// The SHA-256 of its file, in lower-case hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Whether it came with this bkhost.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The schema of its `[part.config]`.
    #[must_use]
    pub fn schema(&self) -> &ConfigSchema {
        &self.schema
    }

    /// Its imports, each with the functions it takes from it.
    #[must_use]
    pub fn imports(&self) -> &BTreeMap<String, Vec<String>> {
        &self.imports
    }

    /// Whether it has a check of its own for what was archived (the contract's `verify`).
    #[must_use]
    pub fn verifies(&self) -> bool {
        imports::offers(&self.exports, imports::VERIFY)
    }

    /// Whether it rehearses a restore itself (the contract's `drill`).
    #[must_use]
    pub fn rehearses(&self) -> bool {
        imports::offers(&self.exports, imports::DRILL)
    }

    /// Whether it can tell the identifier of its system (the contract's `identity`).
    #[must_use]
    pub fn identifies(&self) -> bool {
        imports::offers(&self.exports, imports::IDENTITY)
    }

    /// Whether it copies its snapshots to other places (it exports `offsite`).
    #[must_use]
    pub fn copies_offsite(&self) -> bool {
        imports::offers(&self.exports, imports::OFFSITE)
    }

    /// Whether it can tell which of its volumes holds a place (the contract's `covers`).
    #[must_use]
    pub fn covers(&self) -> bool {
        imports::offers(&self.exports, imports::COVERS)
    }

    /// Whether it removes what a restore that died has left (the contract's `unfinished`).
    #[must_use]
    pub fn abandons(&self) -> bool {
        imports::offers(&self.exports, imports::UNFINISHED)
    }

    /// The size of its file, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Compiles it, unless that was done before, here or by an earlier process. Blocks, for seconds where it compiles.
    ///
    /// # Errors
    /// It is no valid component, or does not fit the contract.
    pub fn compile(&self) -> Result<()> {
        self.pre().map(drop).map_err(|e| e.within(self.path.display()))
    }

    /// Starts a sandbox for one part.
    ///
    /// # Errors
    /// As [`Plugin::compile`]; a directory cannot be opened; its start-up code fails or takes too much.
    pub async fn instantiate(self: &Arc<Self>, context: PartContext) -> Result<Instance> {
        Instance::new(self.clone(), context).await
    }

    pub(super) async fn compiled(self: &Arc<Self>) -> Result<Compiled> {
        if let Some(pre) = self.compiled.try_lock().ok().and_then(|compiled| compiled.clone()) {
            return Ok(pre);
        }
        let plugin = self.clone();
        tokio::task::spawn_blocking(move || plugin.pre())
            .await
            .or_error(ErrorKind::Internal, || "the compiler failed")?
    }

    fn pre(&self) -> Result<Compiled> {
        // Held while it compiles: parts that share a plugin wait for one compilation.
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pre) = &*compiled {
            return Ok(pre.clone());
        }
        let misfit = |e: wasmtime::Error| {
            Error::new(ErrorKind::Plugin, "the plugin does not fit the contract of this bkhost")
                .hint("use a version of the plugin that was built for this bkhost")
                .because(e)
        };
        let pre = Compiled::new(&self.shared.linker, &self.component()?, &self.exports).map_err(misfit)?;
        *compiled = Some(pre.clone());
        Ok(pre)
    }

    fn component(&self) -> Result<Component> {
        let Shared { engine, cache, .. } = &*self.shared;
        if let Some(component) = cache.as_ref().and_then(|cache| cache.load(engine, &self.digest)) {
            return Ok(component);
        }
        let component = Component::from_binary(engine, &self.bytes)
            .or_error(ErrorKind::Plugin, || "the plugin is no valid component")?;
        if let Some(cache) = cache {
            let stored = component.serialize().or_error(ErrorKind::Internal, || "cannot serialize compiled code");
            if let Err(e) = stored.and_then(|code| cache.store(&self.digest, &code)) {
                tracing::warn!("{e}: the next start compiles again");
            }
        }
        Ok(component)
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("path", &self.path).field("digest", &self.digest).finish_non_exhaustive()
    }
}
