//! Who is at the inner end of a connection: a process, by the kernel's TCP or its init's relay of it, or a component, by a
//! socket of its worker's.
//! It never decides anything: both are judged alike.

use crate::egress::pieces::Pieced;
use std::io;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::either::Either;

/// The inner end of a connection.
pub(in crate::egress) trait InnerEnd: AsyncRead + AsyncWrite + Unpin {
    /// Lets its client see a reset, and not an end, when it is dropped.
    fn reset(&self);

    /// Whether its client can neither send nor read any more, where that is known.
    fn is_deserted(&self) -> bool;

    /// Ready when it is deserted, where that is known. To be asked once it has ended: nobody is woken by it that reads.
    fn poll_deserted(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl InnerEnd for TcpStream {
    fn reset(&self) {
        // It fails only on a socket that is gone already, which is what is wanted.
        drop(self.set_zero_linger());
    }

    fn is_deserted(&self) -> bool {
        // The kernel says it when something is sent to it.
        false
    }

    fn poll_deserted(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl InnerEnd for Pieced {
    fn reset(&self) {
        // Dropped before it was shut, it is one.
    }

    fn is_deserted(&self) -> bool {
        Self::is_deserted(self)
    }

    fn poll_deserted(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_deserted(self, cx)
    }
}

/// Either: TCP on the left; on the right what comes in pieces, of a component or a process whose TCP is relayed.
pub(in crate::egress) type Client = Either<TcpStream, Pieced>;

impl InnerEnd for Client {
    fn reset(&self) {
        match self {
            Self::Left(stream) => stream.reset(),
            Self::Right(stream) => stream.reset(),
        }
    }

    fn is_deserted(&self) -> bool {
        match self {
            Self::Left(stream) => stream.is_deserted(),
            Self::Right(stream) => stream.is_deserted(),
        }
    }

    fn poll_deserted(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Left(stream) => stream.poll_deserted(cx),
            Self::Right(stream) => stream.poll_deserted(cx),
        }
    }
}
