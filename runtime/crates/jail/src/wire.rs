//! The messages between the supervisor and the init of a session: one datagram each, bounded, strictly parsed.
//! It never reads or writes a descriptor, and never trusts a length: what does not parse to its last byte is refused.

use crate::bytes::Reader;
use crate::enforced::LayerState;
use crate::error::{ErrorKind, JailError};
use crate::look::Seen;
use crate::plan::OUTLET_SOCKETS_MAX;
use crate::recorder::{CallNumber, Grade, ProcessId};
use crate::worker::{Insides, Kind, Task};
use serde::{Deserialize, Serialize};

mod codec;

use codec::Writer;

/// First byte of every message; both ends are the same binary, so another version is a bug or a forgery.
pub const VERSION: u8 = 6;
/// Bytes of one datagram at most: below the kernel's default send buffer (212,992 bytes).
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a body that comes in a memfd: above what execve(2) takes, so that the kernel is who says "too long".
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Descriptors of a recorder: its ring's memory, the bell of that, the side channel for executables.
pub const RECORDER_DESCRIPTORS: usize = 3;
/// Descriptors that come with one message at most: the sockets of an outlet, and those of a recorder. (The kernel's limit
/// is 253.)
pub const DESCRIPTORS_MAX: usize = OUTLET_SOCKETS_MAX + RECORDER_DESCRIPTORS;
/// Descriptors that come with one of the other messages at most: a call's channel, its streams, and a memfd.
pub const DESCRIPTORS_USUAL_MAX: usize = 5;
/// Process exits that the end of a call lists at most; the others are counted.
pub const EXITS_MAX: usize = 1900;
/// Arguments and variables of one call at most.
const STRINGS_MAX: usize = 1 << 20;

const _: () = assert!(EXITS_MAX * EXIT_BYTES + 256 <= MESSAGE_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX <= BODY_BYTES_MAX);
const _: () = assert!(DESCRIPTORS_USUAL_MAX <= DESCRIPTORS_MAX && DESCRIPTORS_MAX <= 253);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It called exit(2) with this code.
    Exited(u8),
    /// A signal ended it.
    Signalled(i32),
}

/// The end of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessExit {
    /// Which process: the number that the recorder's events have, too. 0 where nobody was left to say.
    pub process: ProcessId,
    /// Its id inside the sandbox.
    pub pid: u32,
    /// How it ended.
    pub status: Status,
    /// CPU time of it and of the children that it waited for, microseconds.
    pub cpu_us: u64,
    /// The most memory that it or one of them held, KiB.
    pub max_rss_kib: u64,
}

/// The end of a call, as the init saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallEnd {
    /// How the call's own process ended.
    pub main: ProcessExit,
    /// From fork to the end of the last process, microseconds.
    pub wall_us: u64,
    /// Sum over the processes that the init reaped.
    pub cpu_us: u64,
    /// Maximum over them.
    pub max_rss_kib: u64,
    /// The other processes that the init reaped for this call.
    pub exits: Vec<ProcessExit>,
    /// How many more there were than `exits` can list.
    pub exits_unlisted: u64,
}

/// What of a call could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Making a process.
    Fork,
    /// Opening a terminal.
    Terminal,
    /// Putting 0, 1 and 2 in place.
    Descriptors,
    /// Entering the working directory.
    WorkingDirectory,
    /// `setsid`, or taking the terminal.
    OwnSession,
    /// A resource limit.
    Rlimit,
    /// Landlock.
    Landlock,
    /// Executing the program.
    Exec,
    /// Making a socket, which is no call at all.
    Socket,
}

/// Where a call's 0, 1 and 2 come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// From three descriptors that come with the message.
    Descriptors,
    /// From a terminal of the sandbox's own, this large.
    Terminal {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
}

/// A request to start a call. Its channel comes with it, as the first descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpawnRequest {
    /// Which call: the recorder's first event of it says so.
    pub number: CallNumber,
    /// Where 0, 1 and 2 come from.
    pub streams: Streams,
    /// Arguments, the program first; without NUL.
    pub argv: Vec<Vec<u8>>,
    /// Environment, `NAME=value`; without NUL.
    pub env: Vec<Vec<u8>>,
    /// Working directory inside; without NUL.
    pub cwd: Vec<u8>,
}

