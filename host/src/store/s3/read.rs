//! Reading an object from front to back; where a connection breaks, another goes on.

use std::io::{self, Read};

use bytes::Bytes;
use http::header::ETAG;
use http::{Method, StatusCode};

use super::S3;
use super::client::{Again, Request};
use super::failure::Failure;

/// An object that is read.
pub(super) struct Download {
    s3: S3,
    key: String,
    size: u64,
    /// Nothing but the object that was opened is read.
    tag: String,
    /// Of the next byte that comes from the server.
    offset: u64,
    response: Option<reqwest::Response>,
    chunk: Bytes,
}

impl Download {
    pub(super) fn new(s3: S3, key: String, size: u64, tag: String) -> Self {
        Self { s3, key, size, tag, offset: 0, response: None, chunk: Bytes::new() }
    }

    /// The next bytes; none at the end.
    async fn next(&mut self) -> Result<Bytes, Failure> {
        let mut again = Again::new(self.s3.client.patience);
        while self.offset < self.size {
            match self.attempt().await {
                Ok(chunk) if chunk.is_empty() => again.recovered(),
                Ok(chunk) => return Ok(chunk),
                Err(failure) => {
                    self.response = None;
                    again.after(failure, &self.s3.cancel).await?;
                }
            }
        }
        Ok(Bytes::new())
    }

    async fn attempt(&mut self) -> Result<Bytes, Failure> {
        let client = &self.s3.client;
        let response = match &mut self.response {
            Some(response) => response,
            None => {
                let mut request = Request::new(Method::GET, Some(&self.key));
                if self.offset > 0 {
                    request = request.header("range", format!("bytes={}-", self.offset));
                }
                request = request.header("if-match", self.tag.clone());
                let response = client.begin(&request, &self.s3.cancel).await?;
                if self.offset > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
                    return Err(Failure::new_plain("the server does not give a part of an object"));
                }
                // Not a page of something between us and the server, which says that all is well.
                let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
                if tag != Some(self.tag.as_str()) {
                    return Err(Failure::nonsense("a GET"));
                }
                self.response.insert(response)
            }
        };
        match client.chunk(response, &self.s3.cancel).await? {
            Some(chunk) => {
                self.offset = self.offset.saturating_add(chunk.len() as u64);
                if self.offset > self.size {
                    return Err(Failure::new_plain("the server gives more bytes than the object has"));
                }
                Ok(chunk)
            }
            None => Err(Failure::nonsense("a GET, which is cut off,")),
        }
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            let s3 = self.s3.clone();
            self.chunk = s3.wait(self.next()).map_err(Failure::into_io)?;
        }
        let now = self.chunk.split_to(buffer.len().min(self.chunk.len()));
        let Some(room) = buffer.get_mut(..now.len()) else { return Ok(0) };
        room.copy_from_slice(&now);
        Ok(now.len())
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // A connection's end wants its runtime.
        let _in_runtime = self.s3.handle.enter();
        self.response = None;
    }
}
