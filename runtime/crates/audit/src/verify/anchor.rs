//! What a ledger says about a session, taken from the ledger itself or from the proofs that the session carries along.
//! It never takes a statement whose signature does not lead to the key that was given.

use super::host::{CloseFacts, Opened, SessionFacts, ledger_key, read_ledger};
use super::log::{LogKind, Point};
use super::{Findings, Independence, Trust, VerifyOptions, session_of};
use crate::disk::{Disk, read_file};
use crate::note::{Checkpoint, SignedCheckpoint, Vkey};
use crate::proof::{PROOF_BYTES_MAX, TlogProof};
use crate::record::{Body, Cause, Leaf, LedgerAfter, LedgerClose, LedgerOpen, SessionId, parse_leaf};
use crate::session::session_origin;
use std::path::Path;

const ANCHOR_OPEN: &str = "anchor-open.tlog-proof";
const ANCHOR_CLOSE: &str = "anchor-close.tlog-proof";
const ANCHOR_AFTER: &str = "anchor-after.tlog-proof";

/// What is known about a session from outside of it.
#[derive(Debug)]
pub(super) struct Vouched {
    pub(super) independence: Independence,
    /// The session's key.
    pub(super) vkey: Option<Vkey>,
    /// The ledger's key, which signs the follow-up log.
    pub(super) ledger: Option<Vkey>,
    /// Trees of the session's log.
    pub(super) points: Vec<Point>,
    /// Trees of the follow-up log.
    pub(super) after: Vec<Point>,
    /// What the ledger says about its opening.
    pub(super) opened: Option<Opened>,
    /// Whether the ledger says that the session was closed.
    pub(super) closed: Closed,
    /// The ledger knows the session, and its directory is not there.
    pub(super) gone: bool,
}

/// What the ledger says about the end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// It was closed, with this many leaves and in this way.
    Yes { size: u64, cause: Cause, status: i32 },
    /// It was not, as far as the ledger goes.
    No,
    /// Nobody was asked.
    Unknown,
}

pub(super) fn vouch(
    disk: &dyn Disk,
    dir: &Path,
    own: Option<&Vkey>,
    options: &VerifyOptions,
    findings: &mut Findings,
) -> Vouched {
    let mut vouched = Vouched {
        independence: Independence::SelfAttested,
        vkey: None,
        ledger: None,
        points: Vec::new(),
        after: Vec::new(),
        opened: None,
        closed: Closed::Unknown,
        gone: false,
    };
    match &options.trust {
        Trust::Nothing => {
            let text = "nothing outside the log vouches for it: a ledger or a key from elsewhere is needed";
            findings.incomplete(LogKind::Session, None, text);
        }
        Trust::Session(vkey) => {
            vouched.independence = Independence::SessionKey;
            vouched.vkey = Some(vkey.clone());
        }
        Trust::Ledger(vkey) => {
            vouched.independence = Independence::PinnedLedger;
            vouched.ledger = Some(vkey.clone());
            from_anchors(disk, dir, vkey, own, &mut vouched, findings);
        }
        Trust::LedgerDir { dir: ledger, vkey } => {
            vouched.independence = if vkey.is_some() { Independence::PinnedLedger } else { Independence::Ledger };
            from_ledger(disk, dir, ledger, vkey.as_ref(), own, &mut vouched, options, findings);
        }
    }
    if let (Some(own), Some(vkey)) = (own, &vouched.vkey)
        && own != vkey
    {
        findings.broken(LogKind::Session, None, "the vkey in its directory is not the key that is vouched for");
    }
    if own.is_none() && vouched.vkey.is_some() && !vouched.gone {
        findings.incomplete(LogKind::Session, None, "its vkey file is missing");
    }
    vouched
}

/// The session in question: by its key's name, or else by the name of its directory.
fn sid_of(dir: &Path, own: Option<&Vkey>) -> Option<SessionId> {
    let named = || SessionId::parse(dir.file_name()?.to_str()?).ok();
    named().or_else(|| Some(session_of(own?.name())?.1))
}

#[expect(clippy::too_many_arguments, reason = "two logs, two keys, and two places for results")]
fn from_ledger(
    disk: &dyn Disk,
    dir: &Path,
    ledger: &Path,
    vkey: Option<&Vkey>,
    own: Option<&Vkey>,
    vouched: &mut Vouched,
    options: &VerifyOptions,
    findings: &mut Findings,
) {
    let Some(sid) = sid_of(dir, own) else {
        findings.incomplete(LogKind::Session, None, "nothing says which session this is");
        return;
    };
    let Some(vkey) = ledger_key(disk, ledger, vkey, findings) else { return };
    let there = disk.list(dir).is_ok();
    let points = if there { check_anchors(disk, dir, &vkey, &sid, findings) } else { Vec::new() };
    vouched.ledger = Some(vkey.clone());
    let Some(mut facts) = read_ledger(disk, ledger, &vkey, points, options.threads, findings) else { return };
    let Some(session) = facts.sessions.remove(&sid) else {
        let text = if there { "the ledger does not know this session" } else { "there is no such session" };
        findings.incomplete(LogKind::Session, None, text);
        return;
    };
    vouched.gone = !there;
    take_session(&sid, vkey.name(), session, vouched, findings);
}

