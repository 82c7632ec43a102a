//! Synthetic addresses: one for each granted name, so that any protocol has a name to be judged by.
//! It never gives an address to a name that no rule grants.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{PoisonError, RwLock};
use stockade_policy::{Host, HostName};

#[cfg(test)]
mod tests;

/// Where the proxy listens, for clients that want one.
pub const PROXY_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Port of the proxy.
pub const PROXY_PORT: u16 = 3128;
/// Name of the proxy.
pub const PROXY_NAME: &str = "proxy.stockade.internal";
/// Where the resolver is; it answers at every other address too.
pub const RESOLVER_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Port of the resolver.
pub const RESOLVER_PORT: u16 = 53;
/// Names of one session that can have an address. Under a wildcard a guest can ask for as many as it likes.
pub const NAMES_MAX: usize = 65_536;

/// Address of the first name. Below are our own services.
const FIRST_V4: u32 = u32::from_be_bytes([198, 18, 1, 0]);
const LAST_V4: u32 = u32::from_be_bytes([198, 19, 255, 255]);
/// `fd73:746f:636b::/96`: the IPv4 address stands in the last 32 bits.
const PREFIX_V6: [u16; 6] = [0xfd73, 0x746f, 0x636b, 0, 0, 0];
const _: () = assert!(FIRST_V4 as usize + NAMES_MAX <= LAST_V4 as usize);

/// The two addresses of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synthetic {
    /// In 198.18.0.0/15.
    pub v4: Ipv4Addr,
    /// In `fd73:746f:636b::/96`.
    pub v6: Ipv6Addr,
}

impl Synthetic {
    /// Addresses of the name with this number, from 0; `None` from [`NAMES_MAX`] on.
    pub fn of(number: usize) -> Option<Self> {
        if number >= NAMES_MAX {
            return None;
        }
        let v4 = Ipv4Addr::from(FIRST_V4.checked_add(u32::try_from(number).ok()?)?);
        Some(Self { v4, v6: beside(v4) })
    }
}

/// What a name has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// These addresses.
    Found(Synthetic),
    /// None: no rule grants it.
    NotGranted,
    /// None: [`NAMES_MAX`] others have one.
    Full,
}

/// What an address that a client connected to stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The proxy.
    Proxy,
    /// The resolver.
    Resolver,
    /// A granted name.
    Name(HostName),
    /// One of ours that nobody was ever told.
    Vacant(IpAddr),
    /// The inside itself: no business of an outlet's.
    Loopback,
    /// An address of the world, never a mapped one.
    Address(IpAddr),
}

/// The names of one session and their addresses. An address, once given, stays for the session.
pub struct Names {
    /// Whether any rule grants connections to the host.
    may: Box<dyn Fn(&Host) -> bool + Send + Sync>,
    /// Grows only, to `names_max`.
    table: RwLock<Table>,
    names_max: usize,
}

#[derive(Debug, Default)]
struct Table {
    numbers: HashMap<HostName, usize>,
    names: Vec<HostName>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("table", &self.table).finish_non_exhaustive()
    }
}

impl Names {
    /// Names that get an address now, in this order, so that the listeners which were planned for them fit; and whether
    /// a name that comes later may have one.
    pub fn new(exact: impl IntoIterator<Item = HostName>, may: impl Fn(&Host) -> bool + Send + Sync + 'static) -> Self {
        let mut table = Table::default();
        for name in exact {
            table.number_of(&name, NAMES_MAX);
        }
        Self { may: Box::new(may), table: RwLock::new(table), names_max: NAMES_MAX }
    }

    /// The same, with fewer names than [`NAMES_MAX`].
    #[must_use]
    pub fn at_most(self, names_max: usize) -> Self {
        Self { names_max: names_max.min(NAMES_MAX), ..self }
    }

    /// The addresses of a name; given to it now if a rule grants it and it has none.
    pub fn lookup(&self, name: &HostName) -> Lookup {
        let known = self.table.read().unwrap_or_else(PoisonError::into_inner).numbers.get(name).copied();
        let number = known.or_else(|| {
            if !(self.may)(&Host::Name(name.clone())) {
                return None;
            }
            Some(self.table.write().unwrap_or_else(PoisonError::into_inner).number_of(name, self.names_max))
        });
        match number.map(Synthetic::of) {
            None => Lookup::NotGranted,
            Some(None) => Lookup::Full,
            Some(Some(synthetic)) => Lookup::Found(synthetic),
        }
    }

    /// The addresses of a host, as [`Names::lookup`]; an address has none.
    pub fn address_of(&self, host: &Host) -> Option<(Ipv4Addr, Ipv6Addr)> {
        let Host::Name(name) = host else { return None };
        match self.lookup(name) {
            Lookup::Found(Synthetic { v4, v6 }) => Some((v4, v6)),
            Lookup::NotGranted | Lookup::Full => None,
        }
    }

    /// The name that an address was given to.
    pub fn name_of(&self, address: IpAddr) -> Option<Host> {
        match self.place(address) {
            Place::Name(name) => Some(Host::Name(name)),
            Place::Proxy | Place::Resolver | Place::Vacant(_) | Place::Loopback | Place::Address(_) => None,
        }
    }

    /// What an address stands for; mapped and compatible addresses are what they embed.
    pub fn place(&self, address: IpAddr) -> Place {
        let address = address.to_canonical();
        let own = match address {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(v6) => inside(v6),
        };
        let Some(own) = own else {
            return if address.is_loopback() { Place::Loopback } else { Place::Address(address) };
        };
        match u32::from(own) {
            _ if own == PROXY_V4 => Place::Proxy,
            _ if own == RESOLVER_V4 => Place::Resolver,
            number @ FIRST_V4..=LAST_V4 => {
                let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
                let name = usize::try_from(number - FIRST_V4).ok().and_then(|number| table.names.get(number));
                name.map_or(Place::Vacant(address), |name| Place::Name(name.clone()))
            }
            _ if address.is_ipv6() || own.octets().starts_with(&[198, 18]) => Place::Vacant(address),
            _ if address.is_loopback() => Place::Loopback,
            _ => Place::Address(address),
        }
    }
}

impl Table {
    /// The number of a name, which is its own from now on; [`NAMES_MAX`] when there is none left.
    fn number_of(&mut self, name: &HostName, names_max: usize) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len();
        if number >= names_max {
            return NAMES_MAX;
        }
        self.names.push(name.clone());
        self.numbers.insert(name.clone(), number);
        number
    }
}

fn beside(v4: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = PREFIX_V6;
    let [w, x, y, z] = v4.octets();
    Ipv6Addr::new(a, b, c, d, e, f, u16::from_be_bytes([w, x]), u16::from_be_bytes([y, z]))
}

/// The IPv4 address in one of our IPv6 addresses.
fn inside(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let [prefix @ .., high, low] = v6.segments();
    (prefix == PREFIX_V6).then(|| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
}
