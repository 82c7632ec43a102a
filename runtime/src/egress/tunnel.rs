//! Bytes both ways, counted and bounded.
//! It never looks at them, and holds none while nothing moves: ten thousand idle tunnels have no buffers.

use super::rates::Rates;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are moved at a time.
const MOVED_BYTES_MAX: usize = 64 * 1024;
/// Pieces that one tunnel moves before others have their turn.
const TURN_PIECES_MAX: usize = 16;
/// A tunnel in which nothing moves for so long is closed.
const IDLE: Duration = Duration::from_secs(3600);

thread_local! {
    /// What is read before it is known whether it can be written at once. Used within one poll, so one a thread is enough.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; MOVED_BYTES_MAX]);
}

/// What a connection has carried so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) up_bytes: AtomicU64,
    pub(super) down_bytes: AtomicU64,
}

/// Why a tunnel ended otherwise than by both ends' will; for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Broken {
    /// An end failed.
    Failed(String),
    /// A limit was reached.
    Over(super::rates::Over),
    /// Nothing moved for a long time.
    Idle,
}

/// One direction.
#[derive(Default)]
struct Way {
    /// What was read and could not be written yet; `at` bytes of it are written.
    left: Vec<u8>,
    at: usize,
    state: State,
}

#[derive(Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Ending,
    Ended,
}

/// Moves bytes between the two until both have ended, each in its own time.
///
/// # Errors
/// As [`Broken`] says. Both ends are to be dropped then.
pub(super) async fn run<A, B>(inside: &mut A, outside: &mut B, rates: &Rates, counts: &Counts) -> Result<(), Broken>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (Way::default(), Way::default());
    let mut seen = 0;
    let mut moving = std::pin::pin!(poll_fn(|cx| {
        let upward = up.poll(cx, inside, outside, &mut |bytes| {
            rates.spend(bytes).map_err(Broken::Over)?;
            counts.up_bytes.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        })?;
        let downward = down.poll(cx, outside, inside, &mut |bytes| {
            counts.down_bytes.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        })?;
        if upward.is_ready() && downward.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }));
    loop {
        match tokio::time::timeout(IDLE, &mut moving).await {
            Ok(ended) => return ended,
            Err(_) => {
                let moved = counts.up_bytes.load(Ordering::Relaxed) + counts.down_bytes.load(Ordering::Relaxed);
                if moved == seen {
                    return Err(Broken::Idle);
                }
                seen = moved;
            }
        }
    }
}

impl Way {
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        count: &mut dyn FnMut(u64) -> Result<(), Broken>,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let failed = |e: io::Error| Broken::Failed(crate::error::plain(&e));
        for _ in 0..TURN_PIECES_MAX {
            if self.at < self.left.len() {
                let rest = self.left.get(self.at..).unwrap_or_default();
                match ready!(Pin::new(&mut *to).poll_write(cx, rest)).map_err(failed)? {
                    0 => return Poll::Ready(Err(Broken::Failed("the other end takes no more".to_owned()))),
                    some => self.at += some,
                }
                continue;
            }
            // Freed, not kept: what is idle holds nothing.
            (self.left, self.at) = (Vec::new(), 0);
            match self.state {
                State::Open => {}
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(failed)?;
                    self.state = State::Ended;
                    return Poll::Ready(Ok(()));
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
            match self.poll_piece(cx, from, to, count) {
                Poll::Ready(done) => done?,
                Poll::Pending => {
                    ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(failed)?;
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads one piece and writes as much of it as is taken at once.
    fn poll_piece<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        count: &mut dyn FnMut(u64) -> Result<(), Broken>,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let failed = |e: io::Error| Broken::Failed(crate::error::plain(&e));
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(from).poll_read(cx, &mut buffer)).map_err(failed)?;
            let piece = buffer.filled();
            if piece.is_empty() {
                self.state = State::Ending;
                return Poll::Ready(Ok(()));
            }
            count(piece.len() as u64)?;
            let written = match Pin::new(to).poll_write(cx, piece) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(Broken::Failed("the other end takes no more".to_owned())));
                }
                Poll::Ready(Ok(some)) => some,
                Poll::Ready(Err(e)) => return Poll::Ready(Err(failed(e))),
                Poll::Pending => 0,
            };
            self.left.extend_from_slice(piece.get(written..).unwrap_or_default());
            Poll::Ready(Ok(()))
        })
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(why) => f.write_str(why),
            Self::Over(over) => over.fmt(f),
            Self::Idle => write!(f, "nothing moved for {} s", IDLE.as_secs()),
        }
    }
}
