//! Writes the archive of a part.

use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::content::FileReader;
use crate::control::Control;
use crate::digest::{CountWriter, Written};
use crate::encoding::{Encoder, Format};
use crate::entry::{Attributes, Entry, Kind};
use crate::error::{Error, ErrorKind, Result, ResultExt as _};
use crate::exclude::Exclude;
use crate::fs::attributes::AttributeReader;
use crate::fs::dirs::reopen;
use crate::fs::links::{LinkTable, Name};
use crate::fs::open::{Opened, Opener};
use crate::fs::owners::Owners;
use crate::fs::place::Place;
use crate::fs::status::Status;
use crate::fs::walk::{Step, Walk};
use crate::fs::{failed, is_gone, sparse};
use crate::index::{IndexEntry, write_line};
use crate::names::{Named, show};
use crate::path::{below, join, normalize, split};
use crate::tar::writer::TarWriter;

/// Something to archive.
pub enum Source {
    /// A directory with all that is in it.
    Tree {
        /// The directory that holds it in the archive; empty for the top.
        name: String,
        /// The directory, open.
        directory: OwnedFd,
        /// What to leave out.
        exclude: Exclude,
        /// Whether to leave out what is mounted below it. Mount points themselves are archived as empty directories.
        one_file_system: bool,
    },
    /// A regular file.
    File {
        /// Its path in the archive.
        name: String,
        /// The file, open for reading.
        file: OwnedFd,
    },
}

impl Source {
    fn name(&self) -> &str {
        match self {
            Self::Tree { name, .. } | Self::File { name, .. } => name,
        }
    }
}

/// How to write an archive.
#[derive(Debug, Clone, Default)]
pub struct PartOptions {
    /// The format.
    pub format: Format,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartSummary {
    /// Entries in the archive.
    pub entries: u64,
    /// Bytes of file content, holes included.
    pub bytes: u64,
    /// The archive.
    pub object: Written,
    /// Its index.
    pub index: Written,
    /// The sources in their order.
    pub sources: Vec<SourceSummary>,
    /// Files that changed while they were read: their content in the archive may be torn.
    pub changed: Named,
    /// What was listed, but gone when it was to be read: not in the archive.
    pub vanished: Named,
    /// Sockets, which cannot be archived.
    pub skipped: Named,
}

/// What was written of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSummary {
    /// Its name.
    pub name: String,
    /// Entries in the archive.
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
}

/// Writes the sources into one archive, and its index.
///
/// The archive stays valid whatever happens to the files meanwhile: a file that shrinks is filled up with zeros, one that
/// grows is cut at the size it had; both are named in [`PartSummary::changed`]. Hard links are kept within a source, not
/// between two. Both writers still have to be flushed and closed by the caller.
///
/// # Errors
/// `Config` for names that do not fit together, `Io` if a file cannot be read (one that is gone is no error), `Store`
/// if a writer fails, `Cancelled`.
pub fn write_part(
    sources: &[Source],
    mut object: impl Write,
    mut index: impl Write,
    options: &PartOptions,
    control: &Control,
) -> Result<PartSummary> {
    write(sources, &mut object, &mut index, options, control)
}

fn write<'a>(
    sources: &[Source],
    object: &'a mut dyn Write,
    index: &'a mut dyn Write,
    options: &PartOptions,
    control: &'a Control,
) -> Result<PartSummary> {
    check_names(sources)?;
    let store = || "could not write the archive";
    let index_failed = || "could not write the archive's index";
    let tar = sink(&options.format, object).or_error(ErrorKind::Store, store)?;
    let lines = sink(&options.format.small(), index).or_error(ErrorKind::Store, index_failed)?;
    let mut writer = PartWriter {
        tar: TarWriter::new(tar),
        index: lines,
        owners: Owners::load()?,
        attributes: AttributeReader::default(),
        opener: Opener::default(),
        files: FileReader::default(),
        links: LinkTable::default(),
        entries: 0,
        bytes: 0,
        changed: Named::default(),
        vanished: Named::default(),
        skipped: Named::default(),
        control,
    };
    let mut summaries = Vec::new();
    for source in sources {
        let (entries, bytes) = (writer.entries, writer.bytes);
        writer.links.clear();
        writer.source(source).map_err(|e| match source.name() {
            "" => e,
            name => e.within(format_args!("source `{name}`")),
        })?;
        summaries.push(SourceSummary {
            name: source.name().to_owned(),
            entries: writer.entries.saturating_sub(entries),
            bytes: writer.bytes.saturating_sub(bytes),
        });
    }
    let object = writer.tar.finish().and_then(written).or_error(ErrorKind::Store, store)?;
    let index = written(writer.index).or_error(ErrorKind::Store, index_failed)?;
    control.finished();
    Ok(PartSummary {
        entries: writer.entries,
        bytes: writer.bytes,
        object,
        index,
        sources: summaries,
        changed: writer.changed,
        vanished: writer.vanished,
        skipped: writer.skipped,
    })
}