/// What the init reports when the set-up is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The layers that it made.
    pub layers: Vec<LayerState>,
    /// User id of the guest outside.
    pub uid: u32,
    /// Group id of the guest outside.
    pub gid: u32,
    /// For each socket of the outlet, in the plan's order, whether it was made; those that were come along.
    pub outlet: Vec<bool>,
    /// How much is recorded, where there is a recorder: then [`RECORDER_DESCRIPTORS`] come last.
    pub recorder: Option<Grade>,
}

/// Family of a socket that is made inside on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Every message. Which are meant for whom is the receiver's business: it refuses the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Supervisor to helper: the plan, as JSON.
    Setup(Vec<u8>),
    /// Supervisor to helper, before the plan: what is at this path?
    Look(Vec<u8>),
    /// Helper to supervisor: this is.
    Seen(Seen),
    /// Supervisor to helper, before the plan: calls begin with this mask. To the first process of a container, which has the
    /// engine's mask; every other helper inherits the caller's.
    Umask(u32),
    /// Supervisor to the first process of a container, before the plan: it is on gVisor's kernel.
    OnGvisor,
    /// Supervisor to the first process of a container on gVisor, before the plan: the lines of the outlet's sockets come
    /// along, in the plan's order.
    Lines,
    /// Supervisor to helper: go on to what guests come from, after joining the groups whose `tasks` files come along. On
    /// gVisor the nursery's end of its channel comes along instead.
    Enter,
    /// Supervisor to init: start a call.
    Spawn(SpawnRequest),
    /// Supervisor to init: make a TCP socket of this family; the answer goes to the channel that comes along.
    Socket(Family),
    /// Supervisor to init, where no socket can come out: connect to this port of the loopback and relay the stream that comes
    /// along, behind a channel for the answer.
    Connect {
        /// Which of the loopback's addresses.
        family: Family,
        /// Of the server.
        port: u16,
    },
    /// Supervisor to init: say what a worker needs to join; the answer goes to the channel that comes along.
    Enquire,
    /// Supervisor to worker: what it is to become. What binds its life comes along, then namespaces, then groups' `tasks`
    /// files.
    Task(Task),
    /// Supervisor to nursery: start a worker of this kind. Its end of the channel to its user comes along, then the end of a
    /// line on which its end is told. That line's closing ends it.
    Nurse(Kind),
    /// Supervisor to init or helper: the message itself is in the memfd that comes last, this long.
    InMemory(u64),
    /// Supervisor to init, on a call's channel: this signal to the call's foreground.
    Signal(i32),
    /// Supervisor to init, on a call's channel: the call's terminal has this size. Where the supervisor has no terminal.
    Resize {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Supervisor to init, on a call's channel: end the call's whole tree.
    Kill,
    /// Helper to supervisor: the init's process id, in the helper's pid namespace. Where that is a container's, the init's
    /// handle comes along, unless gVisor keeps it in.
    Forked(u32),
    /// Init to supervisor: ready.
    Ready(Ready),
    /// Helper or init to supervisor: the set-up failed.
    Failed(JailError),
    /// Init to supervisor, on a call's channel: running; a terminal's master comes with it, where it can leave.
    Started(u32),
    /// Init to supervisor, on a request's channel: the socket comes along, or is connected and relayed.
    Made,
    /// Init to supervisor, on a request's channel: what it knows; the sandbox's namespaces come along.
    Insides(Insides),
    /// Worker to supervisor: confined, with these layers. From now on the channel is its user's.
    Confined(Vec<LayerState>),
    /// Nursery to supervisor, on a worker's line: it ended so.
    Gone(Status),
    /// Init to supervisor, on a call's channel: not started.
    Refused(Stage, i32),
    /// Init to supervisor, on a call's channel: the call ended, and its tree with it.
    Ended(CallEnd),
}

const EXIT_BYTES: usize = 8 + 4 + 1 + 4 + 8 + 8;

