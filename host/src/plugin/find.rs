//! From the name in `[[part]] plugin` to a file.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// Where plugins are looked for by name: `$BKHOST_PLUGINS`, beside the binary, and the system's directory.
#[must_use]
pub fn default_search() -> Vec<PathBuf> {
    let chosen = std::env::var_os("BKHOST_PLUGINS").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    let beside = beside.into_iter().flat_map(|dir| [dir.join("plugins"), dir]);
    chosen.into_iter().chain(beside).chain([PathBuf::from("/usr/lib/bkhost/plugins")]).collect()
}

/// The file that `name` means: a path if it has a slash, else a name, with or without `.wasm`, in `search`.
pub(super) fn find(name: &str, search: &[PathBuf]) -> Result<PathBuf> {
    if name.contains('/') {
        let path = PathBuf::from(name);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(Error::new(ErrorKind::NotFound, format!("there is no plugin at {name}"))
                .hint("`plugin` is a path, or the name of a plugin such as \"zfs.wasm\""))
        };
    }
    let file = if name.ends_with(".wasm") { name.to_owned() } else { format!("{name}.wasm") };
    if let Some(found) = search.iter().map(|dir| dir.join(&file)).find(|path| path.is_file()) {
        return Ok(found);
    }
    let looked: Vec<String> = search.iter().map(|dir| dir.display().to_string()).collect();
    let hint = if Path::new(&file).is_file() {
        format!("to use the one in the current directory, write \"./{file}\"")
    } else {
        let known = known(search);
        if known.is_empty() { "give its path, or set BKHOST_PLUGINS".to_owned() } else { format!("there are: {known}") }
    };
    Err(Error::new(ErrorKind::NotFound, format!("there is no plugin `{file}`"))
        .hint(hint)
        .detail("looked-in", looked.join(", ")))
}

fn known(search: &[PathBuf]) -> String {
    let mut names: Vec<String> = search
        .iter()
        .filter_map(|dir| std::fs::read_dir(dir).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".wasm"))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_searched_and_a_path_is_not() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let search = [first.path().to_owned(), second.path().to_owned()];
        let file = second.path().join("zfs.wasm");
        std::fs::write(&file, "").unwrap();
        assert_eq!(find("zfs", &search).unwrap(), file);
        assert_eq!(find("zfs.wasm", &search).unwrap(), file);
        std::fs::write(first.path().join("zfs.wasm"), "").unwrap();
        assert_eq!(find("zfs", &search).unwrap(), first.path().join("zfs.wasm"), "the first directory wins");
        assert_eq!(find(file.to_str().unwrap(), &[]).unwrap(), file);
    }

    #[test]
    fn an_unknown_name_tells_where_it_was_looked_for_and_what_there_is() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("zfs.wasm"), "").unwrap();
        let error = find("zsf.wasm", &[dir.path().to_owned()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.hint_text(), Some("there are: zfs.wasm"));
        assert_eq!(error.details()[0].1, dir.path().display().to_string());
        assert_eq!(find("/nowhere/x.wasm", &[]).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(find("..", &[dir.path().to_owned()]).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
