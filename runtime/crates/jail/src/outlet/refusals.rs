//! The packet socket that sees what a guest sends although nobody may listen for it: the kernel refuses, the log knows.
//! It never sees what a connection carries, and never sends.

use crate::error::JailError;
use crate::kernel::Kernel;
use crate::route::LOOPBACK;
use crate::sys;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

/// Bytes of a packet that are kept, from the network header on: the longest IPv4 header and a TCP header, or an IPv6
/// header with options, and room to spare.
const SNAP_BYTES: u32 = 128;

/// Opens it on the loopback of the calling thread's net namespace. gVisor takes a filter, and does not apply it.
pub(super) fn open(own: [IpAddr; 2], kernel: Kernel) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Protocol 0: it hears nothing before it is bound, with its filter in place.
    let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?;
    if kernel == Kernel::Host {
        let mut program = filter(own);
        let length = u16::try_from(program.len()).map_err(|_| Errno::TOOBIG)?;
        let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
        set(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
    }
    let all = u16::try_from(libc::ETH_P_ALL).expect("3").to_be();
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).expect("17"),
        sll_protocol: all,
        sll_ifindex: i32::try_from(LOOPBACK).expect("1"),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let size = libc::socklen_t::try_from(size_of_val(&address)).expect("twenty");
    // SAFETY: `address` is a live sockaddr_ll of exactly this size, which the kernel copies (packet(7)).
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) };
    sys::answer(i64::from(result))?;
    Ok(socket)
}

/// setsockopt(2) of a structure.
fn set<T>(socket: &OwnedFd, level: i32, option: i32, value: &T) -> Result<(), Errno> {
    let size = libc::socklen_t::try_from(size_of::<T>()).expect("options are small");
    // SAFETY: `value` lives across the call and its exact size is passed; what it points to (the program of `open`)
    // does too, and the kernel copies both (setsockopt(2), socket(7)).
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), size) };
    sys::answer(i64::from(result)).map(drop)
}

/// How many packets the socket that stands for [`crate::plan::OutletSocket::Refusals`] had no room for since this was
/// last asked: what the log does not have.
///
/// # Errors
/// The descriptor is no packet socket.
pub fn lost_since_last_asked(refusals: BorrowedFd<'_>) -> Result<u64, JailError> {
    let mut counters = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut size = libc::socklen_t::try_from(size_of_val(&counters)).expect("eight");
    let (level, option) = (libc::SOL_PACKET, libc::PACKET_STATISTICS);
    // SAFETY: `counters` is a live structure of the size in `size`, both writable; the kernel writes no more than that.
    let result =
        unsafe { libc::getsockopt(refusals.as_raw_fd(), level, option, (&raw mut counters).cast(), &raw mut size) };
    let asked = sys::answer(i64::from(result));
    asked.map_err(|errno| JailError::os("count", "refusals that were lost", errno.raw_os_error()))?;
    Ok(u64::from(counters.tp_drops))
}

/// What one packet is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It opens a connection, or is a datagram: its first bytes.
    Attempt(Vec<u8>),
    /// Neither, or of the inside with itself.
    Other,
}

