//! What can be recorded about tools that run as components, with the member names of the disk format.
//! It never holds an argument, a variable or a value that a tool was given: only that it asked.

use super::process::Was;
use super::values::{Digest, LogPath};
use super::{Cause, FsOp};
use serde::{Deserialize, Serialize};

/// What a tool may do to files: what its component asked for and the profile gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolFiles {
    /// It has none.
    None,
    /// Look at them. Its worker has no right to change any.
    Read,
    /// Change them.
    Write,
}

/// What a tool may do to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolNet {
    /// Nothing.
    None,
    /// Make requests, each of which the outlet judges.
    Requests,
    /// Connect sockets, each connection of which the outlet judges.
    Sockets,
    /// Both.
    #[serde(rename = "requests+sockets")]
    Both,
}

impl ToolNet {
    /// Whether this operation, done, is within it; what is not about the network always is.
    #[must_use]
    pub const fn allows(self, op: ToolOp) -> bool {
        match op.of() {
            ToolUseOf::Net if matches!(op, ToolOp::Request) => matches!(self, Self::Requests | Self::Both),
            ToolUseOf::Net | ToolUseOf::Aside => matches!(self, Self::Sockets | Self::Both),
            ToolUseOf::Reading | ToolUseOf::Writing | ToolUseOf::Change | ToolUseOf::Other => true,
        }
    }
}

/// `tool.start`: an instance of a component begins to run, for one call. Its arguments are the call's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolStart {
    /// Stable id: counts up within the session, never used again. Not a process: those have numbers of their own.
    pub t: u64,
    /// Name of the tool, which is that of its call.
    pub tool: String,
    /// SHA-256 of the component.
    pub h: Digest,
    /// What it may do to files.
    pub files: ToolFiles,
    /// What it may do to the network.
    pub net: ToolNet,
}

/// What a tool asked its host for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolOp {
    /// A file was opened so that it can be read, and no more.
    Read,
    /// The names in a directory.
    List,
    /// Type, length and times of a file.
    Stat,
    /// Where a symbolic link points.
    Readlink,
    /// Bytes went to or from a file that an `open` before lets change: told when it was closed.
    Write,
    /// A file was opened so that it can be changed.
    Open,
    /// A name was removed.
    Unlink,
    /// A directory was removed.
    Rmdir,
    /// A name became another.
    Rename,
    /// A file got another name.
    Link,
    /// A symbolic link was made.
    Symlink,
    /// A directory was made.
    Mkdir,
    /// Permission bits were set.
    Chmod,
    /// Times were set.
    Utimes,
    /// A length was set.
    Truncate,
    /// A request went to the outlet.
    Request,
    /// The outlet was asked for a connection of a socket.
    Connect,
    /// Bytes went through such a connection: told when it was closed.
    Moved,
    /// A name was given an address that stands for it. Nobody outside was asked.
    Lookup,
    /// The time.
    Clock,
    /// Random bytes.
    Random,
    /// The variables that it was given.
    Env,
    /// Its standard input.
    Stdin,
    /// The arguments that it was given as a command.
    Args,
    /// A socket, or of one what nobody is given (to listen, datagrams), or the addresses of a name without the grant: each of
    /// these has an error.
    Socket,
}

/// What kind of thing a use is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolUseOf {
    /// A file that stays as it is.
    Reading,
    /// What went through a change that has a record of its own.
    Writing,
    /// A file, its name or its properties, which it may change.
    Change,
    /// The network: the outlet was asked.
    Net,
    /// What comes with the network, and by which alone nothing leaves: an address for a name, bytes that were moved.
    Aside,
    /// Neither file nor a host of the network.
    Other,
}

impl ToolOp {
    /// Every one, in the order of the format.
    pub const ALL: [Self; 25] = [
        Self::Read,
        Self::List,
        Self::Stat,
        Self::Readlink,
        Self::Write,
        Self::Open,
        Self::Unlink,
        Self::Rmdir,
        Self::Rename,
        Self::Link,
        Self::Symlink,
        Self::Mkdir,
        Self::Chmod,
        Self::Utimes,
        Self::Truncate,
        Self::Request,
        Self::Connect,
        Self::Moved,
        Self::Lookup,
        Self::Clock,
        Self::Random,
        Self::Env,
        Self::Stdin,
        Self::Args,
        Self::Socket,
    ];

