//! One call of a tool, as its caller sees it: what it gets, what it did, how it ended.
//! It never says whether a call may run: that was judged before.

use crate::backend::process::Outside;
use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;
use stockade_jail::watch::LimitHit;

/// What files a tool gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Files {
    /// None: it finds no directory at all.
    #[default]
    None,
    /// What the session's commands may read.
    Read,
    /// What the session's commands may read and write.
    Write,
}

/// What one call gets: the tool's ceiling, and of that what the profile grants. What is not said here it does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is granted by itself")]
pub struct CallGrant {
    /// Files of the session.
    pub files: Files,
    /// Where relative paths begin: absolute, as the session's commands name it.
    pub directory: PathBuf,
    /// Requests, each of which the outlet judges.
    pub network: bool,
    /// Connections of sockets, each of which the outlet judges.
    pub sockets: bool,
    /// The real time. Without it the tool's clocks stand still, at the epoch and at zero; waiting works.
    pub clocks: bool,
    /// Randomness. Without it whoever asks for secure bytes is ended, and the rest is the same in each call.
    pub random: bool,
    /// Variables; the only ones.
    pub env: Vec<(String, String)>,
    /// The arguments that its call has for a command. Without it a command that has none.
    pub arguments: bool,
    /// The standard input that its call has for a command; it ends after that. Without it, at once.
    pub stdin: bool,
    /// Its limits.
    pub limits: Limits,
}

/// What a stream to the outlet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Carries {
    /// A request.
    Requests,
    /// A connection of a socket.
    Socket,
}

/// Limits of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From its start to its end.
    pub wall: Duration,
    /// Processor time.
    pub cpu: Duration,
    /// All its memories together.
    pub memory_bytes: u64,
    /// Its reply; and what it prints, each stream of which is cut there.
    pub output_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let (wall, cpu) = (Duration::from_secs(60), Duration::from_secs(60));
        Self { wall, cpu, memory_bytes: 256 * 1024 * 1024, output_bytes: 16 * 1024 * 1024 }
    }
}

/// What a call reaches while it runs, and who hears of it. All of it is called on the thread of [`super::ToolWall::run`].
pub struct ToolIo<'a> {
    /// Makes a stream on which the outlet serves this call: one for each request, and one for each socket.
    pub connect: &'a mut dyn FnMut(Carries) -> Result<OwnedFd>,
    /// Takes what the tool did, in the order in which it did it.
    pub used: &'a mut dyn FnMut(Vec<Use>) -> Result<()>,
    /// Takes how far the tool says that it is.
    pub progress: &'a mut dyn FnMut(Progress),
    /// Who may reach the call while it runs: any signal cancels it.
    pub outside: &'a mut dyn Outside,
}

/// One use of what a tool was given, as the host function that it called performed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// What was done.
    pub what: What,
    /// To what: a path inside, as the kernel had it; a variable's name; the address of a request or a socket. Empty for clocks and randomness.
    pub path: Vec<u8>,
    /// The kernel's answer where it refused, else `None`.
    pub errno: Option<i32>,
    /// Bytes that were read from it.
    pub bytes_read: u64,
    /// Bytes that were written to it.
    pub bytes_written: u64,
    /// How often it was done: equal uses of one call are told once.
    pub times: u64,
}

impl Use {
    /// One use that went well and moved no bytes.
    pub fn new(what: What, path: impl Into<Vec<u8>>) -> Self {
        Self { what, path: path.into(), errno: None, bytes_read: 0, bytes_written: 0, times: 1 }
    }
}

/// What a tool did.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum What {
    /// Opened a file to read it: told when it is closed, with the bytes that were read.
    Read,
    /// Opened a file to write it: told before it is handed out. `Wrote` follows when it is closed.
    Open(OpenFlags),
    /// Wrote to an open file: told when it is closed, with its bytes.
    Wrote,
    /// Listed a directory.
    List,
    /// Asked for the attributes of a file.
    Stat,
    /// Read where a symbolic link leads.
    ReadLink,
    /// Removed a file.
    Unlink,
    /// Removed a directory.
    RemoveDirectory,
    /// Made a directory.
    MakeDirectory,
    /// Renamed a file or directory.
    Rename {
        /// Its new path.
        to: Vec<u8>,
    },
    /// Gave a file one more name.
    Link {
        /// The new path.
        to: Vec<u8>,
    },
    /// Made a symbolic link at the path.
    Symlink {
        /// What it says, as the tool wrote it.
        to: Vec<u8>,
    },
    /// Set the size of an open file.
    SetSize {
        /// Bytes.
        size: u64,
    },
    /// Set times of access and change.
    SetTimes,
    /// Was given its variables.
    Env,
    /// Was given its arguments, as a command.
    Args,
    /// Was given its standard input: told when it let go of it, with the bytes that were read.
    Stdin,
    /// Read a clock.
    Clock,
    /// Drew random bytes.
    Random,
    /// Asked for a socket, or of one for what no tool gets, or for the addresses of a name without the grant.
    Socket,
    /// Asked the outlet to connect a socket to the host and port at the path.
    Connect,
    /// Had it connected: told when it is closed, with the bytes that went through it.
    Moved,
    /// Was told addresses that stand for the name at the path.
    Lookup,
    /// Asked for a stream to the outlet and sent a request on it.
    Request {
        /// Its method.
        method: String,
    },
}

/// How a file was opened to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct OpenFlags {
    /// Made it, where it was not there.
    pub create: bool,
    /// Refused it, where it was there.
    pub exclusive: bool,
    /// Emptied it.
    pub truncate: bool,
}

/// How far a tool says that it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps that are done.
    pub done: u64,
    /// Of so many.
    pub total: Option<u64>,
    /// What it is at; cut where it is too long.
    pub what: String,
}

/// How a call of a tool went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolRan {
    /// How it ended.
    pub end: End,
    /// What it used.
    pub usage: ToolUsage,
    /// What it printed beside its reply.
    pub printed: Printed,
    /// Uses of which nobody heard: only a worker that died has some, and then at least so many.
    pub uses_lost: u64,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It answered.
    Answered(Reply),
    /// It said why it does not.
    Refused(Failure),
    /// It broke: its own fault, and of no consequence for anything else.
    Trapped {
        /// What happened, in words.
        why: String,
    },
    /// It ran into a limit.
    Limit(LimitHit),
    /// Its worker ended under it.
    Died {
        /// What is known of that.
        why: String,
    },
    /// Its caller did not want it any more.
    Cancelled,
}

/// What a tool answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reply {
    /// For the model.
    pub text: String,
    /// JSON by the tool's output schema.
    pub structured: Option<String>,
    /// Images: media type and bytes.
    pub images: Vec<(String, Vec<u8>)>,
}

/// Why a tool does not answer. Each says what would work instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// Its arguments are wrong.
    InvalidArguments(String),
    /// It cannot or will not do it.
    Refused(String),
}

/// What a call used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ToolUsage {
    /// From its start to its end, microseconds.
    pub wall_us: u64,
    /// Processor time, microseconds.
    pub cpu_us: u64,
    /// The most that its memories had together.
    pub memory_peak_bytes: u64,
}

/// What a tool printed beside its reply: for whoever looks for a mistake in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Printed {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Bytes of both that were thrown away.
    pub cut: u64,
}
