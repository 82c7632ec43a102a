//! A connection of HTTP/1 from inside, as hyper gets to read it: request by request, each framed in one way and in time.
//! It never gives hyper a byte of a request that is none, nor one beyond what such a request may still send.
//!
//! What is no request is replaced by an empty one, the last of its connection, so that its refusal is an answer in its
//! turn, behind those to earlier requests; the service knows it by its number ([`Notes`]).

use super::framing::{Flaw, Framing};
use bytes::{Buf as _, Bytes, BytesMut};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Time between two requests on a connection.
const IDLE: Duration = Duration::from_secs(60);
/// Time for a whole head, from its first byte.
const HEAD: Duration = Duration::from_secs(30);
/// Time for a client to take some of what it asked for.
const TAKE: Duration = Duration::from_secs(600);
/// How long a refused client is listened to, so that what it still sends does not reset the connection before it has read
/// the answer.
const LISTEN: Duration = Duration::from_millis(500);
/// Bytes that a refused client may still send.
const LISTEN_BYTES_MAX: usize = 256 * 1024;
/// Bytes of heads that are read at a time.
const READ_BYTES_MAX: usize = 8 * 1024;

const _: () = assert!(HEAD.as_secs() == 30 && HEAD.as_secs() <= IDLE.as_secs());

/// What hyper reads in the place of what is no request.
const IN_PLACE: &[u8] = b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n";

/// What the reader of a connection and its service tell each other.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Requests that the service has had.
    served: AtomicU64,
    /// The number of the request that is none, and why. Written once, by the reader.
    flaw: Mutex<Option<(u64, Flaw)>>,
    is_upgraded: AtomicBool,
}

impl Notes {
    /// To be asked at each request, in their order: why this one is none.
    pub(super) fn next(&self) -> Option<Flaw> {
        let number = self.served.fetch_add(1, Ordering::Relaxed);
        let mut flaw = self.flaw.lock().unwrap_or_else(PoisonError::into_inner);
        flaw.take_if(|(its, _)| *its == number).map(|(_, flaw)| flaw)
    }

    /// Requests so far.
    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// What comes next is no HTTP any more.
    pub(super) fn upgraded(&self) {
        self.is_upgraded.store(true, Ordering::Relaxed);
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    notes: Arc<Notes>,
    framing: Framing,
    /// Read, and not looked at.
    ahead: BytesMut,
    /// Looked at, and not given out.
    ready: Bytes,
    /// Requests that were given out.
    heads: u64,
    state: State,
    sleep: Pin<Box<Sleep>>,
    waits_for: Waits,
    /// Since when the client takes nothing.
    stuck: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// After what was no request: nothing more is read but to be forgotten.
    Refused,
    /// The same, and our last words are said. So many bytes may still come.
    Leaving(usize),
    /// Bytes of an upgraded connection.
    Raw,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Nothing,
    Request,
    Head,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, notes: Arc<Notes>) -> Self {
        Self {
            stream,
            notes,
            framing: Framing::default(),
            ahead: BytesMut::new(),
            ready: Bytes::new(),
            heads: 0,
            state: State::Reading,
            sleep: Box::pin(tokio::time::sleep(IDLE)),
            waits_for: Waits::Nothing,
            stuck: None,
        }
    }

    fn refuse(&mut self, flaw: Flaw) {
        *self.notes.flaw.lock().unwrap_or_else(PoisonError::into_inner) = Some((self.heads, flaw));
        self.ready = Bytes::from_static(IN_PLACE);
        self.ahead = BytesMut::new();
        self.state = State::Refused;
    }

