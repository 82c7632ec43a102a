//! `stockade session`: many calls in one warm session, as JSON lines.
//! It never prints anything on standard output but answers.

use crate::cli::args::SessionArgs;
use crate::cli::confine::{Started, start};
use crate::cli::{Context, tell};
use crate::error::Result;
use crate::gateway;
use stockade_audit::record::Cause;

/// Serves calls until standard input ends.
///
/// # Errors
/// As opening a session, or when it can take no more calls.
pub(super) fn session(args: &SessionArgs, context: &Context) -> Result<u8> {
    let Started { mut session, id, .. } = start(&args.confinement, &args.beginning, "lines", context)?;
    tell(&format!("stockade: session {id}"));
    let served = gateway::serve(&mut session, &mut std::io::stdin().lock(), &mut std::io::stdout().lock());
    let cause = if served.is_ok() { Cause::Stop } else { Cause::Error };
    let closed = session.close(cause, 0);
    served?;
    closed?;
    Ok(0)
}
