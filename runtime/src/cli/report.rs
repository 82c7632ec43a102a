//! The report of a run: one JSON object for scripts and harnesses.
//! It never says more than the log does.

use crate::backend::process::Ran;
use crate::backend::wasm::End;
use crate::error::{Error, Result};
use crate::session::{Left, Outcome};
use rustix::fs::{Access, AtFlags, Mode, OFlags};
use serde::Serialize;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use stockade_audit::Receipt;
use stockade_audit::record::{Change, FsOutcome, Recorder, SessionId};
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
    /// How many processes the call had.
    processes: u64,
    recorder: Recorder,
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
    pub(super) fn new(id: &SessionId, log: &Path, enforced: &Enforced, recorder: &Recorder) -> Self {
        Self {
            session: id.to_string(),
            exit: 0,
            denied: None,
            limit: None,
            changes: Vec::new(),
            processes: 0,
            recorder: recorder.clone(),
            log: log.display().to_string(),
            receipt: None,
            enforced: enforced.clone(),
        }
    }

    /// Takes over how the call went; gives the exit code back.
    pub(super) fn outcome(&mut self, outcome: &Outcome, exit: u8) -> u8 {
        self.exit = exit;
        match outcome {
            Outcome::Denied(refusal, _) => self.denied = Some(refusal.to_string()),
            Outcome::Unapproved(..) => self.denied = Some("a person has to approve this".to_owned()),
            Outcome::Called(called) => {
                self.changes = called.settled.outcomes.iter().map(change_line).collect();
                self.receipt = Some(receipt_line(&called.receipt));
                if let End::Limit(hit) = called.ran.end {
                    self.limit = Some(hit);
                }
            }
            Outcome::Ran(sealed) => {
                self.changes = sealed.settled.outcomes.iter().map(change_line).collect();
                self.processes = sealed.processes;
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
    pub(super) fn write(&self, place: Place) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::bug(format!("write the report: {e}")))?;
        place.write(&(text + "\n"))
    }
}

/// Where a report goes, held open from before the guest runs: what it makes at that path meanwhile, a symbolic link
/// perhaps, leads us nowhere else.
#[derive(Debug)]
pub(super) enum Place {
    /// A name in this directory, taken over by the complete report at once.
    Name(PathBuf, OwnedFd, OsString),
    /// Something that is not a file: a terminal, a pipe.
    Stream(PathBuf, File),
}

impl Place {
    /// Opens the place of a report.
    ///
    /// # Errors
    /// Operator: there is no such directory, or it cannot be written.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |e: std::io::Error| Error::io("write the report", path, &e);
        if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
            return Ok(Self::Stream(path.to_owned(), File::options().write(true).open(path).map_err(failed)?));
        }
        let name = path.file_name().ok_or_else(|| {
            Error::operator(format!("report \"{}\" names no file", path.display())).hint("give the path of a file")
        })?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        rustix::fs::accessat(&directory, ".", Access::WRITE_OK, AtFlags::EACCESS).map_err(|e| failed(e.into()))?;
        Ok(Self::Name(path.to_owned(), directory, name.to_owned()))
    }

    fn write(self, text: &str) -> Result<()> {
        let (path, written) = match self {
            Self::Stream(path, mut stream) => (path, stream.write_all(text.as_bytes())),
            Self::Name(path, directory, name) => (path, replace(&directory, &name, text)),
        };
        written.map_err(|e| Error::io("write the report", &path, &e))
    }
}

/// Puts a complete file in the place of a name, whatever stood there.
fn replace(directory: &OwnedFd, name: &OsStr, text: &str) -> std::io::Result<()> {
    let new = OsString::from(format!(".stockade-report-{}", std::process::id()));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, &new, flags, Mode::from_raw_mode(0o644))?;
    File::from(file).write_all(text.as_bytes())?;
    Ok(rustix::fs::renameat(directory, &new, directory, name)?)
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