fn take_session(sid: &SessionId, ledger: &str, session: SessionFacts, vouched: &mut Vouched, findings: &mut Findings) {
    take_key(sid, ledger, &session.vkey, vouched, findings);
    let point = |(size, root)| Point { size, root, what: "the ledger" };
    vouched.points.extend(session.trees.iter().copied().map(point));
    vouched.after.extend(session.after.iter().copied().map(point));
    vouched.opened = Some(session.opened);
    vouched.closed = match session.closed {
        Some(CloseFacts { size, cause, status }) => Closed::Yes { size, cause, status },
        None => Closed::No,
    };
}

fn take_key(sid: &SessionId, ledger: &str, text: &str, vouched: &mut Vouched, findings: &mut Findings) {
    match Vkey::parse(text).filter(|vkey| vkey.name() == session_origin(ledger, sid)) {
        Some(vkey) => vouched.vkey = Some(vkey),
        None => {
            findings.broken(LogKind::Ledger, None, format!("session {sid} was opened with a key that is not its own"))
        }
    }
}

/// The proofs of a session are right where they are there. They say nothing that the ledger itself does not say, but each
/// carries a checkpoint that the ledger's key has signed: a ledger that was rolled back lacks its tree.
fn check_anchors(disk: &dyn Disk, dir: &Path, ledger: &Vkey, sid: &SessionId, findings: &mut Findings) -> Vec<Point> {
    let mut points = Vec::new();
    for (name, kind) in [(ANCHOR_OPEN, "ledger.open"), (ANCHOR_CLOSE, "ledger.close"), (ANCHOR_AFTER, "ledger.after")] {
        let Some((leaf, point)) = read_anchor(disk, dir, name, ledger, findings) else { continue };
        if leaf.body.kind() != kind || body_sid(&leaf.body) != Some(sid) {
            findings.broken(LogKind::Session, None, format!("{name} is about something else"));
        }
        points.push(point);
    }
    points
}

fn body_sid(body: &Body) -> Option<&SessionId> {
    if let Body::LedgerOpen(LedgerOpen { sid, .. })
    | Body::LedgerClose(LedgerClose { sid, .. })
    | Body::LedgerAfter(LedgerAfter { sid, .. }) = body
    {
        return Some(sid);
    }
    None
}

fn read_anchor(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    ledger: &Vkey,
    findings: &mut Findings,
) -> Option<(Leaf, Point)> {
    let bytes = match read_file(disk, &dir.join(name), PROOF_BYTES_MAX) {
        Ok(bytes) => bytes?,
        Err(error) => {
            findings.error(LogKind::Session, &error);
            return None;
        }
    };
    let proof = std::str::from_utf8(&bytes).ok().and_then(TlogProof::parse);
    let Some(proof) = proof.filter(|proof| SignedCheckpoint::parse(&proof.checkpoint).is_some()) else {
        // What a power cut can leave.
        findings.incomplete(LogKind::Session, None, format!("{name} is no proof"));
        return None;
    };
    let leaf = proof.extra.as_deref().and_then(|leaf| {
        let Checkpoint { size, root, .. } = proof.verify(leaf, ledger)?;
        let leaf = parse_leaf(leaf).ok().filter(|leaf| leaf.n == proof.index)?;
        Some((leaf, Point { size, root, what: "a checkpoint in a proof of the session" }))
    });
    if leaf.is_none() {
        findings.broken(LogKind::Session, None, format!("{name} is no proof by the key of the ledger"));
    }
    leaf
}

/// What the proofs in the session's own directory say.
fn from_anchors(
    disk: &dyn Disk,
    dir: &Path,
    ledger: &Vkey,
    own: Option<&Vkey>,
    vouched: &mut Vouched,
    findings: &mut Findings,
) {
    let anchor = |name, findings: &mut Findings| {
        let read = read_anchor(disk, dir, name, ledger, findings);
        read.map(|(leaf, _)| leaf.body)
    };
    let about_else = |name| format!("{name} is about something else");
    match anchor(ANCHOR_OPEN, findings) {
        Some(Body::LedgerOpen(open)) => {
            take_key(&open.sid, ledger.name(), &open.vkey, vouched, findings);
            vouched.opened = Some(Opened::from(open));
        }
        Some(_) => findings.broken(LogKind::Session, None, about_else(ANCHOR_OPEN)),
        None => findings.incomplete(LogKind::Session, None, "there is no proof that the ledger knows this session"),
    }
    // Without that proof the others are held against the session that its own key, or its directory, is named after.
    let sid = match &vouched.vkey {
        Some(vkey) => session_of(vkey.name()).map(|(_, sid)| sid),
        None => sid_of(dir, own),
    };
    let ours = |found: &SessionId| sid.as_ref().is_none_or(|sid| sid == found);
    vouched.closed = Closed::No;
    match anchor(ANCHOR_CLOSE, findings) {
        Some(Body::LedgerClose(close)) if ours(&close.sid) => {
            vouched.points.push(Point { size: close.size, root: close.root.0, what: "the ledger" });
            vouched.closed = Closed::Yes { size: close.size, cause: close.cause, status: close.status };
        }
        Some(_) => findings.broken(LogKind::Session, None, about_else(ANCHOR_CLOSE)),
        None => {}
    }
    match anchor(ANCHOR_AFTER, findings) {
        Some(Body::LedgerAfter(after)) if ours(&after.sid) => {
            vouched.after.push(Point { size: after.size, root: after.root.0, what: "the ledger" });
        }
        Some(_) => findings.broken(LogKind::Session, None, about_else(ANCHOR_AFTER)),
        None => {}
    }
}