/// Names are plain relative paths, and none is in another: else it would not be clear what belongs to which.
fn check_names(sources: &[Source]) -> Result<()> {
    for (i, source) in sources.iter().enumerate() {
        let name = source.name();
        let top = name.is_empty() && matches!(source, Source::Tree { .. });
        if !top && normalize(name.as_bytes()).as_deref() != Ok(name.as_bytes()) {
            return Err(Error::new(ErrorKind::Config, format!("`{name}` cannot be the name of a source"))
                .hint("a source's name is a relative path without `.` and `..`"));
        }
        for other in sources.iter().skip(i.saturating_add(1)).map(Source::name) {
            let (a, b) = (name.as_bytes(), other.as_bytes());
            if below(a, b).or(below(b, a)).is_some() {
                return Err(Error::new(ErrorKind::Config, format!("the sources `{name}` and `{other}` overlap"))
                    .hint("give each source a name of its own that is not a directory of another's"));
            }
        }
    }
    Ok(())
}

/// Compresses, encrypts and hashes on the way to a store's writer.
type Sink<'a> = CountWriter<BufWriter<Encoder<'a>>>;

/// The compressor takes a lock for each write, and headers are small.
fn sink<'a>(format: &Format, to: &'a mut dyn Write) -> io::Result<Sink<'a>> {
    let encoder = Encoder::new(format, to)?;
    Ok(CountWriter { inner: BufWriter::with_capacity(256 << 10, encoder), count: 0 })
}

fn written(sink: Sink<'_>) -> io::Result<Written> {
    let CountWriter { inner, count } = sink;
    Ok(inner.into_inner()?.finish()?.written(count))
}

struct PartWriter<'a> {
    tar: TarWriter<Sink<'a>>,
    index: Sink<'a>,
    owners: Owners,
    attributes: AttributeReader,
    opener: Opener,
    files: FileReader,
    links: LinkTable,
    entries: u64,
    bytes: u64,
    changed: Named,
    vanished: Named,
    skipped: Named,
    control: &'a Control,
}

