//! What a supervisor asks of a sandbox that runs: its sockets inside, fresh ones to reach its servers, the size of its layer.
//! It never gives a guest a socket, and never makes one outside.

use super::{Handle, Sandbox, lost, wait_readable};
use crate::cgroup::Group;
use crate::channel::{Channel, protocol};
use crate::error::{Fault, JailError};
use crate::kernel::{Kernel, NOTHING_LEAVES};
use crate::plan::{Plan, SessionStep, Wall};
use crate::recorder::{Ends, Grade, Handed};
use crate::watch::{LayerLook, LimitHit};
use crate::wire::{Family, Message};
use crate::worker::Task;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the init may take to make a socket: it does nothing that waits.
const SOCKET_LIMIT: Duration = Duration::from_secs(10);

/// Which runtimes of a container can.
const OTHERS: &str = "choose runc or crun for what needs it";

impl Sandbox {
    /// The wall, and what a worker is told of the plan.
    pub(crate) fn for_workers(&self) -> (Wall, Task) {
        self.workers.clone()
    }

    /// The group, to be told of workers.
    pub(crate) fn shared_group(&self) -> Option<&Arc<Group>> {
        self.group.as_ref()
    }

    /// What looks at the session's layer while a worker writes in it; `None` where the disk is not limited, or no layer is
    /// apart from what was there before.
    pub fn layer_look(&self) -> Option<LayerLook> {
        self.watch.layer_look()
    }

    /// The limit of the disk, when what the layer takes exceeds it. It may be asked at any time: it looks no more often
    /// than its share of the time lets it.
    pub fn exceeded(&self, look: &mut LayerLook) -> Option<LimitHit> {
        look.exceeded(&self.handle.workers())
    }

    /// What ends with the sandbox.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Asks the init for something; the answer goes to the channel that comes along.
    pub(crate) fn ask(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> Result<(), JailError> {
        self.control.send(message, descriptors)
    }

    /// The sockets of the outlet, in the plan's order; empty when the plan has none, or they were taken before. `None`
    /// stands for a listener on an IPv6 address where the machine has no IPv6.
    pub fn take_outlet(&mut self) -> Vec<Option<OwnedFd>> {
        std::mem::take(&mut self.outlet)
    }

    /// Connects to a server that listens on the loopback inside, IPv4 first, within this time. The stream does not
    /// block.
    ///
    /// # Errors
    /// Nobody listens there (`ECONNREFUSED`), or does not answer in time (`ETIMEDOUT`); the wall has no net namespace of
    /// its own; the sandbox is gone.
    pub fn connect_inside(&self, port: u16, within: Duration) -> Result<TcpStream, JailError> {
        let deadline = Instant::now() + within;
        let on = |address: IpAddr| {
            let socket = self.socket_inside(if address.is_ipv4() { Family::V4 } else { Family::V6 })?;
            connect(&socket, SocketAddr::new(address, port), deadline).map(|()| TcpStream::from(socket)).map_err(
                |errno| {
                    JailError::os("connect to", format!("port {port} inside the sandbox"), errno.raw_os_error())
                        .fault(Fault::Guest)
                        .hint("a server there has to listen on the loopback or on every address")
                },
            )
        };
        match on(Ipv4Addr::LOCALHOST.into()) {
            Err(error) if error.errno == Some(libc::ECONNREFUSED) => match on(Ipv6Addr::LOCALHOST.into()) {
                Ok(stream) => Ok(stream),
                // Without IPv6 the first answer is the one that tells.
                Err(_) => Err(error),
            },
            other => other,
        }
    }

    /// What cannot be had on gVisor, where it comes out as a descriptor.
    pub(super) fn refused_by_gvisor(&self, act: &str) -> JailError {
        JailError::host(act, "a container on gVisor").fault(Fault::Operator).hint(format!("{NOTHING_LEAVES}; {OTHERS}"))
    }

    /// Who starts workers inside, where they cannot join the sandbox from outside.
    pub(crate) fn nursery(&self) -> Option<&Channel> {
        self.nursery.as_ref()
    }

    /// A TCP socket of the sandbox's net namespace, made by its init.
    fn socket_inside(&self, family: Family) -> Result<OwnedFd, JailError> {
        if self.kernel == Kernel::Gvisor {
            return Err(self.refused_by_gvisor("make a socket in"));
        }
        let (channel, theirs) = Channel::pair()?;
        self.control.send(&Message::Socket(family), &[theirs.as_fd()])?;
        drop(theirs);
        wait_readable(channel.as_fd(), Some(Instant::now() + SOCKET_LIMIT))?;
        let received = channel.receive()?.ok_or_else(|| lost("it ended before it made a socket"))?;
        match (received.message, received.descriptors.into_iter().next()) {
            (Message::Made, Some(socket)) => Ok(socket),
            (Message::Refused(_, errno), _) => Err(JailError::os("make a socket in", "the sandbox", errno)),
            (_, _) => Err(protocol("another answer than a socket")),
        }
    }
}

/// Connects a socket that does not block.
fn connect(socket: &OwnedFd, address: SocketAddr, deadline: Instant) -> Result<(), Errno> {
    match rustix::net::connect(socket, &address) {
        Ok(()) => return Ok(()),
        Err(Errno::INPROGRESS) => {}
        Err(errno) => return Err(errno),
    }
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        let mut fds = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT)];
        match rustix::event::poll(&mut fds, Some(&limit)) {
            Ok(0) => return Err(Errno::TIMEDOUT),
            Ok(_) => return rustix::net::sockopt::socket_error(socket)?,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Takes the recorder's descriptors, which come last.
pub(super) fn of_the_recorder(
    grade: Option<Grade>,
    descriptors: &mut Vec<OwnedFd>,
) -> Result<Option<Handed>, JailError> {
    let Some(grade) = grade else { return Ok(None) };
    match (descriptors.pop(), descriptors.pop(), descriptors.pop()) {
        (Some(executables), Some(wake), Some(memory)) => {
            Ok(Some(Handed { ends: Ends { memory, wake }, executables, grade }))
        }
        _ => Err(protocol("a recorder without its descriptors")),
    }
}

/// Puts the sockets that came into the places that the plan has for them.
pub(super) fn in_plan_order(
    plan: &Plan,
    made: &[bool],
    sockets: Vec<OwnedFd>,
) -> Result<Vec<Option<OwnedFd>>, JailError> {
    let planned = |step: &SessionStep| if let SessionStep::Outlet { sockets, .. } = step { sockets.len() } else { 0 };
    let came = made.iter().filter(|made| **made).count();
    if made.len() != plan.session.iter().map(planned).sum::<usize>() || came != sockets.len() {
        return Err(protocol("another number of sockets than the plan has"));
    }
    let mut sockets = sockets.into_iter();
    Ok(made.iter().map(|made| made.then(|| sockets.next()).flatten()).collect())
}
