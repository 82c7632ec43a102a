//! Bytes between a server inside and a client outside, counted and bounded in time.
//! It never looks at them.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Bytes that are moved at a time.
const MOVED_BYTES_MAX: usize = 16 * 1024;
/// A connection in which nothing moves for so long is closed.
const IDLE: Duration = Duration::from_secs(3600);

/// What a connection has carried so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    up_bytes: AtomicU64,
    down_bytes: AtomicU64,
}

impl Counts {
    /// Bytes from inside, and bytes to the inside.
    pub(super) fn get(&self) -> (u64, u64) {
        (self.up_bytes.load(Ordering::Relaxed), self.down_bytes.load(Ordering::Relaxed))
    }
}

/// Why a connection ended otherwise than by both ends' will; for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Broken {
    /// An end failed.
    Failed(String),
    /// Nothing moved for a long time.
    Idle,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => f.write_str(why),
            Self::Idle => write!(f, "nothing moved for {} s", IDLE.as_secs()),
        }
    }
}

/// Carries bytes until both ends have ended, each in its own time.
///
/// # Errors
/// As [`Broken`] says.
pub(super) async fn carry(
    inside: impl AsyncRead + AsyncWrite,
    outside: UnixStream,
    counts: &Counts,
) -> Result<(), Broken> {
    let (from_inside, to_inside) = tokio::io::split(inside);
    let (from_outside, to_outside) = outside.into_split();
    let mut moving = std::pin::pin!(async {
        tokio::try_join!(
            one_way(from_inside, to_outside, &counts.up_bytes),
            one_way(from_outside, to_inside, &counts.down_bytes)
        )
    });
    let mut seen = (0, 0);
    loop {
        match tokio::time::timeout(IDLE, &mut moving).await {
            Ok(ended) => return ended.map(drop).map_err(|e| Broken::Failed(crate::error::plain(&e))),
            Err(_) if counts.get() == seen => return Err(Broken::Idle),
            Err(_) => seen = counts.get(),
        }
    }
}

async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; MOVED_BYTES_MAX];
    loop {
        let read = from.read(&mut buffer).await?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else {
            // One that has gone altogether has no side left to close.
            return match to.shutdown().await {
                Err(e) if e.kind() != io::ErrorKind::NotConnected => Err(e),
                Ok(()) | Err(_) => Ok(()),
            };
        };
        to.write_all(piece).await?;
        count.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
}
