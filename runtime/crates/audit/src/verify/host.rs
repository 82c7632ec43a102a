//! The ledger: verified as a log, then read for what it says about each session.
//! It never opens a session's own log.

use super::log::{LogKind, Point, check_log};
use super::{Findings, Independence, Level, Trust, Verdict, VerifyOptions};
use crate::disk::{Disk, read_file};
use crate::merkle::{Hash, Range};
use crate::note::{NOTE_BYTES_MAX, Vkey};
use crate::record::{Body, Cause, Digest, Leaf, LedgerOpen, Recovery, SessionId};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

/// What a ledger says about one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFacts {
    /// Its key.
    pub vkey: String,
    /// Sizes and roots of its log, as they were reported.
    pub trees: Vec<(u64, Hash)>,
    /// What its opening said.
    pub opened: Opened,
    /// What its close said.
    pub closed: Option<CloseFacts>,
    /// Sizes and roots of its follow-up log.
    pub after: Vec<(u64, Hash)>,
    /// Wall clock of its opening, ns since 1970.
    pub opened_ns: u64,
}

/// What a ledger says about the opening of a session; its first leaf says the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Name and version of the writer.
    pub tool: String,
    /// SHA-256 of the merged profile.
    pub profile_h: Digest,
    /// SHA-256 of the plan.
    pub plan_h: Digest,
}

impl From<LedgerOpen> for Opened {
    fn from(open: LedgerOpen) -> Self {
        Self { tool: open.tool, profile_h: open.profile_h, plan_h: open.plan_h }
    }
}

/// What a ledger says about the close of a session; its last leaf says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseFacts {
    /// Leaves in its log.
    pub size: u64,
    /// Why it ended.
    pub cause: Cause,
    /// Its exit status.
    pub status: i32,
}

/// What a ledger says.
#[derive(Debug, Clone)]
pub struct LedgerFacts {
    /// Its key.
    pub vkey: Vkey,
    /// Every session that was opened.
    pub sessions: BTreeMap<SessionId, SessionFacts>,
    pub(super) size: u64,
    pub(super) root: Hash,
}

/// The key to check a ledger with: the one from outside, or else the one that lies in it.
pub(super) fn ledger_key(disk: &dyn Disk, dir: &Path, pinned: Option<&Vkey>, findings: &mut Findings) -> Option<Vkey> {
    let text = match read_file(disk, &dir.join("vkey"), NOTE_BYTES_MAX) {
        Ok(text) => text.unwrap_or_default(),
        Err(error) => {
            findings.error(LogKind::Ledger, &error);
            return None;
        }
    };
    let own = std::str::from_utf8(&text).ok().and_then(Vkey::parse);
    let own = own.filter(|vkey| format!("{vkey}\n").as_bytes() == text);
    if own.is_none() {
        // What a power cut can leave; the next append writes it again.
        findings.incomplete(LogKind::Ledger, None, "its vkey file is missing or holds no key");
    }
    if let (Some(own), Some(pinned)) = (&own, pinned)
        && own != pinned
    {
        findings.broken(LogKind::Ledger, None, "the vkey in its directory is not the key that is vouched for");
    }
    pinned.cloned().or(own)
}

/// Verifies a ledger against its key and these trees, and reads it. `None` when it cannot be read; the findings say why.
pub(super) fn read_ledger(
    disk: &dyn Disk,
    dir: &Path,
    vkey: &Vkey,
    points: Vec<Point>,
    threads: NonZeroUsize,
    findings: &mut Findings,
) -> Option<LedgerFacts> {
    let mut sessions = BTreeMap::new();
    let options = VerifyOptions { trust: Trust::Nothing, seen: None, level: Level::Completeness, threads };
    let name = vkey.to_string();
    let mut on_leaf = |leaf: Leaf, findings: &mut Findings| take_leaf(leaf, &name, &mut sessions, findings);
    match check_log(disk, dir, vkey, LogKind::Ledger, points, &options, &mut on_leaf, findings) {
        Ok(facts) => {
            if facts.sealed {
                findings.broken(LogKind::Ledger, None, "a ledger is never sealed");
            }
            Some(LedgerFacts { vkey: vkey.clone(), sessions, size: facts.size, root: facts.root })
        }
        Err(error) => {
            findings.error(LogKind::Ledger, &error);
            None
        }
    }
}

