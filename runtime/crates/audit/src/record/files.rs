//! What can be recorded about files: what they were before and after, and acts on a session's changes.
//! It never holds a file's content.

use super::values::{Digest, GitId, LogPath};
use serde::{Deserialize, Serialize};

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It was not there before.
    Created,
    /// Its content or target differs.
    Modified,
    /// It is gone.
    Deleted,
    /// Same content; mode, owner or attributes differ.
    Metadata,
    /// It is of another type now.
    Retyped,
}

/// Type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileType {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
    /// Device.
    Device,
}

/// A file at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileState {
    /// Type.
    pub ty: FileType,
    /// Permission bits, as a number.
    pub mode: u32,
    /// Length of a regular file, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub z: Option<u64>,
    /// SHA-256 of a regular file's content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub h: Option<Digest>,
    /// What git calls that content, or the target of a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub g: Option<GitId>,
    /// Target of a symbolic link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<LogPath>,
    /// SHA-256 of the whole target, where the record has its beginning alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_h: Option<Digest>,
}

/// Why a change needs more than an ordinary consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// It would run later on the host.
    Held,
    /// It should have been read-only.
    Protected,
}

/// Lines of a text that a change added and removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lines {
    /// Added.
    pub add: u64,
    /// Removed.
    pub del: u64,
}

/// `fs.outcome`; also one file of an `apply`, `discard` or `undo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FsOutcome {
    /// Path, relative to the workspace unless it starts with a slash.
    pub path: LogPath,
    /// SHA-256 of the whole path, where the record has its beginning alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_h: Option<Digest>,
    /// What happened to it.
    pub op: Change,
    /// Before. Left out when it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub b: Option<FileState>,
    /// After. Left out when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub a: Option<FileState>,
    /// Lines added and removed. Left out where a side is no text, is large, or was not at hand any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<Lines>,
    /// Device and inode, on the host, where the file has more than one name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ino: Option<[u64; 2]>,
    /// Whether it is held or protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
}

/// One step of an act on a session's changes. An act is `begin`, then each file *before* it is touched, then `end`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// It starts, and will touch this many files.
    Begin(u64),
    /// This file will be touched next.
    File(Box<FsOutcome>),
    /// It is over, and touched this many files. Fewer than at the start: the rest were refused.
    End(u64),
}

macro_rules! acts {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Act);
    )*};
}

acts! {
    /// `apply`.
    Apply;
    /// `discard`.
    Discard;
    /// `undo`.
    Undo;
}
