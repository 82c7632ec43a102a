//! A connection from out there to a server inside, on its way.
//! It never waits: who asked is told when it is known.

use super::{Framing, Pump, no_waiting};
use crate::channel::Channel;
use crate::wire::{Family, Message, Stage};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// One that was begun.
#[derive(Debug)]
pub(crate) struct Visit {
    socket: OwnedFd,
    stream: OwnedFd,
    answer: Channel,
}

impl Visit {
    /// Begins to connect to a port of the loopback; the stream is for its bytes. `None` where the answer is known at once,
    /// and was given.
    pub(crate) fn begin(answer: Channel, stream: OwnedFd, family: Family, port: u16) -> Option<Self> {
        match connecting(&stream, family, port) {
            Ok(socket) => Some(Self { socket, stream, answer }),
            Err(errno) => {
                tell(&answer, &Message::Refused(Stage::Socket, errno.raw_os_error()));
                None
            }
        }
    }

    /// Can be written to once it is known.
    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// It is known: whoever asked is told, and bytes are moved from now on.
    pub(super) fn arrive(self) -> Option<Pump> {
        let Self { socket, stream, answer } = self;
        match sockopt::socket_error(&socket) {
            Ok(Ok(())) => {
                tell(&answer, &Message::Made);
                Some(Pump::new(socket, stream, Framing::Plain))
            }
            Ok(Err(errno)) | Err(errno) => {
                tell(&answer, &Message::Refused(Stage::Socket, errno.raw_os_error()));
                None
            }
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

fn tell(answer: &Channel, message: &Message) {
    match answer.try_send(message, &[]) {
        // Who asked has given up.
        Ok(()) | Err(_) => {}
    }
}
