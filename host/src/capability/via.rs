//! Where the commands of a part run, if not on this machine itself: in a container, in a namespace.
//!
//! The operator says so, never the plugin: the first word is a program of this machine, checked like any other. It gets the
//! plugin's command behind its own words, argument for argument. What it starts elsewhere is no child of ours: see
//! [`super::process`] for what is killed, and `plugins/postgresql/README.md` for what a plugin can do about the rest.

use std::path::Path;

use super::program::Program;
/// In a word: the name of a variable of the environment. The word is repeated for each.
const VARIABLE: &str = "{env}";
/// Programs that put their arguments together to a line for a shell.
const SHELLS: &[&str] = &["ssh", "rsh", "mosh", "su", "sh", "bash", "dash"];

/// The words in front of every command of a part.
#[derive(Debug, Clone)]
pub(super) struct Via {
    pub(super) program: Result<Program, String>,
    words: Vec<String>,
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
    if program.file_name().and_then(|name| name.to_str()).is_some_and(|name| SHELLS.contains(&name)) {
        return Err(format!(
            "begins with `{first}`, which hands its arguments to a shell: that would take names apart"
        ));
    }
    Ok(())
}

impl Via {
    /// Look at the program that takes the commands elsewhere.
    pub(super) fn new(words: &[String]) -> Option<Self> {
        let (first, rest) = words.split_first()?;
        Some(Self { program: Program::check(Path::new(first)), words: rest.to_vec() })
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
        for word in &self.words {
            if word.contains(VARIABLE) {
                all.extend(variables.clone().map(|name| word.replace(VARIABLE, name)));
            } else {
                all.push(word.clone());
            }
        }
        all.push(inner.to_owned());
        all.extend(arguments);
        all
    }
}
