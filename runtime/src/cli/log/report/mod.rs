//! `stockade log report`: a session for people who were not there, as one HTML file.
//! It never contains a script, loads nothing from anywhere, and shows everything that a guest chose as text.

mod calls;
mod contents;
mod facts;
mod files;
mod head;
mod network;
mod page;
mod records;

use super::say::Beside;
use super::{after, unfinished};
use crate::cli::print;
use crate::config::state::State;
use crate::error::Result;
use crate::journal::failed;
use contents::Contents;
use facts::Facts;
use page::Page;
use std::num::NonZeroUsize;
use stockade_audit::query::{End, LogReader};
use stockade_audit::verify::{Trust, Verdict, VerifyOptions, verify};

/// Everything that the sections of a report are made of.
struct Report<'a> {
    log: &'a LogReader,
    facts: Facts,
    beside: Beside,
    verdict: Verdict,
    contents: Contents,
    end: End,
    values: Values,
}

/// Whether values that can be erased from the log are shown: arguments, directories, output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    Shown,
    LeftOut,
}

/// Writes the report to standard output.
///
/// # Errors
/// Operator: no such session. Host: the log cannot be read, or standard output fails.
pub(super) fn report(state: &State, session: &str, records: usize, values: Values) -> Result<()> {
    let id = state.find(session)?;
    let directory = state.log(&id);
    let log = LogReader::open(&directory).map_err(failed)?;
    let openings = match values {
        Values::Shown => log.disclosed().map_err(failed)?,
        Values::LeftOut => std::collections::HashMap::new(),
    };
    let mut beside = Beside { openings, ..Beside::default() };
    let mut facts = Facts::default();
    let walked = log.each(&mut |leaf| {
        facts.take(&leaf, &mut beside, records);
        Ok(())
    });
    let end = walked.map_err(failed)?;
    let followed = after(state, &log);
    if let Some(followed) = &followed {
        let walked = followed.each(&mut |leaf| {
            facts.follow(&leaf, &beside);
            Ok(())
        });
        walked.map_err(failed)?;
    }
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let trust = Trust::LedgerDir { dir: state.root().join("ledger"), vkey: None };
    let verdict = verify(&directory, &VerifyOptions { threads, ..VerifyOptions::new(trust) });
    let contents = Contents::of(&state.layer(&id));
    let report = Report { log: &log, facts, beside, verdict, contents, end, values };
    let mut page = Page::new(&format!("Stockade session {id}"));
    report.head(&mut page, id.as_str());
    report.findings(&mut page);
    report.refusals(&mut page);
    report.calls(&mut page)?;
    report.files(&mut page);
    report.afterwards(&mut page);
    report.network(&mut page);
    report.records(&mut page);
    report.reading(&mut page, id.as_str());
    print(&page.end())
}

impl Report<'_> {
    /// What is to be said of a session that was not closed.
    fn unfinished(&self) -> Option<&'static str> {
        unfinished(self.end)
    }
}
