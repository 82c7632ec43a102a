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

/// One thing that is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What went wrong: lower case, no full stop, the object quoted.
    pub what: String,
    /// What to do, when we know.
    pub hint: Option<String>,
}

/// An error with everything that a person needs to act on it.
#[derive(Debug, Clone)]
pub struct Error {
    /// Whose fault.
    pub fault: Fault,
    /// What is wrong: at least one thing, several where a file has several mistakes.
    pub reports: Vec<Report>,
}

/// Result of the runtime's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    fn new(fault: Fault, what: impl Into<String>) -> Self {
        Self { fault, reports: vec![Report { what: what.into(), hint: None }] }
    }

    /// An error that the operator can mend.
    pub fn operator(what: impl Into<String>) -> Self {
        Self::new(Fault::Operator, what)
    }

    /// An error of the machine.
    pub fn host(what: impl Into<String>) -> Self {
        Self::new(Fault::Host, what)
    }

    /// An error in what a guest sent.
    pub fn guest(what: impl Into<String>) -> Self {
        Self::new(Fault::Guest, what)
    }

    /// An error of ours.
    pub fn bug(what: impl Into<String>) -> Self {
        Self::new(Fault::Bug, what)
    }

    /// Reading or writing a file failed: names the act, the path and the reason.
    pub fn io(act: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{NotFound, PermissionDenied, QuotaExceeded, StorageFull};
        // Everything else that a file system reports is the machine's: a full disk, a broken device, a quota.
        let operator = matches!(error.kind(), NotFound | PermissionDenied);
        let fault = if operator { Fault::Operator } else { Fault::Host };
        let made = Self::new(fault, format!("{act} \"{}\": {}", path.display(), plain(error)));
        if matches!(error.kind(), StorageFull | QuotaExceeded) {
            return made.hint("free some space, or point STOCKADE_STATE at another file system");
        }
        made
    }

    /// The same error with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Some(last) = self.reports.last_mut() {
            last.hint = Some(hint.into());
        }
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
        for (place, Report { what, hint }) in self.reports.iter().enumerate() {
            let separator = if place == 0 { "" } else { "\n" };
            write!(f, "{separator}error: {what}")?;
            hint.iter().try_for_each(|hint| write!(f, "\nhint: {hint}"))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<stockade_policy::Diagnostics> for Error {
    fn from(found: stockade_policy::Diagnostics) -> Self {
        let reports = found.iter().map(|one| {
            let what = format!("profile \"{}\", line {}: {}", one.file, one.line, one.what);
            Report { what, hint: Some(one.hint.clone()).filter(|hint| !hint.is_empty()) }
        });
        let omitted = (found.omitted() > 0)
            .then(|| Report { what: format!("{} more mistakes are not shown", found.omitted()), hint: None });
        Self { fault: Fault::Operator, reports: reports.chain(omitted).collect() }
    }
}