    /// Time passes while a request or its head is waited for.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (waits_for, limit) = if self.ahead.is_empty() { (Waits::Request, IDLE) } else { (Waits::Head, HEAD) };
        if self.waits_for != waits_for {
            self.waits_for = waits_for;
            self.sleep.as_mut().reset(Instant::now() + limit);
        }
        self.sleep.as_mut().poll(cx)
    }

    /// What came beyond a request is the next one's.
    fn give(&mut self, length: usize) {
        self.ready = self.ahead.split_to(length.min(self.ahead.len())).freeze();
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Reads until a head is ready. True: there is one, or what stands in its place.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            match self.framing.head(&self.ahead) {
                Ok(Some(length)) => {
                    self.give(length);
                    self.heads += 1;
                    self.waits_for = Waits::Nothing;
                    return Poll::Ready(Ok(true));
                }
                Ok(None) => {}
                Err(flaw) => {
                    self.refuse(flaw);
                    return Poll::Ready(Ok(true));
                }
            }
            let mut piece = [0; READ_BYTES_MAX];
            let mut buffer = ReadBuf::new(&mut piece);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(read) => read?,
                Poll::Pending => {
                    ready!(self.poll_patience(cx));
                    if self.waits_for == Waits::Request {
                        return Poll::Ready(Ok(false));
                    }
                    self.refuse(Flaw::slow("a head that is not finished within 30 s"));
                    return Poll::Ready(Ok(true));
                }
            }
            if buffer.filled().is_empty() {
                // hyper says that it is incomplete, if it is.
                self.give(self.ahead.len());
                return Poll::Ready(Ok(!self.ready.is_empty()));
            }
            self.ahead.extend_from_slice(buffer.filled());
        }
    }

    /// Reads more of a body into `buffer`.
    fn poll_body(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.ahead.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        } else {
            let some = self.ahead.split_to(self.ahead.len().min(buffer.remaining()));
            buffer.put_slice(&some);
        }
        let came = buffer.filled().get(before..).unwrap_or_default();
        let looked = self.framing.body(came);
        let passed = *looked.as_ref().unwrap_or_else(|(passed, _)| passed);
        if looked.is_ok() && passed < came.len() {
            let beyond = came.get(passed..).unwrap_or_default();
            self.ahead = [beyond, &self.ahead].concat().as_slice().into();
        }
        buffer.set_filled(before + passed);
        match looked {
            Ok(_) => Poll::Ready(Ok(())),
            Err((_, flaw)) => {
                self.state = State::Refused;
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, flaw.what)))
            }
        }
    }

    /// Forgets what still comes, for a little.
    fn poll_listen(&mut self, cx: &mut Context<'_>, mut left: usize) -> Poll<()> {
        let mut sink = [0; 4096];
        while left > 0 && self.sleep.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut sink);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            let some = buffer.filled().len();
            left = if read.is_err() || some == 0 { 0 } else { left.saturating_sub(some) };
            self.state = State::Leaving(left);
        }
        Poll::Ready(())
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// A client that takes nothing is given up in the end.
    fn taken<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.stuck = None;
            return done;
        }
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(TAKE)));
        ready!(stuck.as_mut().poll(cx));
        let why = format!("the client takes nothing for {} s", TAKE.as_secs());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.ready.is_empty() {
                let some = this.ready.split_to(this.ready.remaining().min(buffer.remaining()));
                buffer.put_slice(&some);
                return Poll::Ready(Ok(()));
            }
            match this.state {
                State::Refused | State::Leaving(_) => return Poll::Ready(Ok(())),
                State::Raw if this.ahead.is_empty() => return Pin::new(&mut this.stream).poll_read(cx, buffer),
                State::Raw => this.give(this.ahead.len()),
                State::Reading if !this.framing.at_head() => return this.poll_body(cx, buffer),
                State::Reading if this.notes.is_upgraded.load(Ordering::Relaxed) => this.state = State::Raw,
                State::Reading => {
                    if !ready!(this.poll_head(cx))? {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.taken(cx, done)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.stream).poll_flush(cx);
        this.taken(cx, done)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.state {
                State::Reading | State::Raw => return Pin::new(&mut this.stream).poll_shutdown(cx),
                State::Refused => {
                    ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
                    this.sleep.as_mut().reset(Instant::now() + LISTEN);
                    this.state = State::Leaving(LISTEN_BYTES_MAX);
                }
                State::Leaving(left) => return this.poll_listen(cx, left).map(Ok),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.taken(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
