//! What a supervisor asks of a sandbox that runs: its sockets inside, fresh ones to reach its servers, the size of its layer.
//! It never gives a guest a socket, and never makes one outside.

use super::{Handle, Sandbox, is_readable_by, lost};
use crate::cgroup::Group;
use crate::channel::{Channel, protocol};
use crate::error::{Fault, JailError};
use crate::kernel::Kernel;
use crate::outlet::OutletEnd;
use crate::plan::{Plan, SessionStep, Wall};
use crate::recorder::{Ends, Grade, Handed};
use crate::watch::{LayerLook, LimitHit};
use crate::wire::{Family, Message};
use crate::worker::Task;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the init may take to make a socket: it does nothing that waits.
const SOCKET_LIMIT: Duration = Duration::from_secs(10);

/// A connection to a server inside.
#[derive(Debug)]
pub enum InnerStream {
    /// The connection itself.
    Tcp(TcpStream),
    /// Where it cannot come out: its bytes, and the ends of both directions. A reset looks like an end.
    Relayed(UnixStream),
}

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
    /// stands for a listener on an IPv6 address where there is no IPv6.
    pub fn take_outlet(&mut self) -> Vec<Option<OutletEnd>> {
        std::mem::take(&mut self.outlet)
    }

    /// Connects to a server that listens on the loopback inside, IPv4 first, within this time. The stream does not
    /// block.
    ///
    /// # Errors
    /// Nobody listens there (`ECONNREFUSED`), or does not answer in time (`ETIMEDOUT`); the wall has no net namespace of
    /// its own; the sandbox is gone.
    pub fn connect_inside(&self, port: u16, within: Duration) -> Result<InnerStream, JailError> {
        let deadline = Instant::now() + within;
        match self.connect_to(Family::V4, port, deadline) {
            Err(error) if error.errno == Some(libc::ECONNREFUSED) => {
                match self.connect_to(Family::V6, port, deadline) {
                    Ok(stream) => Ok(stream),
                    // Without IPv6 the first answer is the one that tells.
                    Err(_) => Err(error),
                }
            }
            other => other,
        }
    }

    fn connect_to(&self, family: Family, port: u16, deadline: Instant) -> Result<InnerStream, JailError> {
        let failed = |errno: i32| {
            JailError::os("connect to", format!("port {port} inside the sandbox"), errno)
                .fault(Fault::Guest)
                .hint("a server there has to listen on the loopback or on every address")
        };
        let address = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        match self.kernel {
            Kernel::Host => {
                let socket = self.socket_inside(family)?;
                let connected = connect(&socket, SocketAddr::new(address, port), deadline);
                connected.map_err(|errno| failed(errno.raw_os_error()))?;
                Ok(InnerStream::Tcp(socket.into()))
            }
            Kernel::Gvisor => {
                let (ours, theirs) = UnixStream::pair().map_err(|e| JailError::io("make", "a socket pair", &e))?;
                ours.set_nonblocking(true).map_err(|e| JailError::io("prepare", "a socket pair", &e))?;
                let theirs = OwnedFd::from(theirs);
                match self.ask_for(&Message::Connect { family, port }, Some(theirs), deadline)? {
                    Made::Yes(_) => Ok(InnerStream::Relayed(ours)),
                    Made::No(errno) => Err(failed(errno)),
                    Made::NotInTime => Err(failed(libc::ETIMEDOUT)),
                }
            }
        }
    }

    /// Who starts workers inside, where they cannot join the sandbox from outside.
    pub(crate) fn nursery(&self) -> Option<&Channel> {
        self.nursery.as_ref()
    }

    /// A TCP socket of the sandbox's net namespace, made by its init.
    fn socket_inside(&self, family: Family) -> Result<OwnedFd, JailError> {
        match self.ask_for(&Message::Socket(family), None, Instant::now() + SOCKET_LIMIT)? {
            Made::Yes(Some(socket)) => Ok(socket),
            Made::Yes(None) => Err(protocol("another answer than a socket")),
            Made::No(errno) => Err(JailError::os("make a socket in", "the sandbox", errno)),
            // It does nothing that waits: an init that does not answer is none any more.
            Made::NotInTime => Err(lost("it did not answer in time")),
        }
    }

    /// Asks the init for a socket, and waits.
    fn ask_for(&self, message: &Message, stream: Option<OwnedFd>, deadline: Instant) -> Result<Made, JailError> {
        let (channel, theirs) = Channel::pair()?;
        let descriptors: Vec<_> = [&theirs].into_iter().chain(&stream).map(OwnedFd::as_fd).collect();
        self.control.send(message, &descriptors)?;
        drop((theirs, stream));
        if !is_readable_by(channel.as_fd(), Some(deadline))? {
            return Ok(Made::NotInTime);
        }
        let received = channel.receive()?.ok_or_else(|| lost("it ended before it made a socket"))?;
        match (received.message, received.descriptors.into_iter().next()) {
            (Message::Made, socket) => Ok(Made::Yes(socket)),
            (Message::Refused(_, errno), _) => Ok(Made::No(errno)),
            (_, _) => Err(protocol("another answer than a socket")),
        }
    }
}

/// What became of a socket that was asked for.
enum Made {
    Yes(Option<OwnedFd>),
    No(i32),
    NotInTime,
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

/// Sends the lines of the outlet's sockets, one for each that is planned; our ends of them.
pub(super) fn send_lines(control: &Channel, plan: &Plan) -> Result<Vec<OwnedFd>, JailError> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..planned(plan) {
        let (line, inner) = Channel::pair()?;
        ours.push(line.into_end());
        theirs.push(inner);
    }
    if !theirs.is_empty() {
        control.send(&Message::Lines, &theirs.iter().map(OwnedFd::as_fd).collect::<Vec<_>>())?;
    }
    Ok(ours)
}

/// How many sockets a plan has.
fn planned(plan: &Plan) -> usize {
    let planned = |step: &SessionStep| if let SessionStep::Outlet { sockets, .. } = step { sockets.len() } else { 0 };
    plan.session.iter().map(planned).sum()
}

/// Puts the sockets that came, or our ends of their lines, into the places that the plan has for them.
pub(super) fn in_plan_order(
    plan: &Plan,
    made: &[bool],
    sockets: Vec<OwnedFd>,
    lines: Vec<OwnedFd>,
) -> Result<Vec<Option<OutletEnd>>, JailError> {
    let came = made.iter().filter(|made| **made).count();
    let expected = if lines.is_empty() { came } else { 0 };
    if made.len() != planned(plan) || expected != sockets.len() {
        return Err(protocol("another number of sockets than the plan has"));
    }
    if !lines.is_empty() {
        let ends = made.iter().zip(lines);
        return Ok(ends.map(|(made, line)| made.then_some(OutletEnd::Relayed(line))).collect());
    }
    let mut sockets = sockets.into_iter();
    Ok(made.iter().map(|made| made.then(|| sockets.next()).flatten().map(OutletEnd::Socket)).collect())
}
