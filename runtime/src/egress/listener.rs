//! Where connections from inside arrive: at a socket of the inside, or on a line by which its init relays one.
//! It never reads what a connection carries.

use super::front::Client;
use super::pieces::Pieced;
use super::watched;
use crate::error::{Error, Result};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use stockade_jail::OutletEnd;
use stockade_jail::outlet::relayed;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::{TcpListener, UnixStream};

/// A listener of the outlet.
#[derive(Debug)]
pub(super) enum Listener {
    Socket(TcpListener),
    Relayed(AsyncFd<OwnedFd>),
}

impl Listener {
    /// Must be called within a runtime.
    pub(super) fn new(end: OutletEnd) -> Result<Self> {
        let made = match end {
            OutletEnd::Socket(socket) => {
                let listener = std::net::TcpListener::from(socket);
                listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)).map(Self::Socket)
            }
            OutletEnd::Relayed(line) => watched(line, Interest::WRITABLE).map(Self::Relayed),
        };
        made.map_err(|e| Error::host(format!("take over a listener: {}", crate::error::plain(&e))))
    }

    /// The next connection, and where its client wanted to go.
    ///
    /// # Errors
    /// There is no room for one more; later there may be.
    pub(super) async fn accept(&self) -> io::Result<(Client, SocketAddr)> {
        match self {
            Self::Socket(listener) => loop {
                let (stream, _) = listener.accept().await?;
                // It is gone already where it has no address.
                let Ok(local) = stream.local_addr() else { continue };
                // It fails only on a socket that is gone.
                drop(stream.set_nodelay(true));
                return Ok((Client::Left(stream), local));
            },
            Self::Relayed(line) => loop {
                let (mut ours, theirs) = UnixStream::pair()?;
                let theirs = OwnedFd::from(theirs.into_std()?);
                let offered = line.async_io(Interest::WRITABLE, |line| relayed::offer(line.as_fd(), &theirs)).await;
                drop(theirs);
                match offered {
                    Ok(()) => {}
                    // Nobody is left inside who could connect.
                    Err(error) if is_over(&error) => return std::future::pending().await,
                    Err(error) => return Err(error),
                }
                let mut to = [0; relayed::ADDRESS_BYTES];
                // It ends unused where its connection did before it was begun.
                let Ok(_) = ours.read_exact(&mut to).await else { continue };
                return Ok((Client::Right(Pieced::new(ours)), relayed::address(&to)));
            },
        }
    }
}

/// Whether the other end is closed.
pub(super) fn is_over(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    use std::io::{IoSliceMut, Read as _, Write as _};
    use std::mem::MaybeUninit;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt as _;

    /// The stream that was offered.
    fn offered(line: &OwnedFd) -> std::os::unix::net::UnixStream {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        rustix::net::recvmsg(line, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
            .expect("it was offered");
        let mut messages = ancillary.drain();
        let Some(RecvAncillaryMessage::ScmRights(mut rights)) = messages.next() else { panic!("nothing came along") };
        rights.next().expect("one").into()
    }

    #[tokio::test]
    async fn a_connection_that_is_relayed_says_where_to_and_one_that_ends_before_is_passed_over() {
        let pair = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        );
        let (ours, theirs) = pair.expect("a pair");
        let listener = Listener::new(OutletEnd::Relayed(ours)).expect("it can be waited for");
        let init = tokio::task::spawn_blocking(move || {
            drop(offered(&theirs));
            let mut stream = offered(&theirs);
            stream.set_nonblocking(false).expect("it is ours");
            let to = [&[0; 10][..], &[0xff, 0xff, 93, 184, 216, 34], &443_u16.to_be_bytes(), b"hello"].concat();
            // However it comes.
            to.iter().for_each(|byte| stream.write_all(&[*byte]).expect("somebody reads"));
            let mut said = Vec::new();
            stream.read_to_end(&mut said).expect("it ends");
            said
        });
        let (mut stream, to) = listener.accept().await.expect("it comes");
        assert_eq!(to.to_string(), "93.184.216.34:443");
        let mut said = [0; 5];
        stream.read_exact(&mut said).await.expect("it is said");
        assert_eq!(&said, b"hello");
        stream.write_all(b"you").await.expect("somebody reads");
        stream.shutdown().await.expect("somebody reads");
        drop(stream);
        assert_eq!(init.await.expect("it ran"), b"\0\x03you\0\0");
        // The init is gone: nobody comes any more, and nothing fails.
        tokio::time::timeout(Duration::from_millis(50), listener.accept()).await.expect_err("nobody is there");
    }
}
