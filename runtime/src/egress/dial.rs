//! Connections to the world: names resolved outside, addresses checked and pinned, upstream proxies of a company.
//! It never connects to an address that was not checked.

use super::address::{Class, class};
use super::proxy::Obstacle;
use crate::error::Fault;
use bytes::Bytes;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use rustls::ClientConfig;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use stockade_policy::{Host, NetGrant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

mod company;
mod stream;
#[cfg(test)]
mod tests;

pub use company::{Forward, Proxies};
pub use stream::Stream;

/// Addresses of one host that are tried.
pub const ADDRESSES_MAX: usize = 16;
/// Time for finding the addresses of a host.
pub const LOOKUP_S_MAX: u64 = 10;
/// Time for connecting, all addresses and a company's proxy included, where the settings say nothing else.
pub const CONNECT_S_MAX: u64 = 15;
/// Time after which the next address is tried beside the last (RFC 8305, 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Variables by which [`Settings::of_operator`] goes.
pub const PROXY_VARIABLES: [&str; 5] = ["https_proxy", "HTTPS_PROXY", "http_proxy", "no_proxy", "NO_PROXY"];

/// How the outside is reached.
#[derive(Debug)]
pub struct Settings {
    /// Who knows names.
    pub servers: Servers,
    /// Proxies of a company.
    pub proxies: Proxies,
    /// For the TLS of such a proxy; its protocols (ALPN) are not used.
    pub tls: Arc<ClientConfig>,
    /// Time for connecting, see [`CONNECT_S_MAX`].
    pub connect_timeout: Duration,
}

impl Settings {
    /// As whoever starts us has it: the machine's resolver and, where `https_proxy` and its like are set, a company's proxy.
    ///
    /// # Errors
    /// Operator: a proxy is none. Host: the machine has no authorities for one that speaks TLS.
    pub fn of_operator(variable: impl Fn(&str) -> Option<String>) -> crate::error::Result<Self> {
        let first = |names: &[&str]| names.iter().find_map(|name| variable(name).filter(|value| !value.is_empty()));
        let proxies = Proxies::parse(
            first(&["https_proxy", "HTTPS_PROXY"]).as_deref(),
            // The name in capitals could come from a request's header (CVE-2016-5385), and clients do not read it either.
            first(&["http_proxy"]).as_deref(),
            first(&["no_proxy", "NO_PROXY"]).as_deref(),
        )?;
        let tls = super::tls::client(proxies.anchors())?;
        Ok(Self { servers: Servers::System, proxies, tls, connect_timeout: Duration::from_secs(CONNECT_S_MAX) })
    }
}

/// Who knows names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Servers {
    /// The machine's: `/etc/hosts`, then the servers of `/etc/resolv.conf`.
    System,
    /// These, over UDP, and nobody else.
    These(Vec<SocketAddr>),
}

/// Reaches hosts for one session.
pub struct Dialer {
    /// The error waits for the first name: a profile with nothing but pinned addresses needs no server.
    resolver: Result<TokioResolver, String>,
    proxies: Proxies,
    tls: Arc<ClientConfig>,
    connect_timeout: Duration,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("proxies", &self.proxies).finish_non_exhaustive()
    }
}

/// A connection to a host.
#[derive(Debug)]
pub struct Dialed {
    /// The connection.
    pub stream: Stream,
    /// What it is connected to: the host, or the company's proxy.
    pub address: SocketAddr,
    /// Which of the two.
    pub route: Route,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Requests in the clear: proxies take each of them, and often refuse to pass such a connection through.
    Requests,
    /// A request in the clear that becomes something else.
    Upgrade,
    /// TLS, or whatever it is.
    Bytes,
}

/// Which way a connection takes.
#[derive(Debug)]
pub enum Route {
    /// To the host itself, at a checked address.
    Direct,
    /// Through a company's proxy, which resolves the name.
    Company,
    /// To a company's proxy, which takes each request and sends it on.
    Forward(Forward),
}

/// Why an address was not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// The address, and what the kernel said.
    reason: String,
    /// What sort of thing that is.
    kind: std::io::ErrorKind,
}

