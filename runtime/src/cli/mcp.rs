//! `stockade mcp`: an MCP server on standard input and output, whose tools act in one session after the other.
//! It never prints anything on standard output but the protocol.

use crate::cli::args::{Beginning, Confinement, McpArgs};
use crate::cli::confine::{Started, is_for, start, start_warm, warm_up};
use crate::cli::terminal::Signals;
use crate::cli::{Context, review, tell};
use crate::error::{Error, Result};
use crate::gateway::mcp::{self, Ends, House};
use crate::journal::After;
use crate::session::review::Review;
use crate::session::{Session, Warm};
use std::os::fd::AsFd as _;
use stockade_audit::record::SessionId;
use stockade_jail::Pool;

/// How its calls come, as the log names it.
const VIA: &str = "mcp";

/// Serves a client until it closes standard input.
///
/// # Errors
/// As opening a session, or when one ends before its time.
pub(super) fn serve(args: &McpArgs, context: &Context) -> Result<u8> {
    // Before anything starts a thread: threads inherit the mask.
    let mut signals = Signals::block()?;
    let mut rooms = Rooms { confinement: &args.confinement, beginning: args.beginning.clone(), context, next: None };
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
    /// The container of the next session, where they have some: it comes up while this one works.
    next: Option<Pool<Warm, Error>>,
}

impl Rooms<'_> {
    /// Has the next session's container started from now on. It is only a wait less: without it the next one takes its time.
    fn warm_up(&mut self, session: &Session) {
        if self.next.is_some() || !session.is_in_a_container() {
            return;
        }
        let (confinement, context) = (self.confinement.clone(), self.context.clone());
        match Pool::of(move || warm_up(&confinement, VIA, &context), 1) {
            Ok(pool) => self.next = Some(pool),
            Err(error) => tracing::info!(%error, "no container is kept ready"),
        }
    }

    fn start(&mut self) -> Result<Started> {
        let warm = self.next.as_ref().map(Pool::take).transpose()?;
        if let Some(warm) = warm.filter(Warm::is_current)
            && is_for(&warm, self.confinement, VIA, self.context)?
        {
            return start_warm(warm, self.context);
        }
        start(self.confinement, &std::mem::take(&mut self.beginning), VIA, self.context)
    }
}

impl House for Rooms<'_> {
    fn open(&mut self) -> Result<Session> {
        let Started { session, id, .. } = self.start()?;
        tell(&format!("stockade: session {id}"));
        self.warm_up(&session);
        Ok(session)
    }

    fn review(&mut self, id: &SessionId) -> Result<(Review, After)> {
        review::of(id.as_str(), self.context)
    }
}
