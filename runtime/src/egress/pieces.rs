//! What comes to a socket of a tool, or to a connection that is relayed: bytes in pieces, each with its length before it,
//! and a last one that is empty. It never lets a connection that was cut look like one that ended: what has no last piece
//! was cut.
//!
//! A pair of sockets inside of one machine knows no reset as TCP does. Who reads has to see one: an answer that is cut
//! must not pass for a whole one. The other direction needs nothing of it: there is nobody else to cut it.

use super::watched;
use bytes::{Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

/// Bytes of a length.
const LENGTH_BYTES: usize = 2;
/// Bytes of one piece at most.
const PIECE_BYTES_MAX: usize = u16::MAX as usize;

/// The outlet's end of such a socket: what is written to it goes in pieces. Dropped before it was shut, it was cut.
#[derive(Debug)]
pub(super) struct Pieced {
    stream: UnixStream,
    /// What is to be sent of a length: it goes out whole before anything else.
    length: [u8; LENGTH_BYTES],
    /// So much of it is sent.
    sent: usize,
    /// Bytes of the piece that were said and did not come yet.
    left: usize,
    /// The last piece was said.
    ending: bool,
    /// Where the kernel says that nobody is at the other end; made when that is waited for.
    watch: Option<AsyncFd<OwnedFd>>,
}

impl Pieced {
    pub(super) const fn new(stream: UnixStream) -> Self {
        Self { stream, length: [0; LENGTH_BYTES], sent: LENGTH_BYTES, left: 0, ending: false, watch: None }
    }

    /// Whether nobody is at the other end any more: it can neither send nor read.
    pub(super) fn is_deserted(&self) -> bool {
        let mut ends = [PollFd::new(&self.stream, PollFlags::empty())];
        let looked = rustix::event::poll(&mut ends, Some(&Timespec::default()));
        looked.is_ok() && ends[0].revents().contains(PollFlags::HUP)
    }

    /// Ready when it is deserted.
    ///
    /// The stream itself tells nobody: once the other end sends no more it is ready to be read for good, and so nobody that
    /// waits for that is woken again. Another descriptor of the same socket, registered for what never comes on it, is
    /// ready for nothing but its end (`EPOLLHUP`, epoll_ctl(2)).
    pub(super) fn poll_deserted(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let watch = match &self.watch {
            Some(watch) => watch,
            None if self.is_deserted() => return Poll::Ready(Ok(())),
            None => {
                let same = rustix::io::fcntl_dupfd_cloexec(&self.stream, 0)?;
                self.watch.insert(watched(same, Interest::PRIORITY)?)
            }
        };
        watch.poll_read_ready(cx).map_ok(drop)
    }

    /// Says how long the next piece is.
    fn begin(&mut self, length: usize) -> usize {
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        (self.length, self.sent) = (length.to_be_bytes(), 0);
        length.into()
    }

    fn poll_length(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.length.get(self.sent..) {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                some => self.sent += some,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Pieced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Pieced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.left == 0 {
            this.left = this.begin(bytes.len().min(PIECE_BYTES_MAX));
        }
        ready!(this.poll_length(cx))?;
        let piece = bytes.get(..this.left).unwrap_or(bytes);
        let some = ready!(Pin::new(&mut this.stream).poll_write(cx, piece))?;
        this.left -= some;
        Poll::Ready(Ok(some))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // A piece that was promised and does not come was cut, and is to look so.
        if this.left == 0 {
            if !this.ending {
                this.begin(0);
                this.ending = true;
            }
            ready!(this.poll_length(cx))?;
        }
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

impl Drop for Pieced {
    fn drop(&mut self) {
        // The session holds the same socket, to shut it: closing ours alone would end nothing.
        match rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Both) {
            // Or it is shut already.
            Ok(()) | Err(_) => {}
        }
    }
}

/// The tool's end: the pieces as they come.
#[derive(Debug, Default)]
pub struct Pieces {
    /// What came and was not taken yet.
    ahead: BytesMut,
    /// Bytes of the piece that has begun.
    left: usize,
    ended: bool,
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// Bytes.
    Some(Bytes),
    /// Nothing now.
    Nothing,
    /// The last piece: no more will come.
    End,
}

impl Pieces {
    /// Where what comes is to be put.
    pub fn room(&mut self) -> &mut BytesMut {
        &mut self.ahead
    }

    /// Takes at most so many bytes.
    pub fn take(&mut self, bytes_max: usize) -> Came {
        loop {
            if self.ended {
                return Came::End;
            }
            if self.left > 0 {
                let some = self.left.min(self.ahead.len()).min(bytes_max);
                self.left -= some;
                return if some == 0 { Came::Nothing } else { Came::Some(self.ahead.split_to(some).freeze()) };
            }
            let Some(length) = self.ahead.first_chunk::<LENGTH_BYTES>() else { return Came::Nothing };
            self.left = u16::from_be_bytes(*length).into();
            drop(self.ahead.split_to(LENGTH_BYTES));
            self.ended = self.left == 0;
        }
    }

    /// Whether something can be taken, if only the end.
    pub fn has_some(&mut self) -> bool {
        // What is taken of a length stays taken: none of it is lost by looking.
        match self.take(0) {
            Came::End => true,
            Came::Some(_) | Came::Nothing => self.left > 0 && !self.ahead.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Everything that came, and whether it ended.
    fn all(pieces: &mut Pieces, wire: &[u8], step: usize, bytes_max: usize) -> (Vec<u8>, bool) {
        let mut got = Vec::new();
        for part in wire.chunks(step) {
            pieces.room().extend_from_slice(part);
            loop {
                let has_some = pieces.has_some();
                match pieces.take(bytes_max) {
                    Came::Some(some) => {
                        assert!(has_some && some.len() <= bytes_max);
                        got.extend_from_slice(&some);
                    }
                    Came::Nothing => {
                        assert!(!has_some);
                        break;
                    }
                    Came::End => return (got, has_some),
                }
            }
        }
        (got, false)
    }

    #[test]
    fn pieces_are_the_bytes_that_were_sent_however_they_come() {
        let wire = b"\x00\x05hello\x00\x01 \x00\x05world\x00\x00";
        for step in 1..wire.len() {
            for most in [1, 3, 100] {
                let (got, ended) = all(&mut Pieces::default(), wire, step, most);
                assert_eq!((got.as_slice(), ended), (&b"hello world"[..], true), "{step} {most}");
            }
            let cut = wire.get(..wire.len() - 2).expect("it is longer");
            assert!(!all(&mut Pieces::default(), cut, step, 100).1, "without its last piece it is cut");
        }
    }

    #[tokio::test]
    async fn what_was_not_shut_was_cut() {
        for whole in [true, false] {
            let (ours, mut theirs) = UnixStream::pair().expect("a pair");
            let more = vec![7; 3 * PIECE_BYTES_MAX];
            let sent = more.clone();
            let writing = tokio::spawn(async move {
                let mut pieced = Pieced::new(ours);
                pieced.write_all(&sent).await.expect("somebody reads");
                if whole {
                    pieced.shutdown().await.expect("somebody reads");
                }
            });
            let mut wire = Vec::new();
            theirs.read_to_end(&mut wire).await.expect("it ends");
            writing.await.expect("it wrote");
            let (got, ended) = all(&mut Pieces::default(), &wire, 1000, usize::MAX);
            assert!(got == more && ended == whole, "{} {ended}", got.len());
        }
    }

    /// The session has the same socket in its hands, to shut it: that keeps nothing open.
    #[tokio::test]
    async fn a_cut_is_seen_though_others_hold_the_socket() {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let held = ours.try_clone().expect("one more descriptor");
        ours.set_nonblocking(true).expect("it can");
        drop(Pieced::new(UnixStream::from_std(ours).expect("it registers")));
        let mut nothing = [0];
        assert_eq!(io::Read::read(&mut theirs, &mut nothing).expect("it is shut"), 0);
        drop(held);
    }

    #[tokio::test]
    async fn an_end_that_nobody_is_at_is_deserted_and_one_that_only_reads_is_not() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let pieced = Pieced::new(ours);
        assert!(!pieced.is_deserted());
        rustix::net::shutdown(&theirs, rustix::net::Shutdown::Write).expect("it is open");
        assert!(!pieced.is_deserted(), "it still reads");
        drop(theirs);
        assert!(pieced.is_deserted());
    }

    #[tokio::test]
    async fn whoever_waits_for_an_end_to_be_deserted_hears_of_that_alone() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let mut pieced = Pieced::new(ours);
        theirs.write_all(b"some").await.expect("somebody reads");
        rustix::net::shutdown(&theirs, rustix::net::Shutdown::Write).expect("it is open");
        let mut read = Vec::new();
        pieced.read_to_end(&mut read).await.expect("it ends");
        let mut waiting = tokio::spawn(async move { std::future::poll_fn(|cx| pieced.poll_deserted(cx)).await });
        let limit = std::time::Duration::from_millis(50);
        tokio::time::timeout(limit, &mut waiting).await.expect_err("somebody is there, who only reads");
        drop(theirs);
        let limit = std::time::Duration::from_secs(5);
        tokio::time::timeout(limit, waiting).await.expect("it is told").expect("it ran").expect("it can be waited for");
    }
}
