//! `stockade gc`: removes what nobody can need any more.
//! It never removes a log, nor a layer that has something left to apply or to take back.

use crate::backend::container::engine::{Engine, Wanted};
use crate::backend::container::wall;
use crate::cli::args::GcArgs;
use crate::cli::{Context, print};
use crate::config::state::State;
use crate::error::{Error, Result};
use crate::session::remove_layer_directory;
use crate::session::settle::failed;
use crate::workspace::{Freshness, Layer};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use stockade_audit::query::{SessionState, list_sessions};
use stockade_audit::record::SessionId;

/// Removes layers without changes and containers, of sessions that have ended.
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
    containers(args, &state, context, &mut out)?;
    print(&out)?;
    Ok(0)
}

/// Removes containers of sessions of this state directory whose supervisor is gone: they end with it, but not when the
/// engine was killed before it removed them.
fn containers(args: &GcArgs, state: &State, context: &Context, out: &mut String) -> Result<()> {
    let variables =
        context.environment.all().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    let wanted = args.engine.as_deref().map_or(Ok(Wanted::Any), Wanted::parse)?;
    let engine = match Engine::find(&wanted, &variables.collect()) {
        Ok(engine) => engine,
        // Most machines have none, and then nothing of ours is there. Who names one wants to hear.
        Err(_) if args.engine.is_none() => return Ok(()),
        Err(error) => return Err(error),
    };
    let root = state.root().display().to_string();
    for ours in engine.ours()? {
        let label = |name: &str| ours.labels.get(name).map(String::as_str);
        let here = label(wall::LABEL_STATE) == Some(&root);
        if !here || label(wall::LABEL_SUPERVISOR).is_some_and(wall::is_supervised) {
            continue;
        }
        if !args.dry_run {
            engine.remove(&ours.id)?;
        }
        let word = if args.dry_run { "would remove" } else { "removed" };
        let session = label(wall::LABEL_SESSION).unwrap_or("?");
        writeln!(out, "{word} the container of session {session}").expect("writing to a String cannot fail");
    }
    Ok(())
}

/// Sessions that run now.
///
/// # Errors
/// Host: the ledger cannot be read.
pub(super) fn running(state: &State) -> Result<Vec<SessionId>> {
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
    remove_layer_directory(layer)
}
