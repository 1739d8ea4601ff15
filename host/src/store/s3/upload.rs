//! Writing an object: in one request if it is small, else in parts, several of which are under way at once.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::task::JoinHandle;

use super::client::{Again, Request};
use super::failure::Failure;
use super::{S3, xml};
use crate::store::backend::Sink;

/// The first parts have this size. Smaller than 5 MiB is refused.
const SMALLEST: u64 = 8 << 20;
/// So many parts have it.
const SMALL: u64 = 1000;
/// Each later one is larger than the one before by this: an object's size is not known before its end, and no more than
/// [`MOST`] parts may have to do for 5 TiB.
const GROWTH: u64 = 136 << 10;
/// An object has no more parts.
const MOST: u64 = 10_000;
/// So many bytes may be under way at once. A single part may be larger.
const UNDER_WAY: u64 = 3 * SMALLEST;
/// An upload that failed is given up within this time.
const ABORT: Duration = Duration::from_secs(20);

/// The size of a part, counted from 1.
fn part_size(number: u64) -> u64 {
    SMALLEST.saturating_add(number.saturating_sub(SMALL).saturating_mul(GROWTH))
}

type Sent = JoinHandle<Result<(u32, String), Failure>>;

/// An object on its way. Dropped before its end, its parts are removed.
pub(super) struct Upload {
    s3: S3,
    key: String,
    /// Of the part that comes next.
    number: u64,
    buffer: Vec<u8>,
    bytes: u64,
    /// None as long as it may be small.
    id: Option<String>,
    under_way: VecDeque<(u64, Sent)>,
    parts: Vec<(u32, String)>,
    /// It was begun more than once, perhaps: nobody knows the other's id.
    twice: bool,
}

impl Upload {
    pub(super) fn new(s3: S3, key: String) -> Self {
        let (under_way, parts) = (VecDeque::new(), Vec::new());
        Self { s3, key, number: 1, buffer: Vec::new(), bytes: 0, id: None, under_way, parts, twice: false }
    }

