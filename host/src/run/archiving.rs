//! From a captured part to objects in the store that were read back.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::part::{LivePart, Part};
use super::proof::{self, watched};
use super::prune::blocking;
use super::sealed::Notes;
use super::session::Session;
use super::tee::{Writers, same_bytes};
use crate::archive::set::{
    ObjectRecord, ObjectRole, PartRecord, SnapshotRecord, SourceForm, SourceRecord, data_file, index_file, notes_file,
    stream_file,
};
use crate::archive::{self, Control, Exclude, Format, Named, PartOptions, Written, write_part, write_stream};
use crate::capability::{Process, is_remote};
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::{Instance, Source};
use crate::report::{Level, Phase, waiting};

/// How long a process may take to end after its output has.
const PROCESS_END: Duration = Duration::from_secs(60);
/// A strategy is asked this often whether what is read is still what it captured.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(10);

/// Said of a part whose profile leaves out what its strategy cannot.
const WHOLE: &str = "its strategy keeps it as a whole: what its profile leaves out is in it";

/// What was stored of a part.
#[derive(Default)]
struct Stored {
    sources: Vec<SourceRecord>,
    objects: Vec<ObjectRecord>,
    entries: u64,
    changed: Named,
    warnings: Vec<Warning>,
}

/// What the operator should know, and an example of it that names a file.
struct Warning {
    text: String,
    example: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, such as {}", self.text, self.example)
    }
}

/// Finish a captured part, archive its sources, and read what was stored back.
///
/// # Errors
/// If the strategy, a source or the store fails; if the part turns out to be empty; if what is read back is not what was
/// written.
pub(super) async fn store_part(
    session: &Session,
    part: &mut LivePart<'_>,
    writer: &Writers,
    cancel: &CancellationToken,
) -> Result<PartRecord> {
    let name = part.name().to_owned();
    let captured = part
        .snapshot
        .clone()
        .ok_or_else(|| Error::new(ErrorKind::Internal, "a part is archived that was not captured"))?;
    let snapshot = part.instance.finish(&captured).await?;
    part.snapshot = Some(snapshot.clone());
    session.reporter.message(Level::Debug, Some(&name), "finished");
    let sources = part.instance.open(&snapshot).await?;
    // Stopped before this returns: the strategy is to find nothing in use when it cleans up.
    let stop = cancel.child_token();
    let format = session.format().await?;
    let sources = without(part.part, sources).await?;
    let storing = store_sources(session, &name, sources, &format, writer, &stop);
    let mut stored = confirmed(&mut part.instance, &snapshot, storing, &stop).await?;
    stored.changed.extend(&part.instance.torn());
    // What is declared to be made anew has nothing to archive.
    if !part.part.settings.keeps_nothing() && !part.part.plugin.manifest().plugin.is_declared(&part.part.values) {
        refuse_empty(part, &stored)?;
    }
    let mut general: Vec<String> = stored.warnings.iter().map(|warning| warning.text.clone()).collect();
    let mut record = record(part, snapshot, stored);
    general.extend(record.warnings.iter().filter(|text| *text == WHOLE).cloned());
    if format.recipients.is_some() {
        hide(session, &mut record, general, &format, writer).await?;
    }
    prove(session, &record, writer, cancel).await?;
    Ok(record)
}

/// Reads back from each store what was written to it: from the first all is compared with the index, file by file; the
/// others have to have the same bytes.
async fn prove(session: &Session, record: &PartRecord, writers: &Writers, cancel: &CancellationToken) -> Result<()> {
    let mut proved = false;
    for (target, writer) in writers.live() {
        let result = if proved {
            let (objects, cancel) = (record.objects.clone(), cancel.clone());
            let what = format!("read part `{}` back from store `{}`", record.name, target.store.name());
            let work = blocking(move || {
                objects
                    .iter()
                    .try_for_each(|object| same_bytes(writer.read(&object.file)?, object, &|| cancel.is_cancelled()))
            });
            waiting(&session.reporter, &what, work).await
        } else {
            let keys = writers.keys();
            proof::prove(&session.reporter, record, &keys, move |file| writer.read(file), cancel).await.map(|_| ())
        };
        match result {
            Ok(()) => proved = true,
            Err(error) => target.failed(error)?,
        }
    }
    Ok(())
}

