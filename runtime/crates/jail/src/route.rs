//! Addresses and routes of a net namespace that is being made: three requests of rtnetlink(7), each of which is answered.
//! It never reads what is there, and never touches another interface than the loopback.

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

/// `LOOPBACK_IFINDEX`: the same in every net namespace.
pub(crate) const LOOPBACK: u32 = 1;
/// Bytes of an answer: a header, the error, and the request again.
const ANSWER_BYTES_MAX: usize = 1024;
/// `NLM_F_REQUEST | NLM_F_ACK | NLM_F_EXCL | NLM_F_CREATE`.
const NEW: u16 = 0x1 | 0x4 | 0x200 | 0x400;
/// The type of every answer, refusals and acknowledgements alike.
const NLMSG_ERROR: u16 = 2;

/// A channel to the routing tables of the calling thread's net namespace.
#[derive(Debug)]
pub(crate) struct Routes(OwnedFd);

impl Routes {
    pub(crate) fn open() -> Result<Self, Errno> {
        // Protocol 0 is NETLINK_ROUTE.
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None).map(Self)
    }

    /// Gives the loopback one more address, ready at once.
    pub(crate) fn add_address(&self, address: IpAddr) -> Result<(), Errno> {
        let bits = if address.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS };
        self.add(address, u8::try_from(bits).expect("at most 128"))
    }

    /// The same in a network that has every address, where the loopback answers for all of its network's (gVisor, which
    /// has no table of local routes).
    pub(crate) fn add_network_of_everything(&self, address: Ipv4Addr) -> Result<(), Errno> {
        self.add(address.into(), 0)
    }

    fn add(&self, address: IpAddr, bits: u8) -> Result<(), Errno> {
        let (family, octets) = parts(address);
        // struct ifaddrmsg: IFA_F_NODAD, since an address nobody else can have needs no check; scope universe.
        let mut body = vec![family, bits, libc::IFA_F_NODAD.to_le_bytes()[0], libc::RT_SCOPE_UNIVERSE];
        body.extend(LOOPBACK.to_ne_bytes());
        attribute(&mut body, libc::IFA_LOCAL, &octets);
        attribute(&mut body, libc::IFA_ADDRESS, &octets);
        self.request(libc::RTM_NEWADDR, &body)
    }

    /// `ip route add local default dev lo table local src ADDRESS`: every address of the family is the namespace's own,
    /// and what is sent to one comes from this one unless its sender chose another.
    pub(crate) fn add_everything(&self, source: IpAddr) -> Result<(), Errno> {
        let (family, octets) = parts(source);
        // struct rtmsg: no bits of destination, source or service; no flags.
        let mut body =
            vec![family, 0, 0, 0, libc::RT_TABLE_LOCAL, libc::RTPROT_BOOT, libc::RT_SCOPE_HOST, libc::RTN_LOCAL];
        body.extend(0_u32.to_ne_bytes());
        attribute(&mut body, libc::RTA_OIF, &LOOPBACK.to_ne_bytes());
        attribute(&mut body, libc::RTA_PREFSRC, &octets);
        self.request(libc::RTM_NEWROUTE, &body)
    }

    /// Sends one request and waits for its answer, which the kernel writes before the sending call returns.
    fn request(&self, kind: u16, body: &[u8]) -> Result<(), Errno> {
        const HEADER_BYTES: usize = 16;
        let length = u32::try_from(HEADER_BYTES + body.len()).expect("a request is short");
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(NEW.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        rustix::net::send(&self.0, &message, SendFlags::empty())?;
        let mut answer = [0; ANSWER_BYTES_MAX];
        let (length, _) = rustix::net::recv(&self.0, &mut answer, RecvFlags::DONTWAIT)?;
        // struct nlmsghdr (length, type, flags, sequence, port), then struct nlmsgerr's error.
        let at = |from: usize| answer.get(..length)?.get(from..from + 4)?.try_into().ok().map(i32::from_ne_bytes);
        let kind = at(4).map(|kind| kind.to_ne_bytes()).map(|[low, high, ..]| u16::from_ne_bytes([low, high]));
        match (kind, at(HEADER_BYTES)) {
            (Some(NLMSG_ERROR), Some(0)) => Ok(()),
            (Some(NLMSG_ERROR), Some(error @ -4095..0)) => Err(Errno::from_raw_os_error(-error)),
            (_, _) => Err(Errno::PROTO),
        }
    }
}

/// The family and the bytes of an address.
fn parts(address: IpAddr) -> (u8, Vec<u8>) {
    let (family, octets) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    (u8::try_from(family).expect("families are small"), octets)
}

/// Appends a struct rtattr; every value that we send is a multiple of four bytes, so none needs padding.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    assert!(value.len().is_multiple_of(4), "an attribute without padding");
    let length = u16::try_from(4 + value.len()).expect("an address is short");
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}