    /// How the object is kept.
    fn kept<'a>(&self, mut request: Request<'a>) -> Request<'a> {
        request.headers.extend(self.s3.keeping.iter().cloned());
        if let Some(class) = &self.s3.class {
            request = request.header("x-amz-storage-class", class.clone());
        }
        request
    }

    /// Sends the buffer as a part, once there is room for it.
    async fn ship(&mut self) -> Result<(), Failure> {
        if self.number > MOST {
            return Err(Failure::new_plain("the object is larger than a server takes"));
        }
        let id = match &self.id {
            Some(id) => id.clone(),
            None => {
                let request = Request::new(Method::POST, Some(&self.key)).query("uploads", "");
                let request = self.kept(request.answered("InitiateMultipartUploadResult"));
                let answer = self.s3.send(request).await?;
                self.twice = answer.repeated;
                let id = xml::upload_id(&answer.text()).ok_or_else(|| Failure::nonsense("the start of an upload"))?;
                self.id.insert(id).clone()
            }
        };
        let body = Bytes::from(std::mem::take(&mut self.buffer));
        let size = body.len() as u64;
        while !self.under_way.is_empty()
            && self.under_way.iter().map(|(size, _)| size).sum::<u64>().saturating_add(size) > UNDER_WAY
        {
            self.arrived().await?;
        }
        let number = u32::try_from(self.number).unwrap_or(u32::MAX);
        let (s3, key) = (self.s3.clone(), self.key.clone());
        let sent = self.s3.handle.spawn(async move {
            let text = number.to_string();
            let request = Request::new(Method::PUT, Some(&key)).query("partNumber", &text).query("uploadId", &id);
            let answer = s3.send(request.body(body)).await?;
            Ok((number, answer.header("etag").unwrap_or_default()))
        });
        self.under_way.push_back((size, sent));
        self.number += 1;
        Ok(())
    }

    /// Waits for the oldest part under way.
    async fn arrived(&mut self) -> Result<(), Failure> {
        let Some((_, sent)) = self.under_way.front_mut() else { return Ok(()) };
        let sent = sent.await.unwrap_or_else(|_| Err(Failure::new_plain("a part's upload ended early")));
        self.under_way.pop_front();
        self.parts.push(sent?);
        Ok(())
    }

    async fn end(&mut self) -> Result<(), Failure> {
        let Some(id) = self.id.clone() else { return self.put().await };
        if !self.buffer.is_empty() {
            self.ship().await?;
        }
        while !self.under_way.is_empty() {
            self.arrived().await?;
        }
        let request =
            Request::new(Method::POST, Some(&self.key)).query("uploadId", &id).body(xml::complete(&self.parts));
        let mut again = Again::new(self.s3.client.patience);
        loop {
            let (failure, unsure) = match self.s3.send(self.new_only(request.clone())).await {
                Ok(answer) if xml::completed(&answer.text()) => break,
                // A failure whose status says otherwise; or an answer that was lost.
                Ok(answer) => (Failure::said(&answer.text(), "the end of an upload"), true),
                Err(failure) if failure.unsupported() && !self.unconditional() => {
                    self.s3.client.unconditional.store(true, Ordering::Relaxed);
                    continue;
                }
                Err(failure) => {
                    let unsure = failure.repeated || failure.status.is_none();
                    (failure.last(), unsure)
                }
            };
            // What is complete is no upload any more, and exists: ours, if an answer was lost. It is read back in any case.
            if unsure && self.s3.head(&self.key).await?.is_some_and(|(size, _)| size == self.bytes) {
                break;
            }
            again.after(failure, &self.s3.cancel).await?;
        }
        self.id = None;
        if self.twice {
            // Best effort: it costs space, and nothing else.
            let _ = self.s3.forget(&self.key).await;
        }
        Ok(())
    }

    /// All of it in one request.
    async fn put(&mut self) -> Result<(), Failure> {
        let body = Bytes::from(std::mem::take(&mut self.buffer));
        let request = self.kept(Request::new(Method::PUT, Some(&self.key)).body(body));
        let failure = match self.s3.send(self.new_only(request.clone())).await {
            Ok(_) => return Ok(()),
            Err(failure) if failure.unsupported() && !self.unconditional() => {
                self.s3.client.unconditional.store(true, Ordering::Relaxed);
                return self.s3.send(request).await.map(|_| ());
            }
            Err(failure) => failure,
        };
        let unsure = failure.repeated && failure.condition();
        if unsure && self.s3.head(&self.key).await?.is_some_and(|(size, _)| size == self.bytes) {
            return Ok(());
        }
        Err(failure)
    }

    fn unconditional(&self) -> bool {
        self.s3.client.unconditional.load(Ordering::Relaxed)
    }

    /// Not if the object exists.
    fn new_only<'a>(&self, request: Request<'a>) -> Request<'a> {
        if self.unconditional() { request } else { request.header("if-none-match", "*") }
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = part_size(self.number);
        if self.buffer.len() as u64 >= size && !bytes.is_empty() {
            let s3 = self.s3.clone();
            s3.wait(self.ship()).map_err(Failure::into_io)?;
        }
        let room = part_size(self.number).saturating_sub(self.buffer.len() as u64);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let (now, _) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        self.buffer.extend_from_slice(now);
        self.bytes = self.bytes.saturating_add(now.len() as u64);
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Upload {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        let s3 = self.s3.clone();
        s3.wait(self.end()).map_err(Failure::into_io)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        for (_, sent) in &self.under_way {
            sent.abort();
        }
        // Also when the run was cancelled. What stays all the same is removed with the rest of the set.
        let s3 = S3 { cancel: Default::default(), ..self.s3.clone() };
        let under_way = std::mem::take(&mut self.under_way);
        let abort = async {
            for (_, sent) in under_way {
                let _ = sent.await;
            }
            s3.abort(&self.key, &id).await
        };
        let _ = s3.wait(async { tokio::time::timeout(ABORT, abort).await });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_an_object_hold_five_tebibytes() {
        let all: u64 = (1..=MOST).map(part_size).sum();
        assert!(all >= 5 << 40, "{all}");
        assert!(part_size(1) >= 5 << 20 && part_size(MOST) <= 5 << 30);
        assert!((1..MOST).all(|number| part_size(number) <= part_size(number + 1)));
    }
}
