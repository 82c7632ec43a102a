//! `stockade log`: reading the log. Text that a guest chose is always shown escaped.
//! It never writes to a session's own log; a redaction goes to its follow-up log.

mod export;
mod list;
mod redact;
mod report;
mod say;
mod show;
mod timeline;
pub(super) mod tools;
mod tree;
mod why;
mod words;

use crate::cli::args::LogCommand;
use crate::cli::{Context, print};
use crate::config::state::State;
use crate::error::{Error, Result};
use crate::journal::failed;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use stockade_audit::note::Vkey;
use stockade_audit::query::{End, FIELDS, Filter, LogReader};
use stockade_audit::record::{Leaf, RecorderGrade};
use stockade_audit::text::printable;

/// Does what the subcommand says.
///
/// # Errors
/// Operator: no such session or record. Host: the log cannot be read.
pub(super) fn log(command: &LogCommand, context: &Context) -> Result<u8> {
    let state = State::open(&context.environment)?;
    match command {
        LogCommand::List { json } => list::list(&state, *json, context)?,
        LogCommand::Show { session, number, json } => show::show(&open(&state, session)?, *number, *json, context)?,
        LogCommand::Tail { session, follow, lines } => show::tail(&open(&state, session)?, *follow, *lines, context)?,
        LogCommand::Query { session, terms, json } => show::query(&open(&state, session)?, terms, *json, context)?,
        LogCommand::Timeline { session, terms, json } => {
            timeline::timeline(&open(&state, session)?, terms, *json, context)?;
        }
        LogCommand::Tree { session, call, all, json } => {
            let names = if *all { tree::Names::All } else { tree::Names::Few };
            tree::tree(&open(&state, session)?, call.as_deref(), names, *json, context)?;
        }
        LogCommand::Why { session, path, json } => why::why(&state, session, path, *json, context)?,
        LogCommand::Report { session, records, redacted } => {
            let values = if *redacted { report::Values::LeftOut } else { report::Values::Shown };
            report::report(&state, session, *records, values)?;
        }
        LogCommand::Prove { session, number } => {
            print(&open(&state, session)?.prove(*number).map_err(failed)?.to_text())?;
        }
        LogCommand::Export { session, format, disclose } => {
            let log = open(&state, session)?;
            export::export(&log, after(&state, &log).as_ref(), format, *disclose)?;
        }
        LogCommand::Redact { session, number, reason } => redact::redact(&state, session, *number, reason, context)?,
    }
    Ok(0)
}

fn open(state: &State, session: &str) -> Result<LogReader> {
    let id = state.find(session)?;
    LogReader::open(&state.log(&id)).map_err(failed)
}

/// What became of a session's changes afterwards: its follow-up log, where it has one.
fn after(state: &State, log: &LogReader) -> Option<LogReader> {
    let ledger = std::fs::read_to_string(state.root().join("ledger").join("vkey")).ok()?;
    log.after(&Vkey::parse(&ledger)?)
}

/// What is to be said of a session whose processes nothing recorded.
fn unrecorded(log: &LogReader) -> Option<String> {
    let open = log.opening()?;
    let recorder = open.recorder.as_ref().filter(|recorder| recorder.grade != RecorderGrade::OutcomeOnly);
    recorder.is_none().then(|| {
        let why = open.recorder.map(|recorder| recorder.why).unwrap_or_default();
        let why = if why.is_empty() { String::new() } else { format!(" ({})", printable(&why)) };
        format!(
            "nothing recorded what the processes of this session did{why}; with record = \"changes\" in its profile, the \
             next one's are"
        )
    })
}

/// The filter that terms of the command line make.
fn filter(terms: &[OsString]) -> Result<Filter> {
    Filter::of_terms(terms.iter().map(|term| term.as_bytes()))
        .map_err(|error| Error::operator(error.to_string()).hint(format!("terms are {FIELDS}")))
}

/// Visits every leaf that a filter lets through, with its bytes. What the visitor says ends the walk.
fn each(log: &LogReader, filter: &Filter, visit: &mut dyn FnMut(Leaf, &[u8]) -> Result<()>) -> Result<()> {
    let mut stopped = None;
    log.query_each(filter, &mut |leaf, bytes| {
        if stopped.is_none() {
            stopped = visit(leaf, bytes).err();
        }
        Ok(())
    })
    .map_err(failed)?;
    stopped.map_or(Ok(()), Err)
}

/// What is to be said of a log that was not closed.
fn unfinished(end: End) -> Option<&'static str> {
    match end {
        End::Sealed => None,
        End::Running => Some("the session is still running: this is what it has done so far"),
        End::Interrupted => Some("the session was interrupted: this is what was recorded before"),
    }
}