/// Why a host was not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialError {
    /// The name leads to an address that no name may lead to.
    NotPublic {
        /// The host.
        host: Host,
        /// The first such address.
        address: IpAddr,
        /// What it is.
        class: Class,
    },
    /// The name leads to this machine.
    OwnMachine {
        /// The host.
        host: Host,
        /// Our own address.
        address: IpAddr,
    },
    /// Nobody knows the name, or nobody could be asked.
    NoAddress {
        /// The host.
        host: Host,
        /// Why.
        reason: String,
    },
    /// No address answered.
    Unreachable {
        /// The host.
        host: Host,
        /// TCP port.
        port: u16,
        /// Why, of the last one.
        missed: Missed,
    },
    /// It took too long.
    TimedOut {
        /// The host.
        host: Host,
        /// TCP port.
        port: u16,
        /// So long.
        after: Duration,
    },
    /// The company's proxy did not let it through.
    Company {
        /// The host.
        host: Host,
        /// The proxy, without its credentials.
        proxy: String,
        /// Why.
        reason: String,
    },
}

impl DialError {
    /// Whose fault it is: the guest's where its name must not be reached, the machine's where it cannot be.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::NotPublic { .. } | Self::OwnMachine { .. } => Fault::Guest,
            Self::NoAddress { .. } | Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Company { .. } => {
                Fault::Host
            }
        }
    }

    /// The same for whoever wanted to be connected.
    pub fn obstacle(&self) -> Obstacle {
        match self {
            Self::NotPublic { .. } | Self::OwnMachine { .. } => Obstacle::Forbidden,
            Self::Unreachable { missed, .. } if missed.kind == std::io::ErrorKind::ConnectionRefused => {
                Obstacle::Refused
            }
            Self::TimedOut { .. } => Obstacle::TimedOut,
            Self::NoAddress { .. } | Self::Unreachable { .. } | Self::Company { .. } => Obstacle::Unreachable,
        }
    }

    /// What would help, where we know.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotPublic { .. } | Self::OwnMachine { .. } => {
                Some("the profile's owner can pin the address with resolve = [\"ADDRESS:PORT\"]")
            }
            Self::Company { .. } => Some("look at HTTPS_PROXY, HTTP_PROXY and NO_PROXY outside"),
            Self::NoAddress { .. } | Self::Unreachable { .. } | Self::TimedOut { .. } => None,
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPublic { host, address, class } => write!(f, "\"{host}\" leads to {address}, {class}"),
            Self::OwnMachine { host, address } => write!(f, "\"{host}\" leads to {address}, this machine itself"),
            Self::NoAddress { host, reason } => write!(f, "\"{host}\" has no address: {reason}"),
            Self::Unreachable { host, port, missed } => {
                write!(f, "\"{host}\" port {port} is not reached: {}", missed.reason)
            }
            Self::TimedOut { host, port, after } => {
                write!(f, "\"{host}\" port {port} is not reached within {} ms", after.as_millis())
            }
            Self::Company { host, proxy, reason } => write!(f, "proxy \"{proxy}\" does not reach \"{host}\": {reason}"),
        }
    }
}

impl std::error::Error for DialError {}

impl Dialer {
    /// A dialer. It asks nobody yet.
    pub fn new(settings: Settings) -> Self {
        let mut tls = settings.tls;
        Arc::make_mut(&mut tls).alpn_protocols.clear();
        let resolver = resolver(&settings.servers);
        Self { resolver, proxies: settings.proxies, tls, connect_timeout: settings.connect_timeout }
    }

    /// Connects to a host that a grant allows: to its pinned addresses; else to an address as granted; else through the
    /// company's proxy; else to the name's addresses, every one of which must be public.
    ///
    /// # Errors
    /// As [`DialError`] says. Nothing stays connected.
    pub async fn dial(&self, host: &Host, port: u16, grant: &NetGrant, load: Load) -> Result<Dialed, DialError> {
        let connect = async {
            match (&grant.resolve, host) {
                (Some(pins), _) => race(pins).await.map_err(|missed| unreachable(host, port, missed)),
                (None, Host::Address(address)) => {
                    let pinned = [SocketAddr::new(*address, port)];
                    race(&pinned).await.map_err(|missed| unreachable(host, port, missed))
                }
                (None, Host::Name(_)) => match self.proxies.of(host, port, load) {
                    Some(company) => return self.through(company, host, port, load).await,
                    None => self.by_name(host, port).await,
                },
            }
            .map(|(stream, address)| Dialed {
                stream: Stream::plain(stream),
                address,
                route: Route::Direct,
            })
        };
        let after = self.connect_timeout;
        let late = |_| DialError::TimedOut { host: host.clone(), port, after };
        tokio::time::timeout(after, connect).await.map_err(late).flatten()
    }

