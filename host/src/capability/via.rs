//! Where the commands of a part run, if not on this machine itself: in a container, in a namespace.
//!
//! The operator says so, never the plugin: the first word is a program of this machine, checked like any other. It gets the
//! plugin's command behind its own words, argument for argument. `ssh` puts its arguments together to a line for a shell on
//! the other machine: it gets the command as one argument, in which everything that could mean something to a shell is
//! escaped. What it starts elsewhere is no child of ours: see
//! [`super::process`] for what is killed, and `plugins/postgresql/README.md` for what a plugin can do about the rest.

use std::path::Path;

use super::program::Program;

/// In a word: the name of a variable of the environment. The word is repeated for each.
const VARIABLE: &str = "{env}";
/// Programs that put their arguments together to a line for a shell.
const SHELLS: &[&str] = &["rsh", "mosh", "su", "sh", "bash", "dash"];

/// The program whose commands run on another machine.
const SSH: &str = "ssh";
/// What it is told first, so that it wins: there is nobody to ask, and what it carries is no terminal.
const UNATTENDED: [&str; 2] = ["-T", "-oBatchMode=yes"];

/// Whether what `[[part]] via` names runs on another machine, whose directories are none of ours.
#[must_use]
pub fn is_remote(words: &[String]) -> bool {
    words.first().is_some_and(|first| name(Path::new(first)) == Some(SSH))
}

fn name(program: &Path) -> Option<&str> {
    program.file_name().and_then(|name| name.to_str())
}

/// The words in front of every command of a part.
#[derive(Debug, Clone)]
pub(super) struct Via {
    pub(super) program: Result<Program, String>,
    words: Vec<String>,
    /// What stands behind the words is a line for a shell.
    remote: bool,
}

/// Whether the words of `[[part]] via` can work.
///
/// # Errors
/// What is wrong with them, without a subject.
pub fn check_via(words: &[String]) -> Result<(), String> {
    let Some(first) = words.first() else { return Ok(()) };
    let program = Path::new(first);
    if let Some(word) = words.iter().find(|word| word.is_empty() || word.chars().any(char::is_control)) {
        return Err(format!("has the word {word:?}, which is empty or holds a control character"));
    }
    if !program.is_absolute() {
        return Err(format!("begins with `{first}`, which is not an absolute path"));
    }
    if name(program).is_some_and(|name| SHELLS.contains(&name)) {
        return Err(format!(
            "begins with `{first}`, which hands its arguments to a shell: that would take names apart"
        ));
    }
    if is_remote(words) && words.len() < 2 {
        return Err("names no machine: [\"/usr/bin/ssh\", \"root@node-2\"]".to_owned());
    }
    Ok(())
}

impl Via {
    /// Look at the program that takes the commands elsewhere.
    pub(super) fn new(words: &[String]) -> Option<Self> {
        let (first, rest) = words.split_first()?;
        Some(Self { program: Program::check(Path::new(first)), words: rest.to_vec(), remote: is_remote(words) })
    }

    /// Whether its commands run on another machine.
    pub(super) fn is_remote(&self) -> bool {
        self.remote
    }

    /// The arguments of its program: its own words, and behind them the plugin's command. Of the environment they tell the
    /// names, never a value.
    pub(super) fn arguments<'a>(
        &self,
        variables: impl Iterator<Item = &'a str> + Clone,
        inner: &str,
        arguments: Vec<String>,
    ) -> Vec<String> {
        let mut all = Vec::new();
        if self.remote {
            all.extend(UNATTENDED.map(str::to_owned));
        }
        for word in &self.words {
            if word.contains(VARIABLE) {
                all.extend(variables.clone().map(|name| word.replace(VARIABLE, name)));
            } else {
                all.push(word.clone());
            }
        }
        if self.remote {
            let words = std::iter::once(inner).chain(arguments.iter().map(String::as_str));
            all.push(words.map(escaped).collect::<Vec<_>>().join(" "));
        } else {
            all.push(inner.to_owned());
            all.extend(arguments);
        }
        all
    }
}

/// One word for a shell, whichever it is: a backslash before everything but letters and digits makes it mean itself in those
/// of the Bourne family, of the C shell's, and in fish.
fn escaped(word: &str) -> String {
    if word.is_empty() {
        return "''".to_owned();
    }
    let mut text = String::with_capacity(word.len());
    for c in word.chars() {
        // A backslash and a newline are nothing to a shell; the quotes keep it.
        match c {
            '\n' => text.push_str("'\n'"),
            _ if !c.is_ascii() || c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':') => text.push(c),
            _ => {
                text.push('\\');
                text.push(c);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &[&str] = &[
        "plain",
        "",
        " ",
        "a b",
        "it's",
        "\"double\"",
        "$(touch /tmp/x)",
        "`id`",
        "a;b|c&d>e<f",
        "*?[a]{1,2}~",
        "!history #comment",
        "back\\slash\\",
        "~root",
        "-rf",
        "=ls",
        "new\nline",
        "tab\there",
        "ünï¢ödé\u{2028}",
        "%s^\u{7f}",
    ];

    #[test]
    fn every_shell_gives_back_what_was_meant() {
        let mut tried = 0;
        for shell in ["/bin/sh", "/bin/bash", "/bin/dash", "/usr/bin/zsh", "/usr/bin/fish"] {
            if !Path::new(shell).exists() {
                continue;
            }
            tried += 1;
            let line: Vec<String> = NASTY.iter().map(|word| escaped(word)).collect();
            let output = std::process::Command::new(shell)
                .args(["-c", &format!("printf '%s\\0' {}", line.join(" "))])
                .output()
                .unwrap();
            let is = String::from_utf8(output.stdout).unwrap();
            assert_eq!(is.split_terminator('\0').collect::<Vec<_>>(), NASTY, "{shell}");
        }
        assert!(tried > 0);
    }

    #[test]
    fn ssh_gets_one_line_and_is_never_asked_anything() {
        let words = ["/usr/bin/ssh", "-i", "/etc/key", "root@node-2"].map(str::to_owned);
        check_via(&words).unwrap();
        let via = Via::new(&words).unwrap();
        let all = via.arguments(["LC_ALL"].into_iter(), "zfs", vec!["list".into(), "tank/a b; rm -rf /".into()]);
        assert_eq!(
            all,
            ["-T", "-oBatchMode=yes", "-i", "/etc/key", "root@node-2", "zfs list tank/a\\ b\\;\\ rm\\ -rf\\ /"]
        );
        assert!(is_remote(&words) && !is_remote(&["/usr/bin/docker".to_owned(), "exec".to_owned()]));
        assert!(check_via(&words[..1]).unwrap_err().contains("no machine"));
        for shell in ["/bin/sh", "/usr/bin/rsh", "/bin/su"] {
            assert!(check_via(&[shell.to_owned(), "x".to_owned()]).is_err(), "{shell}");
        }
    }
}
