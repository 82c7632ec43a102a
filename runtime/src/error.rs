//! The one error of the runtime: what was being done, to what, whose fault it is and what to do about it.
//! It never prints and never picks an exit code by text; the fault picks it.

use std::fmt;

/// Whose fault an error is. It picks the exit code and who may read the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The guest: its call was malformed or asked for what cannot be.
    Guest,
    /// The person or harness that started Stockade: an argument, a profile, a path.
    Operator,
    /// The machine: a kernel feature, a full disk, an input/output error.
    Host,
    /// Stockade itself.
    Bug,
}

/// An error with everything that a person needs to act on it.
#[derive(Debug, Clone)]
pub struct Error {
    /// Whose fault.
    pub fault: Fault,
    /// What went wrong: lower case, no full stop, the object quoted.
    pub what: String,
    /// What to do, when we know.
    pub hint: Option<String>,
}

/// Result of the runtime's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that the operator can mend.
    pub fn operator(what: impl Into<String>) -> Self {
        Self { fault: Fault::Operator, what: what.into(), hint: None }
    }

    /// An error of the machine.
    pub fn host(what: impl Into<String>) -> Self {
        Self { fault: Fault::Host, what: what.into(), hint: None }
    }

    /// An error in what a guest sent.
    pub fn guest(what: impl Into<String>) -> Self {
        Self { fault: Fault::Guest, what: what.into(), hint: None }
    }

    /// An error of ours.
    pub fn bug(what: impl Into<String>) -> Self {
        Self { fault: Fault::Bug, what: what.into(), hint: None }
    }

    /// Reading or writing a file failed: names the act, the path and the reason.
    pub fn io(act: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{NotFound, PermissionDenied, QuotaExceeded, StorageFull};
        // Everything else that a file system reports is the machine's: a full disk, a broken device, a quota.
        let operator = matches!(error.kind(), NotFound | PermissionDenied);
        let fault = if operator { Fault::Operator } else { Fault::Host };
        let full = matches!(error.kind(), StorageFull | QuotaExceeded);
        let hint = full.then(|| "free some space, or point STOCKADE_STATE at another file system".to_owned());
        Self { fault, what: format!("{act} \"{}\": {}", path.display(), plain(error)), hint }
    }

    /// The same error with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// An operating system's error in our style: lower case and without the number that std appends.
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"))
    }
}

impl std::error::Error for Error {}
