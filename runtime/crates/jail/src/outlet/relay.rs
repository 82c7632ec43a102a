//! Serves an outlet's sockets inside, where they cannot come out: a thread of the init moves bytes between them and lines.
//! It never decides what may go out, and never holds more of anything than a chunk.

mod datagrams;
mod pump;
mod visit;

use super::refusals;
use super::relayed;
use crate::channel::Channel;
use crate::error::JailError;
use crate::plan::OutletSocket;
use crate::wire::Family;
use datagrams::Said;
use pump::{Outcome, Pump};
use rustix::buffer::spare_capacity;
use rustix::event::EventfdFlags;
use rustix::event::epoll::{self, Event, EventData, EventFlags as Interest};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

/// Sockets and connections that are served at a time; more connections wait in their listeners.
const JOBS_MAX: usize = 2048;
/// What is told at one time of what can be done.
const EVENTS_MAX: usize = 256;
/// The number of what is no job.
const BELL: u64 = 0;
/// Datagrams, or packets, that are moved before something else has its turn.
const BATCH: usize = 64;
/// After a failed accept, before the next.
const PAUSE: Duration = Duration::from_millis(50);
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

/// What is woken when something can be done for it.
#[derive(Debug)]
enum Job {
    Inlet(Inlet),
    Pump(Pump),
}

/// What is to be known of each of a job's two descriptors. One of which nothing is asked is not registered: it would tell of
/// its end all the time.
type Interests = [Interest; 2];

/// What came of serving a job.
enum Served {
    Stays,
    /// It stays, and there is one more.
    And(Pump),
    Ends,
    Cut,
}

/// Everything that is moved.
#[derive(Debug)]
struct Relay {
    epoll: OwnedFd,
    /// By numbers that are never used again: what is told of a job that has ended means nothing.
    jobs: HashMap<u64, (Job, Interests)>,
    next: u64,
    /// No more connections are taken for now.
    is_full: bool,
    /// What others begin, and what is readable when they have.
    begun: Receiver<Pump>,
    bell: OwnedFd,
}

/// The way to the thread, which ends with the init.
#[derive(Debug)]
pub(crate) struct Relaying {
    begun: Sender<Pump>,
    bell: OwnedFd,
}

impl Relaying {
    /// Connects to a port of the loopback inside and moves bytes of the stream then; the answer says what came of it.
    pub(crate) fn connect(&self, answer: Channel, stream: OwnedFd, family: Family, port: u16) {
        let Some(pump) = visit::begin(answer, stream, family, port) else { return };
        if self.begun.send(pump).is_ok() {
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
    let (sender, begun) = std::sync::mpsc::channel();
    let (mut relay, bell) = Relay::new(begun).map_err(failed)?;
    for (planned, socket, line) in sockets {
        no_waiting(&line).map_err(failed)?;
        let kind = match planned {
            OutletSocket::Tcp { .. } => Kind::Listener(None),
            OutletSocket::Udp { .. } => Kind::Datagrams,
            OutletSocket::Refusals => Kind::Refusals(0, own),
        };
        relay.begin(Job::Inlet(Inlet { socket, line, kind })).map_err(failed)?;
    }
    let thread = std::thread::Builder::new().name("outlet".to_owned()).stack_size(STACK_BYTES);
    let started = thread.spawn(|| relay.serve());
    started.map_err(|error| JailError::io("start", "the thread that relays the outlet", &error))?;
    Ok(Relaying { begun: sender, bell })
}

/// Lets a descriptor that came from elsewhere not block.
fn no_waiting(descriptor: &OwnedFd) -> Result<(), Errno> {
    let flags = rustix::fs::fcntl_getfl(descriptor)?;
    rustix::fs::fcntl_setfl(descriptor, flags | OFlags::NONBLOCK)
}

impl Relay {
    /// With nothing to do yet, and its bell for others to ring.
    fn new(begun: Receiver<Pump>) -> Result<(Self, OwnedFd), Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &bell, EventData::new_u64(BELL), Interest::IN)?;
        let others = rustix::io::fcntl_dupfd_cloexec(&bell, 3)?;
        Ok((Self { epoll, jobs: HashMap::new(), next: BELL + 1, is_full: false, begun, bell }, others))
    }

    /// For as long as the init lives, and as it can be waited.
    fn serve(mut self) {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        while rustix::io::retry_on_intr(|| epoll::wait(&self.epoll, spare_capacity(&mut events), None)).is_ok() {
            let mut woken: Vec<u64> = events.drain(..).map(|event: Event| event.data.u64()).collect();
            woken.sort_unstable();
            woken.dedup();
            for number in woken {
                if number == BELL {
                    self.on_bell();
                } else {
                    self.on_job(number);
                }
            }
            self.mind_the_room();
        }
    }

    fn on_bell(&mut self) {
        match rustix::io::read(&self.bell, &mut [0; 8]) {
            // It rings once for several.
            Ok(_) | Err(_) => {}
        }
        while let Ok(pump) = self.begun.try_recv() {
            self.begin_or_drop(pump);
        }
    }

