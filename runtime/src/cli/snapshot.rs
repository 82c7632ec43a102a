//! `stockade snapshot`: keeps what waits in a session, for sessions that go on from it.
//! It never changes what it is taken of.

use crate::cli::args::SnapshotCommand;
use crate::cli::style::Tone;
use crate::cli::{Context, gc, print, print_json, tell};
use crate::config::state::State;
use crate::error::{Error, Result};
use crate::session::settle::failed;
use crate::session::snapshot::{self, Origin, Snapshot};
use crate::workspace::{Freshness, Layer};
use std::fmt::Write as _;
use std::path::Path;
use stockade_audit::record::SessionId;

/// Does what a subcommand says.
///
/// # Errors
/// Operator: no such session or snapshot, or a name that is none. Host: something cannot be read or written.
pub(super) fn snapshot(command: &SnapshotCommand, context: &Context) -> Result<u8> {
    let state = State::open(&context.environment)?;
    match command {
        SnapshotCommand::Take { session, name } => take(&state, session, name)?,
        SnapshotCommand::List { json } => list(&state, *json, context)?,
        SnapshotCommand::Remove { name } => {
            let directory = state.snapshot(name)?;
            if !directory.exists() {
                return Err(none(name));
            }
            snapshot::remove(&directory)?;
            tell(&format!("removed snapshot {name}"));
        }
    }
    Ok(0)
}

fn take(state: &State, session: &str, name: &str) -> Result<()> {
    let directory = state.snapshot(name)?;
    let id = ended(state, session)?;
    let layer = Layer::open(&state.layer(&id)).map_err(failed)?;
    Snapshot::take(&layer, &id, &directory)?;
    tell(&format!("snapshot {name} of session {id}; go on from it: stockade run --from {name} -- COMMAND"));
    Ok(())
}

fn list(state: &State, json: bool, context: &Context) -> Result<()> {
    let mut lines = Vec::new();
    let mut out = String::new();
    for name in state.snapshots()? {
        let directory = state.snapshot(&name)?;
        let Some(found) = Snapshot::read(&directory)? else { continue };
        let (workspace, changes) = contents(&directory)?;
        lines.push(serde_json::json!({
            "name": name,
            "session": found.session(),
            "taken_s": found.taken_s(),
            "workspace": workspace,
            "changes": changes,
        }));
        let shown = context.colour.paint(Tone::Strong, &format!("{name:24}"));
        let session = found.session();
        writeln!(out, "{shown} {session}  {changes:>6} changes  {workspace}").expect("writing to a String cannot fail");
    }
    if json { print_json(&lines) } else { print(&out) }
}

/// Of what, and how much.
fn contents(directory: &Path) -> Result<(String, usize)> {
    let layer = Layer::open(directory).map_err(failed)?;
    let changes = layer.changes(Freshness::Reuse).map_err(failed)?;
    Ok((layer.workspace().display().to_string(), changes.list().len()))
}

/// What a person means who goes on from this.
///
/// # Errors
/// Operator: there is no such snapshot and no such session, or the session still runs.
pub(super) fn origin(state: &State, named: &str) -> Result<Origin> {
    if let Ok(directory) = state.snapshot(named)
        && let Some(found) = Snapshot::read(&directory)?
    {
        let session = SessionId::parse(found.session()).map_err(|_| none(named))?;
        return Ok(Origin { layer: directory, session });
    }
    let session = ended(state, named)?;
    Ok(Origin { layer: state.layer(&session), session })
}

/// The session of this name. One that runs writes to its layer.
fn ended(state: &State, named: &str) -> Result<SessionId> {
    let id = state.find(named)?;
    if gc::running(state)?.contains(&id) {
        return Err(Error::operator(format!("session {id} still runs")).hint("go on from it when it has ended"));
    }
    Ok(id)
}

fn none(name: &str) -> Error {
    Error::operator(format!("there is no snapshot \"{name}\"")).hint("`stockade snapshot list` shows them")
}