mod kind {
    pub(super) const SETUP: u8 = 1;
    pub(super) const SPAWN: u8 = 2;
    pub(super) const IN_MEMORY: u8 = 3;
    pub(super) const SIGNAL: u8 = 4;
    pub(super) const KILL: u8 = 5;
    pub(super) const FORKED: u8 = 6;
    pub(super) const READY: u8 = 7;
    pub(super) const FAILED: u8 = 8;
    pub(super) const STARTED: u8 = 9;
    pub(super) const REFUSED: u8 = 10;
    pub(super) const ENDED: u8 = 11;
    pub(super) const ENTER: u8 = 12;
    pub(super) const SOCKET: u8 = 13;
    pub(super) const MADE: u8 = 14;
    pub(super) const ENQUIRE: u8 = 15;
    pub(super) const INSIDES: u8 = 16;
    pub(super) const TASK: u8 = 17;
    pub(super) const CONFINED: u8 = 18;
    pub(super) const LOOK: u8 = 19;
    pub(super) const SEEN: u8 = 20;
    pub(super) const UMASK: u8 = 21;
    pub(super) const ON_GVISOR: u8 = 22;
    pub(super) const RESIZE: u8 = 23;
    pub(super) const LINES: u8 = 24;
    pub(super) const CONNECT: u8 = 25;
    pub(super) const NURSE: u8 = 26;
    pub(super) const GONE: u8 = 27;
}

const STAGES: [Stage; 9] = [
    Stage::Fork,
    Stage::Terminal,
    Stage::Descriptors,
    Stage::WorkingDirectory,
    Stage::OwnSession,
    Stage::Rlimit,
    Stage::Landlock,
    Stage::Exec,
    Stage::Socket,
];

impl Message {
    /// How many descriptors may come with it.
    pub fn descriptors_max(&self) -> usize {
        match self {
            Self::Ready(_) | Self::Task(_) | Self::Insides(_) | Self::Lines => DESCRIPTORS_MAX,
            Self::Setup(_)
            | Self::Look(_)
            | Self::Seen(_)
            | Self::Umask(_)
            | Self::OnGvisor
            | Self::Enter
            | Self::Spawn(_)
            | Self::Socket(_)
            | Self::Connect { .. }
            | Self::Enquire
            | Self::Nurse(_)
            | Self::InMemory(_)
            | Self::Signal(_)
            | Self::Resize { .. }
            | Self::Kill
            | Self::Forked(_)
            | Self::Failed(_)
            | Self::Started(_)
            | Self::Made
            | Self::Confined(_)
            | Self::Gone(_)
            | Self::Refused(..)
            | Self::Ended(_) => DESCRIPTORS_USUAL_MAX,
        }
    }
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        match number {
            4 => Some(Self::V4),
            6 => Some(Self::V6),
            _ => None,
        }
    }
}

impl Kind {
    /// Its number in a message, where it is of a session.
    fn number(self) -> u8 {
        match self {
            Self::Compile => 0,
            Self::Read => 1,
            Self::Write => 2,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Read),
            2 => Some(Self::Write),
            _ => None,
        }
    }
}

impl Stage {
    /// Its number in a message and in the memory that a child shares with the init.
    pub fn number(self) -> u8 {
        let position = STAGES.iter().position(|stage| *stage == self).expect("every stage is listed");
        u8::try_from(position).expect("there are nine")
    }

    /// The stage of this number.
    pub fn from_number(number: u8) -> Option<Self> {
        STAGES.get(usize::from(number)).copied()
    }
}

