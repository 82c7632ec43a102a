//! Bytes both ways, counted and bounded.
//! It never looks at them, and holds none while nothing moves: ten thousand idle tunnels have no buffers.

use super::front::InnerEnd;
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

/// Which of the two ends of a direction it was.
enum Fault {
    /// The one that is read, or a limit of what is read.
    Source(Broken),
    /// The one that is written to.
    Sink(Broken),
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

/// Moves bytes between the two until both have ended, each in its own time; or the inner one has, and is gone. What that
/// one has sent goes out, though nobody is there any more for what comes: that is read and dropped meanwhile, since whoever
/// is not heard may not listen either.
///
/// # Errors
/// As [`Broken`] says. Both ends are to be dropped then.
pub(super) async fn run<A, B>(inside: &mut A, outside: &mut B, rates: &Rates, counts: &Counts) -> Result<(), Broken>
where
    A: InnerEnd,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (Way::default(), Way::default());
    let (mut seen, mut nobody, mut is_heard) = (0, tokio::io::sink(), true);
    let mut moving = std::pin::pin!(poll_fn(|cx| {
        let mut pay = |bytes| {
            rates.spend(bytes).map_err(Broken::Over)?;
            counts.up_bytes.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        };
        let mut upward = up.poll(cx, inside, outside, &mut pay);
        if matches!(upward, Poll::Ready(Err(Fault::Source(Broken::Failed(_))))) && inside.is_deserted() {
            // It left without reading all that came for it. Whatever it had sent was read before the kernel says so.
            up.state = State::Ending;
            upward = up.poll(cx, inside, outside, &mut pay);
        }
        let upward = upward?;
        let mut count = |bytes| {
            counts.down_bytes.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        };
        let mut downward = Poll::Pending;
        if is_heard {
            downward = down.poll(cx, outside, inside, &mut count);
            is_heard = !(matches!(downward, Poll::Ready(Err(Fault::Sink(_)))) && inside.is_deserted());
        }
        if !is_heard {
            downward = down.poll(cx, outside, &mut nobody, &mut count);
        }
        let downward = downward?;
        // What comes for nobody is not waited for.
        let over = upward.is_ready() && (downward.is_ready() || deserted(inside, cx)?.is_ready());
        if over { Poll::Ready(Ok(())) } else { Poll::Pending }
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

fn deserted(inside: &mut impl InnerEnd, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
    inside.poll_deserted(cx).map_err(|e| Broken::Failed(crate::error::plain(&e)))
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Source(broken) | Fault::Sink(broken) => broken,
        }
    }
}

/// An end that takes nothing.
fn full() -> Fault {
    Fault::Sink(Broken::Failed("the other end takes no more".to_owned()))
}

fn unwritten(error: io::Error) -> Fault {
    Fault::Sink(Broken::Failed(crate::error::plain(&error)))
}

fn unread(error: io::Error) -> Fault {
    Fault::Source(Broken::Failed(crate::error::plain(&error)))
}

impl Way {
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        count: &mut dyn FnMut(u64) -> Result<(), Broken>,
    ) -> Poll<Result<(), Fault>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..TURN_PIECES_MAX {
            if self.at < self.left.len() {
                let rest = self.left.get(self.at..).unwrap_or_default();
                match ready!(Pin::new(&mut *to).poll_write(cx, rest)).map_err(unwritten)? {
                    0 => return Poll::Ready(Err(full())),
                    some => self.at += some,
                }
                continue;
            }
            // Freed, not kept: what is idle holds nothing.
            (self.left, self.at) = (Vec::new(), 0);
            match self.state {
                State::Open => {}
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(unwritten)?;
                    self.state = State::Ended;
                    return Poll::Ready(Ok(()));
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
            match self.poll_piece(cx, from, to, count) {
                Poll::Ready(done) => done?,
                Poll::Pending => {
                    ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(unwritten)?;
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
    ) -> Poll<Result<(), Fault>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(from).poll_read(cx, &mut buffer)).map_err(unread)?;
            let piece = buffer.filled();
            if piece.is_empty() {
                self.state = State::Ending;
                return Poll::Ready(Ok(()));
            }
            count(piece.len() as u64).map_err(Fault::Source)?;
            let written = match Pin::new(to).poll_write(cx, piece) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(full())),
                Poll::Ready(Ok(some)) => some,
                Poll::Ready(Err(e)) => return Poll::Ready(Err(unwritten(e))),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::pieces::Pieced;
    use crate::egress::testing::profile;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream as Ends;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::net::UnixStream;
    use tokio::task::JoinHandle;

    /// What a component has sent when it leaves.
    const SENT: &[u8] = &[b'x'; 100_000];
    const LIMIT: Duration = Duration::from_secs(10);

    /// A tunnel of a component: how it ends, the component's end, the outlet's as the session holds it, and the upstream,
    /// which takes a few bytes at a time.
    fn tunnel() -> (JoinHandle<Result<(), Broken>>, UnixStream, Ends, DuplexStream) {
        let (ours, theirs) = Ends::pair().expect("a pair");
        for end in [&ours, &theirs] {
            end.set_nonblocking(true).expect("it can");
        }
        let held = ours.try_clone().expect("one more descriptor");
        let mut inside = Pieced::new(UnixStream::from_std(ours).expect("it registers"));
        let (mut outside, upstream) = tokio::io::duplex(16);
        let task =
            tokio::spawn(
                async move { run(&mut inside, &mut outside, &Rates::new(&profile("")), &Counts::default()).await },
            );
        (task, UnixStream::from_std(theirs).expect("it registers"), held, upstream)
    }

    async fn ended(task: JoinHandle<Result<(), Broken>>) -> Result<(), Broken> {
        tokio::time::timeout(LIMIT, task).await.expect("it ends").expect("it ran")
    }

    async fn all(mut upstream: DuplexStream) -> usize {
        let mut all = Vec::new();
        tokio::time::timeout(LIMIT, upstream.read_to_end(&mut all)).await.expect("it ends").expect("it is whole");
        all.len()
    }

    #[tokio::test]
    async fn a_tunnel_ends_when_its_component_sends_no_more_and_then_leaves() {
        let (task, theirs, _held, mut upstream) = tunnel();
        rustix::net::shutdown(&theirs, rustix::net::Shutdown::Write).expect("it is open");
        assert_eq!(upstream.read(&mut [0]).await.expect("it ends"), 0);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!task.is_finished(), "the component may still be answered");
        drop(theirs);
        assert_eq!(ended(task).await, Ok(()));
        drop(upstream);
    }

    /// Whoever is shut by the session, or leaves, has sent what it wrote, also where the upstream talks all the while, and
    /// listens to nothing before it is heard.
    #[tokio::test]
    async fn what_a_component_had_sent_goes_out_to_an_upstream_that_talks() {
        for shut in [true, false] {
            let (task, mut theirs, held, mut upstream) = tunnel();
            theirs.write_all(SENT).await.expect("somebody reads");
            let mut begun = [0; 1];
            upstream.read_exact(&mut begun).await.expect("it comes");
            if shut {
                held.shutdown(Shutdown::Both).expect("it is open");
            } else {
                drop(theirs);
            }
            upstream.write_all(&[b'y'; 1000]).await.expect("somebody reads");
            assert_eq!(all(upstream).await, SENT.len() - 1, "{shut}");
            assert_eq!(ended(task).await, Ok(()), "{shut}");
        }
    }

    /// The kernel tells the other end of a socket that was closed before all was read of a reset.
    #[tokio::test]
    async fn a_component_that_leaves_without_reading_has_sent_what_it_wrote() {
        let (task, mut theirs, _held, mut upstream) = tunnel();
        upstream.write_all(b"an answer").await.expect("somebody reads");
        theirs.readable().await.expect("it comes");
        theirs.write_all(SENT).await.expect("somebody reads");
        drop(theirs);
        assert_eq!(all(upstream).await, SENT.len());
        assert_eq!(ended(task).await, Ok(()));
    }

    #[tokio::test]
    async fn an_upstream_that_fails_ends_a_tunnel_whose_component_listens() {
        let (task, mut theirs, _held, upstream) = tunnel();
        drop(upstream);
        theirs.write_all(SENT).await.expect("it is open");
        assert!(matches!(ended(task).await, Err(Broken::Failed(_))));
    }
}
