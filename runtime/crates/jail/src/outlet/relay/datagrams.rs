//! Datagrams of IPv4 with the address that each was sent to (ip(7), `IP_PKTINFO`).
//! It never waits, and never answers from another address than the one that was asked.

use crate::sys;
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Longest datagram that is moved, either way; what is longer is cut, and its reader sees that it does not parse.
pub(super) const BYTES_MAX: usize = 4096;
/// A control message of a `struct in_pktinfo`, as it lies in memory (cmsg(3)).
#[repr(C)]
struct Control {
    head: libc::cmsghdr,
    info: libc::in_pktinfo,
}

/// Bytes of one that say something: what is left of the structure is padding.
const CONTROL_BYTES: usize = size_of::<libc::cmsghdr>() + size_of::<libc::in_pktinfo>();

/// A datagram.
#[derive(Debug)]
pub(super) struct Said {
    /// Where a guest sent it, or asked what this answers.
    pub(super) to: SocketAddr,
    /// The guest's own address.
    pub(super) from: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// The next one; `None` where it does not say where it was sent.
pub(super) fn receive(socket: &OwnedFd) -> Result<Option<Said>, Errno> {
    let mut bytes = vec![0; BYTES_MAX];
    // SAFETY: an all-zero sockaddr_in is a valid value of that plain C structure.
    let mut from: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    let mut control = Control::saying(Ipv4Addr::UNSPECIFIED);
    let mut slice = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut message = header(&raw mut from, &raw mut slice, &raw mut control);
    // SAFETY: `message` points to an address, a slice of `bytes` and a control message that all live across the call, each
    // with its exact size; the kernel writes no more than that, and any bytes are valid values of those C structures.
    let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let count = sys::answer(i64::try_from(result).map_err(|_| Errno::OVERFLOW)?)?;
    bytes.truncate(usize::try_from(count).map_err(|_| Errno::OVERFLOW)?);
    let is_whole = message.msg_controllen >= CONTROL_BYTES && control.head.cmsg_len >= CONTROL_BYTES;
    let kind = (control.head.cmsg_level, control.head.cmsg_type);
    if !is_whole || kind != (libc::IPPROTO_IP, libc::IP_PKTINFO) {
        return Ok(None);
    }
    // The port is the socket's own, which its user out there knows.
    let to = SocketAddr::new(IpAddr::V4(Ipv4Addr::from(u32::from_be(control.info.ipi_addr.s_addr))), 0);
    let from = SocketAddrV4::new(Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr)), u16::from_be(from.sin_port));
    Ok(Some(Said { to, from: from.into(), bytes }))
}

/// Sends an answer from the address that was asked.
pub(super) fn answer(socket: &OwnedFd, answer: &Said) -> Result<(), Errno> {
    let (SocketAddr::V4(asked), SocketAddr::V4(guest)) = (answer.to, answer.from) else {
        return Err(Errno::AFNOSUPPORT);
    };
    // SAFETY: as above.
    let mut to: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    to.sin_family = libc::sa_family_t::try_from(libc::AF_INET).map_err(|_| Errno::AFNOSUPPORT)?;
    to.sin_port = guest.port().to_be();
    to.sin_addr.s_addr = guest.ip().to_bits().to_be();
    let mut control = Control::saying(*asked.ip());
    // sendmsg(2) takes it as writable, and does not write.
    let mut slice = libc::iovec { iov_base: answer.bytes.as_ptr().cast_mut().cast(), iov_len: answer.bytes.len() };
    let message = header(&raw mut to, &raw mut slice, &raw mut control);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: everything that `message` points to lives across the call, each with its exact size.
    let result = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    sys::answer(i64::try_from(result).map_err(|_| Errno::OVERFLOW)?).map(drop)
}

impl Control {
    /// That a datagram is sent from this address.
    fn saying(source: Ipv4Addr) -> Self {
        let source = libc::in_addr { s_addr: source.to_bits().to_be() };
        let head = libc::cmsghdr { cmsg_len: CONTROL_BYTES, cmsg_level: libc::IPPROTO_IP, cmsg_type: libc::IP_PKTINFO };
        Self { head, info: libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: source } }
    }
}

fn header(address: *mut libc::sockaddr_in, slice: *mut libc::iovec, control: *mut Control) -> libc::msghdr {
    // SAFETY: an all-zero msghdr is a valid value of that plain C structure.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = address.cast();
    message.msg_namelen = libc::socklen_t::try_from(size_of::<libc::sockaddr_in>()).unwrap_or_default();
    (message.msg_iov, message.msg_iovlen) = (slice, 1);
    (message.msg_control, message.msg_controllen) = (control.cast(), size_of::<Control>());
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_datagram_is_answered_from_where_it_was_sent() {
        let server = UdpSocket::bind("0.0.0.0:0").expect("a port");
        let port = server.local_addr().expect("it is bound").port();
        let server = OwnedFd::from(server);
        assert!(receive(&server).is_err(), "nothing came");
        crate::outlet::switch_on(&server, libc::IPPROTO_IP, libc::IP_PKTINFO).expect("it can");
        let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
        client.connect(("127.7.7.7", port)).expect("the loopback has it");
        client.send(b"asked").expect("somebody listens");
        let said = receive(&server).expect("it came").expect("it says where it went");
        assert_eq!((said.to.to_string().as_str(), said.bytes.as_slice()), ("127.7.7.7:0", &b"asked"[..]));
        assert_eq!(said.from, client.local_addr().expect("it is bound"));
        answer(&server, &Said { bytes: b"told".to_vec(), ..said }).expect("there is room");
        let mut bytes = [0; 9];
        assert_eq!(client.recv(&mut bytes).expect("from that address alone"), 4);
    }
}
