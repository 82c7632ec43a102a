//! Datagrams of IPv4 with the address that each was sent to (ip(7), `IP_PKTINFO`).
//! It never waits, and never answers from another address than the one that was asked.

use crate::sys;
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Longest datagram that is moved, either way; what is longer is cut, and its reader sees that it does not parse.
pub(super) const BYTES_MAX: usize = 4096;
/// Room for one control message of a `struct in_pktinfo`, aligned as the kernel wants it.
const CONTROL_WORDS: usize = 8;

/// A datagram.
#[derive(Debug)]
pub(super) struct Said {
    /// Where a guest sent it, or asked what this answers.
    pub(super) to: SocketAddr,
    /// The guest's own address.
    pub(super) from: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// The next one; `None` where there is none, or it does not say where it was sent.
pub(super) fn receive(socket: &OwnedFd) -> Result<Option<Said>, Errno> {
    let mut bytes = vec![0; BYTES_MAX];
    let mut control = [0_u64; CONTROL_WORDS];
    // SAFETY: an all-zero sockaddr_in is a valid value of that plain C structure.
    let mut from: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    let mut slice = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut message = header(&raw mut from, &raw mut slice, &mut control);
    message.msg_controllen = size_of_val(&control);
    // SAFETY: `message` points to an address, a slice of `bytes` and a buffer that all live across the call, each with its
    // exact size; the kernel writes no more than that.
    let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let count = sys::answer(i64::try_from(result).map_err(|_| Errno::OVERFLOW)?)?;
    bytes.truncate(usize::try_from(count).map_err(|_| Errno::OVERFLOW)?);
    // SAFETY: `message` was filled in by the kernel, and its control buffer lives; the first header is looked at only when
    // the macro finds room for a whole one, and its data only when its length says that a whole in_pktinfo is there.
    let asked = unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const message);
        first
            .as_ref()
            .filter(|head| is_packet_info(head))
            .map(|head| libc::CMSG_DATA(std::ptr::from_ref(head)).cast::<libc::in_pktinfo>().read_unaligned().ipi_addr)
    };
    let Some(asked) = asked else { return Ok(None) };
    // The port is the socket's own, which its user out there knows.
    let to = SocketAddr::new(IpAddr::V4(Ipv4Addr::from(u32::from_be(asked.s_addr))), 0);
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
    let source = libc::in_addr { s_addr: asked.ip().to_bits().to_be() };
    let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: source };
    let mut control = [0_u64; CONTROL_WORDS];
    // sendmsg(2) takes it as writable, and does not write.
    let mut slice = libc::iovec { iov_base: answer.bytes.as_ptr().cast_mut().cast(), iov_len: answer.bytes.len() };
    let mut message = header(&raw mut to, &raw mut slice, &mut control);
    let size = u32::try_from(size_of_val(&info)).map_err(|_| Errno::OVERFLOW)?;
    // SAFETY: both macros only compute; `control` is aligned for a header, has room for one of this size (64 bytes for 16
    // and 12), and the header that is found is within it.
    unsafe {
        message.msg_controllen = usize::try_from(libc::CMSG_SPACE(size)).map_err(|_| Errno::OVERFLOW)?;
        let head = libc::CMSG_FIRSTHDR(&raw const message).as_mut().ok_or(Errno::OVERFLOW)?;
        head.cmsg_level = libc::IPPROTO_IP;
        head.cmsg_type = libc::IP_PKTINFO;
        head.cmsg_len = usize::try_from(libc::CMSG_LEN(size)).map_err(|_| Errno::OVERFLOW)?;
        libc::CMSG_DATA(head).cast::<libc::in_pktinfo>().write_unaligned(info);
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: everything that `message` points to lives across the call, each with its exact size.
    let result = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    sys::answer(i64::try_from(result).map_err(|_| Errno::OVERFLOW)?).map(drop)
}

fn header(
    address: *mut libc::sockaddr_in,
    slice: *mut libc::iovec,
    control: &mut [u64; CONTROL_WORDS],
) -> libc::msghdr {
    // SAFETY: an all-zero msghdr is a valid value of that plain C structure.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = address.cast();
    message.msg_namelen = libc::socklen_t::try_from(size_of::<libc::sockaddr_in>()).unwrap_or_default();
    (message.msg_iov, message.msg_iovlen) = (slice, 1);
    message.msg_control = control.as_mut_ptr().cast();
    message
}

fn is_packet_info(head: &libc::cmsghdr) -> bool {
    // SAFETY: the macro only computes.
    let length = unsafe { libc::CMSG_LEN(u32::try_from(size_of::<libc::in_pktinfo>()).unwrap_or(u32::MAX)) };
    let is_whole = usize::try_from(length).is_ok_and(|length| head.cmsg_len >= length);
    (head.cmsg_level, head.cmsg_type) == (libc::IPPROTO_IP, libc::IP_PKTINFO) && is_whole
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
