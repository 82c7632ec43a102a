//! The one error of the jail: the act, the object, the kernel's answer and whose fault it is.
//! It never carries bytes that a guest wrote.

use std::fmt;

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The guest: its call was malformed or asked for what cannot be.
    Guest,
    /// The person or harness that started Stockade: an argument, a profile, a path.
    Operator,
    /// The machine: a kernel feature that is missing, a full disk, an input/output error.
    Host,
    /// Stockade itself.
    Bug,
}

/// Errors that a caller may have to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// Nothing that a caller would act upon.
    #[default]
    Other,
    /// The kernel or an outer sandbox forbids user namespaces.
    NamespacesRefused,
    /// Overlayfs is refused for this lower directory or layer: a copy would work.
    OverlayRefused,
    /// A fresh `/proc` is refused, as in most containers.
    ProcRefused,
    /// The file system cannot be id-mapped.
    IdmapRefused,
    /// A symbolic link where the plan expects a directory or a file.
    SymlinkInTheWay,
    /// A source of the plan is not there.
    SourceMissing,
    /// A path inside would have to be made in a directory that belongs to the host.
    TargetMissing,
    /// No such program inside: 127 in a shell.
    ProgramNotFound,
    /// The program is there and cannot be executed: 126 in a shell.
    ProgramNotExecutable,
    /// The working directory of a call cannot be entered.
    WorkingDirectory,
    /// The sandbox is gone, or did not answer in time.
    SandboxLost,
    /// A message that does not follow the protocol.
    Protocol,
}

/// An error of the jail.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct JailError {
    /// What was being done: "drop capabilities".
    pub act: String,
    /// To what: a path, a system call, a layer.
    pub object: String,
    /// The kernel's answer, where it gave one.
    pub errno: Option<i32>,
    /// Whose fault.
    pub fault: Fault,
    /// What to do, when we know.
    pub hint: Option<String>,
    /// What a caller may tell it by.
    #[serde(default)]
    pub kind: ErrorKind,
}

impl JailError {
    /// The kernel refused.
    pub fn os(act: impl Into<String>, object: impl Into<String>, errno: i32) -> Self {
        Self {
            act: act.into(),
            object: object.into(),
            errno: Some(errno),
            fault: Fault::Host,
            hint: None,
            kind: ErrorKind::Other,
        }
    }

    /// The kernel refused, and left the reason in `errno`.
    pub fn last_os(act: impl Into<String>, object: impl Into<String>) -> Self {
        Self::io(act, object, &std::io::Error::last_os_error())
    }

    /// Reading or writing failed.
    pub fn io(act: impl Into<String>, object: impl Into<String>, error: &std::io::Error) -> Self {
        Self {
            act: act.into(),
            object: object.into(),
            errno: error.raw_os_error(),
            fault: Fault::Host,
            hint: None,
            kind: ErrorKind::Other,
        }
    }

    /// The machine lacks something.
    pub fn host(act: impl Into<String>, object: impl Into<String>) -> Self {
        Self {
            act: act.into(),
            object: object.into(),
            errno: None,
            fault: Fault::Host,
            hint: None,
            kind: ErrorKind::Other,
        }
    }

    /// An error of ours.
    pub fn bug(act: impl Into<String>, object: impl Into<String>) -> Self {
        Self {
            act: act.into(),
            object: object.into(),
            errno: None,
            fault: Fault::Bug,
            hint: None,
            kind: ErrorKind::Other,
        }
    }

    /// The same error with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error, to be told apart by this.
    #[must_use]
    pub fn kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// The same error, somebody else's fault.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }
}

impl fmt::Display for JailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} \"{}\"", self.act, self.object)?;
        match self.errno {
            Some(errno) => write!(f, ": {}", errno_text(errno)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for JailError {}

/// The kernel's words for an error number, in our style: lower case, without the number that std appends.
fn errno_text(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text.to_lowercase()
}