    /// Connects to a host that the operator named for us, and no guest: any address will do, or the company's proxy.
    ///
    /// # Errors
    /// As [`DialError`] says.
    #[cfg(feature = "vault")]
    pub(super) async fn dial_anywhere(&self, host: &Host, port: u16) -> Result<Dialed, DialError> {
        match (host, self.proxies.of(host, port, Load::Bytes)) {
            (Host::Name(_), Some(company)) => self.through(company, host, port, Load::Bytes).await,
            (Host::Name(_) | Host::Address(_), _) => self.among(host, port, |_| true).await,
        }
    }

    /// Connects to a host that the operator named for us, where it is this machine's loopback.
    ///
    /// # Errors
    /// As [`DialError`] says.
    #[cfg(feature = "vault")]
    pub(super) async fn dial_loopback(&self, host: &Host, port: u16) -> Result<Dialed, DialError> {
        self.among(host, port, IpAddr::is_loopback).await
    }

    #[cfg(feature = "vault")]
    async fn among(&self, host: &Host, port: u16, fits: impl Fn(&IpAddr) -> bool) -> Result<Dialed, DialError> {
        let addresses = self.addresses(host).await?.into_iter().filter(fits);
        let targets: Vec<SocketAddr> = addresses.map(|address| SocketAddr::new(address, port)).collect();
        let (stream, address) = race(&targets).await.map_err(|missed| unreachable(host, port, missed))?;
        Ok(Dialed { stream: Stream::plain(stream), address, route: Route::Direct })
    }

    async fn by_name(&self, host: &Host, port: u16) -> Result<(TcpStream, SocketAddr), DialError> {
        let addresses = public(host, self.addresses(host).await?)?;
        let targets: Vec<SocketAddr> = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
        let (stream, target) = race(&targets).await.map_err(|missed| unreachable(host, port, missed))?;
        // A machine's own public address is public like any other, but leads to what listens for its own users.
        match stream.local_addr() {
            Ok(local) if local.ip() != target.ip() => Ok((stream, target)),
            Ok(_) => Err(DialError::OwnMachine { host: host.clone(), address: target.ip() }),
            Err(error) => Err(unreachable(host, port, Missed::new(crate::error::plain(&error), error.kind()))),
        }
    }

    /// All addresses that a host has, whatever they are.
    async fn addresses(&self, host: &Host) -> Result<Vec<IpAddr>, DialError> {
        let none = |reason: String| DialError::NoAddress { host: host.clone(), reason };
        let name = match host {
            Host::Address(address) => return Ok(vec![*address]),
            Host::Name(name) => name,
        };
        let resolver = self.resolver.as_ref().map_err(|reason| none(reason.clone()))?;
        // The dot at the end keeps the search list of resolv.conf away: only this very name is meant.
        let name = Name::from_ascii(format!("{}.", name.as_str())).map_err(|e| none(e.to_string()))?;
        let limit = Duration::from_secs(LOOKUP_S_MAX);
        match tokio::time::timeout(limit, resolver.lookup_ip(name)).await {
            Ok(Ok(found)) => Ok(found.iter().collect()),
            Ok(Err(error)) if error.is_nx_domain() => Err(none("no such name".to_owned())),
            Ok(Err(error)) if error.is_no_records_found() => Err(none("the name has none".to_owned())),
            Ok(Err(error)) => Err(none(error.to_string())),
            Err(_) => Err(none(format!("nobody answered within {LOOKUP_S_MAX} s"))),
        }
    }