/// The sources, with what the operator leaves out added to what the strategy does.
///
/// # Errors
/// `Config`: nothing that is offered can be looked into, and so nothing can be left out of it.
pub(super) async fn without(part: &Part, mut sources: Vec<Source>) -> Result<Vec<Source>> {
    let settings = &part.settings;
    let here = |source: &&Source| matches!(source, Source::Tree { .. } | Source::File { .. } | Source::Planned { .. });
    if is_remote(&settings.via)
        && let Some(source) = sources.iter().find(here)
    {
        return Err(Error::new(
            ErrorKind::Config,
            format!(
                "the plugin {} offers the files of `{}`, but its commands run on another machine (`via`), whose files are \
                 out of reach",
                part.plugin.name(),
                source.name()
            ),
        )
        .hint("have it archive a stream: `archive = \"stream\"` of zfs, `format = \"custom\"` of postgresql"));
    }
    let globs = settings.excludes();
    let mut closed = None;
    for source in &mut sources {
        match source {
            Source::Tree { exclude, .. } => exclude.extend(globs.iter().cloned()),
            Source::Output { name, .. } | Source::Held { id: name } => closed = Some(name.clone()),
            Source::File { .. } | Source::Planned { .. } => {}
        }
    }
    // What the profile leaves out is no harm when it is there.
    let Some(name) = closed.filter(|_| !settings.exclude.is_empty()) else { return Ok(sources) };
    for source in sources {
        // Gone before the strategy cleans up.
        if let Source::Output { mut process, .. } = source {
            process.kill().await?;
        }
    }
    let plugin = part.plugin.name();
    Err(Error::new(
        ErrorKind::Config,
        format!("nothing can be left out of `{name}`, which the plugin {plugin} offers as a whole"),
    )
    .hint("take `exclude` out of this [[part]], or have its strategy archive files"))
}

/// Do the work of `storing`, and have the strategy confirm all the while that what is read is what was captured.
async fn confirmed(
    instance: &mut Instance,
    snapshot: &SnapshotRecord,
    storing: impl Future<Output = Result<Stored>>,
    stop: &CancellationToken,
) -> Result<Stored> {
    let mut storing = std::pin::pin!(storing);
    let mut done = None;
    loop {
        if done.is_none() {
            tokio::select! {
                biased;
                result = &mut storing => done = Some(result),
                () = tokio::time::sleep(CONFIRM_INTERVAL) => {}
            }
        }
        let last = done.is_some();
        if stop.is_cancelled() {
            return match done {
                Some(result) => result,
                None => storing.await,
            };
        }
        // Not to be dropped half-way: nobody could enter the instance again.
        let mut confirming = std::pin::pin!(instance.confirm(snapshot));
        let confirmed = loop {
            tokio::select! {
                biased;
                result = &mut confirming => break result,
                result = &mut storing, if done.is_none() => done = Some(result),
            }
        };
        if let Err(error) = confirmed {
            stop.cancel();
            let stored = match done {
                Some(result) => result,
                None => storing.await,
            };
            // What could not be read, because of that, is not the news.
            return Err(match stored {
                Err(failed) if failed.kind() != ErrorKind::Cancelled => error.detail("archive", failed.to_string()),
                _ => error,
            });
        }
        if let Some(result) = done.take_if(|_| last) {
            return result;
        }
    }
}

