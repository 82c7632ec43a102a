//! `stockade gc`: removes what nobody can need any more.
//! It never removes a log, nor a layer that has something left to apply or to take back.

use crate::cli::args::GcArgs;
use crate::cli::{Context, print};
use crate::config::state::State;
use crate::error::{Error, Result};
use crate::session::settle::failed;
use crate::workspace::{Freshness, Layer};
use std::fmt::Write as _;
use std::path::Path;
use stockade_audit::query::{SessionState, list_sessions};
use stockade_audit::record::SessionId;

/// Removes layers without changes, of sessions that have ended.
///
/// # Errors
/// Host: the state directory cannot be read, or a layer not be removed.
pub(super) fn gc(args: &GcArgs, context: &Context) -> Result<u8> {
    let state = State::open(&context.environment)?;
    let running = running(&state)?;
    let layers = state.root().join("w");
    let entries = std::fs::read_dir(&layers).map_err(|e| Error::io("list", &layers, &e))?;
    let mut out = String::new();
    for entry in entries.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| SessionId::parse(name).ok()) else { continue };
        if running.contains(&id) || !is_spent(&entry.path()) {
            continue;
        }
        if !args.dry_run {
            remove(&entry.path())?;
        }
        let word = if args.dry_run { "would remove" } else { "removed" };
        writeln!(out, "{word} the layer of session {id}").expect("writing to a String cannot fail");
    }
    print(&out)?;
    Ok(0)
}

fn running(state: &State) -> Result<Vec<SessionId>> {
    let ledger = state.root().join("ledger");
    if !ledger.exists() {
        return Ok(Vec::new());
    }
    let sessions = list_sessions(&ledger, &state.root().join("s")).map_err(crate::journal::failed)?;
    Ok(sessions
        .into_iter()
        .filter(|session| session.state == SessionState::Running)
        .map(|session| session.sid)
        .collect())
}

/// Whether a layer has nothing to apply and nothing to take back; one that cannot be read is kept for a person to see.
fn is_spent(layer: &Path) -> bool {
    let Ok(opened) = Layer::open(layer) else {
        // Without its description a layer is what a discard that was interrupted left over.
        return !layer.join("layer.json").exists();
    };
    let nothing_waits = opened.changes(Freshness::Reuse).is_ok_and(|changes| changes.is_empty());
    nothing_waits && opened.last_apply().is_ok_and(|last| last.is_none())
}

fn remove(layer: &Path) -> Result<()> {
    if let Ok(opened) = Layer::open(layer) {
        opened.discard().map_err(failed)?;
    }
    std::fs::remove_dir_all(layer).map_err(|e| Error::io("remove", layer, &e))
}
