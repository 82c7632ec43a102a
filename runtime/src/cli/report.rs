//! The report of a run: one JSON object for scripts and harnesses.
//! It never says more than the log does.

use crate::backend::process::Ran;
use crate::error::{Error, Result};
use crate::session::{Left, Outcome};
use serde::Serialize;
use std::path::Path;
use stockade_audit::Receipt;
use stockade_audit::record::{Change, FsOutcome, SessionId};
use stockade_jail::Enforced;
use stockade_jail::watch::LimitHit;

/// What `--report` writes.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    session: String,
    exit: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    denied: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<LimitHit>,
    changes: Vec<ChangeLine>,
    log: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptLine>,
    enforced: Enforced,
}

#[derive(Debug, Serialize)]
struct ChangeLine {
    path: String,
    kind: &'static str,
}

/// Where a result is in the log, and the signed checkpoint over it.
#[derive(Debug, Serialize)]
struct ReceiptLine {
    n: u64,
    leaf_hash: String,
    durable: bool,
    checkpoint: String,
}

impl Report {
    /// A report of nothing yet.
    pub(super) fn new(id: &SessionId, log: &Path, enforced: &Enforced) -> Self {
        Self {
            session: id.to_string(),
            exit: 0,
            denied: None,
            limit: None,
            changes: Vec::new(),
            log: log.display().to_string(),
            receipt: None,
            enforced: enforced.clone(),
        }
    }

    /// Takes over how the call went; gives the exit code back.
    pub(super) fn outcome(&mut self, outcome: &Outcome, exit: u8) -> u8 {
        self.exit = exit;
        match outcome {
            Outcome::Denied(refusal) => self.denied = Some(refusal.to_string()),
            Outcome::Unapproved(_) => self.denied = Some("a person has to approve this".to_owned()),
            Outcome::Ran(sealed) => {
                self.changes = sealed.settled.outcomes.iter().map(change_line).collect();
                self.receipt = Some(receipt_line(&sealed.receipt));
                if let Ran::Ended(run) = &sealed.ran {
                    self.limit = run.ended_by.or_else(|| run.refusals.first().copied());
                }
            }
        }
        exit
    }

    /// Takes over what the closed session left: from now on everything is on disk.
    pub(super) fn closed(&mut self, left: &Left) {
        if let Some(receipt) = &mut self.receipt {
            receipt.durable = true;
            receipt.checkpoint.clone_from(&left.checkpoint);
        }
    }

    /// Writes the report.
    ///
    /// # Errors
    /// Operator or host: the file cannot be written.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::bug(format!("write the report: {e}")))?;
        std::fs::write(path, text + "\n").map_err(|e| Error::io("write the report", path, &e))
    }
}

fn change_line(outcome: &FsOutcome) -> ChangeLine {
    let kind = match outcome.op {
        Change::Created => "created",
        Change::Modified => "modified",
        Change::Deleted => "deleted",
        Change::Metadata => "metadata",
        Change::Retyped => "type-changed",
    };
    ChangeLine { path: outcome.path.printable(), kind }
}

fn receipt_line(receipt: &Receipt) -> ReceiptLine {
    let leaf_hash = stockade_audit::record::Digest(receipt.leaf_hash).to_string();
    ReceiptLine { n: receipt.n, leaf_hash, durable: receipt.durable, checkpoint: String::new() }
}
