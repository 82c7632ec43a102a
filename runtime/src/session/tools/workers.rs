//! Workers for the tools of one session: beside its commands, in its own sandbox.
//! It never starts one before a call needs it.

use crate::backend::process::{ProcessWall, failed};
use crate::backend::wasm::{Cache, Kind, Life, Started, ToolWall};
use crate::error::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stockade_jail::worker::{self, Worker};

/// How long a killed worker may take to end.
const END_LIMIT: Duration = Duration::from_secs(10);

/// A worker's process.
struct Process(Worker);

impl Life for Process {
    fn end(&mut self) -> String {
        self.0.kill();
        match self.0.wait(END_LIMIT) {
            Ok(Some(end)) => end.to_string(),
            Ok(None) => "it did not end when it was killed".to_owned(),
            Err(error) => error.to_string(),
        }
    }
}

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
/// As [`wall`].
pub fn compiler(state: &Path) -> Result<ToolWall> {
    let start = |kind| match kind {
        Kind::Compile => started(Worker::compiler().map_err(|error| failed(&error))?),
        Kind::Read | Kind::Write => Err(Error::bug("a tool was to run where there is no session")),
    };
    Ok(ToolWall::new(Box::new(start), Cache::open(state)?))
}

/// Starts one.
fn start(beside: &ProcessWall, kind: Kind) -> Result<Started> {
    started(match kind {
        Kind::Compile => Worker::compiler().map_err(|error| failed(&error))?,
        Kind::Read => beside.worker(worker::Kind::Read)?,
        Kind::Write => beside.worker(worker::Kind::Write)?,
    })
}

fn started(mut worker: Worker) -> Result<Started> {
    let channel = worker.take_channel().ok_or_else(|| Error::bug("a worker came without its channel"))?;
    Ok(Started { channel, life: Box::new(Process(worker)) })
}
