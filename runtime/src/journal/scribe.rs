//! A hand on the journal for who writes down what it sees beside the calls, and a word for who has to write first.
//! It never decides what is written.

use super::{Scrubbed, failed, net};
use crate::error::Result;
use std::fmt;
use std::sync::Arc;
use stockade_audit::SessionLog;
use stockade_audit::record::{CallId, Record};

/// Writes into the journal of a session. It must be gone when the log is closed.
#[derive(Debug)]
pub struct Scribe {
    pub(super) log: Arc<SessionLog>,
}

impl Scribe {
    /// Writes down things that were seen, with one write, in order.
    ///
    /// # Errors
    /// The log takes no more records.
    pub fn saw(&self, records: &[Record]) -> Result<()> {
        if records.is_empty() { Ok(()) } else { self.log.append_all(records).map(drop).map_err(failed) }
    }

    /// Writes down that something happened which is not in the log: the session can no longer be proved complete.
    ///
    /// # Errors
    /// The log takes no more records.
    pub fn gap(&self, lost: u64, why: &str) -> Result<()> {
        self.log.gap(lost, why).map(drop).map_err(failed)
    }

    /// Secrets were in what a call did or printed, and were taken out.
    ///
    /// # Errors
    /// The log takes no more records.
    pub fn scrubbed(&self, id: &CallId, hits: Vec<Scrubbed>) -> Result<()> {
        let records: Vec<Record> = hits.into_iter().map(|hit| net::scrub(None, hit).of_call(id)).collect();
        self.saw(&records)
    }
}

/// What has to be in the log first: asked, it is when this returns.
#[derive(Clone)]
pub struct Before(Arc<dyn Fn() -> Result<()> + Send + Sync>);

impl Before {
    /// From what writes it.
    pub fn new(write: impl Fn() -> Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }

    /// Writes it.
    ///
    /// # Errors
    /// It could not be written: what was to come after must not come.
    pub fn write(&self) -> Result<()> {
        (self.0)()
    }
}

impl fmt::Debug for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Before").finish_non_exhaustive()
    }
}
