//! Classes of IP addresses: which ones no name may lead to.
//! It never resolves or connects.

use ipnet::{Ipv4Net, Ipv6Net};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[cfg(test)]
mod tests;

/// What an address is for. Only [`Class::Public`] is a place that a name may lead to without being pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The internet.
    Public,
    /// No address: a host takes it for itself.
    Unspecified,
    /// The host itself.
    Loopback,
    /// A network of somebody's own (RFC 1918, RFC 4193, deprecated site-local addresses).
    Private,
    /// Behind a carrier's translator (RFC 6598); clouds put their own services there.
    Shared,
    /// The link that the host is on.
    LinkLocal,
    /// A service that hands a cloud machine its credentials.
    Metadata,
    /// Many hosts.
    Multicast,
    /// Every host of the link.
    Broadcast,
    /// For examples in texts.
    Documentation,
    /// For measurements between devices; our own names have their addresses there.
    Benchmark,
    /// Set aside, without use or for another one than to be reached.
    Reserved,
    /// A prefix of a network's own translator: which IPv4 address is meant, only that network knows (RFC 8215).
    Translator,
}

impl Class {
    /// In a sentence: `10.0.0.1 is a private address`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "a public address",
            Self::Unspecified => "no address",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::Shared => "an address of a carrier's or cloud's own network",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "the address of a cloud's metadata service",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "a broadcast address",
            Self::Documentation => "an address for documentation",
            Self::Benchmark => "an address for benchmarks",
            Self::Reserved => "a reserved address",
            Self::Translator => "an address of a local translator",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a name may lead to `address` without being pinned.
pub fn is_public(address: IpAddr) -> bool {
    class(address) == Class::Public
}

/// What `address` is for. An IPv6 address that stands for an IPv4 one is what that one is.
pub fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => class_v4(address),
        IpAddr::V6(address) => class_v6(address),
    }
}

/// IANA IPv4 Special-Purpose Address Registry, and the metadata services; the first that matches counts. Anycast
/// addresses for protocols of the local network (192.0.0.9, 192.0.0.10) are global in the registry and reserved here.
const V4: &[(Ipv4Net, Class)] = &[
    // AWS, GCP, Azure, OpenStack, DigitalOcean, Oracle; then AWS tasks, AWS pods, Alibaba, Oracle Classic, Azure's host.
    (v4([169, 254, 169, 254], 32), Class::Metadata),
    (v4([169, 254, 170, 2], 32), Class::Metadata),
    (v4([169, 254, 170, 23], 32), Class::Metadata),
    (v4([100, 100, 100, 200], 32), Class::Metadata),
    (v4([192, 0, 0, 192], 32), Class::Metadata),
    (v4([168, 63, 129, 16], 32), Class::Metadata),
    (v4([0, 0, 0, 0], 32), Class::Unspecified),
    (v4([0, 0, 0, 0], 8), Class::Reserved),
    (v4([10, 0, 0, 0], 8), Class::Private),
    (v4([100, 64, 0, 0], 10), Class::Shared),
    (v4([127, 0, 0, 0], 8), Class::Loopback),
    (v4([169, 254, 0, 0], 16), Class::LinkLocal),
    (v4([172, 16, 0, 0], 12), Class::Private),
    (v4([192, 0, 0, 0], 24), Class::Reserved),
    (v4([192, 0, 2, 0], 24), Class::Documentation),
    (v4([192, 88, 99, 0], 24), Class::Reserved),
    (v4([192, 168, 0, 0], 16), Class::Private),
    (v4([198, 18, 0, 0], 15), Class::Benchmark),
    (v4([198, 51, 100, 0], 24), Class::Documentation),
    (v4([203, 0, 113, 0], 24), Class::Documentation),
    (v4([224, 0, 0, 0], 4), Class::Multicast),
    (v4([255, 255, 255, 255], 32), Class::Broadcast),
    (v4([240, 0, 0, 0], 4), Class::Reserved),
];

/// The same for IPv6. What is not global unicast (2000::/3) and not listed is reserved.
const V6: &[(Ipv6Net, Class)] = &[
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), Class::Metadata),
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23], 128), Class::Metadata),
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), Class::Metadata),
    (v6([0; 8], 128), Class::Unspecified),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), Class::Loopback),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), Class::Translator),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), Class::Private),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Class::LinkLocal),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), Class::Private),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), Class::Multicast),
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), Class::Benchmark),
    // AMT and AS112 are global inside a block that is not.
    (v6([0x2001, 3, 0, 0, 0, 0, 0, 0], 32), Class::Public),
    (v6([0x2001, 4, 0x112, 0, 0, 0, 0, 0], 48), Class::Public),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), Class::Reserved),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), Class::Documentation),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), Class::Documentation),
    (v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3), Class::Public),
];

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

fn class_v4(address: Ipv4Addr) -> Class {
    V4.iter().find(|(net, _)| net.contains(&address)).map_or(Class::Public, |(_, class)| *class)
}

fn class_v6(address: Ipv6Addr) -> Class {
    let own = || V6.iter().find(|(net, _)| net.contains(&address)).map_or(Class::Reserved, |(_, class)| *class);
    match embedded(address) {
        Embedded::Instead(inside) => worst(inside.into_iter().flatten()),
        Embedded::Beside(inside) => worst_of(own(), class_v4(inside)),
        Embedded::None => own(),
    }
}

/// IPv4 addresses inside an IPv6 one.
enum Embedded {
    /// The packet goes to these, wherever the rest points to.
    Instead([Option<Ipv4Addr>; 2]),
    /// The packet goes through the prefix to this one.
    Beside(Ipv4Addr),
    None,
}

fn embedded(address: Ipv6Addr) -> Embedded {
    let last = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        // The unspecified and the loopback address are no compatible ones (RFC 4291, 2.5.5.1).
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Embedded::None,
        // Compatible, mapped (RFC 4291), translated (RFC 2765), NAT64's well-known prefix (RFC 6052).
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Embedded::Instead([Some(last(high, low)), None]),
        // 6to4 (RFC 3056): the router that unpacks it. An ISATAP host may be behind that.
        [0x2002, high, low, _, 0 | 0x200, 0x5efe, host_high, host_low] => {
            Embedded::Instead([Some(last(high, low)), Some(last(host_high, host_low))])
        }
        [0x2002, high, low, ..] => Embedded::Instead([Some(last(high, low)), None]),
        // Teredo (RFC 4380): the server, and the client with every bit turned.
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            Embedded::Instead([Some(last(server_high, server_low)), Some(last(!high, !low))])
        }
        // ISATAP (RFC 5214): any prefix, then a mark, then the host.
        [.., 0 | 0x200, 0x5efe, high, low] => Embedded::Beside(last(high, low)),
        _ => Embedded::None,
    }
}

fn worst(addresses: impl Iterator<Item = Ipv4Addr>) -> Class {
    addresses.map(class_v4).fold(Class::Public, worst_of)
}

fn worst_of(one: Class, other: Class) -> Class {
    if one == Class::Public { other } else { one }
}
