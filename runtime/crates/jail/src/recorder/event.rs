//! What the recorder reports, as plain data.
//! It never holds a path that was compared or resolved as text: names are what the guest said or what the kernel answers.

use crate::sys;
use crate::wire::Status;
use serde::{Deserialize, Serialize};

/// A process of the sandbox, from its birth to its end: counted up within the session from 1, never used again, whatever
/// the kernel does with its own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId(pub u64);

/// A call, from its order to its end: counted up by the supervisor from 1, and known to it before anything is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallNumber(pub u64);

/// What made a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The init, as the main process of this call.
    Call(CallNumber),
    /// Another process, by fork, vfork or clone.
    Process(ProcessId),
}

/// How well an event is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum How {
    /// Read through a pointer that another thread could have changed afterwards.
    Observed,
    /// Read from a register, or from the kernel afterwards.
    Confirmed,
    /// The recorder did it on behalf of the guest.
    Performed,
}

/// Bytes of the guest's that were cut at a limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Bounded {
    /// What was kept.
    pub bytes: Vec<u8>,
    /// Whether there was more.
    pub cut: bool,
}

/// A file by its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
}

/// An executable as the kernel runs it. Its content has one hash for as long as all of these stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Executable {
    /// Which file.
    pub id: FileId,
    /// Length, bytes.
    pub size_bytes: u64,
    /// Last change of the content, ns since 1970.
    pub modified_ns: i64,
    /// Last change of the inode, ns since 1970.
    pub changed_ns: i64,
}

/// What time it is by the clock of [`Event::at_ns`], ns.
pub fn now_ns() -> u64 {
    sys::monotonic_ns()
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, by the monotonic clock, ns.
    pub at_ns: u64,
    /// Who did it.
    pub process: ProcessId,
    /// The main process of the call that it belongs to.
    pub call: ProcessId,
    /// How well it is known.
    pub how: How,
    /// What.
    pub what: Happened,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// A process came to be. The first event of each process.
    Started {
        /// What made it.
        origin: Origin,
        /// Its number, as the guest sees it.
        pid: u32,
    },
    /// It executes a program. [`How::Confirmed`]: the kernel says that it does. [`How::Observed`]: it asked for it, and
    /// ended before anybody could see it.
    Executed {
        /// What the kernel runs, where that was confirmed: path as the kernel names it, and identity.
        running: Option<(Bounded, Executable)>,
        /// What the guest asked for: a script, a link, a descriptor. Empty where it could not be read.
        asked: Bounded,
        /// Arguments, each ended by a NUL.
        argv: Bounded,
        /// Working directory.
        cwd: Bounded,
    },
    /// It ended. The last event of each process.
    Ended {
        /// How; `None` where this kernel does not tell who is not the parent.
        status: Option<Status>,
        /// Programs that it asked for and that could not be executed: a search along `PATH`, mostly.
        failed_execs: u64,
    },
    /// A file was opened so that it can be changed.
    Opened {
        /// The name: as the kernel resolved it where the open was performed, else what the guest said.
        path: Bounded,
        /// Flags of open(2).
        flags: u32,
        /// Permission bits of a file that is made.
        mode: u32,
        /// 0 or the error, where the open was performed.
        errno: Option<i32>,
        /// The file, where the open was performed and succeeded.
        file: Option<FileId>,
        /// Whether it made that file: there was none of the name before, as the recorder saw. Only of a performed open.
        made: bool,
    },
    /// Reading open, where all opens are recorded.
    Read {
        /// What the guest said.
        path: Bounded,
    },
    /// A name was to be changed.
    Name {
        /// How.
        change: NameChange,
        /// The name.
        path: Bounded,
        /// The other one: the new name of a rename, the old one of a link, what a symbolic link points to.
        to: Option<Bounded>,
    },
    /// A property of a file was to be changed.
    Property {
        /// Which.
        property: Property,
        /// The file's name, or what the kernel says of the descriptor.
        path: Bounded,
        /// Mode, owner and group packed as `uid << 32 | gid`, or length. `None` where a pointer leads to it.
        value: Option<u64>,
    },
    /// A socket was to be connected, bound, listened on, or sent through to an address.
    Socket {
        /// Which.
        asked: Asked,
        /// The address.
        peer: Peer,
    },
    /// A system call that the list refuses, or one that concerns other processes or ids.
    Call {
        /// Its name.
        name: &'static str,
        /// The first three arguments, as the registers had them.
        arguments: [u64; 3],
        /// The error that it got. `None`: the kernel did it.
        errno: Option<i32>,
    },
    /// Events were lost: how many, as far as that could be counted.
    Lost(u64),
}

/// A change of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameChange {
    /// unlink(2).
    Unlink,
    /// rmdir(2).
    RemoveDirectory,
    /// rename(2).
    Rename,
    /// Two names change places (renameat2(2)).
    Exchange,
    /// link(2).
    Link,
    /// symlink(2): `path` is the new name, `to` what it points to.
    Symlink,
    /// mkdir(2).
    MakeDirectory,
    /// mknod(2).
    MakeNode,
}

/// A property of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Property {
    /// chmod(2).
    Mode,
    /// chown(2).
    Owner,
    /// utimensat(2).
    Times,
    /// truncate(2).
    Length,
    /// setxattr(2).
    SetAttribute,
    /// removexattr(2).
    RemoveAttribute,
}

/// What was asked of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asked {
    /// connect(2).
    Connect,
    /// bind(2).
    Bind,
    /// listen(2).
    Listen,
    /// sendto(2), sendmsg(2) or sendmmsg(2) with an address.
    Send,
}

/// An address of a socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Peer {
    /// IPv4 or IPv6.
    Internet(std::net::SocketAddr),
    /// A path, or an abstract name after a NUL; empty: unnamed.
    Unix(Bounded),
    /// Another family, by its number.
    Other(u16),
    /// Not given, or not to be read.
    Unknown,
}