    fn on_job(&mut self, number: u64) {
        // It has ended meanwhile.
        let Some((mut job, registered)) = self.jobs.remove(&number) else { return };
        match (job.serve(), job) {
            (Served::Stays, job) => self.keep_or_drop(number, job, registered),
            (Served::And(pump), job) => {
                self.keep_or_drop(number, job, registered);
                self.begin_or_drop(pump);
            }
            (Served::Cut, Job::Pump(pump)) => {
                self.forget(&pump.interests(), registered);
                pump.reset();
            }
            // An inlet ends with its socket: who connects is refused from now on.
            (Served::Ends | Served::Cut, job) => self.forget(&job.interests(self.is_full), registered),
        }
    }

    fn begin(&mut self, job: Job) -> Result<(), Errno> {
        self.next += 1;
        self.keep(self.next, job, [Interest::empty(); 2])
    }

    /// One for which the kernel has no room is dropped, which both its ends are told of.
    fn begin_or_drop(&mut self, pump: Pump) {
        match self.begin(Job::Pump(pump)) {
            Ok(()) | Err(_) => {}
        }
    }

    /// The same for a job of before.
    fn keep_or_drop(&mut self, number: u64, job: Job, registered: Interests) {
        match self.keep(number, job, registered) {
            Ok(()) | Err(_) => {}
        }
    }

    /// Registers what a job waits for now. Where that fails it has ended.
    fn keep(&mut self, number: u64, job: Job, mut registered: Interests) -> Result<(), Errno> {
        let wanted = job.interests(self.is_full);
        for (position, (descriptor, wanted)) in wanted.iter().enumerate() {
            let was = registered[position];
            let data = EventData::new_u64(number);
            let done = match (was.is_empty(), wanted.is_empty()) {
                _ if was == *wanted => Ok(()),
                (true, _) => epoll::add(&self.epoll, descriptor, data, *wanted),
                (false, true) => epoll::delete(&self.epoll, descriptor),
                (false, false) => epoll::modify(&self.epoll, descriptor, data, *wanted),
            };
            if let Err(errno) = done {
                self.forget(&job.interests(self.is_full), registered);
                return Err(errno);
            }
            registered[position] = *wanted;
        }
        self.jobs.insert(number, (job, registered));
        Ok(())
    }

    /// Before descriptors are closed: a process that is about to execute a program may hold them for a moment.
    fn forget(&self, descriptors: &[(&OwnedFd, Interest); 2], registered: Interests) {
        for ((descriptor, _), was) in descriptors.iter().zip(registered) {
            if !was.is_empty() {
                match epoll::delete(&self.epoll, descriptor) {
                    // The kernel did already.
                    Ok(()) | Err(_) => {}
                }
            }
        }
    }

    /// Takes connections for as long as there is room for them.
    fn mind_the_room(&mut self) {
        let is_full = self.jobs.len() >= JOBS_MAX;
        if is_full == self.is_full {
            return;
        }
        self.is_full = is_full;
        let inlets: Vec<u64> =
            self.jobs.iter().filter(|(_, (job, _))| matches!(job, Job::Inlet(_))).map(|(number, _)| *number).collect();
        for number in inlets {
            if let Some((job, registered)) = self.jobs.remove(&number) {
                self.keep_or_drop(number, job, registered);
            }
        }
    }
}

impl Job {
    fn interests(&self, is_full: bool) -> [(&OwnedFd, Interest); 2] {
        match self {
            Self::Inlet(inlet) => [(&inlet.socket, inlet.interest(is_full)), (&inlet.line, inlet.interest_in_line())],
            Self::Pump(pump) => pump.interests(),
        }
    }

    fn serve(&mut self) -> Served {
        match self {
            Self::Inlet(inlet) => match inlet.serve() {
                Ok(None) => Served::Stays,
                Ok(Some(pump)) => Served::And(pump),
                Err(Closed) => Served::Ends,
            },
            Self::Pump(pump) => match pump.step() {
                Outcome::Alive => Served::Stays,
                Outcome::Over => Served::Ends,
                Outcome::Cut => Served::Cut,
            },
        }
    }
}

impl Inlet {
    fn interest(&self, is_full: bool) -> Interest {
        match self.kind {
            Kind::Listener(None) => Interest::empty(),
            Kind::Listener(Some(_)) if is_full => Interest::empty(),
            Kind::Listener(Some(_)) | Kind::Datagrams | Kind::Refusals(..) => Interest::IN,
        }
    }

    fn interest_in_line(&self) -> Interest {
        match self.kind {
            // What is lost is said as soon as there is room.
            Kind::Refusals(1.., _) => Interest::IN | Interest::OUT,
            Kind::Listener(_) | Kind::Datagrams | Kind::Refusals(0, _) => Interest::IN,
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
                    // It left again.
                    Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
                    // No descriptors are left: others have to end first.
                    Err(_) => {
                        std::thread::sleep(PAUSE);
                        Ok(None)
                    }
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
    let mut pump = Pump::of_guest(guest, stream, &relayed::bytes_of(to));
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
