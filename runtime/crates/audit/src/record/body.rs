//! What can be recorded: one type per kind, with the member names of the disk format.
//! It never holds a sensitive value in the clear: argv, environment and directories are disclosures.

use super::container::Container;
use super::files::{Apply, Discard, FsOutcome, Undo};
use super::ledger::{LedgerAfter, LedgerBeat, LedgerClose, LedgerInit, LedgerOpen};
use super::net::{
    NetClose, NetName, NetOpen, NetRefuse, NetReply, NetRequest, SecretCanary, SecretRotate, SecretScrub, SecretUse,
};
use super::process::{FsChange, FsOpen, NetAsk, ProcCall, ProcExec, ProcStart, Recorder};
use super::strict::{StrictError, kept, read_one};
use super::tool::{ToolEnd, ToolStart, ToolUse};
use super::values::{BlobRef, Digest, LogPath, SessionId};
use super::{Evidence, Record};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $kind:literal at $evidence:ident;)*) => {
        /// What happened, by kind.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Body { $($(#[$doc])* $name($name),)* }

        impl Body {
            /// The kind's word on disk.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$name(_) => $kind,)* }
            }

            /// The evidence that this kind usually has.
            #[must_use]
            pub fn usual_evidence(&self) -> Evidence {
                match self { $(Self::$name(_) => Evidence::$evidence,)* }
            }

            /// Position of the kind in [`Body::KINDS`].
            pub(crate) fn index(&self) -> usize {
                enum Index { $($name,)* }
                match self { $(Self::$name(_) => Index::$name as usize,)* }
            }

            /// Every kind's word.
            pub const KINDS: &'static [&'static str] = &[$($kind,)*];

            pub(super) fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
                match self { $(Self::$name(body) => serde_json::to_writer(out, body),)* }
            }

            /// The object of kind `kind` at the start of `json`, if it is in its one spelling, and what follows it. `None`
            /// for an unknown kind.
            pub(super) fn read<'a>(kind: &str, json: &'a str) -> Option<Result<(Self, &'a str), StrictError>> {
                match kind {
                    $($kind => Some(read_one::<$name>(json).map(|(body, rest)| (Self::$name(body), rest))),)*
                    _ => None,
                }
            }

            /// The same, in any spelling, and how many bytes it has.
            #[cfg(any(test, debug_assertions))]
            pub(super) fn read_json(kind: &str, json: &[u8]) -> Option<serde_json::Result<(Self, usize)>> {
                match kind {
                    $($kind => Some(
                        super::respell::read_any::<$name>(json).map(|(body, len)| (Self::$name(body), len))
                    ),)*
                    _ => None,
                }
            }
        }

        $(impl From<$name> for Body {
            fn from(body: $name) -> Self { Self::$name(body) }
        }

        impl From<$name> for Record {
            fn from(body: $name) -> Self { Record::new(body) }
        })*
    };
}

