//! The follow-up log: integrity under the ledger's key, and that every act on the session's changes came to its end.
//! It never judges whether an act was right.

use super::anchor::Vouched;
use super::log::{LogKind, check_log};
use super::{Findings, Level, VerifyOptions};
use crate::after::after_origin;
use crate::disk::Disk;
use crate::error::Result;
use crate::merkle::Hash;
use crate::note::Vkey;
use crate::record::{Act, Body, Leaf};
use std::path::Path;

pub(super) fn check_after(
    disk: &dyn Disk,
    dir: &Path,
    session: &Vkey,
    tree: (u64, Hash),
    vouched: &Vouched,
    options: &VerifyOptions,
    findings: &mut Findings,
) -> Result<()> {
    let dir = dir.join("after");
    let there = disk.list(&dir).is_ok_and(|names| !names.is_empty());
    let anchored = vouched.after.iter().map(|point| point.size).max();
    if !there {
        if anchored.is_some() {
            findings.broken(LogKind::After, None, "the ledger knows acts on this session, and their log is gone");
        }
        return Ok(());
    }
    let Some(vkey) = vouched.ledger.as_ref().and_then(|ledger| ledger.renamed(&after_origin(session.name()))) else {
        findings.incomplete(LogKind::After, None, "it is signed by the ledger's key, which was not given");
        return Ok(());
    };
    let mut acts = Acts { session: tree, running: None };
    let mut on_leaf = |leaf: Leaf, findings: &mut Findings| acts.leaf(&leaf, findings);
    let points = vouched.after.clone();
    let facts = check_log(disk, &dir, &vkey, LogKind::After, points, options, &mut on_leaf, findings)?;
    if facts.size > anchored.unwrap_or(0) {
        findings.incomplete(LogKind::After, anchored.unwrap_or(0), "the ledger does not know the acts from here on");
    }
    if options.level >= Level::Completeness {
        acts.interrupted(findings);
    }
    Ok(())
}

/// The act in progress: its kind, its first leaf, how many files it announced and touched.
struct Running {
    kind: &'static str,
    leaf: u64,
    announced: u64,
    touched: u64,
}

struct Acts {
    /// Size and root of the session's log.
    session: (u64, Hash),
    running: Option<Running>,
}

impl Acts {
    fn leaf(&mut self, leaf: &Leaf, findings: &mut Findings) {
        let (n, kind) = (leaf.n, leaf.body.kind());
        match &leaf.body {
            Body::Apply(crate::record::Apply(act))
            | Body::Discard(crate::record::Discard(act))
            | Body::Undo(crate::record::Undo(act)) => self.act(n, kind, act, findings),
            Body::Redact(redact) => {
                findings.note(LogKind::After, format!("{:?} of leaf {} was erased", redact.field, redact.leaf));
                if redact.leaf >= self.session.0 {
                    findings.broken(LogKind::After, n, "it erased a value of a leaf that the session does not have");
                }
            }
            Body::Recovery(recovery) => {
                let (size, dropped) = (recovery.size, recovery.dropped);
                findings.note(LogKind::After, format!("recovered at {size} leaves, {dropped} bytes set aside"));
                // One of this log itself has the size at which it stands; another was found in the session.
                if size != n && (size, recovery.root.0) != self.session {
                    findings.broken(LogKind::After, n, "the session is not the one that was found at its recovery");
                }
            }
            Body::SessionOpen(_)
            | Body::SessionClose(_)
            | Body::Call(_)
            | Body::Permit(_)
            | Body::Deny(_)
            | Body::Outcome(_)
            | Body::ProcExit(_)
            | Body::Limit(_)
            | Body::FsOutcome(_)
            | Body::Heartbeat(_)
            | Body::Gap(_)
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
            | Body::SecretScrub(_)
            | Body::LedgerInit(_)
            | Body::LedgerOpen(_)
            | Body::LedgerBeat(_)
            | Body::LedgerClose(_)
            | Body::LedgerAfter(_) => {
                findings.broken(LogKind::After, n, "a record of this kind does not belong into a follow-up log")
            }
        }
    }

    fn act(&mut self, n: u64, kind: &'static str, act: &Act, findings: &mut Findings) {
        match act {
            Act::Begin(announced) => {
                self.interrupted(findings);
                self.running = Some(Running { kind, leaf: n, announced: *announced, touched: 0 });
            }
            Act::File(_) => match self.running.as_mut().filter(|running| running.kind == kind) {
                Some(running) => running.touched += 1,
                None => findings.incomplete(LogKind::After, n, format!("a file of an {kind} that did not begin")),
            },
            Act::End(done) => match self.running.take().filter(|running| running.kind == kind) {
                Some(running) if running.touched <= running.announced && *done <= running.touched => {}
                Some(_) => {
                    findings.incomplete(LogKind::After, n, format!("the {kind} touched other files than it says"))
                }
                None => findings.incomplete(LogKind::After, n, format!("the end of an {kind} that did not begin")),
            },
        }
    }

    fn interrupted(&mut self, findings: &mut Findings) {
        if let Some(running) = self.running.take() {
            findings.incomplete(
                LogKind::After,
                running.leaf,
                format!("the {} that begins here did not end", running.kind),
            );
        }
    }
}
