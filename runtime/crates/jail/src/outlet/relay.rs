//! Serves an outlet's sockets inside, where they cannot come out: a thread of the init moves bytes between them and lines.
//! It never decides what may go out, and never holds more of anything than a chunk.

mod datagrams;
mod pump;
mod visit;

use super::refusals;
use super::relayed;
use crate::error::JailError;
use crate::plan::OutletSocket;
use datagrams::Said;
use pump::{Framing, Outcome, Pump};
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::mpsc::{Receiver, Sender};
pub(crate) use visit::Visit;

/// Connections whose bytes are moved at a time; more wait in their listeners.
const CONNECTIONS_MAX: usize = 1024;
/// Datagrams, or packets, that are moved before something else has its turn.
const BATCH: usize = 64;
/// Stack of the thread.
const STACK_BYTES: usize = 256 * 1024;

/// What is served for as long as its line is open.
#[derive(Debug)]
struct Inlet {
    socket: OwnedFd,
    line: OwnedFd,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// With a stream for the next connection.
    Listener(Option<OwnedFd>),
    Datagrams,
    /// With how many packets were lost, and the sandbox's own address.
    Refusals(u64, Ipv4Addr),
}

/// The line is closed: nobody serves the outlet any more.
struct Closed;

/// Everything that is moved.
#[derive(Debug)]
struct Relay {
    inlets: Vec<Inlet>,
    visits: Vec<Visit>,
    pumps: Vec<Pump>,
    /// Visits that were begun, and what is readable when there is one.
    begun: Receiver<Visit>,
    bell: OwnedFd,
}

/// The way to the thread, which ends with the init.
#[derive(Debug)]
pub(crate) struct Relaying {
    visits: Sender<Visit>,
    bell: OwnedFd,
}

