//! One record of the log: a typed value in memory, one compact JSON object on disk.
//! It never writes a leaf that its own parser would refuse, and the parser accepts no member it does not know.

mod body;
mod container;
mod files;
mod fit;
mod glance;
mod leaf;
mod ledger;
mod net;
mod process;
#[cfg(any(test, debug_assertions))]
mod respell;
mod sense;
mod strict;
mod tool;
mod values;

pub use body::*;
pub use container::*;
pub use files::*;
pub use fit::{PATH_BYTES_MAX, TARGET_BYTES_MAX};
pub(crate) use glance::Glance;
pub use leaf::{Head, Leaf, LeafError, parse_head, parse_leaf};
pub(crate) use leaf::{Place, write_leaf};
pub use ledger::*;
pub use net::*;
pub use process::*;
pub use tool::*;
pub use values::{BlobRef, CallId, Digest, GitId, LogPath, NameError, SessionId};

use crate::disclose::Disclosed;
use std::time::Instant;

/// How well a fact is known; later is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Evidence {
    /// The agent, or a program of its, says so.
    Claimed,
    /// Seen at an entry or through a pointer that another thread could have changed meanwhile.
    Observed,
    /// Read from a register, from the kernel afterwards, or from a security hook.
    Confirmed,
    /// Our own code did it.
    Performed,
    /// The content itself was hashed.
    Outcome,
}

impl Evidence {
    /// The word on disk.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Observed => "observed",
            Self::Confirmed => "confirmed",
            Self::Performed => "performed",
            Self::Outcome => "outcome",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Claimed, Self::Observed, Self::Confirmed, Self::Performed, Self::Outcome]
            .into_iter()
            .find(|level| level.word() == word)
    }
}

/// What is to be recorded: the log adds position and times.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// How well it is known.
    pub evidence: Evidence,
    /// The call that it belongs to, if any.
    pub call: Option<CallId>,
    /// What happened.
    pub body: Body,
    /// Values that go into the log as salted digests only; their openings lie beside it and can be erased.
    pub disclosed: Vec<Disclosed>,
    /// When it happened; `None` for what is recorded as it happens.
    pub happened: Option<Instant>,
}

impl Record {
    /// A record at the evidence level that is usual for its kind.
    #[must_use]
    pub fn new(body: impl Into<Body>) -> Self {
        let body = body.into();
        Self { evidence: body.usual_evidence(), call: None, body, disclosed: Vec::new(), happened: None }
    }

    /// The same, belonging to a call.
    #[must_use]
    pub fn of_call(mut self, call: &CallId) -> Self {
        self.call = Some(call.clone());
        self
    }

    /// The same, with a value that can be shown or erased later.
    #[must_use]
    pub fn disclosing(mut self, value: Disclosed) -> Self {
        self.disclosed.push(value);
        self
    }
}