/// The message as bytes: for a memfd where it is longer than [`MESSAGE_BYTES_MAX`].
pub fn encode(message: &Message) -> Vec<u8> {
    let mut out = Writer(vec![VERSION]);
    match message {
        Message::Setup(json) => out.byte(kind::SETUP).blob(json),
        Message::Look(path) => out.byte(kind::LOOK).blob(path),
        Message::Seen(seen) => out.byte(kind::SEEN).seen(seen),
        Message::Umask(mask) => out.byte(kind::UMASK).u32(*mask),
        Message::OnGvisor => out.byte(kind::ON_GVISOR),
        Message::Lines => out.byte(kind::LINES),
        Message::Enter => out.byte(kind::ENTER),
        Message::Spawn(request) => out.byte(kind::SPAWN).spawn(request),
        Message::Socket(family) => out.byte(kind::SOCKET).byte(family.number()),
        Message::Connect { family, port } => out.byte(kind::CONNECT).byte(family.number()).u32((*port).into()),
        Message::InMemory(length) => out.byte(kind::IN_MEMORY).u64(*length),
        Message::Signal(signal) => out.byte(kind::SIGNAL).i32(*signal),
        Message::Resize { rows, columns } => out.byte(kind::RESIZE).u32((*rows).into()).u32((*columns).into()),
        Message::Kill => out.byte(kind::KILL),
        Message::Forked(pid) => out.byte(kind::FORKED).u32(*pid),
        Message::Ready(ready) => out.byte(kind::READY).json(ready),
        Message::Failed(error) => out.byte(kind::FAILED).json(error),
        Message::Started(pid) => out.byte(kind::STARTED).u32(*pid),
        Message::Made => out.byte(kind::MADE),
        Message::Enquire => out.byte(kind::ENQUIRE),
        Message::Insides(insides) => out.byte(kind::INSIDES).json(insides),
        Message::Task(task) => out.byte(kind::TASK).json(task),
        Message::Confined(layers) => out.byte(kind::CONFINED).json(layers),
        Message::Nurse(worker) => out.byte(kind::NURSE).byte(worker.number()),
        Message::Gone(status) => out.byte(kind::GONE).how(*status),
        Message::Refused(stage, errno) => out.byte(kind::REFUSED).byte(stage.number()).i32(*errno),
        Message::Ended(end) => out.byte(kind::ENDED).end(end),
    };
    out.0
}

/// Parses one message.
///
/// # Errors
/// [`ErrorKind::Protocol`] for anything that [`encode`] does not produce.
pub fn decode(bytes: &[u8]) -> Result<Message, JailError> {
    parse(bytes).ok_or_else(|| JailError::bug("parse", "a message of the init protocol").kind(ErrorKind::Protocol))
}

fn parse(bytes: &[u8]) -> Option<Message> {
    let mut input = Reader(bytes);
    if input.byte()? != VERSION {
        return None;
    }
    let message = match input.byte()? {
        kind::SETUP => Message::Setup(input.blob()?.to_vec()),
        kind::LOOK => Message::Look(input.string()?),
        kind::SEEN => Message::Seen(input.seen()?),
        kind::UMASK => Message::Umask(input.u32()?),
        kind::ON_GVISOR => Message::OnGvisor,
        kind::LINES => Message::Lines,
        kind::ENTER => Message::Enter,
        kind::SPAWN => Message::Spawn(input.spawn()?),
        kind::SOCKET => Message::Socket(Family::from_number(input.byte()?)?),
        kind::CONNECT => {
            Message::Connect { family: Family::from_number(input.byte()?)?, port: input.u32()?.try_into().ok()? }
        }
        kind::IN_MEMORY => Message::InMemory(input.u64()?),
        kind::SIGNAL => Message::Signal(input.i32()?),
        kind::RESIZE => Message::Resize { rows: input.u32()?.try_into().ok()?, columns: input.u32()?.try_into().ok()? },
        kind::KILL => Message::Kill,
        kind::FORKED => Message::Forked(input.u32()?),
        kind::READY => Message::Ready(input.json()?),
        kind::FAILED => Message::Failed(input.json()?),
        kind::STARTED => Message::Started(input.u32()?),
        kind::MADE => Message::Made,
        kind::ENQUIRE => Message::Enquire,
        kind::INSIDES => Message::Insides(input.json()?),
        kind::TASK => Message::Task(input.json()?),
        kind::CONFINED => Message::Confined(input.json()?),
        kind::NURSE => Message::Nurse(Kind::from_number(input.byte()?)?),
        kind::GONE => Message::Gone(input.how()?),
        kind::REFUSED => Message::Refused(Stage::from_number(input.byte()?)?, input.i32()?),
        kind::ENDED => Message::Ended(input.end()?),
        _ => return None,
    };
    input.0.is_empty().then_some(message)
}

#[cfg(test)]
mod tests;
