//! The reading of memory, on our own and on that of a process that ends.
//! It never needs privileges: a process may read itself.

use super::*;
use std::ffi::CString;

fn own() -> Memory {
    Memory::of(std::process::id())
}

fn at<T>(value: *const T) -> u64 {
    u64::try_from(value.addr()).unwrap()
}

/// Two pages, the second of which cannot be read.
struct Edge(*mut c_void);

impl Edge {
    fn new() -> Self {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice changes no memory that exists.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), 8192, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        assert_ne!(base, libc::MAP_FAILED);
        // SAFETY: the second page of the mapping just made, which nothing refers to yet.
        let refused = unsafe { libc::mprotect(base.wrapping_byte_add(4096), 4096, libc::PROT_NONE) };
        assert_eq!(refused, 0);
        Self(base)
    }

    /// Puts bytes so that they end with the first page; their address.
    fn put(&self, bytes: &[u8]) -> u64 {
        let place = self.0.wrapping_byte_add(4096 - bytes.len());
        // SAFETY: `place` has as many writable bytes up to the end of the first page, and nobody else uses them.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place.cast::<u8>(), bytes.len()) };
        at(place)
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; nothing refers into it any more.
        unsafe { libc::munmap(self.0, 8192) };
    }
}

#[test]
fn a_text_is_read_to_its_nul() {
    let text = CString::new("src/lib.rs").unwrap();
    let mut buffer = [0xff_u8; 64];
    let found = own().text(at(text.as_ptr()), &mut buffer);
    assert_eq!(found, Text { bytes: b"src/lib.rs", end: End::Whole });
}

#[test]
fn a_text_longer_than_the_limit_is_cut_there() {
    let text = CString::new(vec![b'a'; 9000]).unwrap();
    let mut buffer = [0_u8; 4096];
    let found = own().text(at(text.as_ptr()), &mut buffer);
    assert_eq!((found.bytes.len(), found.end), (4096, End::Limit));
    // With the NUL it is as long as the limit: whole.
    let text = CString::new(vec![b'a'; 4095]).unwrap();
    let found = own().text(at(text.as_ptr()), &mut buffer);
    assert_eq!((found.bytes.len(), found.end), (4095, End::Whole));
}

#[test]
fn a_text_that_ends_with_its_page_is_read_without_the_next_one() {
    let edge = Edge::new();
    let mut buffer = [0_u8; 4096];
    assert_eq!(own().text(edge.put(b"to the edge\0"), &mut buffer), Text { bytes: b"to the edge", end: End::Whole });
    assert_eq!(own().text(edge.put(b"over it"), &mut buffer), Text { bytes: b"over it", end: End::Fault });
}

#[test]
fn what_is_no_address_reads_as_nothing() {
    let mut buffer = [0_u8; 16];
    for address in [0, 1, 4095, u64::MAX, u64::MAX - 7, 1 << 63] {
        assert_eq!(own().text(address, &mut buffer), Text { bytes: b"", end: End::Fault }, "{address:x}");
        assert_eq!(own().peer(address, 16), Peer::Unknown);
    }
    // A thread that is none.
    for thread in [0, u32::MAX] {
        assert_eq!(Memory::of(thread).text(at(c"x".as_ptr()), &mut buffer).end, End::Fault);
    }
}

#[test]
fn addresses_of_every_family() {
    let family = |family: i32| u16::try_from(family).unwrap().to_ne_bytes();
    let v4 = [&family(libc::AF_INET)[..], &[0x1f, 0x90, 127, 0, 0, 1], &[0; 8]].concat();
    assert_eq!(own().peer(at(v4.as_ptr()), 16), Peer::Internet("127.0.0.1:8080".parse().unwrap()));
    let v6 = [&family(libc::AF_INET6)[..], &[0, 80, 0, 0, 0, 0], &Ipv6Addr::LOCALHOST.octets(), &[0; 4]].concat();
    assert_eq!(own().peer(at(v6.as_ptr()), 28), Peer::Internet("[::1]:80".parse().unwrap()));
    assert_eq!(own().peer(at(v6.as_ptr()), 24), Peer::Internet("[::1]:80".parse().unwrap()));
    assert_eq!(own().peer(at(v6.as_ptr()), 10), Peer::Unknown, "cut short");
    let unix = |name: &[u8]| {
        let bytes = [&family(libc::AF_UNIX)[..], name].concat();
        own().peer(at(bytes.as_ptr()), u64::try_from(bytes.len()).unwrap())
    };
    let named = |bytes: &[u8]| Peer::Unix(Bounded { bytes: bytes.to_vec(), cut: false });
    assert_eq!(unix(b"/run/x.sock\0rubbish"), named(b"/run/x.sock"));
    assert_eq!(unix(b"/run/without-nul"), named(b"/run/without-nul"));
    assert_eq!(unix(b"\0abstract\0name"), named(b"\0abstract\0name"));
    assert_eq!(unix(b""), named(b""));
    let netlink = family(libc::AF_NETLINK);
    assert_eq!(own().peer(at(netlink.as_ptr()), 2), Peer::Other(16));
    assert_eq!(own().peer(at(netlink.as_ptr()), 1), Peer::Unknown);
    assert_eq!(own().peer(at(netlink.as_ptr()), 0), Peer::Unknown);
}
