//! The sockets of an outlet: made in the net namespace of the sandbox, served from outside it, by a relay where they cannot
//! come out. It never decides what may go out.

mod refusals;
pub(crate) mod relay;
pub mod relayed;

pub use refusals::lost_since_last_asked;

use crate::enforced::{Layer, LayerState};
use crate::error::JailError;
use crate::kernel::Kernel;
use crate::plan::{OUTLET_SOCKETS_MAX, OutletSocket};
use crate::route::Routes;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

/// Connections that wait to be accepted, of each listener.
const BACKLOG: i32 = 1024;

/// What an outlet is to be.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) address: Ipv4Addr,
    pub(crate) address_v6: Ipv6Addr,
    pub(crate) sockets: Vec<OutletSocket>,
    pub(crate) kernel: Kernel,
}

/// What there is of a socket of the outlet out here.
#[derive(Debug)]
pub enum OutletEnd {
    /// The socket itself.
    Socket(OwnedFd),
    /// The end of a line, on which the init [relays](relayed) it.
    Relayed(OwnedFd),
}

/// An outlet that was made.
#[derive(Debug)]
pub(crate) struct Made {
    /// In the order in which they were wanted; `None` for one on an IPv6 address where there is no IPv6.
    pub(crate) sockets: Vec<Option<OwnedFd>>,
    pub(crate) layer: LayerState,
}

/// Which families the namespace has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Families {
    Both,
    V4Alone(Errno),
    /// gVisor answers for every address of a network that its loopback is in, of IPv4.
    V4AloneByGvisor,
}

/// Routes everything to the loopback of the calling thread's net namespace, and makes the sockets there.
pub(crate) fn make(wanted: &Wanted) -> Result<Made, JailError> {
    if wanted.sockets.len() > OUTLET_SOCKETS_MAX {
        return Err(JailError::bug("make an outlet of", format!("{} sockets", wanted.sockets.len())));
    }
    let refused = |errno: Errno| JailError::os("route", "every address to the loopback", errno.raw_os_error());
    let families = route(wanted).map_err(refused)?;
    let own = [IpAddr::V4(wanted.address), IpAddr::V6(wanted.address_v6)];
    let make = |socket: &OutletSocket| {
        one(*socket, families, own, wanted.kernel)
            .map_err(|errno| JailError::os("make the outlet's socket for", socket.to_string(), errno.raw_os_error()))
    };
    let sockets = wanted.sockets.iter().map(make).collect::<Result<Vec<_>, _>>()?;
    let made = sockets.iter().flatten().count();
    let families = match families {
        Families::Both => "IPv4 and IPv6".to_owned(),
        Families::V4Alone(errno) => format!("IPv4 alone: {}", std::io::Error::from(errno)),
        Families::V4AloneByGvisor => "IPv4 alone, relayed by the init".to_owned(),
    };
    let layer = LayerState::active(Layer::Outlet).detail(format!("{made} sockets; {families}"));
    Ok(Made { sockets, layer })
}

/// Without IPv6 in the kernel, or with it switched off, there are no such addresses to be had inside either.
fn route(wanted: &Wanted) -> Result<Families, Errno> {
    let routes = Routes::open()?;
    if wanted.kernel == Kernel::Gvisor {
        return routes.add_network_of_everything(wanted.address).map(|()| Families::V4AloneByGvisor);
    }
    let everything = |address: IpAddr| routes.add_address(address).and_then(|()| routes.add_everything(address));
    everything(wanted.address.into())?;
    match everything(wanted.address_v6.into()) {
        Ok(()) => Ok(Families::Both),
        Err(errno @ (Errno::ACCESS | Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::NODEV)) => {
            Ok(Families::V4Alone(errno))
        }
        Err(errno) => Err(errno),
    }
}

fn one(wanted: OutletSocket, families: Families, own: [IpAddr; 2], kernel: Kernel) -> Result<Option<OwnedFd>, Errno> {
    match wanted {
        OutletSocket::Tcp { address, port } => {
            let Some(address) = on(address, families) else { return Ok(None) };
            let socket = bound(SocketType::STREAM, SocketAddr::new(address, port))?;
            rustix::net::listen(&socket, BACKLOG)?;
            Ok(Some(socket))
        }
        OutletSocket::Udp { port } => {
            let Some(address) = on(None, families) else { return Ok(None) };
            let socket = bound(SocketType::DGRAM, SocketAddr::new(address, port))?;
            let (level, option) = match address {
                IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
                IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
            };
            switch_on(&socket, level, option)?;
            Ok(Some(socket))
        }
        OutletSocket::Refusals => refusals::open(own, kernel).map(Some),
    }
}

/// The address to bind to; `None` for one of a family that is not there.
fn on(address: Option<IpAddr>, families: Families) -> Option<IpAddr> {
    match (address, families) {
        (None, Families::Both) => Some(Ipv6Addr::UNSPECIFIED.into()),
        (None, Families::V4Alone(_) | Families::V4AloneByGvisor) => Some(Ipv4Addr::UNSPECIFIED.into()),
        (Some(IpAddr::V6(_)), Families::V4Alone(_) | Families::V4AloneByGvisor) => None,
        (Some(address), Families::Both | Families::V4Alone(_) | Families::V4AloneByGvisor) => Some(address),
    }
}

fn bound(kind: SocketType, address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
        // IPv6 takes an address that is only routed to us neither to bind to nor to answer from, IPv4 takes it.
        sockopt::set_ipv6_freebind(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// setsockopt(2) of an option that is a number, to 1.
fn switch_on(socket: &OwnedFd, level: i32, option: i32) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).expect("four");
    // SAFETY: `on` lives across the call and its exact size is passed; the kernel copies it (setsockopt(2)).
    let result = unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, (&raw const on).cast(), length) };
    crate::sys::answer(i64::from(result)).map(drop)
}
