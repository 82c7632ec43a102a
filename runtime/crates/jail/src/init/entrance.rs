//! By what a worker comes into the sandbox, and what binds its life to the init's.
//! It never lets anybody in by itself: it hands out what the supervisor asks for.

use super::answers::tell;
use crate::channel::Channel;
use crate::error::JailError;
use crate::landlock::Identity;
use crate::namespaces::Namespaces;
use crate::wire::Message;
use crate::worker::Insides;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::os::fd::{AsFd as _, OwnedFd};

/// What is handed out.
#[derive(Debug)]
pub(super) struct Entrance {
    /// None where there are none.
    namespaces: Option<Namespaces>,
    objects: Vec<Identity>,
    /// One end of a pair for each worker, which has the other: the kernel ends the worker when ours closes, however this
    /// init ends.
    bonds: Vec<OwnedFd>,
}

impl Entrance {
    pub(super) const fn new(namespaces: Option<Namespaces>, objects: Vec<Identity>) -> Self {
        Self { namespaces, objects, bonds: Vec::new() }
    }

    /// Hands out what one worker needs.
    pub(super) fn let_in(&mut self, channel: &Channel) -> Result<(), JailError> {
        self.bonds.retain(|bond| !is_closed(bond));
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .map_err(|errno| JailError::os("make", "a pair of sockets", errno.raw_os_error()))?;
        let mut descriptors = vec![theirs.as_fd()];
        descriptors.extend(self.namespaces.iter().flat_map(Namespaces::descriptors));
        tell(channel, &Message::Insides(Insides { objects: self.objects.clone() }), &descriptors)?;
        self.bonds.push(ours);
        Ok(())
    }
}

/// Whether the worker at the other end is gone.
fn is_closed(bond: &OwnedFd) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(bond.as_fd(), PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}