kinds! {
    /// First leaf of a session.
    SessionOpen = "session.open" at Performed;
    /// Last leaf of a session.
    SessionClose = "session.close" at Performed;
    /// A call, as it was asked for.
    Call = "call" at Claimed;
    /// The call may run.
    Permit = "permit" at Performed;
    /// The call may not run.
    Deny = "deny" at Performed;
    /// The call has run.
    Outcome = "result" at Performed;
    /// A process came to be.
    ProcStart = "proc.start" at Confirmed;
    /// A process executes a program.
    ProcExec = "proc.exec" at Confirmed;
    /// A process made a call that is refused, or that concerns others.
    ProcCall = "proc.call" at Confirmed;
    /// A process ended.
    ProcExit = "proc.exit" at Confirmed;
    /// A limit was reached.
    Limit = "limit" at Confirmed;
    /// A file was opened so that it can be changed.
    FsOpen = "fs.open" at Performed;
    /// A name or a property of a file was to be changed.
    FsChange = "fs.change" at Observed;
    /// A file differs from what it was before the call.
    FsOutcome = "fs.outcome" at Outcome;
    /// A tool begins to run.
    ToolStart = "tool.start" at Performed;
    /// A tool asked its host for something.
    ToolUse = "tool.use" at Performed;
    /// A tool ended.
    ToolEnd = "tool.end" at Performed;
    /// Changes go from the session's layer to the workspace.
    Apply = "apply" at Performed;
    /// Changes in the session's layer are dropped.
    Discard = "discard" at Performed;
    /// An apply is taken back.
    Undo = "undo" at Performed;
    /// The session is alive.
    Heartbeat = "heartbeat" at Performed;
    /// A log that was not closed has been looked at, and this is what was left.
    Recovery = "recovery" at Confirmed;
    /// Something happened that is not in the log.
    Gap = "gap" at Confirmed;
    /// An opening was erased.
    Redact = "redact" at Performed;
    /// Something was asked of a socket.
    NetAsk = "net.ask" at Observed;
    /// A name was asked for.
    NetName = "net.name" at Performed;
    /// A connection from inside was let through.
    NetOpen = "net.open" at Performed;
    /// A connection ended.
    NetClose = "net.close" at Performed;
    /// A request was allowed.
    NetRequest = "net.request" at Performed;
    /// A request ended.
    NetReply = "net.reply" at Performed;
    /// A connection or request was refused.
    NetRefuse = "net.refuse" at Performed;
    /// A secret goes out.
    SecretUse = "secret.use" at Performed;
    /// A secret has a new version.
    SecretRotate = "secret.rotate" at Performed;
    /// A placeholder was where it has no business.
    SecretCanary = "secret.canary" at Performed;
    /// A secret came back and was taken out.
    SecretScrub = "secret.scrub" at Performed;
    /// First leaf of a ledger.
    LedgerInit = "ledger.init" at Performed;
    /// A session was opened on this host.
    LedgerOpen = "ledger.open" at Performed;
    /// A session is alive and has this tree.
    LedgerBeat = "ledger.beat" at Performed;
    /// A session was closed with this tree.
    LedgerClose = "ledger.close" at Performed;
    /// A session's follow-up log has this tree.
    LedgerAfter = "ledger.after" at Performed;
}

/// State of one layer of enforcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerState {
    /// In force as planned.
    Active,
    /// In force, weaker than planned; `why` says how.
    Degraded,
    /// Not in force; `why` says why.
    Absent,
}

/// One layer of enforcement: Landlock, seccomp, a namespace, a control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Whether it holds.
    pub state: LayerState,
    /// Why it does not, or not wholly. Empty when active.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "kept")]
    pub why: String,
}

/// What becomes of changes to the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// They wait in a layer.
    Review,
    /// They are made at once.
    Direct,
    /// They are dropped.
    Discard,
}

/// When an answer may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// When its record is in the file; on disk within 50 ms.
    Group,
    /// A result leaves when its record is on disk.
    BeforeResult,
    /// A call runs when its permit is on disk.
    BeforeRun,
}

/// `session.open`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionOpen {
    /// The session.
    pub sid: SessionId,
    /// Name and version of the writer.
    pub tool: String,
    /// Release of the kernel, as `uname -r`.
    pub kernel: String,
    /// Which wall confines: `process`, or `container`, which is the same inside a container.
    pub wall: String,
    /// Grade that was reached: `full`, `partial`…
    pub grade: String,
    /// Every layer, and whether it holds.
    pub layers: Vec<Layer>,
    /// Name of the profile.
    pub profile: String,
    /// SHA-256 of the merged profile's canonical text.
    pub profile_h: Digest,
    /// SHA-256 of the plan.
    pub plan_h: Digest,
    /// SHA-256 of the seccomp filter, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_h: Option<Digest>,
    /// What becomes of changes to the workspace.
    pub mode: Mode,
    /// When answers may leave.
    pub durability: Durability,
    /// What watches its processes. Left out: nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorder: Option<Recorder>,
    /// The container, behind that wall and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// The session whose changes it goes on from. Left out: it began with the workspace as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Box<Forked>>,
}

