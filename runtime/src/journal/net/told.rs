//! What the outlet tells its account of connections and requests.
//! It never holds a secret, only the names of those that went.

use std::time::Duration;
use stockade_policy::RuleId;

/// A secret that a request is going to carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Name of the secret.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Where in the request: `header authorization`, `query key`, `path`, `body`.
    pub place: String,
    /// The rule that binds it.
    pub rule: RuleId,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    /// Status code, if an answer came.
    pub status: Option<u16>,
    /// Address that answered, with the port.
    pub addr: Option<String>,
    /// Bytes of the request's body.
    pub up_bytes: u64,
    /// Bytes of the answer's body.
    pub down_bytes: u64,
    /// To the answer's first byte.
    pub first: Duration,
    /// The fault that ended it; `None` is a proper end.
    pub fault: Option<String>,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Total {
    /// Bytes from inside.
    pub up_bytes: u64,
    /// Bytes to the inside.
    pub down_bytes: u64,
    /// Address that was connected to, with the port.
    pub addr: Option<String>,
    /// The fault that ended it; `None` is a proper end.
    pub fault: Option<String>,
}

/// What was refused, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Host or address.
    pub host: String,
    /// Port.
    pub port: Option<u16>,
    /// Method.
    pub method: Option<String>,
    /// Canonical path.
    pub path: Option<String>,
}

/// A secret that was replaced in the middle of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Name of the secret.
    pub name: String,
    /// The version before.
    pub was: u64,
    /// The new version.
    pub version: u64,
    /// Who keeps it.
    pub kept: Kept,
}

/// Who keeps the new version of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// The store.
    Store,
    /// Nobody but the session, because of this.
    Session(String),
    /// Where it came from, and where it was replaced.
    Source,
}

/// A secret that came back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scrubbed {
    /// Name of the secret.
    pub name: String,
    /// In which form.
    pub form: String,
    /// How many times.
    pub count: u64,
    /// Where it stood.
    pub place: String,
}
