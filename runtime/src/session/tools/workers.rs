//! Workers for the tools of one session: beside its commands, in its own sandbox.
//! It never starts one before a call needs it.

use crate::backend::process::{ProcessWall, failed};
use crate::backend::wasm::{Cache, Kind, Started, ToolWall};
use crate::error::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use stockade_jail::worker::Worker;

/// The wall of a session's tools.
///
/// # Errors
/// Operator, Host: the cache of compiled components cannot be used.
pub(super) fn wall(beside: &Arc<ProcessWall>, state: &Path) -> Result<ToolWall> {
    let beside = Arc::clone(beside);
    Ok(ToolWall::new(Box::new(move |kind| start(&beside, kind)), Cache::open(state)?))
}

/// A wall that compiles and runs nothing: it needs no session.
///
/// # Errors
/// As `wall`.
pub fn compiler(state: &Path) -> Result<ToolWall> {
    let start = |kind| match kind {
        Kind::Compile => Started::confined(Worker::compiler().map_err(|error| failed(&error))?),
        Kind::Read | Kind::Write => Err(Error::bug("a tool was to run where there is no session")),
    };
    Ok(ToolWall::new(Box::new(start), Cache::open(state)?))
}

/// Starts one.
fn start(beside: &ProcessWall, kind: Kind) -> Result<Started> {
    Started::confined(match kind {
        Kind::Compile => Worker::compiler().map_err(|error| failed(&error))?,
        Kind::Read | Kind::Write => beside.worker(kind)?,
    })
}
