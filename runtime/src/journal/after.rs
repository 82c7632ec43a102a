//! The log of what happens to a session after its end: apply, discard, undo, each with every file.
//! It never lets an act begin that is not on disk.

use crate::error::{Error, Result};
use crate::journal::failed;
use std::path::Path;
use std::sync::Arc;
use stockade_audit::record::{self as log, FsOutcome, Record};
use stockade_audit::{AfterLog, Ledger};

/// An act on a session's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Changes go to the workspace.
    Apply,
    /// Changes are dropped.
    Discard,
    /// An apply is taken back.
    Undo,
}

impl Act {
    fn record(self, step: log::Act) -> Record {
        match self {
            Self::Apply => Record::new(log::Apply(step)),
            Self::Discard => Record::new(log::Discard(step)),
            Self::Undo => Record::new(log::Undo(step)),
        }
    }
}

/// The follow-up log of one session, for one act.
#[derive(Debug)]
pub struct After {
    log: Option<AfterLog>,
}

impl After {
    /// Opens the follow-up log of the session whose log is in `session`.
    ///
    /// # Errors
    /// Operator: the session still runs, or its log is not of this ledger.
    pub fn open(session: &Path, ledger: Arc<Ledger>) -> Result<Self> {
        Ok(Self { log: Some(AfterLog::open(session, ledger).map_err(failed)?) })
    }

    /// Writes down what an act will touch; on disk when this returns.
    ///
    /// # Errors
    /// Host: it cannot be written; then nothing may be touched.
    pub fn begin(&mut self, act: Act, files: &[FsOutcome]) -> Result<()> {
        let log = self.log()?;
        log.append(act.record(log::Act::Begin(files.len() as u64))).map_err(failed)?;
        for file in files {
            log.append(act.record(log::Act::File(Box::new(file.clone())))).map_err(failed)?;
        }
        log.barrier().map_err(failed)
    }

    /// Writes down that an act is over and how many files it touched, and tells the ledger.
    ///
    /// # Errors
    /// Host: it cannot be written.
    pub fn end(&mut self, act: Act, touched: usize) -> Result<()> {
        self.log()?.append(act.record(log::Act::End(touched as u64))).map_err(failed)?;
        let log = self.log.take().ok_or_else(over)?;
        log.finish().map_err(failed)
    }

    fn log(&mut self) -> Result<&mut AfterLog> {
        self.log.as_mut().ok_or_else(over)
    }
}

fn over() -> Error {
    Error::bug("an act was logged after its end")
}
