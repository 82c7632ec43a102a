//! Questions in datagrams, at a socket of the inside or on a line by which its init relays one.
//! It never answers from another address than the one that was asked.

use super::DATAGRAM_BYTES_MAX;
use crate::egress::listener::is_over;
use crate::egress::watched;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use rustix::net::{RecvFlags, SendFlags};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, OwnedFd};
use stockade_jail::OutletEnd;
use stockade_jail::outlet::relayed::DATAGRAM_HEAD_BYTES;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;

/// Where datagrams come from.
#[derive(Debug)]
pub(super) enum Datagrams {
    Socket(UdpSocket),
    Relayed(AsyncFd<OwnedFd>),
}

/// A datagram that came.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) bytes: Vec<u8>,
    back: Back,
}

/// How a reply gets to who asked.
#[derive(Debug)]
enum Back {
    To(SockaddrStorage, AskedAt),
    /// Behind the same bytes.
    Relayed([u8; DATAGRAM_HEAD_BYTES]),
}

/// The address that was asked, in the form that makes it the source of a reply.
#[derive(Debug)]
enum AskedAt {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

impl Datagrams {
    /// Must be called within a runtime.
    pub(super) fn new(end: OutletEnd) -> io::Result<Self> {
        match end {
            OutletEnd::Socket(socket) => saying_where(socket).map(Self::Socket),
            OutletEnd::Relayed(line) => watched(line, Interest::READABLE).map(Self::Relayed),
        }
    }

    /// The next one; `None` for one that cannot be answered.
    pub(super) async fn next(&self) -> io::Result<Option<Datagram>> {
        let mut buffer = [0; DATAGRAM_HEAD_BYTES + DATAGRAM_BYTES_MAX + 1];
        match self {
            Self::Socket(socket) => {
                let buffer = &mut buffer[DATAGRAM_HEAD_BYTES..];
                socket.async_io(Interest::READABLE, || receive(socket, buffer)).await
            }
            Self::Relayed(line) => {
                let hear = |line: &OwnedFd| Ok(rustix::net::recv(line, &mut buffer[..], RecvFlags::DONTWAIT)?.0);
                match line.async_io(Interest::READABLE, hear).await {
                    // Nobody is left inside who could ask.
                    Ok(0) => std::future::pending().await,
                    Err(error) if is_over(&error) => std::future::pending().await,
                    Err(error) => Err(error),
                    Ok(length) => {
                        let message = buffer.get(..length).unwrap_or_default();
                        let Some((head, bytes)) = message.split_first_chunk() else { return Ok(None) };
                        Ok(Some(Datagram::new(bytes, Back::Relayed(*head))))
                    }
                }
            }
        }
    }

    /// Answers one, from the address that was asked. It does not wait.
    pub(super) fn answer(&self, datagram: &Datagram, reply: &[u8]) -> io::Result<()> {
        match (self, &datagram.back) {
            (Self::Socket(socket), Back::To(from, asked)) => send(socket, from, asked, reply),
            (Self::Relayed(line), Back::Relayed(head)) => {
                let message = [&head[..], reply].concat();
                rustix::net::send(line.get_ref(), &message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
                Ok(())
            }
            (Self::Socket(_), Back::Relayed(_)) | (Self::Relayed(_), Back::To(..)) => {
                Err(io::ErrorKind::InvalidInput.into())
            }
        }
    }
}

impl Datagram {
    /// What is longer is cut: it is no question.
    fn new(bytes: &[u8], back: Back) -> Self {
        Self { bytes: bytes.get(..DATAGRAM_BYTES_MAX).unwrap_or(bytes).to_vec(), back }
    }
}

/// The socket, non-blocking, saying for each datagram which address it was sent to (ip(7), ipv6(7)).
fn saying_where(socket: OwnedFd) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::from(socket);
    socket.set_nonblocking(true)?;
    // An IPv6 socket reports IPv4 datagrams as mapped ones, and takes them back so.
    if setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true).is_err() {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    }
    UdpSocket::from_std(socket)
}

/// A datagram; `None` for one that cannot be answered.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
    let mut slices = [IoSliceMut::new(buffer)];
    let mut space = cmsg_space!(in_pktinfo, in6_pktinfo);
    let received = loop {
        match recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            // A reply of before that met nobody comes back as an error; it is none of this socket.
            Err(Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH) => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(received) => break received,
        }
    };
    let asked = received.cmsgs()?.find_map(|message| {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the kernel's list of messages is open")]
        match message {
            // The interface stays open: what counts is the source address.
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(AskedAt::V4(in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: info.ipi_addr, ..info }))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(AskedAt::V6(in6_pktinfo { ipi6_ifindex: 0, ..info })),
            _ => None,
        }
    });
    let (from, length) = (received.address, received.bytes);
    Ok(from
        .zip(asked)
        .map(|(from, asked)| Datagram::new(buffer.get(..length).unwrap_or_default(), Back::To(from, asked))))
}

fn send(socket: &UdpSocket, from: &SockaddrStorage, asked: &AskedAt, reply: &[u8]) -> io::Result<()> {
    let source = match asked {
        AskedAt::V4(info) => ControlMessage::Ipv4PacketInfo(info),
        AskedAt::V6(info) => ControlMessage::Ipv6PacketInfo(info),
    };
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(reply)], &[source], MsgFlags::MSG_DONTWAIT, Some(from))?;
    Ok(())
}
