//! What can go wrong with a log: each error names the act, the object and whose fault it is.
//! It never decides what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Who has to act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The record came from a guest and does not fit the format.
    Guest,
    /// The operator chose a directory, key or argument that cannot be used.
    Operator,
    /// The machine failed: a full disk, an I/O error.
    Host,
    /// Our own mistake.
    Bug,
}

/// Why an act on a log failed.
#[derive(Debug)]
pub enum AuditError {
    /// The operating system refused.
    Io {
        /// What was tried, as a verb phrase: `write`, `create directory`.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// A directory or file that others could have changed.
    Exposed {
        /// Which.
        path: PathBuf,
        /// How: `writable by others`, `owned by somebody else`.
        why: &'static str,
    },
    /// Written by a later version of the format.
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// An earlier write failed; nothing can be appended any more.
    Poisoned {
        /// The first failure, as text.
        first: String,
    },
    /// More bytes than the format allows.
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How many there are.
        bytes: usize,
        /// How many there may be.
        bytes_max: usize,
    },
    /// A file does not hold what the format says.
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Another process holds this log.
    Busy {
        /// Which log.
        path: PathBuf,
    },
    /// A value that the format cannot express.
    Invalid {
        /// Which value.
        what: &'static str,
        /// Why not.
        why: String,
    },
}

impl AuditError {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Io { .. } | Self::Poisoned { .. } => Fault::Host,
            Self::Exposed { .. } | Self::Newer { .. } | Self::Corrupt { .. } | Self::Busy { .. } => Fault::Operator,
            Self::TooLarge { .. } => Fault::Guest,
            Self::Invalid { .. } => Fault::Bug,
        }
    }

    /// What the reader can do about it, if there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Exposed { .. } => {
                Some("the log must lie in a directory that belongs to you and that only you can write: chmod 700")
            }
            Self::Newer { .. } => Some("use the version of stockade that wrote it, or a later one"),
            Self::Poisoned { .. } => {
                Some("nothing runs unlogged: free space or repair the disk, then start a new session")
            }
            Self::Corrupt { .. } => Some("`stockade verify` says what is left and what is not to be trusted"),
            Self::Busy { .. } => Some("wait for the other process, or end its session"),
            Self::TooLarge { .. } => Some("put the content into a blob and its hash into the record"),
            Self::Io { source, .. }
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                Some("nothing runs unlogged: free some space, or keep the log on another file system")
            }
            Self::Io { .. } | Self::Invalid { .. } => None,
        }
    }
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { act, path, source } => write!(f, "cannot {act} {path:?}: {source}"),
            Self::Exposed { path, why } => write!(f, "log path {path:?} is {why}"),
            Self::Newer { path, version } => {
                write!(f, "log {path:?} has format version {version}, newer than {}", crate::FORMAT_VERSION)
            }
            Self::Poisoned { first } => write!(f, "the log takes no more records after an earlier failure: {first}"),
            Self::TooLarge { what, bytes, bytes_max } => {
                write!(f, "{what} has {bytes} bytes, more than the {bytes_max} allowed")
            }
            Self::Corrupt { path, what } => write!(f, "log file {path:?} is damaged: {what}"),
            Self::Busy { path } => write!(f, "log {path:?} is in use by another process"),
            Self::Invalid { what, why } => write!(f, "{what} cannot be recorded: {why}"),
        }
    }
}

impl std::error::Error for AuditError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Exposed { .. }
            | Self::Newer { .. }
            | Self::Poisoned { .. }
            | Self::TooLarge { .. }
            | Self::Corrupt { .. }
            | Self::Busy { .. }
            | Self::Invalid { .. } => None,
        }
    }
}

/// Result of an act on a log.
pub type Result<T> = std::result::Result<T, AuditError>;

/// Names act and object of an operating-system error.
pub(crate) trait At<T> {
    fn at(self, act: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, act: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| AuditError::Io { act, path: path.to_owned(), source })
    }
}

pub(crate) fn corrupt(path: &Path, what: impl Into<String>) -> AuditError {
    AuditError::Corrupt { path: path.to_owned(), what: what.into() }
}
