//! Finds out from a client's first bytes what it speaks.
//! It never reads more than its limits before it knows, and loses no byte that it read.

use super::client::Client;
use crate::egress::tls::{ClientHello, HELLO_BYTES_MAX, Hello};
use bytes::{Bytes, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// Time for the first words, once the first byte is there.
const WORDS: Duration = Duration::from_secs(5);
/// Longest first line of an HTTP request that is waited for, bytes; hyper has its own limits afterwards.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// How HTTP/2 begins (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest method, bytes; what goes on longer is none.
const METHOD_BYTES_MAX: usize = 32;

const _: () = assert!(PREFACE.len() < LINE_BYTES_MAX && LINE_BYTES_MAX <= HELLO_BYTES_MAX);

/// What a client speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum First {
    /// TLS, and this is its hello.
    Tls(ClientHello),
    /// HTTP/1.
    Http,
    /// HTTP/2 without TLS.
    Http2,
    /// Something else.
    Opaque,
    /// Nothing yet: it waits for the server, or for a reason to speak.
    Silent,
    /// It went away without a word.
    Gone,
    /// It began something that we know, and did not do it right.
    Wrong(&'static str),
}

/// Reads into `ahead` until it is known what it is; `silence` is how long the first byte is waited for.
pub(super) async fn sniff<S: AsyncRead + Unpin>(stream: &mut S, ahead: &mut BytesMut, silence: Duration) -> First {
    if ahead.is_empty() {
        match tokio::time::timeout(silence, stream.read_buf(ahead)).await {
            Ok(Ok(0) | Err(_)) => return First::Gone,
            Ok(Ok(_)) => {}
            Err(_) => return First::Silent,
        }
    }
    let mut hello = Hello::default();
    let words = async {
        loop {
            if let Some(first) = decide(ahead, &mut hello) {
                return first;
            }
            if matches!(stream.read_buf(ahead).await, Ok(0) | Err(_)) {
                return First::Wrong("the client went away in its first words");
            }
        }
    };
    tokio::time::timeout(WORDS, words).await.unwrap_or(First::Wrong("the client does not finish its first words"))
}

/// `None`: more is needed.
fn decide(ahead: &[u8], hello: &mut Hello) -> Option<First> {
    match ahead.first()? {
        22 => match hello.read(ahead) {
            Ok(hello) => hello.map(First::Tls),
            // One byte is no TLS yet: another protocol may begin with it.
            Err("no TLS handshake") => Some(First::Opaque),
            Err(why) => Some(First::Wrong(why)),
        },
        _ if ahead.starts_with(PREFACE) => Some(First::Http2),
        _ if PREFACE.starts_with(ahead) => None,
        _ => request_line(ahead),
    }
}

/// Whether the first line is one of HTTP/1. A line that could still become one is waited for: whoever sends one slowly
/// is not let through for that.
fn request_line(ahead: &[u8]) -> Option<First> {
    // Empty lines before a request are allowed (RFC 9112, 2.2).
    let start = ahead.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let line = ahead.get(start..)?;
    let token = line.iter().position(|byte| !is_token(*byte));
    match token {
        Some(0) => return Some(First::Opaque),
        Some(end) if end > METHOD_BYTES_MAX || line.get(end) != Some(&b' ') => return Some(First::Opaque),
        None if line.len() > METHOD_BYTES_MAX => return Some(First::Opaque),
        None => return None,
        Some(_) => {}
    }
    match line.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = line.get(..end).unwrap_or_default().trim_ascii_end();
            let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
            Some(if version.starts_with(b"HTTP/1.") { First::Http } else { First::Opaque })
        }
        None if line.len() >= LINE_BYTES_MAX => Some(First::Wrong("a first line of more than 64 KiB")),
        None => None,
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A connection with what was read of it already.
#[derive(Debug)]
pub(in crate::egress) struct Prefixed {
    ahead: Bytes,
    stream: Client,
}

impl Prefixed {
    pub(in crate::egress) fn new(ahead: Bytes, stream: Client) -> Self {
        Self { ahead, stream }
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let some = this.ahead.split_to(this.ahead.len().min(buffer.remaining()));
        buffer.put_slice(&some);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<First>) {
        assert_eq!(decide(bytes, &mut Hello::default()), expected, "{:?}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn what_a_client_speaks_is_known_from_its_first_line() {
        check(b"GET / HTTP/1.1\r\n", Some(First::Http));
        check(b"\r\nGET http://a/ HTTP/1.0\n", Some(First::Http));
        check(b"PURGE / HTTP/1.1\r\n", Some(First::Http));
        check(PREFACE, Some(First::Http2));
        check(b"SSH-2.0-OpenSSH_9.9\r\n", Some(First::Opaque));
        check(b"EHLO me\r\n", Some(First::Opaque));
        check(b"*1\r\n$4\r\nPING\r\n", Some(First::Opaque));
        check(&[0, 0, 0, 8, 4, 210, 22, 47], Some(First::Opaque));
        check(&[22, 9, 9, 9, 9, 9], Some(First::Opaque));
        check(&[22, 3, 1, 0, 0], Some(First::Wrong("TLS record of no possible length")));
    }

    #[test]
    fn what_could_become_a_request_is_waited_for() {
        for end in 0..13 {
            check(&b"GET / HTTP/1.1\r\n"[..end], None);
        }
        check(b"PRI * HT", None);
    }
}
