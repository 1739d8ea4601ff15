//! As much HTTP/1.1 as a proxy in a test needs: one message a connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No exchange takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// A request or a response.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    /// The first line, without its end.
    pub(crate) start: String,
    /// Names as they came.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A response.
    pub(crate) fn response(status: u16, kind: &str, body: &str) -> Self {
        Self {
            start: format!("HTTP/1.1 {status} Status"),
            headers: vec![("Content-Type".to_owned(), kind.to_owned())],
            body: body.as_bytes().to_vec(),
        }
    }

    /// Read one from a connection; none if it ends before it begins.
    pub(crate) fn read(stream: &TcpStream) -> io::Result<Option<Self>> {
        Self::read_some(stream, true)
    }

    fn read_some(stream: &TcpStream, body: bool) -> io::Result<Option<Self>> {
        stream.set_read_timeout(Some(LIMIT))?;
        let mut reader = BufReader::new(stream);
        let mut message = Self { start: line(&mut reader)?, ..Self::default() };
        if message.start.is_empty() {
            return Ok(None);
        }
        loop {
            let line = line(&mut reader)?;
            let Some((name, value)) = line.split_once(':') else { break };
            message.headers.push((name.to_owned(), value.trim().to_owned()));
        }
        if !body {
            return Ok(Some(message));
        }
        if message.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            loop {
                let size = line(&mut reader)?;
                let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
                    .map_err(|_| io::Error::other(format!("{size:?} is no size of a chunk")))?;
                let start = message.body.len();
                message.body.resize(start + size, 0);
                reader.read_exact(&mut message.body[start..])?;
                line(&mut reader)?;
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = message.header("content-length").and_then(|value| value.parse().ok()) {
            message.body.resize(length, 0);
            reader.read_exact(&mut message.body)?;
        } else if message.start.starts_with("HTTP/") {
            reader.read_to_end(&mut message.body)?;
        }
        Ok(Some(message))
    }

    /// Write it. `announce` more bytes than there are make a reply that breaks off.
    pub(crate) fn write(&self, mut stream: &TcpStream, announce: usize) -> io::Result<()> {
        stream.set_write_timeout(Some(LIMIT))?;
        let mut bytes = format!("{}\r\n", self.start).into_bytes();
        for (name, value) in &self.headers {
            let ours = ["content-length", "transfer-encoding", "connection"];
            if !ours.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
                bytes.extend(format!("{name}: {value}\r\n").bytes());
            }
        }
        bytes.extend(format!("Content-Length: {}\r\nConnection: close\r\n\r\n", self.body.len() + announce).bytes());
        bytes.extend(&self.body);
        stream.write_all(&bytes)
    }

    /// Write only what announces it, as the answer to a HEAD.
    pub(crate) fn write_head(&self, mut stream: &TcpStream) -> io::Result<()> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in self.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("connection")) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("Connection: close\r\n\r\n");
        stream.write_all(text.as_bytes())
    }

    /// Send it as a request; the response.
    pub(crate) fn send(&self, to: SocketAddr) -> io::Result<Self> {
        self.send_as(to, false)
    }

    /// As [`Message::send`]; the answer to a HEAD has no body.
    pub(crate) fn send_as(&self, to: SocketAddr, head: bool) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, LIMIT)?;
        self.write(&stream, 0)?;
        Self::read_some(&stream, !head)?.ok_or_else(|| io::Error::other("no response"))
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut bytes = Vec::new();
    reader.take(64 << 10).read_until(b'\n', &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// `application/x-www-form-urlencoded`.
pub(crate) fn encode(parameters: &[(&str, &str)]) -> String {
    let text = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect()
    };
    let pairs: Vec<_> = parameters.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect();
    pairs.join("&")
}

pub(crate) fn decode(form: &str) -> Vec<(String, String)> {
    let text = |text: &str| -> String {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits: String = rest.by_ref().take(2).map(char::from).collect();
                    u8::from_str_radix(&digits, 16).unwrap_or(b'?')
                }
                other => other,
            });
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    form.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}
