//! A connection from out there to a server inside, on its way.
//! It never waits: who asked is told when it is known.

use super::no_waiting;
use super::pump::Pump;
use crate::channel::Channel;
use crate::wire::{Family, Message, Stage};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// Begins to connect to a port of the loopback; the stream is for its bytes. `None` where the answer is known at once, and
/// was given.
pub(super) fn begin(answer: Channel, stream: OwnedFd, family: Family, port: u16) -> Option<Pump> {
    match connecting(&stream, family, port) {
        Ok(socket) => Some(Pump::on_its_way(socket, stream, answer)),
        Err(errno) => {
            tell(&answer, Err(errno));
            None
        }
    }
}

fn connecting(stream: &OwnedFd, family: Family, port: u16) -> Result<OwnedFd, Errno> {
    no_waiting(stream)?;
    let (family, address) = match family {
        Family::V4 => (AddressFamily::INET, IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Family::V6 => (AddressFamily::INET6, IpAddr::V6(Ipv6Addr::LOCALHOST)),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddr::new(address, port)) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

/// Says what came of it.
pub(super) fn tell(answer: &Channel, connected: Result<(), Errno>) {
    let message = match connected {
        Ok(()) => Message::Made,
        Err(errno) => Message::Refused(Stage::Socket, errno.raw_os_error()),
    };
    match answer.try_send(&message, &[]) {
        // Who asked has given up.
        Ok(()) | Err(_) => {}
    }
}
