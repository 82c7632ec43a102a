//! Reads what a guest's registers point to: paths, arguments, addresses of sockets.
//! It never believes what it reads: another thread may change it at any time, so nothing here decides anything.
//!
//! Bytes are copied once, into memory of the caller's, up to a limit; reading stops at the end of a page, since the next
//! one may not exist, and a page that is not needed may have to come from a disk. What could not be read is left out,
//! and said. Nothing here allocates but the text of an address of a unix socket.

use super::event::{Bounded, Peer};
use std::ffi::c_void;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Of a page, on every architecture at least this: reading up to its end touches no second one.
const PAGE_BYTES: u64 = 4096;
/// Longest address of a socket (`struct sockaddr_storage`).
const ADDRESS_BYTES_MAX: usize = 128;

/// The memory of one thread of a guest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    thread: libc::pid_t,
}

/// How a text ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With its NUL.
    Whole,
    /// At the limit.
    Limit,
    /// At memory that cannot be read.
    Fault,
}

/// A text of the guest's, without its NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    /// What is known of it.
    pub(crate) bytes: &'a [u8],
    /// How it ends.
    pub(crate) end: End,
}

impl Memory {
    /// That of the thread with this number in our pid namespace.
    pub(crate) fn of(thread: u32) -> Self {
        // No number of a thread is this high; and none is this one, so nothing would be read.
        Self { thread: libc::pid_t::try_from(thread).unwrap_or(libc::pid_t::MAX) }
    }

    /// Copies bytes; how many could be read from the start.
    pub(crate) fn read(self, address: u64, into: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let Some(from) = u64::try_from(done).ok().and_then(|done| address.checked_add(done)) else { break };
            let wanted = rest.len().min(within_page(from));
            let Some(part) = rest.get_mut(..wanted) else { break };
            let came = self.read_once(from, part);
            done += came;
            if came < wanted {
                break;
            }
        }
        done
    }

    /// One system call; the caller stays within a page.
    fn read_once(self, address: u64, into: &mut [u8]) -> usize {
        let local = libc::iovec { iov_base: into.as_mut_ptr().cast::<c_void>(), iov_len: into.len() };
        let Ok(remote) = usize::try_from(address) else { return 0 };
        let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(remote), iov_len: into.len() };
        // SAFETY: `local` describes `into`, which is ours alone until the call returns and which the kernel only fills;
        // `remote` is an address of another process, which the kernel checks there and never uses here
        // (process_vm_readv(2)). One vector each, no flags.
        let came = unsafe { libc::process_vm_readv(self.thread, &raw const local, 1, &raw const remote, 1, 0) };
        // Any error leaves nothing known: the thread is gone, the address is none, we may not.
        usize::try_from(came).unwrap_or(0).min(into.len())
    }

    /// A text of at most as many bytes as the buffer holds, its NUL included.
    pub(crate) fn text(self, address: u64, into: &mut [u8]) -> Text<'_> {
        let mut done = 0;
        while done < into.len() {
            let Some(from) = u64::try_from(done).ok().and_then(|done| address.checked_add(done)) else { break };
            let end = into.len().min(done.saturating_add(within_page(from)));
            let Some(part) = into.get_mut(done..end) else { break };
            let wanted = part.len();
            let came = self.read_once(from, part);
            if let Some(length) = part.iter().take(came).position(|byte| *byte == 0) {
                return Text { bytes: into.get(..done + length).unwrap_or_default(), end: End::Whole };
            }
            done += came;
            if came < wanted {
                return Text { bytes: into.get(..done).unwrap_or_default(), end: End::Fault };
            }
        }
        let end = if done < into.len() { End::Fault } else { End::Limit };
        Text { bytes: into.get(..done).unwrap_or_default(), end }
    }

    /// An address of a socket.
    pub(crate) fn peer(self, address: u64, length: u64) -> Peer {
        let mut bytes = [0_u8; ADDRESS_BYTES_MAX];
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
        let Some(part) = bytes.get_mut(..length) else { return Peer::Unknown };
        let came = self.read(address, part);
        if came < length {
            return Peer::Unknown;
        }
        peer(part)
    }
}

/// Bytes from an address to the end of its page.
fn within_page(address: u64) -> usize {
    usize::try_from(PAGE_BYTES - address % PAGE_BYTES).unwrap_or(1)
}

/// What the bytes of a `struct sockaddr` say. All but the family is in network byte order.
fn peer(bytes: &[u8]) -> Peer {
    let part = |range: std::ops::Range<usize>| bytes.get(range);
    let number = |at: usize| part(at..at + 2).and_then(|two| two.try_into().ok()).map(u16::from_be_bytes);
    let Some(family) = part(0..2).and_then(|two| two.try_into().ok()).map(u16::from_ne_bytes) else {
        return Peer::Unknown;
    };
    match i32::from(family) {
        libc::AF_INET => {
            let address = part(4..8).and_then(|four| <[u8; 4]>::try_from(four).ok()).map(Ipv4Addr::from);
            let found = address.zip(number(2)).map(|(address, port)| SocketAddrV4::new(address, port));
            found.map_or(Peer::Unknown, |found| Peer::Internet(SocketAddr::V4(found)))
        }
        libc::AF_INET6 => {
            let address = part(8..24).and_then(|all| <[u8; 16]>::try_from(all).ok()).map(Ipv6Addr::from);
            // Short addresses of RFC 2133's time have no scope; the kernel takes them.
            let scope = part(24..28).and_then(|four| four.try_into().ok()).map_or(0, u32::from_ne_bytes);
            let found = address.zip(number(2)).map(|(address, port)| SocketAddrV6::new(address, port, 0, scope));
            found.map_or(Peer::Unknown, |found| Peer::Internet(SocketAddr::V6(found)))
        }
        libc::AF_UNIX => Peer::Unix(Bounded { bytes: unix_name(bytes.get(2..).unwrap_or_default()), cut: false }),
        _ => Peer::Other(family),
    }
}

/// A path ends at its NUL; an abstract name begins with one and may hold more of them (unix(7)).
fn unix_name(bytes: &[u8]) -> Vec<u8> {
    match bytes.first() {
        Some(0) => bytes.to_vec(),
        Some(_) | None => bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec(),
    }
}

#[cfg(test)]
mod tests;