async fn store_sources(
    session: &Session,
    part: &str,
    sources: Vec<Source>,
    format: &Format,
    writer: &Writers,
    cancel: &CancellationToken,
) -> Result<Stored> {
    let mut stored = Stored::default();
    let mut trees = Vec::new();
    let mut streams = Vec::new();
    for source in sources {
        match source {
            Source::Tree { name, dir, exclude, .. } => {
                trees.push(archive::Source::Tree {
                    name,
                    directory: dir.into_std_file().into(),
                    exclude: Exclude::new(exclude)?,
                    one_file_system: false,
                });
            }
            Source::File { name, file, .. } => trees.push(archive::Source::File { name, file: file.into() }),
            Source::Planned { name, .. } => {
                return Err(Error::new(
                    ErrorKind::Internal,
                    format!("the source `{name}` of a dry run was to be archived"),
                ));
            }
            Source::Output { name, process } => streams.push((name, *process)),
            Source::Held { id } => stored.sources.push(SourceRecord { name: id, form: SourceForm::Held, bytes: 0 }),
        }
    }
    if !trees.is_empty() {
        store_trees(session, part, trees, format, writer, cancel, &mut stored).await?;
    }
    for (number, (name, process)) in streams.into_iter().enumerate() {
        // What it is called is told in its notes.
        let shown = if format.recipients.is_some() { format!("stream-{number}") } else { name.clone() };
        let file = stream_file(part, &shown, &format.suffix());
        store_stream(session, part, (name, file), process, format, writer, cancel, &mut stored).await?;
    }
    Ok(stored)
}

async fn store_trees(
    session: &Session,
    part: &str,
    trees: Vec<archive::Source>,
    format: &Format,
    writer: &Writers,
    cancel: &CancellationToken,
    stored: &mut Stored,
) -> Result<()> {
    let control = watched(&session.reporter, part, Phase::Archive.name(), None, cancel);
    let suffix = format.suffix();
    let (data, index) = (data_file(part, &suffix), index_file(part, &suffix));
    let names = (data.clone(), index.clone());
    let (writer, options) = (writer.clone(), PartOptions { format: format.clone() });
    let summary = blocking(move || {
        let (mut data, mut index) = (writer.object(&names.0)?, writer.object(&names.1)?);
        let summary = write_part(&trees, &mut data, &mut index, &options, &control)?;
        expect_size(&names.0, data.finish()?, &summary.object)?;
        expect_size(&names.1, index.finish()?, &summary.index)?;
        Ok(summary)
    })
    .await?;
    stored.sources.extend(summary.sources.iter().map(|source| SourceRecord {
        name: source.name.clone(),
        form: SourceForm::Tree,
        bytes: source.bytes,
    }));
    stored.objects.push(object(data, ObjectRole::Data, None, &summary.object));
    stored.objects.push(object(index, ObjectRole::Index, None, &summary.index));
    stored.entries += summary.entries;
    for (what, named) in [
        ("vanished while they were read", &summary.vanished),
        ("are sockets, which cannot be archived", &summary.skipped),
    ] {
        if let Some(first) = named.names.first() {
            let text = format!("{} files {what}", named.total);
            stored.warnings.push(Warning { text, example: first.clone() });
        }
    }
    stored.changed = summary.changed;
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "one call, of which each argument is another thing")]
async fn store_stream(
    session: &Session,
    part: &str,
    (name, file): (String, String),
    mut process: Process,
    format: &Format,
    writer: &Writers,
    cancel: &CancellationToken,
    stored: &mut Stored,
) -> Result<()> {
    let control = watched(&session.reporter, part, Phase::Archive.name(), None, cancel);
    let output = process.take_output()?;
    let (names, writer, format) = (file.clone(), writer.clone(), format.clone());
    let summary = blocking(move || {
        let mut object = writer.object(&names)?;
        let summary = write_stream(output, &mut object, &format, &control)?;
        expect_size(&names, object.finish()?, &summary.object)?;
        Ok(summary)
    })
    .await?;
    // The end of its output is not its success: the left side of a pipe fails silently only in a shell.
    let ended = process.wait(PROCESS_END).await?;
    if ended.status != 0 {
        return Err(Error::new(
            ErrorKind::Plugin,
            format!("the command of the stream `{name}` ended with status {}", ended.status),
        )
        .detail("command", process.argv().join(" "))
        .detail("stderr", ended.stderr));
    }
    stored.sources.push(SourceRecord {
        name: name.clone(),
        form: SourceForm::Stream,
        bytes: summary.object.content_bytes,
    });
    stored.objects.push(object(file, ObjectRole::Stream, Some(name), &summary.object));
    stored.entries += 1;
    Ok(())
}

