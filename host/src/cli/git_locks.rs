//! `bkhost git-locks`

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;

use super::context::Context;
use super::output;
use crate::config::Profile;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::{git, run};

pub(super) async fn git_locks(context: &Context, directory: &Path, profile: &str, remove: bool) -> Result<ExitCode> {
    let with_repositories = || Profile::ALL.into_iter().filter(|profile| !profile.repositories().is_empty());
    let known = with_repositories().find(|known| known.name() == profile).ok_or_else(|| {
        let names: Vec<_> = with_repositories().map(Profile::name).collect();
        Error::new(ErrorKind::Config, format!("`{profile}` is no profile with git repositories"))
            .hint(format!("there are: {}", names.join(", ")))
    })?;
    let root = std::fs::File::open(directory)
        .or_error(ErrorKind::NotFound, || format!("cannot look into {}", directory.display()))?;
    let cancel = context.cancel()?;
    let root = OwnedFd::from(root);
    let locks = run::blocking(move || git::clean(&root, known.repositories(), remove, &cancel)).await?;
    if context.global.json {
        output::json(&locks)?;
    } else {
        locks.paths.iter().for_each(|path| output::line(path.clone()));
        output::line(locks.told());
    }
    for problem in &locks.problems {
        context.reporter().message(crate::report::Level::Warning, None, problem.clone());
    }
    if locks.repositories == 0 {
        return Err(Error::new(ErrorKind::NotFound, format!("no git repository was found in {}", directory.display()))
            .hint(format!("the profile {} has them below {}", known.name(), known.repositories().join(" or "))));
    }
    if remove && locks.removed < locks.found {
        return Err(Error::new(ErrorKind::Io, "not all lock files could be removed"));
    }
    Ok(ExitCode::SUCCESS)
}