    async fn through(
        &self,
        company: &company::Company,
        host: &Host,
        port: u16,
        load: Load,
    ) -> Result<Dialed, DialError> {
        let proxy = company.to_string();
        let failed = |reason: String| DialError::Company { host: host.clone(), proxy: proxy.clone(), reason };
        // Whoever started us named the proxy; where it is, is not a guest's choice, so any address will do.
        let addresses = self.addresses(company.host()).await.map_err(|error| failed(error.to_string()))?;
        let targets: Vec<SocketAddr> =
            addresses.into_iter().map(|address| SocketAddr::new(address, company.port())).collect();
        let (stream, address) = race(&targets).await.map_err(|missed| failed(missed.reason))?;
        let way = company.way(stream, &self.tls).await.map_err(&failed)?;
        Ok(match load {
            Load::Requests => {
                let stream = Stream::behind(way, Bytes::new());
                Dialed { stream, address, route: Route::Forward(company.forward()) }
            }
            Load::Upgrade | Load::Bytes => {
                let stream = company.connect(way, host, port).await.map_err(failed)?;
                Dialed { stream, address, route: Route::Company }
            }
        })
    }
}

fn unreachable(host: &Host, port: u16, missed: Missed) -> DialError {
    DialError::Unreachable { host: host.clone(), port, missed }
}

impl Missed {
    const fn new(reason: String, kind: std::io::ErrorKind) -> Self {
        Self { reason, kind }
    }
}

fn resolver(servers: &Servers) -> Result<TokioResolver, String> {
    let builder: ResolverBuilder<TokioRuntimeProvider> = match servers {
        Servers::System => TokioResolver::builder_tokio().map_err(|error| format!("/etc/resolv.conf: {error}"))?,
        Servers::These(these) => {
            let config = ResolverConfig::from_name_servers(these.iter().map(server).collect());
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            builder
        }
    };
    builder.build().map_err(|error| error.to_string())
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let mut connection = ConnectionConfig::udp();
    connection.port = address.port();
    NameServerConfig::new(address.ip(), true, vec![connection])
}

/// The addresses if every one is public. One that is not refuses all: whoever mixes them waits for us to pick it.
fn public(host: &Host, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, DialError> {
    match addresses.iter().find(|address| class(**address) != Class::Public) {
        None if addresses.is_empty() => {
            Err(DialError::NoAddress { host: host.clone(), reason: "the name has none".to_owned() })
        }
        None => Ok(addresses),
        Some(address) => Err(DialError::NotPublic { host: host.clone(), address: *address, class: class(*address) }),
    }
}

/// Connects to the first address that answers, families in turn, each a little later than the last (RFC 8305). What it
/// returns is connected to what was asked for: the peer is compared.
async fn race(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Missed> {
    let mut waiting = in_turn(addresses).into_iter().take(ADDRESSES_MAX);
    let mut attempts = JoinSet::new();
    let other = std::io::ErrorKind::Other;
    let mut failure = Missed::new("there is no address".to_owned(), other);
    loop {
        let next = waiting.next();
        let more = next.is_some();
        if let Some(address) = next {
            attempts.spawn(async move { (address, TcpStream::connect(address).await) });
        }
        if attempts.is_empty() {
            return Err(failure);
        }
        let ended = tokio::select! {
            ended = attempts.join_next() => ended,
            () = tokio::time::sleep(STAGGER), if more => continue,
        };
        match ended {
            Some(Ok((address, Ok(stream)))) => match connected(stream, address) {
                Ok(stream) => return Ok((stream, address)),
                Err(why) => failure = Missed::new(format!("{address}: {why}"), other),
            },
            Some(Ok((address, Err(error)))) => {
                failure = Missed::new(format!("{address}: {}", crate::error::plain(&error)), error.kind());
            }
            Some(Err(error)) => failure = Missed::new(error.to_string(), other),
            None => {}
        }
    }
}

fn connected(stream: TcpStream, address: SocketAddr) -> Result<TcpStream, String> {
    let plain = |error: std::io::Error| crate::error::plain(&error);
    let peer = stream.peer_addr().map_err(plain)?;
    if (peer.ip(), peer.port()) != (address.ip(), address.port()) {
        return Err(format!("it is connected to {peer}"));
    }
    stream.set_nodelay(true).map_err(plain)?;
    Ok(stream)
}

/// The addresses with families in turn, the first one's first.
fn in_turn(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (these, others): (Vec<_>, Vec<_>) = addresses.iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut others = others.into_iter();
    let mut turns: Vec<SocketAddr> = these.into_iter().flat_map(|one| [Some(one), others.next()]).flatten().collect();
    turns.extend(others);
    turns
}