/// Take what names content out of a part's record, tell it the operator once, and put it into the encrypted notes and into
/// this machine's own.
async fn hide(
    session: &Session,
    record: &mut PartRecord,
    general: Vec<String>,
    format: &Format,
    writer: &Writers,
) -> Result<()> {
    let changed = record.changed.files.first().map(|first| format!("among the files that changed is {first}"));
    for named in changed.iter().chain(&record.warnings) {
        session.reporter.message(Level::Warning, Some(&record.name), named.clone());
    }
    let notes = Notes::hide(record, general);
    let file = notes_file(&record.name, &format.suffix());
    let id = writer.live().first().map(|(_, writer)| writer.id().clone());
    let (dir, part, names, format, writer) =
        (session.dirs.sealed(), record.name.clone(), file.clone(), format.small(), writer.clone());
    let summary = blocking(move || {
        let mut object = writer.object(&names)?;
        let summary = write_stream(notes.to_bytes()?.as_slice(), &mut object, &format, &Control::none())?;
        expect_size(&names, object.finish()?, &summary.object)?;
        id.map_or(Ok(()), |id| notes.keep(&dir, &id, &part))?;
        Ok(summary)
    })
    .await?;
    record.objects.push(object(file, ObjectRole::Notes, None, &summary.object));
    Ok(())
}

/// What the store says it wrote against what was handed to it.
fn expect_size(file: &str, stored: u64, written: &Written) -> Result<()> {
    if stored == written.bytes {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Store, format!("the store took {stored} bytes of {file} instead of {}", written.bytes)))
}

fn object(file: String, role: ObjectRole, source: Option<String>, written: &Written) -> ObjectRecord {
    ObjectRecord {
        file,
        role,
        source,
        bytes: written.bytes,
        content_bytes: written.content_bytes,
        blake3: written.blake3.clone(),
    }
}

/// A backup of nothing is the classic silent failure: a dump of zero bytes, a mount that is not there.
fn refuse_empty(part: &LivePart<'_>, stored: &Stored) -> Result<()> {
    let archived = stored.sources.iter().filter(|source| source.form != SourceForm::Held);
    if stored.sources.is_empty()
        || (archived.clone().count() > 0 && archived.map(|source| source.bytes).sum::<u64>() == 0)
    {
        let hint = if part.part.settings.excludes().is_empty() {
            "is the file system mounted, and is it the right directory or database?"
        } else {
            "does `exclude` or the profile leave out everything? Is the file system mounted, and is it the right directory?"
        };
        let what = format!("part `{}` is empty: not one byte of content was found", part.name());
        return Err(Error::new(ErrorKind::Damaged, what).hint(hint));
    }
    Ok(())
}

fn record(part: &LivePart<'_>, snapshot: SnapshotRecord, stored: Stored) -> PartRecord {
    let plugin = &part.part.plugin;
    let info = &plugin.manifest().plugin;
    let mut warnings: Vec<String> = stored.warnings.iter().map(ToString::to_string).collect();
    let mut left_out = part.part.settings.left_out();
    if let Some(left_out) = left_out.as_mut().filter(|_| !stored.sources.iter().any(|s| s.form == SourceForm::Tree))
        && !left_out.globs.is_empty()
    {
        left_out.globs.clear();
        warnings.push(WHOLE.to_owned());
    }
    PartRecord {
        name: part.name().to_owned(),
        plugin: plugin.name().to_owned(),
        plugin_version: info.version.clone(),
        plugin_sha256: plugin.digest().to_owned(),
        kind: info.kind.name().to_owned(),
        before: info.before.iter().map(|kind| kind.name().to_owned()).collect(),
        config: part.part.values.clone(),
        identity: part.identity.clone(),
        snapshot,
        sources: stored.sources,
        objects: stored.objects,
        left_out,
        entries: stored.entries,
        changed: (&stored.changed).into(),
        warnings,
    }
}
