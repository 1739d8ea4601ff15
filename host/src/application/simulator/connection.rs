//! Connections that break on demand.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

// 0: whole.
const CUT_NEXT: u8 = 1;
const BROKEN: u8 = 2;

/// Breaks the connection that a request came over.
#[derive(Clone, Default)]
pub(super) struct Switch(Arc<AtomicU8>);

impl Switch {
    /// Nothing more is sent.
    pub(super) fn close(&self) {
        self.0.store(BROKEN, Ordering::SeqCst);
    }

    /// Of what is sent next, only a piece.
    pub(super) fn cut(&self) {
        self.0.store(CUT_NEXT, Ordering::SeqCst);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::SeqCst) == BROKEN {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "broken on demand"));
        }
        Ok(())
    }
}

/// Accepts connections that have a switch.
pub(super) struct Accepting(pub(super) TcpListener);

impl Listener for Accepting {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, from) = Listener::accept(&mut self.0).await;
        (Connection { stream, switch: Switch::default() }, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Accepting>> for Switch {
    fn connect_info(stream: IncomingStream<'_, Accepting>) -> Self {
        stream.io().switch.clone()
    }
}

/// A connection with its switch.
pub(super) struct Connection {
    stream: TcpStream,
    switch: Switch,
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.switch.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.switch.check()?;
        if self.switch.0.load(Ordering::SeqCst) == CUT_NEXT {
            let piece = buf.get(..piece_of(buf)).unwrap_or_default();
            let written = Pin::new(&mut self.stream).poll_write(cx, piece);
            if written.is_ready() {
                self.switch.close();
            }
            return written;
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How much of a reply to send: the head and half of the body, or half of the head if there is no body.
fn piece_of(reply: &[u8]) -> usize {
    let head = reply.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
    match head {
        Some(head) if head < reply.len() => head + (reply.len() - head) / 2,
        _ => reply.len() / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_never_the_whole() {
        assert_eq!(piece_of(b"HTTP/1.1 200 OK\r\n\r\n1234"), 21);
        assert_eq!(piece_of(b"HTTP/1.1 200 OK\r\n\r\n1"), 19);
        assert_eq!(piece_of(b"HTTP/1.1 200 OK\r\n\r\n"), 9);
    }
}