fn take_leaf(leaf: Leaf, vkey: &str, sessions: &mut BTreeMap<SessionId, SessionFacts>, findings: &mut Findings) {
    let n = leaf.n;
    check_first(n, &leaf.body, findings);
    let mut known = |sid: &SessionId, findings: &mut Findings, act: &dyn Fn(&mut SessionFacts) -> bool| {
        if !sessions.get_mut(sid).is_some_and(act) {
            findings.broken(LogKind::Ledger, n, format!("it does not fit what came before about session {sid}"));
        }
    };
    match leaf.body {
        Body::LedgerInit(init) => {
            if init.vkey != vkey {
                findings.broken(LogKind::Ledger, n, "the ledger was started with another key");
            }
        }
        Body::LedgerOpen(open) => {
            let sid = open.sid.clone();
            if sessions.insert(sid.clone(), opened(open, leaf.wall_ns)).is_some() {
                findings.broken(LogKind::Ledger, n, format!("session {sid} was opened twice"));
            }
        }
        Body::LedgerBeat(beat) => known(&beat.sid, findings, &|session| {
            grows(&mut session.trees, beat.size, beat.root.0) && session.closed.is_none()
        }),
        Body::LedgerClose(close) => known(&close.sid, findings, &|session| {
            let grows = grows(&mut session.trees, close.size, close.root.0);
            let facts = CloseFacts { size: close.size, cause: close.cause, status: close.status };
            session.closed.replace(facts).is_none() && grows
        }),
        Body::LedgerAfter(after) => {
            known(&after.sid, findings, &|session| grows(&mut session.after, after.size, after.root.0))
        }
        Body::Recovery(recovery) => recovered(&recovery, n, findings),
        Body::SessionOpen(_)
        | Body::SessionClose(_)
        | Body::Call(_)
        | Body::Permit(_)
        | Body::Deny(_)
        | Body::Outcome(_)
        | Body::ProcExit(_)
        | Body::Limit(_)
        | Body::FsOutcome(_)
        | Body::Apply(_)
        | Body::Discard(_)
        | Body::Undo(_)
        | Body::Heartbeat(_)
        | Body::Gap(_)
        | Body::Redact(_)
        | Body::ProcStart(_)
        | Body::ProcExec(_)
        | Body::ProcCall(_)
        | Body::FsOpen(_)
        | Body::FsChange(_)
        | Body::NetAsk(_)
        | Body::ToolStart(_)
        | Body::ToolUse(_)
        | Body::ToolEnd(_)
        | Body::NetName(_)
        | Body::NetOpen(_)
        | Body::NetClose(_)
        | Body::NetRequest(_)
        | Body::NetReply(_)
        | Body::NetRefuse(_)
        | Body::SecretUse(_)
        | Body::SecretRotate(_)
        | Body::SecretCanary(_)
        | Body::SecretScrub(_) => {
            findings.broken(LogKind::Ledger, n, "a record of this kind does not belong into a ledger")
        }
    }
}

/// The first leaf of a ledger, and no other, makes it.
fn check_first(n: u64, body: &Body, findings: &mut Findings) {
    if matches!(body, Body::LedgerInit(_)) != (n == 0) {
        findings.broken(LogKind::Ledger, n, "a ledger has one ledger.init, its first leaf");
    }
}

/// Adds a tree; whether it is no smaller than the last one.
fn grows(trees: &mut Vec<(u64, Hash)>, size: u64, root: Hash) -> bool {
    let grows = trees.last().is_none_or(|(last, _)| *last <= size);
    trees.push((size, root));
    grows
}

/// What is known of a session from its first record in the ledger.
fn opened(open: LedgerOpen, opened_ns: u64) -> SessionFacts {
    let (vkey, opened) = (open.vkey.clone(), Opened::from(open));
    SessionFacts { vkey, trees: Vec::new(), opened, closed: None, after: Vec::new(), opened_ns }
}

/// A ledger that was recovered says so, at the size where it was.
fn recovered(recovery: &Recovery, n: u64, findings: &mut Findings) {
    let text = format!("it was recovered here: {} bytes of a torn end were set aside", recovery.dropped);
    findings.note(LogKind::Ledger, text);
    if recovery.size != n {
        findings.broken(LogKind::Ledger, n, "it was recovered at another size than it has here");
    }
}

pub(super) fn verify_ledger_on(
    disk: &dyn Disk,
    dir: &Path,
    sessions: Option<&Path>,
    vkey: Option<&Vkey>,
    threads: NonZeroUsize,
) -> Verdict {
    let mut findings = Findings::default();
    let key = ledger_key(disk, dir, vkey, &mut findings);
    let facts = key.and_then(|key| read_ledger(disk, dir, &key, Vec::new(), threads, &mut findings));
    if let (Some(facts), Some(sessions)) = (&facts, sessions) {
        for sid in facts.sessions.keys() {
            if disk.list(&sessions.join(sid.as_str())).is_err() {
                findings.broken(LogKind::Ledger, None, format!("session {sid} is gone"));
            }
        }
        for name in disk.list(sessions).unwrap_or_default() {
            let sid = name.to_str().and_then(|name| SessionId::parse(name).ok());
            if sid.is_none_or(|sid| !facts.sessions.contains_key(&sid)) {
                let name = name.to_string_lossy();
                findings.incomplete(
                    LogKind::Ledger,
                    None,
                    format!("it does not know {name:?}, which is among the sessions"),
                );
            }
        }
    }
    let independence = if vkey.is_some() { Independence::PinnedLedger } else { Independence::Ledger };
    let (origin, size, root) = facts.map_or_else(
        || (String::new(), 0, Range::default().root()),
        |facts| (facts.vkey.name().to_owned(), facts.size, facts.root),
    );
    Verdict { origin, size, root, independence, findings: findings.into_sorted() }
}
