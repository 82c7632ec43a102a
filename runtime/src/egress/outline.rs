//! What an outlet needs, read from a profile: sockets inside, and names. Pure.
//! It never opens anything.

use super::names::{PROXY_NAME, PROXY_PORT, PROXY_V4, RESOLVER_PORT, Synthetic};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use stockade_policy::{ExpandedProfile, Host, HostName, HostPattern, NetGrant, Only, RuleId};

#[cfg(test)]
mod tests;

/// Sockets of one outlet: each is a descriptor that is passed, and held for the session.
pub const SOCKETS_MAX: usize = 128;
/// Ports below take connections to every address, so that a refusal can have reasons; from here on only those to granted
/// ones, since programs inside listen there themselves.
pub const PORT_SHARED_MIN: u16 = 1024;

/// A socket that is made inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Socket {
    /// A TCP listener.
    Tcp {
        /// On this address; `None` is every address, IPv4 and IPv6, by one socket.
        address: Option<IpAddr>,
        /// Port.
        port: u16,
    },
    /// A UDP socket on every address, IPv4 and IPv6.
    Udp {
        /// Port.
        port: u16,
    },
    /// A packet socket that sees TCP SYNs and UDP datagrams.
    Refusals,
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address: None, port } => write!(f, "tcp *:{port}"),
            Self::Tcp { address: Some(IpAddr::V4(address)), port } => write!(f, "tcp {address}:{port}"),
            Self::Tcp { address: Some(IpAddr::V6(address)), port } => write!(f, "tcp [{address}]:{port}"),
            Self::Udp { port } => write!(f, "udp *:{port}"),
            Self::Refusals => f.write_str("refusals"),
        }
    }
}

/// What the inside gets. Descriptors come in the order of `sockets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Sockets: the resolver's two first, then the proxy's, then those of granted ports, last the one for refusals. The
    /// proxy has none of its own where a wildcard takes its port on every address.
    pub sockets: Vec<Socket>,
    /// The exact names, each of which has the synthetic address with its place in this list as number.
    pub names: Vec<HostName>,
}

impl Outline {
    /// What a profile needs; `None` without a grant to the network: then there is no outlet.
    ///
    /// # Errors
    /// Operator: it cannot be held; the hint says what to change.
    pub fn of(profile: &ExpandedProfile) -> Result<Option<Self>> {
        if profile.net_grants().next().is_none() {
            return Ok(None);
        }
        let exact = |(net, _): (&NetGrant, _)| match &net.allowed.host {
            HostPattern::Name(name) => Some(name.clone()),
            HostPattern::Below(_) | HostPattern::Address(_) => None,
        };
        let names: BTreeSet<HostName> = profile.net_grants().filter_map(exact).collect();
        let names: Vec<HostName> = names.into_iter().collect();
        let mut listeners = Listeners::new();
        for (net, rule) in profile.net_grants() {
            for port in ports(net, rule)? {
                listeners.add(port, &net.allowed.host, rule, &names)?;
            }
        }
        let mut sockets = vec![Socket::Udp { port: RESOLVER_PORT }, Socket::Tcp { address: None, port: RESOLVER_PORT }];
        sockets.extend(listeners.into_sockets());
        sockets.push(Socket::Refusals);
        if sockets.len() > SOCKETS_MAX {
            let what = format!("the profile's grants need {} sockets, more than {SOCKETS_MAX}", sockets.len());
            return Err(Error::operator(what).hint(
                "grant fewer ports from 1024 on, or one \"*.\" name in place of many names: each name needs two",
            ));
        }
        Ok(Some(Self { sockets, names }))
    }

    /// Whether a connection to this address and port arrives at one of the sockets.
    pub fn takes(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        self.sockets.iter().any(|socket| match socket {
            Socket::Tcp { address: None, port: at } => *at == port,
            Socket::Tcp { address: Some(on), port: at } => (*on, *at) == (address, port),
            Socket::Udp { .. } | Socket::Refusals => false,
        })
    }