/// The next packet of a socket whose kernel has no filters (gVisor), judged by the same rules; `None` when there is none
/// now. Of IPv4 alone: there, nothing else is let onto the loopback.
pub(super) fn next(socket: &OwnedFd, own: Ipv4Addr) -> Result<Option<Seen>, Errno> {
    let mut packet = vec![0; usize::try_from(SNAP_BYTES).map_err(|_| Errno::OVERFLOW)?];
    // SAFETY: an all-zero sockaddr_ll is a valid value of that plain C structure.
    let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut size = libc::socklen_t::try_from(size_of_val(&from)).map_err(|_| Errno::OVERFLOW)?;
    let (bytes, length) = (packet.as_mut_ptr().cast(), packet.len());
    // SAFETY: the kernel writes no more than `length` bytes of `packet`, and no more than `size` of `from`; both live.
    let result = unsafe {
        let from = (&raw mut from).cast();
        libc::recvfrom(socket.as_raw_fd(), bytes, length, libc::MSG_DONTWAIT, from, &raw mut size)
    };
    match sys::answer(i64::try_from(result).map_err(|_| Errno::OVERFLOW)?) {
        Ok(count) => packet.truncate(usize::try_from(count).map_err(|_| Errno::OVERFLOW)?),
        Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    let is_sent = u32::from(from.sll_pkttype) == OUTGOING;
    Ok(Some(if is_sent && is_attempt(&packet, own) { Seen::Attempt(packet) } else { Seen::Other }))
}

/// What [`filter`] keeps of IPv4.
fn is_attempt(packet: &[u8], own: Ipv4Addr) -> bool {
    let header_bytes = match packet.first() {
        Some(first) if first >> 4 == 4 => usize::from(first & 0xf) * 4,
        Some(_) | None => return false,
    };
    let fragment = packet.get(6..8).is_none_or(|field| field[0] & 0x1f != 0 || field[1] != 0);
    let Some(to) = packet.get(16..20).and_then(|octets| <[u8; 4]>::try_from(octets).ok()).map(Ipv4Addr::from) else {
        return false;
    };
    if fragment || to.is_loopback() || to == own {
        return false;
    }
    match packet.get(9).copied().map(u32::from) {
        Some(UDP) => true,
        Some(TCP) => packet.get(header_bytes + 13).is_some_and(|flags| u32::from(*flags) & SYN_ACK == SYN),
        Some(_) | None => false,
    }
}

/// Codes of classic BPF (linux/filter.h).
mod code {
    pub(super) const LOAD_WORD: u16 = 0x20;
    pub(super) const LOAD_HALF: u16 = 0x28;
    pub(super) const LOAD_BYTE: u16 = 0x30;
    pub(super) const LOAD_BYTE_AT_X: u16 = 0x50;
    /// X becomes four times the low half of a byte: the length of an IPv4 header.
    pub(super) const HEADER_LENGTH: u16 = 0xb1;
    pub(super) const AND: u16 = 0x54;
    pub(super) const IF_EQUAL: u16 = 0x15;
    pub(super) const IF_BITS: u16 = 0x45;
    pub(super) const RETURN: u16 = 0x06;
}

/// `SKF_AD_OFF`, with `SKF_AD_PROTOCOL` and `SKF_AD_PKTTYPE`.
const PROTOCOL: u32 = 0xffff_f000;
const PACKET_TYPE: u32 = 0xffff_f004;
/// A packet passes the loopback twice; this one was sent, the other (0) is received.
const OUTGOING: u32 = 4;
const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
const TCP: u32 = 6;
const UDP: u32 = 17;
const ICMPV6: u32 = 58;
/// SYN and ACK, of the flags of a TCP header.
const SYN_ACK: u32 = 0x12;
const SYN: u32 = 0x02;

/// Where a comparison leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Next,
    Keep,
    Drop,
    /// To the part for IPv6.
    Six,
    /// To the test of TCP's flags of that part.
    SixFlags,
    /// That many instructions further.
    Skip(u8),
}

/// An instruction, its branches by name.
type Line = (u16, u32, To, To);

const fn line(code: u16, operand: u32) -> Line {
    (code, operand, To::Next, To::Next)
}

