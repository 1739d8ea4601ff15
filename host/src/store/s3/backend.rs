//! What a store is made of, by requests to a bucket.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::failure::Failure;
use super::upload::Upload;
use super::{CLAIM_PATIENCE, MAX_CLAIM, RELEASED, S3, read};
use crate::store::backend::{Backend, Bucket, Entry, Sink, Source};

impl Backend for S3 {
    fn entries(&self, dir: &str) -> io::Result<Option<Vec<Entry>>> {
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let entries = self.wait(self.list(&self.client.place.key(&prefix))).map_err(Failure::into_io)?;
        Ok((!entries.is_empty()).then_some(entries))
    }

    fn make_dir(&self, dir: &str) -> io::Result<bool> {
        Ok(self.entries(dir)?.is_none())
    }

    fn settle(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn forget_uploads(&self, dir: &str) -> io::Result<()> {
        let prefix = self.client.place.key(&format!("{dir}/"));
        self.wait(self.forget(&prefix)).map_err(Failure::into_io)
    }

    fn remove_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<bool> {
        let key = self.client.place.key(path);
        let put = async {
            // Also for a server that does not know conditions.
            if self.head(&key).await?.is_some() {
                return Ok(false);
            }
            self.write(&key, bytes, ("if-none-match", "*"), self.client.patience).await
        };
        self.wait(put).map_err(Failure::into_io)
    }

    fn get(&self, path: &str, _: u64) -> io::Result<Option<Vec<u8>>> {
        let key = self.client.place.key(path);
        let got = self.wait(self.small(&key, self.client.patience)).map_err(Failure::into_io)?;
        Ok(got.map(|(bytes, _)| bytes))
    }

    fn create(&self, path: &str) -> io::Result<Option<Box<dyn Sink>>> {
        let key = self.client.place.key(path);
        if self.wait(self.head(&key)).map_err(Failure::into_io)?.is_some() {
            return Ok(None);
        }
        Ok(Some(Box::new(Upload::new(self.clone(), key))))
    }

    fn open(&self, path: &str) -> io::Result<Option<Source>> {
        let key = self.client.place.key(path);
        let head = self.wait(self.head(&key)).map_err(Failure::into_io)?;
        Ok(head.map(|(size, tag)| (size, Box::new(read::Download::new(self.clone(), key, size, tag)) as _)))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.wait(self.delete(&self.client.place.key(path))).map_err(Failure::into_io)
    }

    fn change(&self, path: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> io::Result<bool> {
        let key = self.client.place.key(path);
        let change = async {
            let found = self.small(&key, CLAIM_PATIENCE).await?;
            let held = found.as_ref().map(|(bytes, _)| bytes.as_slice()).filter(|bytes| *bytes != RELEASED);
            if held != old {
                return Ok(false);
            }
            if held.is_none() && new.is_none() {
                return Ok(true);
            }
            let condition = match &found {
                Some((_, tag)) => ("if-match", tag.as_str()),
                None => ("if-none-match", "*"),
            };
            self.write(&key, new.unwrap_or(RELEASED), condition, CLAIM_PATIENCE).await
        };
        self.wait(change).map_err(Failure::into_io)
    }

    fn held(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let key = self.client.place.key(path);
        let found = self.wait(self.small(&key, CLAIM_PATIENCE)).map_err(Failure::into_io)?;
        Ok(found.map(|(bytes, _)| bytes).filter(|bytes| bytes != RELEASED && bytes.len() as u64 <= MAX_CLAIM))
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }

    fn probe(&self) -> io::Result<Vec<String>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Two checks at once, on this machine or on others, must not meet.
        let name = format!(".bkhost-check-{}-{}-{number}", crate::store::host_name(), std::process::id());
        let key = self.client.place.key(&name);
        let probe = async {
            let tried = self.try_out(&key).await;
            let removed = self.delete(&key).await;
            let doubts = tried?;
            removed.map(|()| doubts)
        };
        self.wait(probe).map_err(Failure::into_io)
    }

    fn bucket(&self) -> Option<Bucket> {
        let Client { place, region, .. } = self.client.as_ref();
        let url = format!("s3://{}/{}", place.bucket, place.prefix);
        let url = url.trim_end_matches('/').to_owned();
        Some(Bucket { url, endpoint: place.endpoint.clone(), region: region.clone() })
    }

    fn cancelled_by(&self, cancel: &CancellationToken) -> Option<Arc<dyn Backend>> {
        Some(Arc::new(Self { cancel: cancel.clone(), ..self.clone() }))
    }
}