impl Relaying {
    /// Takes a visit over. One that there is nobody for is dropped, which its channel tells.
    pub(crate) fn take(&self, visit: Visit) {
        if self.visits.send(visit).is_ok() {
            match rustix::io::write(&self.bell, &1_u64.to_ne_bytes()) {
                // Full, it is readable already.
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// Starts the thread. Each socket comes with its line; `own` is the sandbox's address.
pub(crate) fn start(sockets: Vec<(OutletSocket, OwnedFd, OwnedFd)>, own: Ipv4Addr) -> Result<Relaying, JailError> {
    let failed = |errno: Errno| JailError::os("prepare", "the relay of the outlet", errno.raw_os_error());
    let mut inlets = Vec::with_capacity(sockets.len());
    for (planned, socket, line) in sockets {
        no_waiting(&line).map_err(failed)?;
        let kind = match planned {
            OutletSocket::Tcp { .. } => Kind::Listener(None),
            OutletSocket::Udp { .. } => Kind::Datagrams,
            OutletSocket::Refusals => Kind::Refusals(0, own),
        };
        inlets.push(Inlet { socket, line, kind });
    }
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let bell = rustix::event::eventfd(0, flags).map_err(failed)?;
    let heard = rustix::io::fcntl_dupfd_cloexec(&bell, 3).map_err(failed)?;
    let (visits, begun) = std::sync::mpsc::channel();
    let relay = Relay { inlets, visits: Vec::new(), pumps: Vec::new(), begun, bell: heard };
    let thread = std::thread::Builder::new().name("outlet".to_owned()).stack_size(STACK_BYTES);
    let started = thread.spawn(|| relay.serve());
    started.map_err(|error| JailError::io("start", "the thread that relays the outlet", &error))?;
    Ok(Relaying { visits, bell })
}

/// Lets a descriptor that came from elsewhere not block.
pub(crate) fn no_waiting(descriptor: &OwnedFd) -> Result<(), Errno> {
    let flags = rustix::fs::fcntl_getfl(descriptor)?;
    rustix::fs::fcntl_setfl(descriptor, flags | OFlags::NONBLOCK)
}

/// Who is woken by a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Bell,
    Inlet(usize),
    Visit(usize),
    Pump(usize),
}

impl Relay {
    /// For as long as the init lives; and no longer than it can be waited.
    fn serve(mut self) {
        while let Ok(woken) = self.wait() {
            // Backwards, so that the positions stay true while some end; pumps first, to which the others add.
            for owner in woken.into_iter().rev() {
                match owner {
                    Owner::Pump(position) => self.on_pump(position),
                    Owner::Visit(position) => self.pumps.extend(self.visits.swap_remove(position).arrive()),
                    Owner::Inlet(position) => self.on_inlet(position),
                    Owner::Bell => self.on_bell(),
                }
            }
        }
    }

    /// Those that something can be done for, each once: the bell, inlets, visits, pumps.
    fn wait(&self) -> Result<Vec<Owner>, Errno> {
        let mut fds = vec![PollFd::from_borrowed_fd(self.bell.as_fd(), PollFlags::IN)];
        let mut owners = vec![Owner::Bell];
        let is_full = self.pumps.len() >= CONNECTIONS_MAX;
        for (position, inlet) in self.inlets.iter().enumerate() {
            let of_socket = inlet.interest(is_full);
            fds.push(PollFd::from_borrowed_fd(inlet.socket.as_fd(), of_socket));
            fds.push(PollFd::from_borrowed_fd(inlet.line.as_fd(), inlet.interest_in_line()));
            owners.extend([Owner::Inlet(position); 2]);
        }
        for (position, visit) in self.visits.iter().enumerate() {
            fds.push(PollFd::from_borrowed_fd(visit.socket().as_fd(), PollFlags::OUT));
            owners.push(Owner::Visit(position));
        }
        for (position, pump) in self.pumps.iter().enumerate() {
            for (descriptor, interest) in pump.interests() {
                if !interest.is_empty() {
                    fds.push(PollFd::from_borrowed_fd(descriptor.as_fd(), interest));
                    owners.push(Owner::Pump(position));
                }
            }
        }
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))?;
        let ready = fds.iter().zip(owners).filter(|(fd, _)| !fd.revents().is_empty());
        let mut woken: Vec<Owner> = ready.map(|(_, owner)| owner).collect();
        woken.dedup();
        Ok(woken)
    }

    fn on_bell(&mut self) {
        match rustix::io::read(&self.bell, &mut [0; 8]) {
            // It rings once for several.
            Ok(_) | Err(_) => self.visits.extend(self.begun.try_iter()),
        }
    }

    fn on_pump(&mut self, position: usize) {
        let Some(pump) = self.pumps.get_mut(position) else { return };
        match pump.step() {
            Outcome::Alive => {}
            Outcome::Over => drop(self.pumps.swap_remove(position)),
            Outcome::Cut => self.pumps.swap_remove(position).reset(),
        }
    }

    fn on_inlet(&mut self, position: usize) {
        let Some(inlet) = self.inlets.get_mut(position) else { return };
        match inlet.serve() {
            Ok(None) => {}
            Ok(Some(pump)) => self.pumps.push(pump),
            // With its socket: who connects is refused from now on.
            Err(Closed) => drop(self.inlets.remove(position)),
        }
    }
}

impl Inlet {
    fn interest(&self, is_full: bool) -> PollFlags {
        match self.kind {
            Kind::Listener(None) => PollFlags::empty(),
            Kind::Listener(Some(_)) if is_full => PollFlags::empty(),
            Kind::Listener(Some(_)) | Kind::Datagrams | Kind::Refusals(..) => PollFlags::IN,
        }
    }

    fn interest_in_line(&self) -> PollFlags {
        match self.kind {
            // What is lost is said as soon as there is room.
            Kind::Refusals(1.., _) => PollFlags::IN | PollFlags::OUT,
            Kind::Listener(_) | Kind::Datagrams | Kind::Refusals(0, _) => PollFlags::IN,
        }
    }

