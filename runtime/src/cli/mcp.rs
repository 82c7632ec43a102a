//! `stockade mcp`: an MCP server on standard input and output, whose tools act in one session after the other.
//! It never prints anything on standard output but the protocol.

use crate::cli::args::{Beginning, Confinement, McpArgs};
use crate::cli::confine::{Started, start};
use crate::cli::terminal::Signals;
use crate::cli::{Context, review, tell};
use crate::error::Result;
use crate::gateway::mcp::{self, Ends, House};
use crate::journal::After;
use crate::session::Session;
use crate::session::review::Review;
use std::os::fd::AsFd as _;
use stockade_audit::record::SessionId;

/// How its calls come, as the log names it.
const VIA: &str = "mcp";

/// Serves a client until it closes standard input.
///
/// # Errors
/// As opening a session, or when one ends before its time.
pub(super) fn serve(args: &McpArgs, context: &Context) -> Result<u8> {
    // Before anything starts a thread: threads inherit the mask.
    let mut signals = Signals::block()?;
    let mut rooms = Rooms { confinement: &args.confinement, beginning: args.beginning.clone(), context };
    let session = rooms.open()?;
    let stdin = std::io::stdin();
    let output = Box::new(std::io::stdout());
    mcp::serve(session, Ends { input: stdin.as_fd(), output, signals: &mut signals, house: &mut rooms })?;
    Ok(0)
}

/// Sessions as the command line asks for them.
struct Rooms<'a> {
    confinement: &'a Confinement,
    /// Of the first session; those after it begin with the workspace as it is then.
    beginning: Beginning,
    context: &'a Context,
}

impl House for Rooms<'_> {
    fn open(&mut self) -> Result<Session> {
        let beginning = std::mem::take(&mut self.beginning);
        let Started { session, id, .. } = start(self.confinement, &beginning, VIA, self.context)?;
        tell(&format!("stockade: session {id}"));
        Ok(session)
    }

    fn review(&mut self, id: &SessionId) -> Result<(Review, After)> {
        review::of(id.as_str(), self.context)
    }
}
