//! What can go wrong with a workspace: the act, the object, whose fault it is, and what to do about it.
//! It never decides anything and never prints.

pub use crate::error::Fault;
use rustix::io::Errno;
use std::fmt;

/// An error of the workspace.
#[derive(Debug)]
pub enum WorkspaceError {
    /// A system call failed.
    System {
        /// What was being done, as "read directory".
        act: &'static str,
        /// What it was done to.
        object: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// A file of our own state is not what we wrote.
    Corrupt {
        /// What was being done.
        act: &'static str,
        /// The file.
        object: String,
        /// What is wrong with it.
        why: String,
    },
    /// The request cannot be fulfilled as it stands, and nothing was changed.
    Refused {
        /// What was asked for.
        act: &'static str,
        /// Of what.
        object: String,
        /// Why not.
        why: String,
        /// Who can change that.
        fault: Fault,
        /// How.
        hint: &'static str,
    },
    /// A limit of ours was reached.
    Limit {
        /// What was being done.
        act: &'static str,
        /// To what.
        object: String,
        /// The limit, with its unit.
        limit: String,
    },
}

/// Result of this module.
pub type Result<T> = std::result::Result<T, WorkspaceError>;

impl WorkspaceError {
    /// What was being done.
    #[must_use]
    pub fn act(&self) -> &'static str {
        match self {
            Self::System { act, .. }
            | Self::Corrupt { act, .. }
            | Self::Refused { act, .. }
            | Self::Limit { act, .. } => act,
        }
    }

    /// What it was done to.
    #[must_use]
    pub fn object(&self) -> &str {
        match self {
            Self::System { object, .. }
            | Self::Corrupt { object, .. }
            | Self::Refused { object, .. }
            | Self::Limit { object, .. } => object,
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::System { .. } | Self::Corrupt { .. } => Fault::Host,
            Self::Refused { fault, .. } => *fault,
            Self::Limit { .. } => Fault::Guest,
        }
    }

    /// What to do about it, where we know.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::System { errno: Errno::NOSPC | Errno::DQUOT, .. } => Some("free some space and try again"),
            Self::System { errno: Errno::ACCESS | Errno::PERM, .. } => {
                Some("run as the owner of the workspace, or correct the permissions")
            }
            Self::System { errno: Errno::ROFS, .. } => Some("the file system is mounted read-only"),
            Self::System { errno: Errno::MFILE | Errno::NFILE, .. } => Some("raise the limit of open files"),
            Self::System { .. } => None,
            Self::Corrupt { .. } => Some("the state was altered by something else; discard the session's changes"),
            Self::Refused { hint, .. } => Some(hint),
            Self::Limit { .. } => Some("make fewer or smaller changes, or discard them"),
        }
    }

    /// True when the kernel said that the object does not exist.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::System { errno: Errno::NOENT, .. })
    }
}

impl fmt::Display for WorkspaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { act, object, errno } => write!(f, "cannot {act} {object:?}: {}", lower(&errno.to_string())),
            Self::Corrupt { act, object, why } | Self::Refused { act, object, why, .. } => {
                write!(f, "cannot {act} {object:?}: {why}")
            }
            Self::Limit { act, object, limit } => write!(f, "cannot {act} {object:?}: more than {limit}"),
        }
    }
}

impl std::error::Error for WorkspaceError {}

/// The kernel's sentence in our style: lower case, without the number that rustix puts behind it.
fn lower(text: &str) -> String {
    let text = text.split(" (os error").next().unwrap_or(text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Names the act and the object of a failed system call.
pub(super) trait Named<T> {
    /// `object` is only computed when the call failed.
    fn named<O: fmt::Display>(self, act: &'static str, object: impl FnOnce() -> O) -> Result<T>;
}

impl<T> Named<T> for std::result::Result<T, Errno> {
    fn named<O: fmt::Display>(self, act: &'static str, object: impl FnOnce() -> O) -> Result<T> {
        self.map_err(|errno| WorkspaceError::System { act, object: object().to_string(), errno })
    }
}
