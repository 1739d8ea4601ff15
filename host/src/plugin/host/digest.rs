//! `digest`: hashes of files, computed by the host's data plane.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::time::{Duration, Instant};

use flate2::bufread::MultiGzDecoder;
use md5::Md5;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::archive::{below, blocking};
use crate::capability::{Access, CallError, Code, Mode};
use crate::plugin::bindings::bkhost::snapshot::digest::{Algorithm, Host};
use crate::plugin::bindings::bkhost::snapshot::types::Error;
use crate::plugin::state::State;
use crate::plugin::text;
use crate::report::{Event, Reporter};

const BUFFER: usize = 1 << 18;
/// Progress is told at most this often.
const INTERVAL: Duration = Duration::from_millis(200);

impl State {
    async fn digest(&mut self, path: String, algorithm: Algorithm, gunzip: bool) -> Result<String, CallError> {
        if !["/source", "/staging"].iter().any(|root| below(&path, root)) {
            let path = text::line(&path, 200);
            return Err(CallError::denied(format!("files are hashed below /source or /staging, and not {path}")));
        }
        let file = self.gate.host_path(&path, Access::Read).await?.file()?;
        // It changes nothing, so a dry run does it too.
        let planned = self.gate.mode() == Mode::DryRun;
        self.reporter.event(&Event::Call { what: format!("digest of {path}"), planned });
        // Both the end of this instance and the operator's cancel stop it.
        let stop = self.work.token().child_token();
        let watch = Watch { reporter: self.reporter.clone(), part: self.part.clone(), cancel: stop.clone() };
        let work = blocking(move || {
            let hashed = if gunzip {
                hash(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, file)), algorithm, None, &watch)
            } else {
                let size = file.metadata().ok().map(|metadata| metadata.len());
                hash::<File>(file, algorithm, size, &watch)
            };
            hashed.map_err(|e| e.context(&path))
        });
        self.interrupt.or(Some(&stop), work).await
    }
}

/// Who is told, and who stops it.
struct Watch {
    reporter: Reporter,
    part: String,
    cancel: CancellationToken,
}

/// Why a file could not be hashed.
enum Failure {
    Cancelled,
    NoGzip(std::io::Error),
    Unreadable(std::io::Error),
}

impl Failure {
    fn context(self, path: &str) -> CallError {
        let path = text::line(path, 200);
        match self {
            Self::Cancelled => CallError::new(Code::Interrupted, format!("{path}: hashing it was cancelled")),
            Self::NoGzip(e) => CallError::new(Code::Corrupt, format!("{path} is no complete gzip file: {e}")),
            Self::Unreadable(e) => CallError::new(Code::Other, format!("{path} cannot be read: {e}")),
        }
    }
}

enum Hasher {
    Md5(Md5),
    Sha256(Sha256),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Blake3 => Self::Blake3(Box::default()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Blake3(hasher) => drop(hasher.update(bytes)),
        }
    }

    fn finish(self) -> String {
        match self {
            Self::Md5(hasher) => hex(&hasher.finalize()),
            Self::Sha256(hasher) => hex(&hasher.finalize()),
            Self::Blake3(hasher) => hasher.finalize().to_hex().to_string(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash<R: Read>(mut from: R, algorithm: Algorithm, size: Option<u64>, watch: &Watch) -> Result<String, Failure> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; BUFFER];
    let (mut done, mut told) = (0_u64, Instant::now());
    loop {
        if watch.cancel.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => read,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            // How the decoder tells of bytes that are not gzip's, or that end too early.
            Err(e)
                if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
            {
                return Err(Failure::NoGzip(e));
            }
            Err(e) => return Err(Failure::Unreadable(e)),
        };
        hasher.update(buffer.get(..read).unwrap_or_default());
        done = done.saturating_add(read as u64);
        if told.elapsed() >= INTERVAL {
            told = Instant::now();
            watch.reporter.progress(&watch.part, "digest", done, size);
        }
    }
}

impl Host for State {
    async fn file(
        &mut self,
        path: String,
        algorithm: Algorithm,
        gunzip: bool,
    ) -> wasmtime::Result<Result<String, Error>> {
        Ok(self.digest(path, algorithm, gunzip).await.map_err(Into::into))
    }
}
