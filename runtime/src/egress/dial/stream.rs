//! A connection to the world as bytes: plain, or inside the TLS of a company's proxy.
//! It never loses what a proxy sent behind its answer.

use bytes::{Buf as _, Bytes, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// Most that is read of what a host says first, where it has to be read to be known.
const FIRST_BYTES: usize = 512;

/// A connection to a host.
#[derive(Debug)]
pub struct Stream {
    /// What the proxy sent after its answer, which is the host's.
    ahead: Bytes,
    way: Way,
}

/// The bytes themselves, or inside the TLS of a proxy.
pub(super) type Way = Either<TcpStream, Box<TlsStream<TcpStream>>>;

impl Stream {
    pub(super) fn plain(stream: TcpStream) -> Self {
        Self { ahead: Bytes::new(), way: Either::Left(stream) }
    }

    pub(super) fn behind(way: Way, ahead: Bytes) -> Self {
        Self { ahead, way }
    }

    /// Waits until the host says something, or goes away. What TLS itself says is none of the host's.
    pub async fn speaks(&mut self) {
        if !self.ahead.is_empty() {
            return;
        }
        match &mut self.way {
            // An error is a connection that is gone: whoever reads next is told.
            Either::Left(stream) => drop(stream.readable().await),
            Either::Right(stream) => {
                let mut said = BytesMut::with_capacity(FIRST_BYTES);
                drop(stream.read_buf(&mut said).await);
                self.ahead = said.freeze();
            }
        }
    }

    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        match &self.way {
            Either::Left(stream) => stream,
            Either::Right(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.way).poll_read(cx, buf);
        }
        let some = this.ahead.split_to(this.ahead.remaining().min(buf.remaining()));
        buf.put_slice(&some);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().way).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().way).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().way).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().way).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.way.is_write_vectored()
    }
}