    /// Whether datagrams to this port arrive at one of the sockets.
    pub fn takes_datagrams(&self, port: u16) -> bool {
        self.sockets.contains(&Socket::Udp { port })
    }
}

impl fmt::Display for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for socket in &self.sockets {
            writeln!(f, "{socket}")?;
        }
        for (number, name) in self.names.iter().enumerate() {
            let Some(Synthetic { v4, v6 }) = Synthetic::of(number) else { continue };
            writeln!(f, "name {} {v4} {v6}", name.as_str())?;
        }
        Ok(())
    }
}

/// Whether some grant names the host, on whatever port: then it may have an address. Whether a connection is allowed is
/// decided when it comes.
pub fn names_host(profile: &ExpandedProfile, host: &Host) -> bool {
    profile.net_grants().any(|(net, _)| net.allowed.host.matches(host))
}

/// The ports of a grant, which always has some.
fn ports<'a>(net: &'a NetGrant, rule: &RuleId) -> Result<&'a [u16]> {
    match &net.allowed.ports {
        Only::These(ports) => Ok(ports),
        Only::Any => Err(Error::operator(format!("{rule} grants \"{}\" on every port", net.allowed.host))
            .hint("name the ports: ports = [443]")),
    }
}

/// By port: every address, or these.
struct Listeners(BTreeMap<u16, Option<BTreeSet<IpAddr>>>);

impl Listeners {
    fn new() -> Self {
        Self(BTreeMap::from([(PROXY_PORT, Some(BTreeSet::from([IpAddr::V4(PROXY_V4)])))]))
    }

    fn add(&mut self, port: &u16, host: &HostPattern, rule: &RuleId, names: &[HostName]) -> Result<()> {
        if *port == RESOLVER_PORT {
            let what = format!("{rule} grants \"{host}\" port {port}, which is the resolver's inside");
            return Err(Error::operator(what).hint("leave the port out: granted names are resolved without a grant"));
        }
        let slot = self.0.entry(*port).or_insert_with(|| Some(BTreeSet::new()));
        let addresses = match host {
            HostPattern::Below(_) => None,
            _ if *port < PORT_SHARED_MIN => None,
            HostPattern::Name(name) => Some(addresses_of(name, names)?),
            HostPattern::Address(address) => Some(vec![granted_address(*address, rule)?]),
        };
        match (slot, addresses) {
            (Some(these), Some(more)) => these.extend(more),
            (slot, None) => *slot = None,
            (None, Some(_)) => {}
        }
        Ok(())
    }

    /// The proxy's first, then by port and address.
    fn into_sockets(mut self) -> Vec<Socket> {
        let of_port = |(port, addresses): (u16, Option<BTreeSet<IpAddr>>)| match addresses {
            None => vec![Socket::Tcp { address: None, port }],
            Some(these) => these.into_iter().map(|address| Socket::Tcp { address: Some(address), port }).collect(),
        };
        let proxy = self.0.remove_entry(&PROXY_PORT);
        proxy.into_iter().chain(self.0).flat_map(of_port).collect()
    }
}

fn addresses_of(name: &HostName, names: &[HostName]) -> Result<Vec<IpAddr>> {
    let number = names.binary_search(name).map_err(|_| Error::bug("a granted name is not among the names"))?;
    let Synthetic { v4, v6 } = Synthetic::of(number).ok_or_else(|| {
        Error::operator(format!("\"{}\" is a name too many", name.as_str()))
            .hint("grant one \"*.\" name in place of many")
    })?;
    Ok(vec![IpAddr::V4(v4), IpAddr::V6(v6)])
}

/// An address that can be listened on inside without taking what is the inside's own.
fn granted_address(address: IpAddr, rule: &RuleId) -> Result<IpAddr> {
    let address = address.to_canonical();
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        return Err(Error::operator(format!("{rule} grants \"{address}\", which inside is the inside itself"))
            .hint(format!("give it a name with resolve = [\"{address}:PORT\"]; \"{PROXY_NAME}\" is taken")));
    }
    Ok(address)
}
