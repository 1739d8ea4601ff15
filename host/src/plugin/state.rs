//! What the host keeps for one instance while its guest runs.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::DropGuard;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings as wasi;
use wasmtime_wasi::random::{WasiRandom, WasiRandomView};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::bindings;
use super::host::{Archived, Egress, History, Interrupt, Journal, Others, Pace};
use super::limits::Meter;
use super::tail::Tail;
use crate::archive::{Named, SetId};
use crate::capability::{Access, Gate, Preopen};
use crate::error::{ErrorKind, Result, ResultExt};
use crate::report::Reporter;

/// WASI resources (open files, streams, requests) that a guest may hold at once.
const MAX_RESOURCES: usize = 4096;
/// Random bytes per call.
const MAX_RANDOM: u64 = 1 << 16;

/// One instance's state.
pub(super) struct State {
    pub(super) instance: String,
    pub(super) part: String,
    /// `[part.config]` as JSON.
    pub(super) config: String,
    /// What the operator leaves out: globs relative to the root of each tree.
    pub(super) excludes: Vec<String>,
    pub(super) gate: Arc<Gate>,
    pub(super) archived: Option<Arc<dyn Archived>>,
    pub(super) history: Option<Arc<dyn History>>,
    pub(super) others: Option<Arc<dyn Others>>,
    /// The set that `history` has offered to build on.
    pub(super) offered: Option<SetId>,
    /// Ends what the host does for the guest on other threads, at the latest when this is dropped.
    pub(super) work: DropGuard,
    pub(super) interrupt: Interrupt,
    pub(super) reporter: Reporter,
    /// Where `mirror` remembers what it copied.
    pub(super) mirrors: PathBuf,
    pub(super) journal: Journal,
    pub(super) pace: Pace,
    pub(super) meter: Meter,
    pub(super) table: ResourceTable,
    pub(super) egress: Egress,
    /// The guest is in `capture`.
    pub(super) capturing: bool,
    /// Files that changed while a final mirror pass read them.
    pub(super) torn: Named,
    wasi: WasiCtx,
    http: WasiHttpCtx,
}

/// What a state is made of.
pub(super) struct Parts {
    pub(super) instance: String,
    pub(super) part: String,
    pub(super) config: String,
    pub(super) excludes: Vec<String>,
    pub(super) gate: Arc<Gate>,
    pub(super) archived: Option<Arc<dyn Archived>>,
    pub(super) history: Option<Arc<dyn History>>,
    pub(super) others: Option<Arc<dyn Others>>,
    pub(super) work: DropGuard,
    pub(super) reporter: Reporter,
    pub(super) mirrors: PathBuf,
    pub(super) journal: Journal,
    pub(super) pace: Pace,
    pub(super) meter: Meter,
    pub(super) preopens: Vec<Preopen>,
    pub(super) output: Tail,
}

impl State {
    pub(super) fn new(parts: Parts) -> Result<Self> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let interrupt = Interrupt::default();
        Ok(Self {
            wasi: sandbox(&parts.preopens, parts.output)?,
            http: WasiHttpCtx::new(),
            table,
            capturing: false,
            torn: Named::default(),
            egress: Egress::new(parts.gate.clone(), interrupt.clone()),
            instance: parts.instance,
            part: parts.part,
            config: parts.config,
            excludes: parts.excludes,
            gate: parts.gate,
            archived: parts.archived,
            history: parts.history,
            others: parts.others,
            offered: None,
            work: parts.work,
            interrupt,
            reporter: parts.reporter,
            mirrors: parts.mirrors,
            journal: parts.journal,
            pace: parts.pace,
            meter: parts.meter,
        })
    }
}

/// No environment, no arguments, no terminal, no network: directories, clocks and random numbers.
fn sandbox(preopens: &[Preopen], output: Tail) -> Result<WasiCtx> {
    let mut builder = WasiCtxBuilder::new();
    builder.stdout(output.clone()).stderr(output).max_random_size(MAX_RANDOM);
    for preopen in preopens {
        let permissions = match preopen.access {
            Access::Read => FsPerms::ReadOnly,
            Access::Write => FsPerms::ReadWrite,
        };
        builder
            .preopened_dir(&preopen.host, &preopen.guest, permissions)
            .or_error(ErrorKind::Io, || format!("cannot open {} for the plugin", preopen.host.display()))?;
    }
    Ok(builder.build())
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.egress, table: &mut self.table, ctx: &mut self.http }
    }
}

/// Everything a guest can call. What is not named here does not exist for it: there is no `wasi:sockets`.
pub(super) fn linker(engine: &wasmtime::Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    link(&mut linker).or_error(ErrorKind::Internal, || "cannot link the host's functions")?;
    Ok(linker)
}

fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let l = linker;
    // wasi:io, clocks, random, and the standard streams.
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(l)?;
    wasi::filesystem::preopens::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    wasi::filesystem::types::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    wasi::random::insecure::add_to_linker::<State, WasiRandom>(l, State::random)?;
    wasi::random::insecure_seed::add_to_linker::<State, WasiRandom>(l, State::random)?;
    wasi::cli::exit::add_to_linker::<State, WasiCli>(l, State::cli)?;
    wasi::cli::environment::add_to_linker::<State, WasiCli>(l, State::cli)?;
    wasi::cli::terminal_input::add_to_linker::<State, WasiCli>(l, State::cli)?;
    wasi::cli::terminal_output::add_to_linker::<State, WasiCli>(l, State::cli)?;
    wasi::cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    wasi::cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    wasi::cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    let options = wasmtime_wasi_http::p2::bindings::http::types::LinkOptions::default();
    wasmtime_wasi_http::p2::bindings::http::outgoing_handler::add_to_linker::<State, WasiHttp>(l, State::http)?;
    wasmtime_wasi_http::p2::bindings::http::types::add_to_linker::<State, WasiHttp>(l, &options, State::http)?;
    bindings::Plugin::add_to_linker::<State, wasmtime::component::HasSelf<State>>(l, |state| state)
}
