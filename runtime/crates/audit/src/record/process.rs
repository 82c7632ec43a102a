//! What can be recorded about processes and what they ask the kernel for, with the member names of the disk format.
//! It never holds an argument or a variable in the clear: argv is a disclosure.

use super::strict::kept;
use super::values::{Digest, LogPath};
use serde::{Deserialize, Serialize};

/// By what a recorder knows what it records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecorderGrade {
    /// There is none: what changed is found by comparing.
    OutcomeOnly,
    /// It stops processes at their system calls.
    Trace,
    /// The kernel asks it before it goes on.
    Notify,
    /// The same, and it opens on behalf of processes what they want to write.
    #[serde(rename = "notify+addfd")]
    NotifyAddfd,
}

/// What is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecorderScope {
    /// Nothing.
    Off,
    /// Processes, and what they change or ask the network for.
    Changes,
    /// And every file that is opened to be read.
    AllOpens,
}

/// What watches the processes of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorder {
    /// By what it knows what it records.
    pub grade: RecorderGrade,
    /// What it was asked to record.
    pub scope: RecorderScope,
    /// Why the grade is not the best one. Empty where it is.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "kept")]
    pub why: String,
}

/// `proc.start`: a process came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcStart {
    /// Stable id: counts up within the session, never used again.
    pub p: u64,
    /// Stable id of the process that made it. Left out for the main process of a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pp: Option<u64>,
    /// Process id that the guest sees.
    pub pid: u32,
}

/// `proc.exec`: a process executes a program. Confirmed: the kernel says so. Observed: it was asked for, and the process
/// ended before that could be seen; then there is no `exe`. Its arguments are a disclosure named `argv`, its directory
/// one named `cwd`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcExec {
    /// The process.
    pub p: u64,
    /// What the kernel runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<LogPath>,
    /// SHA-256 of its content. Left out where it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub h: Option<Digest>,
    /// What was asked for, where it is another: a script, a link, a descriptor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<LogPath>,
    /// How many of its paths and disclosures are cut short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
}

/// `proc.call`: a system call that is refused, or that concerns other processes or ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcCall {
    /// The process.
    pub p: u64,
    /// Name of the call, as in the manual.
    pub call: String,
    /// Its first three arguments, as the registers had them.
    pub args: Vec<u64>,
    /// The error that it got. Left out where the kernel did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
    /// How many times, where this record stands for more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
}

/// `fs.open`: a file was opened so that it can be changed; where all opens are recorded, any.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FsOpen {
    /// The process.
    pub p: u64,
    /// Performed: what the kernel opened. Else what the process said. Relative to the workspace unless it starts with a slash.
    pub path: LogPath,
    /// SHA-256 of the whole path, where the record has its beginning alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_h: Option<Digest>,
    /// Flags of open(2) that matter, in this order, joined with `|`: `R` or `W` or `RW`, `APPEND`, `CREAT`, `EXCL`,
    /// `TRUNC`, `TMPFILE`, `NOFOLLOW`.
    pub fl: String,
    /// Permission bits, as a number, of a file that may be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// 0 or an errno. Left out where the kernel did it and we did not see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
    /// Device and inode of what was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ino: Option<[u64; 2]>,
    /// That there was no such name before: the open made the file. Left out where there was one, or nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Was>,
    /// 1 where its path is cut short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
    /// How many times, where this record stands for more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
}

impl FsOpen {
    /// Whether the file can be changed through it, or was made by it, as far as is known.
    #[must_use]
    pub fn can_change(&self) -> bool {
        let writes = self.fl.split('|').any(|word| matches!(word, "W" | "RW" | "TRUNC"));
        let creates = || self.fl.split('|').any(|word| word == "CREAT");
        // Who saw which file was opened saw whether it was there before.
        writes || creates() && (self.was.is_some() || self.ino.is_none())
    }
}

/// What was at a name before it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Was {
    /// Nothing.
    Absent,
}

/// A change of names or properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FsOp {
    /// unlink(2).
    Unlink,
    /// rmdir(2).
    Rmdir,
    /// rename(2).
    Rename,
    /// Two names change places.
    Exchange,
    /// link(2).
    Link,
    /// symlink(2).
    Symlink,
    /// mkdir(2).
    Mkdir,
    /// mknod(2).
    Mknod,
    /// chmod(2).
    Chmod,
    /// chown(2).
    Chown,
    /// utimensat(2).
    Utimes,
    /// truncate(2).
    Truncate,
    /// setxattr(2).
    Setxattr,
    /// removexattr(2).
    Removexattr,
}

/// `fs.change`: a process asked the kernel to change a name or a property. Whether that was done is what outcomes tell.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FsChange {
    /// The process.
    pub p: u64,
    /// What.
    pub op: FsOp,
    /// The name. Relative to the workspace unless it starts with a slash.
    pub path: LogPath,
    /// SHA-256 of the whole path, where the record has its beginning alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_h: Option<Digest>,
    /// The new name, the old one of a link, or what a symbolic link points to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<LogPath>,
    /// SHA-256 of the whole of that, where the record has its beginning alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_h: Option<Digest>,
    /// Mode, owner and group as `uid * 2^32 + gid`, or length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// How many of its paths are cut short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
    /// How many times, where this record stands for more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
}

/// What was asked of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketOp {
    /// connect(2).
    Connect,
    /// bind(2).
    Bind,
    /// listen(2).
    Listen,
    /// A datagram to an address.
    Send,
}

/// `net.ask`: a process asked for something of a socket. What came of it is the outlet's account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetAsk {
    /// The process.
    pub p: u64,
    /// What.
    pub op: SocketOp,
    /// `ADDRESS:PORT` or `[ADDRESS]:PORT` (an IPv4 address in IPv6 form is written as what it is), `unix:PATH`,
    /// `abstract:NAME`, the same with `unix-b64:` or `abstract-b64:` and base64url where it is not UTF-8, `family:N`, or
    /// `unknown`.
    pub addr: String,
    /// How many times, where this record stands for more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
}
