//! Where a packet goes: the headers of IPv4 and IPv6, of TCP and UDP, as far as needed for that.
//! It never looks at what a packet carries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Headers between that of IPv6 and that of a transport which are passed over; the kernel takes few, and so do we.
const EXTENSIONS_MAX: usize = 8;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Somebody inside wanted to reach this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    /// Where; a mapped address is the IPv4 one.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// How.
    pub protocol: Protocol,
}

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// A SYN.
    Tcp,
    /// A datagram.
    Udp {
        /// The port that it came from, where that is the resolver's: others would make every datagram another attempt.
        from: Option<u16>,
    },
}

/// Reads a packet that begins with its IP header; `None` for everything but a SYN and a datagram's first part.
pub fn read(packet: &[u8]) -> Option<Attempt> {
    let (address, protocol, segment) = match packet.first()? >> 4 {
        4 => v4(packet)?,
        6 => v6(packet)?,
        _ => return None,
    };
    let [from_high, from_low, high, low, ..] = segment else { return None };
    let port = u16::from_be_bytes([*high, *low]);
    let protocol = match protocol {
        TCP => {
            const SYN: u8 = 0x02;
            const ACK: u8 = 0x10;
            (segment.get(13)? & (SYN | ACK) == SYN).then_some(Protocol::Tcp)?
        }
        UDP => {
            let from = u16::from_be_bytes([*from_high, *from_low]);
            Protocol::Udp { from: Some(from).filter(|from| *from == super::RESOLVER_PORT) }
        }
        _ => return None,
    };
    Some(Attempt { address: address.to_canonical(), port, protocol })
}

fn v4(packet: &[u8]) -> Option<(IpAddr, u8, &[u8])> {
    let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
    let [_, _, _, _, _, _, fragment_high, fragment_low, _, protocol, _, _, _, _, _, _, a, b, c, d] =
        packet.first_chunk::<20>()?;
    let offset = u16::from_be_bytes([*fragment_high, *fragment_low]) & 0x1fff;
    if header_bytes < 20 || offset != 0 {
        return None;
    }
    Some((Ipv4Addr::new(*a, *b, *c, *d).into(), *protocol, packet.get(header_bytes..)?))
}

fn v6(packet: &[u8]) -> Option<(IpAddr, u8, &[u8])> {
    let (header, mut rest) = packet.split_first_chunk::<40>()?;
    let address = Ipv6Addr::from(*header.last_chunk::<16>()?);
    let mut next = *header.get(6)?;
    for _ in 0..EXTENSIONS_MAX {
        let length = match next {
            // Hop-by-hop, routing, destination: length in units of eight bytes beyond the first (RFC 8200, 4).
            0 | 43 | 60 => (usize::from(*rest.get(1)?) + 1) * 8,
            // Fragment: only the first has the ports.
            44 => {
                let [_, _, high, low, ..] = rest else { return None };
                if u16::from_be_bytes([*high, *low]) >> 3 != 0 {
                    return None;
                }
                8
            }
            transport => return Some((address.into(), transport, rest)),
        };
        next = *rest.first()?;
        rest = rest.get(length..)?;
    }
    None
}
