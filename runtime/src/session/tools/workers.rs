//! Workers for the tools of one session: beside its commands, in its own sandbox.
//! It never starts one before a call needs it.

use crate::backend::process::{ProcessWall, failed};
use crate::backend::wasm::{Kind, Life, Started, ToolWall};
use crate::error::{Error, Result};
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

/// Starts one.
pub(super) fn start(wall: &ProcessWall, kind: Kind) -> Result<Started> {
    let mut worker = match kind {
        Kind::Compile => Worker::compiler().map_err(|error| failed(&error))?,
        Kind::Read => wall.worker(worker::Kind::Read)?,
        Kind::Write => wall.worker(worker::Kind::Write)?,
    };
    let channel = worker.take_channel().ok_or_else(|| Error::bug("a worker came without its channel"))?;
    Ok(Started { channel, life: Box::new(Process(worker)) })
}

/// The wall of a session's tools.
pub(super) fn wall(wall: &Arc<ProcessWall>) -> ToolWall {
    let wall = Arc::clone(wall);
    ToolWall::new(Box::new(move |kind| start(&wall, kind)))
}
