//! The workers of one session: started when a call needs one, again when one has died, and ended when nobody calls.
//! It never runs anything in this process.

use crate::backend::wasm::call::{CallGrant, ToolIo, ToolRan};
use crate::backend::wasm::component::Component;
use crate::error::{Error, Result};
use crate::journal::Logged;
use std::os::fd::OwnedFd;
use stockade_audit::record::CallId;

/// What a worker is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Compiles one component, and has nothing else.
    Compile,
    /// Runs tools that change nothing: by the kernel, it cannot.
    Read,
    /// Runs tools that write.
    Write,
}

/// A worker that was started.
pub struct Started {
    /// Our end of its channel (`SOCK_SEQPACKET`).
    pub channel: OwnedFd,
    /// The process.
    pub life: Box<dyn Life>,
}

/// The process of a worker. Dropped, it is killed and reaped.
pub trait Life: Send {
    /// Kills it if it still runs, waits for its end, and says in words how it ended.
    fn end(&mut self) -> String;
}

/// Starts workers of one session.
pub type Start = Box<dyn Fn(Kind) -> Result<Started> + Send + Sync>;

/// The workers of one session.
pub struct ToolWall {
    start: Start,
}

impl ToolWall {
    /// A wall without workers.
    pub fn new(start: Start) -> Self {
        Self { start }
    }

    /// Runs a logged call to its end. The permit is used up: what comes back is the call's name and how it went.
    ///
    /// # Errors
    /// Bug: the call is not one of a tool. Operator: the component does not compile. Host: no worker could be started.
    pub fn run(
        &self,
        logged: Logged,
        component: &Component,
        grant: &CallGrant,
        io: ToolIo<'_>,
    ) -> Result<(CallId, ToolRan)> {
        let _ = (&self.start, component, grant, io, logged);
        Err(Error::bug("the workers come with the next change"))
    }
}