    /// What kind of thing it is about.
    #[must_use]
    pub const fn of(self) -> ToolUseOf {
        match self {
            Self::Read | Self::List | Self::Stat | Self::Readlink => ToolUseOf::Reading,
            Self::Write => ToolUseOf::Writing,
            Self::Open
            | Self::Unlink
            | Self::Rmdir
            | Self::Rename
            | Self::Link
            | Self::Symlink
            | Self::Mkdir
            | Self::Chmod
            | Self::Utimes
            | Self::Truncate => ToolUseOf::Change,
            Self::Request | Self::Connect => ToolUseOf::Net,
            Self::Moved | Self::Lookup => ToolUseOf::Aside,
            Self::Clock | Self::Random | Self::Env | Self::Stdin | Self::Args | Self::Socket => ToolUseOf::Other,
        }
    }

    /// The same change as a process asks the kernel for it; an open and what changes nothing are none.
    #[must_use]
    pub const fn change(self) -> Option<FsOp> {
        match self {
            Self::Unlink => Some(FsOp::Unlink),
            Self::Rmdir => Some(FsOp::Rmdir),
            Self::Rename => Some(FsOp::Rename),
            Self::Link => Some(FsOp::Link),
            Self::Symlink => Some(FsOp::Symlink),
            Self::Mkdir => Some(FsOp::Mkdir),
            Self::Chmod => Some(FsOp::Chmod),
            Self::Utimes => Some(FsOp::Utimes),
            Self::Truncate => Some(FsOp::Truncate),
            Self::Open
            | Self::Read
            | Self::Write
            | Self::List
            | Self::Stat
            | Self::Readlink
            | Self::Request
            | Self::Connect
            | Self::Moved
            | Self::Lookup
            | Self::Clock
            | Self::Random
            | Self::Env
            | Self::Stdin
            | Self::Args
            | Self::Socket => None,
        }
    }
}

/// `tool.use`: what a tool asked its host for, recorded by the host function that did it or refused it. A change that was
/// made has a record of its own; anything else may share one, see `below` and `times`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolUse {
    /// The instance.
    pub t: u64,
    /// What it asked for.
    pub op: ToolOp,
    /// The file, as it was resolved. Relative to the workspace unless it starts with a slash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<LogPath>,
    /// SHA-256 of the whole path, where the record has its beginning alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_h: Option<Digest>,
    /// The new name of a rename, the old one of a link, or what a symbolic link points to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<LogPath>,
    /// SHA-256 of the whole of that, where the record has its beginning alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_h: Option<Digest>,
    /// Host of a request or a connection, as the outlet names it; the name that was looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its TCP port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Flags of an open, as in `fs.open`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fl: Option<String>,
    /// Mode or length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// The error that the tool got. Left out where it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
    /// Device and inode of what was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ino: Option<[u64; 2]>,
    /// That there was no such name before: the open made the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Was>,
    /// Bytes that were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r: Option<u64>,
    /// Bytes that were written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub w: Option<u64>,
    /// That it stands for so many uses of names in and below the directory `path`, none of which is a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<u64>,
    /// How many times, where it stands for more than one use of the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
}

impl ToolUse {
    /// A use of which no more is known than that it was.
    #[must_use]
    pub const fn new(t: u64, op: ToolOp) -> Self {
        Self {
            t,
            op,
            path: None,
            path_h: None,
            to: None,
            to_h: None,
            host: None,
            port: None,
            fl: None,
            value: None,
            errno: None,
            ino: None,
            was: None,
            r: None,
            w: None,
            below: None,
            times: None,
        }
    }

    /// Whether it can have changed a file.
    #[must_use]
    pub fn can_change(&self) -> bool {
        self.errno.is_none() && self.op.of() == ToolUseOf::Change
    }

    /// For how many uses it stands.
    #[must_use]
    pub fn uses(&self) -> u64 {
        self.below.or(self.times).unwrap_or(1)
    }
}

/// `tool.end`: an instance ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolEnd {
    /// The instance.
    pub t: u64,
    /// How: `exit` where it answered. The status is 0 for a reply, 1 for a refusal; `error`: it trapped, or its worker died.
    pub cause: Cause,
    /// 0 or 1 where it answered, else 0.
    pub status: i32,
    /// What went wrong, where it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Wall time, µs.
    pub wall_us: u64,
    /// CPU time, µs.
    pub cpu_us: u64,
    /// Most memory that it had, bytes.
    pub mem_bytes: u64,
    /// What it asked for, counted one by one: its `tool.use` records stand for so many.
    pub uses: u64,
}
