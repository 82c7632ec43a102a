//! The records of a ledger: what a host says about its sessions.
//! It never has more of a session than its key, its size and its root.

use super::body::Cause;
use super::values::{Digest, SessionId};
use serde::{Deserialize, Serialize};

/// `ledger.init`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerInit {
    /// Origin of the ledger.
    pub origin: String,
    /// Key that signs it.
    pub vkey: String,
}

/// `ledger.open`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerOpen {
    /// The session.
    pub sid: SessionId,
    /// Key that signs its checkpoints; its name is the log's origin.
    pub vkey: String,
    /// Name and version of the writer.
    pub tool: String,
    /// SHA-256 of the merged profile.
    pub profile_h: Digest,
    /// SHA-256 of the plan.
    pub plan_h: Digest,
}

/// `ledger.beat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerBeat {
    /// The session.
    pub sid: SessionId,
    /// Leaves in its log.
    pub size: u64,
    /// Root of its log.
    pub root: Digest,
}

/// `ledger.close`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerClose {
    /// The session.
    pub sid: SessionId,
    /// Leaves in its log.
    pub size: u64,
    /// Root of its log.
    pub root: Digest,
    /// Why it ended.
    pub cause: Cause,
    /// Its exit status.
    pub status: i32,
}

/// `ledger.after`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerAfter {
    /// The session.
    pub sid: SessionId,
    /// Leaves in its follow-up log.
    pub size: u64,
    /// Root of its follow-up log.
    pub root: Digest,
}
