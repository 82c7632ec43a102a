//! A connection of HTTP/1 to an upstream, whose heads come in time and begin an answer only so often.
//! It never looks at a body.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Interim answers (RFC 9110, 15.2) before one that is final.
const INTERIM_MAX: u32 = 64;
/// Time for a head of an answer, from its first byte. Before that byte an upstream may take its time.
const HEAD: Duration = Duration::from_secs(60);
/// Where in `HTTP/1.1 100` the first digit is.
const DIGIT_AT: usize = 9;

/// Whether an answer is waited for: set when a request is sent, taken back when its final head has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked(Arc<AtomicBool>);

impl Asked {
    pub(super) fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Heads<S> {
    stream: S,
    asked: Asked,
    head: Head,
    interim: u32,
    /// Made at the first head that does not come at once.
    sleep: Option<Pin<Box<Sleep>>>,
}

/// How far the head of an answer is.
#[derive(Debug, Default, Clone, Copy)]
struct Head {
    bytes: usize,
    first_digit: u8,
    /// Of the line, besides carriage returns.
    line_bytes: usize,
    since: Option<Instant>,
}

impl<S> Heads<S> {
    pub(super) fn new(stream: S, asked: Asked) -> Self {
        Self { stream, asked, head: Head::default(), interim: 0, sleep: None }
    }

    /// Looks at heads until one is final.
    fn look(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let head = &mut self.head;
            if head.bytes == DIGIT_AT {
                head.first_digit = *byte;
            }
            head.bytes += 1;
            match byte {
                b'\r' => continue,
                b'\n' => {}
                _ => {
                    head.line_bytes += 1;
                    continue;
                }
            }
            if head.line_bytes > 0 {
                head.line_bytes = 0;
                continue;
            }
            let is_final = head.first_digit != b'1' || head.bytes <= DIGIT_AT;
            *head = Head::default();
            if is_final {
                self.interim = 0;
                self.asked.0.store(false, Ordering::Release);
                return;
            }
            self.interim += 1;
        }
        if self.head.bytes > 0 {
            self.head.since.get_or_insert_with(Instant::now);
        }
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(since) = self.head.since else { return Poll::Pending };
        let until = since + HEAD;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if sleep.deadline() != until {
            sleep.as_mut().reset(until);
        }
        sleep.as_mut().poll(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heads<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let asked = this.asked.0.load(Ordering::Acquire);
        let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buffer) else {
            if asked {
                ready!(this.poll_patience(cx));
                let why = format!("the upstream does not finish the head of its answer within {} s", HEAD.as_secs());
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
            }
            return Poll::Pending;
        };
        read?;
        if asked {
            this.look(buffer.filled().get(before..).unwrap_or_default());
            if this.interim > INTERIM_MAX {
                let why = format!("the upstream sends more than {INTERIM_MAX} interim answers");
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heads<S> {
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
