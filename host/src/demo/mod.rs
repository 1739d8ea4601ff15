//! `bkhost demo`: the main job on an embedded default. Needs no root and no service: a simulated Bitbucket, a small home
//! with git repositories, and the `directory` strategy.

mod home;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::application::simulator::{Options, Simulator};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::notify::Channels;
use crate::plugin::{HostOptions, PluginHost, default_search};
use crate::report::Reporter;
use crate::run::{self, Session, StateDirs};
use crate::units;

const INSTANCE: &str = "demo";
const PART: &str = "home";

/// Back up, verify and restore a small home behind a simulated Bitbucket, telling what happens. With `keep` the directory
/// that it works in stays.
///
/// # Errors
/// If any of it fails, or if what was restored is not what was there.
pub async fn demo(reporter: Reporter, shipped: Vec<(String, String)>, keep: bool) -> Result<()> {
    let scratch = tempfile::Builder::new()
        .prefix("bkhost-demo-")
        .tempdir()
        .or_error(ErrorKind::Io, || "cannot make a directory for the demo")?;
    let dir = scratch.path().to_owned();
    if keep {
        // From here on nobody removes it.
        let _ = scratch.keep();
    }
    let home = dir.join("home");
    println!("# A home with git repositories: {}", home.display());
    home::make(&home).await?;

    let simulator = Simulator::start(
        ([127, 0, 0, 1], 0).into(),
        Options { drain: Duration::from_millis(500), ..Options::default() },
    )
    .await?;
    println!("# A simulator of Bitbucket's maintenance API (not a Bitbucket): {}", simulator.url());
    let text = config(&dir, &home, &simulator);
    let file = dir.join("bkhost.toml");
    write(&dir.join("password"), "admin\n")?;
    write(&file, &text)?;
    println!("# The configuration, {}:\n\n{text}", file.display());

    let config = Config::parse(&file, text.clone(), &[])?;
    let dirs = StateDirs::open(&dir.join("state"), INSTANCE)?;
    let host = Arc::new(PluginHost::new(HostOptions { aot_dir: Some(dirs.aot()), shipped, search: default_search() })?);
    let session = Session {
        config,
        dirs,
        host,
        reporter,
        notify: Channels::default(),
        cancel: CancellationToken::new(),
        crypto: OnceCell::new(),
    };

    println!("# bkhost run");
    let manifest = run::backup(&session).await?;
    println!(
        "\nThe application was locked for {}, of which it took {} to drain: {} of downtime are bkhost's.",
        units::human_millis(manifest.application.locked_ms),
        units::human_millis(manifest.application.drain_ms),
        units::human_millis(manifest.application.locked_ms.saturating_sub(manifest.application.drain_ms)),
    );
    if simulator.state().locked {
        return Err(Error::new(ErrorKind::Application, "the simulator is still locked"));
    }

    println!("\n# bkhost verify {}", manifest.id);
    let store = session.store().await?;
    let set = store.open_set(INSTANCE, &manifest.id)?;
    let verification = run::Verification {
        depth: run::Depth::Full,
        reporter: session.reporter.clone(),
        cancel: session.cancel.clone(),
        known: run::Known::new(),
        session: Some(&session),
    };
    let verified = verification.verify(&set).await?;
    println!(
        "{} files, {} in {} objects: all as they were",
        verified.entries,
        units::human_bytes(verified.bytes),
        verified.objects
    );

    let restored = dir.join("restored");
    println!("\n# bkhost restore {} --to {} --confirm {INSTANCE}", manifest.id, restored.display());
    let request = run::RestoreRequest { to: vec![restored.display().to_string()], ..run::RestoreRequest::default() };
    let parts = session.parts().await?;
    let plan = run::RestorePlan::make(&session, &set, &parts, &request).await?.accepted()?;
    let done = run::restore(&session, &set, plan).await?;
    let compared = home::compare(&home, &restored)?;
    println!(
        "restored in {}; {compared} files, directories and links compared: equal",
        units::human_millis(done.duration_ms)
    );
    simulator.stop().await;
    next_steps(&dir, keep);
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)))
        .or_error(ErrorKind::Io, || format!("cannot write {}", path.display()))
}

fn config(dir: &Path, home: &Path, simulator: &Simulator) -> String {
    format!(
        r#"[instance]
name = "{INSTANCE}"

[application]
type = "bitbucket"
url = "{}"
username = "admin"
password = {{ file = "{}" }}

[[part]]
name = "{PART}"
plugin = "directory.wasm"
[part.config]
path = "{}"

[[store]]
to = "{}"
"#,
        simulator.url(),
        dir.join("password").display(),
        home.display(),
        dir.join("backups").display(),
    )
}

fn next_steps(dir: &Path, keep: bool) {
    println!("\n# Next, on a real system");
    println!("1. make build                      the binary and its plugins, in dist/");
    println!("2. write /etc/bkhost/bkhost.toml    README.md and host/examples/ have whole files;");
    println!("                                   `zfs.wasm` and `postgresql.wasm` take snapshots instead of copies");
    println!("3. bkhost check                    what would make a run fail");
    println!("4. bkhost plan                     every command and call that a run would make");
    println!("5. bkhost run                      and then `bkhost list`, `bkhost verify latest`");
    println!("6. bkhost restore latest --to …    try it before you need it");
    if keep {
        println!("\nAll of the demo is in {}", dir.display());
    } else {
        println!("\n`bkhost demo --keep` leaves the demo's directory for you to look at.");
    }
}