impl PartWriter<'_> {
    fn source(&mut self, source: &Source) -> Result<()> {
        match source {
            Source::Tree { name, directory, exclude, one_file_system } => {
                let root = reopen(directory).map_err(|e| failed("open the directory", b"", e))?;
                self.tree(name.as_bytes(), Walk::new(root, exclude, *one_file_system))
            }
            Source::File { name, file } => {
                let path = name.as_bytes().to_vec();
                let status = Status::of(file).map_err(|e| failed("read the status of", &path, e))?;
                if status.kind != FileType::RegularFile {
                    let error = Error::new(ErrorKind::Config, format!("`{}` is not a regular file", show(&path)));
                    return Err(error.hint("offer a directory as a tree"));
                }
                let file = file.try_clone().or_error(ErrorKind::Io, || format!("could not open `{}`", show(&path)))?;
                self.file(path.clone(), &path, Opened { file, status })
            }
        }
    }

    fn tree(&mut self, base: &[u8], mut walk: Walk<'_>) -> Result<()> {
        while let Some(step) = walk.next()? {
            self.control.check()?;
            let path = join(base, walk.path());
            // At the top, tar wants all names to begin alike, or it sets the directory's time too early.
            let mut shown = if base.is_empty() { [b"./", walk.path()].concat() } else { path.clone() };
            match step {
                Step::Enter { directory, status } => {
                    if !shown.ends_with(b"/") {
                        shown.push(b'/');
                    }
                    let attributes = self.read_attributes(&Place::open(&directory), &path)?;
                    let entry = self.describe(path, Kind::Directory, &status, attributes);
                    self.entry(&entry, &shown)?;
                }
                Step::Entry { parent, status } => self.leaf(path, &shown, &parent, walk.name(), &status)?,
                Step::Leave { .. } => {}
                Step::Vanished => self.vanished.push(&path),
            }
        }
        Ok(())
    }

    fn leaf(&mut self, path: Vec<u8>, shown: &[u8], parent: &OwnedFd, name: &[u8], status: &Status) -> Result<()> {
        let kind = match status.kind {
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Symlink,
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            _ => {
                self.skipped.push(&path);
                return Ok(());
            }
        };
        match self.links.look(status) {
            Name::First => {}
            Name::Changed => self.changed.push(&path),
            Name::Another(first) => {
                let entry = self.describe(path, Kind::Hardlink, status, Attributes::default());
                return self.entry(&Entry { link: Some(first), ..entry }, shown);
            }
        }
        if self.first(&path, shown, parent, name, kind, status)? {
            self.links.insert(&path, status);
        }
        Ok(())
    }

    /// Whatever is not a directory and not a further name of something. Gives whether it was still there.
    fn first(
        &mut self,
        path: &[u8],
        shown: &[u8],
        parent: &OwnedFd,
        name: &[u8],
        kind: Kind,
        status: &Status,
    ) -> Result<bool> {
        if kind == Kind::File {
            match self.opener.open(parent, name).map_err(|e| failed("open", path, e))? {
                Some(opened) => self.file(path.to_vec(), shown, opened)?,
                None => return Ok(self.gone(path)),
            }
            return Ok(true);
        }
        let link = match kind {
            Kind::Symlink => match rustix::fs::readlinkat(parent, name, Vec::new()) {
                Ok(target) => Some(target.into_bytes()),
                Err(e) if is_gone(e) || e == Errno::INVAL => return Ok(self.gone(path)),
                Err(e) => return Err(failed("read the link", path, e)),
            },
            _ => None,
        };
        let attributes = match self.attributes.read(&Place::name(parent, name)) {
            Ok(attributes) => attributes,
            Err(e) if is_gone(e) => return Ok(self.gone(path)),
            Err(e) => return Err(failed("read the attributes of", path, e)),
        };
        let entry = self.describe(path.to_vec(), kind, status, attributes);
        self.entry(&Entry { link, ..entry }, shown)?;
        Ok(true)
    }

    fn gone(&mut self, path: &[u8]) -> bool {
        self.vanished.push(path);
        false
    }

    fn file(&mut self, path: Vec<u8>, shown: &[u8], opened: Opened) -> Result<()> {
        let before = opened.status;
        let attributes = self.read_attributes(&Place::Open(opened.file.as_fd()), &path)?;
        let segments = sparse::map(&opened.file, &before).map_err(|e| failed("read", &path, e))?;
        let entry = self.describe(path, Kind::File, &before, attributes);
        let store = || format!("could not write `{}` to the archive", show(&entry.path));
        self.tar.begin(&entry, shown, segments.as_deref()).or_error(ErrorKind::Store, store)?;
        let (tar, control) = (&mut self.tar, self.control);
        let read = self.files.read(&opened, segments.as_deref(), &entry.path, control, |bytes| {
            tar.content(bytes).or_error(ErrorKind::Store, store)
        })?;
        if read.changed {
            self.changed.push(&entry.path);
        }
        self.bytes = self.bytes.saturating_add(entry.size);
        self.line(&entry, Some(read.hash))
    }

    /// An entry without content.
    fn entry(&mut self, entry: &Entry, shown: &[u8]) -> Result<()> {
        let store = || format!("could not write `{}` to the archive", show(&entry.path));
        self.tar.begin(entry, shown, None).or_error(ErrorKind::Store, store)?;
        self.line(entry, None)
    }

    fn line(&mut self, entry: &Entry, content: Option<blake3::Hash>) -> Result<()> {
        self.entries = self.entries.saturating_add(1);
        write_line(&mut self.index, &IndexEntry::new(entry, content, &self.owners))
            .or_error(ErrorKind::Store, || format!("could not write `{}` to the archive's index", show(&entry.path)))
    }

    fn read_attributes(&mut self, place: &Place<'_>, path: &[u8]) -> Result<Attributes> {
        self.attributes.read(place).map_err(|e| failed("read the attributes of", path, e))
    }

    fn describe(&self, path: Vec<u8>, kind: Kind, status: &Status, attributes: Attributes) -> Entry {
        let device = matches!(kind, Kind::CharDevice | Kind::BlockDevice).then_some(status.special);
        Entry {
            path,
            kind,
            mode: status.mode,
            uid: status.uid,
            gid: status.gid,
            user: self.owners.user(status.uid).map(str::to_owned),
            group: self.owners.group(status.gid).map(str::to_owned),
            size: if kind == Kind::File { status.size } else { 0 },
            mtime: status.mtime,
            link: None,
            device,
            attributes,
        }
    }
}

/// The name of a file source in the directory it is extracted into.
pub(super) fn file_name(source: &str) -> &[u8] {
    split(source.as_bytes()).1
}