    /// Does what can be done now; a connection that was taken comes back.
    fn serve(&mut self) -> Result<Option<Pump>, Closed> {
        match &mut self.kind {
            Kind::Listener(spare) => {
                // Also where there is one: this is how the line's end is seen.
                if let Some(stream) = relayed::offered(&self.line).map_err(|_| Closed)? {
                    *spare = Some(stream);
                }
                match accept(&self.socket, spare) {
                    Ok(pump) => Ok(pump),
                    // It left again, or there is no room: the next one, or later.
                    Err(_) => Ok(None),
                }
            }
            Kind::Datagrams => {
                inwards(&self.socket, &self.line)?;
                outwards(&self.socket, &self.line).map(|()| None)
            }
            Kind::Refusals(lost, own) => {
                refused(&self.socket, &self.line, lost, *own)?;
                Ok(None)
            }
        }
    }
}

/// Takes a connection, where there is a stream for it: the stream begins with where the guest wanted to go.
fn accept(listener: &OwnedFd, spare: &mut Option<OwnedFd>) -> Result<Option<Pump>, Errno> {
    let Some(stream) = spare.take() else { return Ok(None) };
    let accepted = rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
    let guest = match accepted {
        Ok(guest) => guest,
        Err(errno) => {
            *spare = Some(stream);
            return Err(errno);
        }
    };
    no_waiting(&stream)?;
    let to = rustix::net::getsockname(&guest).and_then(SocketAddr::try_from)?;
    let mut pump = Pump::new(guest, stream, Framing::Pieces).saying(&relayed::bytes_of(to));
    match pump.step() {
        Outcome::Alive => Ok(Some(pump)),
        Outcome::Over | Outcome::Cut => Ok(None),
    }
}

/// Datagrams of guests. What finds no room on the line is lost, as datagrams may be.
fn outwards(socket: &OwnedFd, line: &OwnedFd) -> Result<(), Closed> {
    for _ in 0..BATCH {
        let Ok(Some(said)) = datagrams::receive(socket) else { return Ok(()) };
        let message = [&relayed::bytes_of(said.to)[..], &relayed::bytes_of(said.from), &said.bytes].concat();
        say(line, &message)?;
    }
    Ok(())
}

/// Answers to guests, each from where it was asked.
fn inwards(socket: &OwnedFd, line: &OwnedFd) -> Result<(), Closed> {
    for _ in 0..BATCH {
        let Some(message) = heard(line)? else { return Ok(()) };
        let Some((to, rest)) = message.split_first_chunk() else { continue };
        let Some((from, bytes)) = rest.split_first_chunk() else { continue };
        let answer = Said { to: relayed::address(to), from: relayed::address(from), bytes: bytes.to_vec() };
        match datagrams::answer(socket, &answer) {
            // One that the guest does not take is one that it lost: it asks again.
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Packets that show what guests try to reach, and how many of them were not told.
fn refused(socket: &OwnedFd, line: &OwnedFd, lost: &mut u64, own: Ipv4Addr) -> Result<(), Closed> {
    if *lost > 0 && say(line, &relayed::lost(*lost))? == Room::Some {
        *lost = 0;
    }
    for _ in 0..BATCH {
        let Ok(Some(packet)) = refusals::next(socket, own) else { break };
        if let refusals::Seen::Attempt(packet) = packet
            && (*lost > 0 || say(line, &packet)? == Room::None)
        {
            *lost += 1;
        }
    }
    // Nothing is said on this line to us: only its end is waited for.
    heard(line).map(drop)
}

/// Whether the line had room.
#[derive(Debug, PartialEq, Eq)]
enum Room {
    Some,
    None,
}

fn say(line: &OwnedFd, message: &[u8]) -> Result<Room, Closed> {
    match rustix::net::send(line, message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Ok(_) => Ok(Room::Some),
        Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => Ok(Room::None),
        Err(_) => Err(Closed),
    }
}

fn heard(line: &OwnedFd) -> Result<Option<Vec<u8>>, Closed> {
    let mut bytes = vec![0; relayed::DATAGRAM_HEAD_BYTES + datagrams::BYTES_MAX];
    match rustix::io::read(line, &mut bytes) {
        Ok(0) => Err(Closed),
        Ok(count) => {
            bytes.truncate(count);
            Ok(Some(bytes))
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(_) => Err(Closed),
    }
}