/// What a session began with: changes that another one had made, in a layer of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forked {
    /// The other session.
    pub sid: SessionId,
    /// How many changes there were.
    pub changes: u64,
    /// SHA-256 of the changes, as `fs.outcome` has them: one JSON object a line, by path.
    pub changes_h: Digest,
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// By itself; the status is its exit status.
    Exit,
    /// By a signal; the status is its number.
    Signal,
    /// Because a limit was reached; a `limit` record of the same call says which. The status is the signal's number.
    Limit,
    /// It never started, or we could not see how it ended; the status is an errno or 0.
    Error,
    /// Someone asked for the end; the status is 0.
    Stop,
}

/// `session.close`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionClose {
    /// Why the session ended.
    pub cause: Cause,
    /// Exit status that the session reported to its caller.
    pub status: i32,
    /// How many leaves of each kind the session has, this one not counted. Kinds with none are left out.
    pub counts: BTreeMap<String, u64>,
    /// Events known to be lost. Not zero: there are `gap` records.
    pub lost: u64,
}

/// `call`. Argument vector, environment and directory are disclosures named `argv`, `env`, `cwd`; a tool's arguments one
/// named `args`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Name of the tool: `exec` for a command.
    pub tool: String,
    /// The wire that brought it: `cli`, `mcp`, `e2b`…
    pub via: String,
    /// Standard input or arguments, where they are too large for a disclosure.
    #[serde(rename = "in", default, skip_serializing_if = "Option::is_none")]
    pub input: Option<BlobRef>,
}

/// `permit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permit {
    /// The rules that let it through.
    pub rules: Vec<String>,
}

/// `deny`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deny {
    /// The rule that stopped it.
    pub rule: String,
    /// What the caller was told.
    pub reason: String,
}

/// One output stream of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Bytes that came.
    pub z: u64,
    /// Bytes that were not kept.
    #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "kept")]
    pub cut: u64,
    /// What was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<BlobRef>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// `result`: how a call went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// How it ended.
    pub cause: Cause,
    /// Exit status, signal number or errno, by cause.
    pub status: i32,
    /// Wall time, µs.
    pub wall_us: u64,
    /// CPU time of the whole tree, µs.
    pub cpu_us: u64,
    /// Stable id of the main process, when one was started: its `proc.exit` must be in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<u64>,
    /// Stable id of the tool that ran, when one was started: its `tool.end` must be in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t: Option<u64>,
    /// Standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<Stream>,
    /// Standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub err: Option<Stream>,
}

/// `proc.exit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcExit {
    /// Stable id: counts up within the session, never used again.
    pub p: u64,
    /// Stable id of the process that started it, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pp: Option<u64>,
    /// Process id that the guest saw.
    pub pid: u32,
    /// What it executed last, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<LogPath>,
    /// Programs that it asked for and that could not be executed: a search along `PATH`, mostly. Left out where there
    /// were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
    /// How it ended.
    pub cause: Cause,
    /// Exit status or signal number, by cause.
    pub status: i32,
    /// CPU time, µs. Left out where only its parent was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_us: Option<u64>,
    /// Largest resident set, KiB. Left out where only its parent was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_kib: Option<u64>,
}

/// `limit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Name of the limit in the profile, unit included: `memory_mib`.
    pub which: String,
    /// Its value.
    pub max: u64,
    /// What was reached, in the same unit.
    pub seen: u64,
}

/// `heartbeat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Calls running now.
    pub running: u64,
    /// Events known to be lost so far.
    pub lost: u64,
}

/// `recovery`: in a ledger, about itself; in a follow-up log, about its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// Whole leaves found.
    pub size: u64,
    /// Root over them.
    pub root: Digest,
    /// Of these, leaves after the last commit.
    pub kept: u64,
    /// Bytes of a torn tail, moved to `tail.quarantine`.
    pub dropped: u64,
    /// SHA-256 of that tail, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail_h: Option<Digest>,
}

/// `gap`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// Events lost, as far as they could be counted.
    pub lost: u64,
    /// Why.
    pub why: String,
}

/// `redact`: in a follow-up log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redact {
    /// Leaf of the session whose value was erased.
    pub leaf: u64,
    /// Name of the value.
    pub field: String,
    /// Why.
    pub reason: String,
    /// Who asked for it.
    pub by: String,
}