/// Keeps what opens a connection and every first fragment of a datagram, to an address that is neither of the loopback
/// nor the sandbox's own.
fn filter(own: [IpAddr; 2]) -> Vec<libc::sock_filter> {
    let [IpAddr::V4(own_v4), IpAddr::V6(own_v6)] = own else { unreachable!("one of each family, see `make`") };
    let mut lines: Vec<Line> = vec![
        line(code::LOAD_WORD, PACKET_TYPE),
        (code::IF_EQUAL, OUTGOING, To::Next, To::Drop),
        line(code::LOAD_WORD, PROTOCOL),
        (code::IF_EQUAL, IPV6, To::Six, To::Next),
        (code::IF_EQUAL, IPV4, To::Next, To::Drop),
        line(code::LOAD_BYTE, 16),
        (code::IF_EQUAL, 127, To::Drop, To::Next),
        line(code::LOAD_WORD, 16),
        (code::IF_EQUAL, own_v4.to_bits(), To::Drop, To::Next),
        line(code::LOAD_HALF, 6),
        (code::IF_BITS, 0x1fff, To::Drop, To::Next),
        line(code::LOAD_BYTE, 9),
        (code::IF_EQUAL, UDP, To::Keep, To::Next),
        (code::IF_EQUAL, TCP, To::Next, To::Drop),
        line(code::HEADER_LENGTH, 0),
        line(code::LOAD_BYTE_AT_X, 13),
        line(code::AND, SYN_ACK),
        (code::IF_EQUAL, SYN, To::Keep, To::Drop),
    ];
    let six = lines.len();
    for own in [std::net::Ipv6Addr::LOCALHOST, own_v6] {
        // Seven instructions a word pair: each word that differs leads past the rest of this address.
        for (number, octets) in (0_u8..).zip(own.octets().chunks_exact(4)) {
            let word = octets.iter().fold(0_u32, |word, octet| word << 8 | u32::from(*octet));
            lines.push(line(code::LOAD_WORD, 24 + 4 * u32::from(number)));
            let equal = if number == 3 { To::Drop } else { To::Next };
            lines.push((code::IF_EQUAL, word, equal, To::Skip(2 * (3 - number))));
        }
    }
    lines.extend([
        line(code::LOAD_BYTE, 6),
        (code::IF_EQUAL, TCP, To::SixFlags, To::Next),
        // Datagrams, and whatever comes behind extension headers: few, and better seen than missed.
        (code::IF_EQUAL, ICMPV6, To::Drop, To::Keep),
    ]);
    let six_flags = lines.len();
    lines.extend([line(code::LOAD_BYTE, 40 + 13), line(code::AND, SYN_ACK), (code::IF_EQUAL, SYN, To::Keep, To::Drop)]);
    assemble(&lines, six, six_flags)
}

/// Gives the branches their distances; the last two instructions keep and drop.
fn assemble(lines: &[Line], six: usize, six_flags: usize) -> Vec<libc::sock_filter> {
    let (keep, drop) = (lines.len(), lines.len() + 1);
    let distance = |from: usize, to: To| {
        let to = match to {
            To::Next => return 0,
            To::Skip(count) => return count,
            To::Keep => keep,
            To::Drop => drop,
            To::Six => six,
            To::SixFlags => six_flags,
        };
        u8::try_from(to - from - 1).expect("the program has fewer than 256 instructions")
    };
    let branch = |(from, (code, operand, yes, no)): (usize, &Line)| libc::sock_filter {
        code: *code,
        jt: distance(from, *yes),
        jf: distance(from, *no),
        k: *operand,
    };
    let mut program: Vec<_> = lines.iter().enumerate().map(branch).collect();
    program.extend([SNAP_BYTES, 0].map(|bytes| libc::sock_filter { code: code::RETURN, jt: 0, jf: 0, k: bytes }));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 3);

    /// A packet to this address: protocol, flags of TCP, and the field of fragments.
    fn packet(to: [u8; 4], protocol: u32, flags: u8, fragment: u16) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = u8::try_from(protocol).expect("a small number");
        packet[16..20].copy_from_slice(&to);
        packet[33] = flags;
        packet
    }

    #[test]
    fn what_opens_a_connection_and_datagrams_are_attempts_and_nothing_else() {
        let far = [93, 184, 216, 34];
        for (expected, packet) in [
            (true, packet(far, TCP, 0x02, 0x4000)),
            (true, packet(far, UDP, 0, 0)),
            (true, packet(far, UDP, 0, 0x2000)),
            (false, packet(far, UDP, 0, 0x0001)),
            (false, packet(far, TCP, 0x12, 0)),
            (false, packet(far, TCP, 0x10, 0)),
            (false, packet(far, 1, 0, 0)),
            (false, packet([127, 0, 0, 1], UDP, 0, 0)),
            (false, packet(OWN.octets(), TCP, 0x02, 0)),
            (false, vec![0x60; 60]),
            (false, vec![0x45; 15]),
            (false, Vec::new()),
        ] {
            assert_eq!(is_attempt(&packet, OWN), expected, "{packet:02x?}");
        }
        let cut = packet(far, TCP, 0x02, 0);
        assert!(!is_attempt(&cut[..33], OWN));
    }
}
