//! `stockade log redact`: the openings of a record's values are erased, which is written down.
//! It never changes a record.

use crate::cli::{Context, print};
use crate::config::state::State;
use crate::error::{Error, Result};
use crate::journal::{self, failed};
use stockade_audit::query::LogReader;
use stockade_audit::record::SessionId;

/// Deletes the openings of a record's values.
pub(super) fn redact(state: &State, session: &str, number: u64, reason: &str, context: &Context) -> Result<()> {
    let id: SessionId = state.find(session)?;
    let directory = state.log(&id);
    let log = LogReader::open(&directory).map_err(failed)?;
    let (leaf, _) = log.record(number).map_err(failed)?.ok_or_else(|| {
        Error::operator(format!("there is no record {number} in session {id}")).hint("`stockade log show` lists them")
    })?;
    let openings = log.opened(leaf.disclosed.iter().copied()).map_err(failed)?;
    let names: Vec<&str> =
        leaf.disclosed.iter().filter_map(|digest| openings.get(&digest.0)).map(|value| value.name.as_str()).collect();
    if names.is_empty() {
        return Err(Error::operator(format!("record {number} has no value that could be deleted"))
            .hint("`stockade log show SESSION N` shows the values of a record"));
    }
    let ledger = journal::ledger(state.root(), &context.environment.user)?;
    let by = &context.environment.user;
    for name in &names {
        let what = stockade_audit::Erase::Value { leaf: number, name };
        stockade_audit::redact(&directory, ledger.clone(), what, reason, by).map_err(failed)?;
    }
    print(&format!("deleted {} of record {number}; every proof of it stays valid\n", names.join(", ")))
}
