//! How an outlet's socket is served where it cannot come out: what its end out here and the init say to each other.
//! It never opens a socket, and never waits.
//!
//! Each socket has a line, a `SOCK_SEQPACKET` pair of which the init has one end. On the line of
//! - a listener come streams from out here, one at a time. The init takes a connection when it has one, and writes the
//!   [address](Address) that the guest wanted to reach on it, then what the guest sends, to its end. What comes back is in
//!   pieces, each with its length before it (two bytes, big-endian); the one that is empty is the end. A stream that ends
//!   without is a connection that was reset.
//! - a socket for datagrams goes each with the addresses that it was sent to and came from before it; an answer comes back
//!   with the same two, in the same order.
//! - refusals go [packets, and how many were lost](Refused).

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Bytes of an address: IPv6, or IPv4 mapped to it, and a port, big-endian.
pub const ADDRESS_BYTES: usize = 18;
/// Bytes before a datagram: two addresses.
pub const DATAGRAM_HEAD_BYTES: usize = 2 * ADDRESS_BYTES;
/// Bytes of a piece's length.
pub const LENGTH_BYTES: usize = 2;
/// First byte of a message that counts packets; no packet begins with it, since it is a version of IP.
const LOST: u8 = 0;

/// An address, as it goes over a line.
pub type Address = [u8; ADDRESS_BYTES];

/// The address in its bytes.
pub fn address(bytes: &Address) -> SocketAddr {
    let (ip, port) = bytes.split_at(ADDRESS_BYTES - 2);
    let ip = <[u8; 16]>::try_from(ip).expect("sixteen are left");
    let port = u16::from_be_bytes(port.try_into().expect("two are left"));
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(ip)).to_canonical(), port)
}

/// The bytes of an address.
pub(crate) fn bytes_of(address: SocketAddr) -> Address {
    let mut bytes = [0; ADDRESS_BYTES];
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    bytes[..ADDRESS_BYTES - 2].copy_from_slice(&ip.octets());
    bytes[ADDRESS_BYTES - 2..].copy_from_slice(&address.port().to_be_bytes());
    bytes
}

/// What comes on the line of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused<'a> {
    /// A packet, from the network header on.
    Packet(&'a [u8]),
    /// So many packets found no room on the line since this was last said.
    Lost(u64),
}

impl<'a> Refused<'a> {
    /// A message of the line; `None` for one that is none.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        match message {
            [] => None,
            [LOST, count @ ..] => count.try_into().ok().map(u64::from_be_bytes).map(Self::Lost),
            packet => Some(Self::Packet(packet)),
        }
    }
}

/// The message that so many packets were lost.
pub(crate) fn lost(count: u64) -> Vec<u8> {
    [&[LOST][..], &count.to_be_bytes()].concat()
}

/// Gives the init a stream for the next connection of a listener. It does not wait.
///
/// # Errors
/// No room on the line (`EAGAIN`), or the init is gone (`EPIPE`, `ECONNRESET`).
pub fn offer(line: BorrowedFd<'_>, stream: &OwnedFd) -> std::io::Result<()> {
    let descriptors = [stream.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::NOBUFS.into());
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(line, &[IoSlice::new(&[1])], &mut ancillary, flags)?;
    Ok(())
}

/// A stream that was offered; `None` when there is none yet.
pub(crate) fn offered(line: &OwnedFd) -> Result<Option<OwnedFd>, Errno> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = match rustix::net::recvmsg(line, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags) {
        Ok(received) => received,
        Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let mut streams = ancillary
        .drain()
        .filter_map(|message| if let RecvAncillaryMessage::ScmRights(rights) = message { Some(rights) } else { None });
    match (received.bytes, streams.next().and_then(|mut rights| rights.next())) {
        (1.., Some(stream)) => Ok(Some(stream)),
        // Nobody serves the outlet any more.
        (0, _) => Err(Errno::PIPE),
        (_, None) => Err(Errno::PROTO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_were_written() {
        for text in ["93.184.216.34:443", "[2001:db8::1]:53", "0.0.0.0:0", "[::1]:65535"] {
            let wanted: SocketAddr = text.parse().expect("an address");
            assert_eq!(address(&bytes_of(wanted)), wanted);
        }
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:80".parse().expect("an address");
        assert_eq!(address(&bytes_of(mapped)).to_string(), "10.0.0.1:80");
    }

    #[test]
    fn refusals_are_packets_or_a_count_and_nothing_else() {
        assert_eq!(Refused::read(&lost(7)), Some(Refused::Lost(7)));
        assert_eq!(Refused::read(b"\x45\0\0\x14"), Some(Refused::Packet(b"\x45\0\0\x14")));
        for wrong in [&b""[..], b"\0", b"\0\0\0\0\0\0\0\0", b"\0\0\0\0\0\0\0\0\0\0"] {
            assert_eq!(Refused::read(wrong), None);
        }
    }

    #[test]
    fn a_stream_is_offered_once_and_a_closed_line_is_told_from_an_empty_one() {
        let pair = |kind| {
            let family = rustix::net::AddressFamily::UNIX;
            rustix::net::socketpair(family, kind, rustix::net::SocketFlags::CLOEXEC, None).expect("a pair")
        };
        let (line, theirs) = pair(rustix::net::SocketType::SEQPACKET);
        assert!(offered(&theirs).expect("it is open").is_none());
        let (stream, far) = pair(rustix::net::SocketType::STREAM);
        offer(line.as_fd(), &far).expect("there is room");
        drop(far);
        let taken = offered(&theirs).expect("it is open").expect("it was offered");
        rustix::io::write(&taken, b"x").expect("it is a stream");
        assert_eq!(rustix::io::read(&stream, &mut [0; 8]), Ok(1));
        rustix::io::write(&line, b"x").expect("there is room");
        assert_eq!(offered(&theirs).expect_err("nothing came along"), Errno::PROTO);
        drop(line);
        assert_eq!(offered(&theirs).expect_err("it is closed"), Errno::PIPE);
    }
}
