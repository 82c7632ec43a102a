//! What the init says on the channels of calls and requests.
//! It never waits for a supervisor, and never ends because one is gone.

use super::Call;
use crate::channel::{Channel, protocol};
use crate::error::JailError;
use crate::outlet::relay::{self, Relaying};
use crate::plan::{Plan, SessionStep, Wall};
use crate::wire::{CallEnd, Family, Message, ProcessExit, Stage};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Makes a TCP socket in the sandbox's net namespace and hands it out, unconnected: who asked connects it.
pub(super) fn make_socket(channel: &Channel, wall: Wall, family: Family) -> Result<(), JailError> {
    let family = match family {
        Family::V4 => AddressFamily::INET,
        Family::V6 => AddressFamily::INET6,
    };
    let made = match wall {
        Wall::Namespaces => {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            rustix::net::socket_with(family, SocketType::STREAM, flags, None)
        }
        // It would be one of the host's.
        Wall::Landlock => Err(Errno::AFNOSUPPORT),
    };
    match made {
        Ok(socket) => tell(channel, &Message::Made, &[socket.as_fd()]),
        Err(errno) => refuse(channel, Stage::Socket, errno.raw_os_error()),
    }
}

/// Serves the sockets of the outlet in here, on the supervisor's lines. `None` where there are none.
pub(super) fn relay(
    plan: &Plan,
    sockets: Vec<Option<OwnedFd>>,
    lines: Vec<OwnedFd>,
) -> Result<Option<Relaying>, JailError> {
    let outlet = plan.session.iter().find_map(|step| {
        if let SessionStep::Outlet { address, sockets, .. } = step { Some((*address, sockets)) } else { None }
    });
    let Some((own, planned)) = outlet else { return Ok(None) };
    if lines.len() != planned.len() || sockets.len() != planned.len() {
        return Err(protocol("another number of lines than the plan has sockets"));
    }
    let made = planned.iter().zip(sockets).zip(lines);
    let made = made.filter_map(|((planned, socket), line)| Some((*planned, socket?, line))).collect();
    relay::start(made, own).map(Some)
}

pub(super) fn refuse(channel: &Channel, stage: Stage, errno: i32) -> Result<(), JailError> {
    tell(channel, &Message::Refused(stage, errno), &[])
}

/// Says something on a channel to a supervisor that may have dropped it.
pub(super) fn tell(channel: &Channel, message: &Message, descriptors: &[BorrowedFd<'_>]) -> Result<(), JailError> {
    match channel.try_send(message, descriptors) {
        // A new channel has room for the few messages of a call; a closed one belongs to nobody.
        Ok(()) | Err(Errno::PIPE | Errno::CONNRESET | Errno::AGAIN) => Ok(()),
        Err(errno) => Err(JailError::os("report", "a call", errno.raw_os_error())),
    }
}

pub(super) fn report(call: Call, main: ProcessExit) {
    let end = CallEnd {
        main,
        wall_us: u64::try_from(call.began.elapsed().as_micros()).unwrap_or(u64::MAX),
        cpu_us: call.cpu_us,
        max_rss_kib: call.max_rss_kib,
        exits: call.exits,
        exits_unlisted: call.exits_unlisted,
    };
    match tell(&call.channel, &Message::Ended(end), &[]) {
        // The channel closes with the call: a supervisor that gets no report sees that.
        Ok(()) | Err(_) => {}
    }
}
