//! From a recorder that has no listener to one that traces, where the machine lets it.
//! It never leaves the init under a list that waits for nobody: it is taken on only after a trial.

use super::birth::{Trial, is_allowed, try_out};
use super::{Desk, Work};
use crate::enforced::LayerState;
use crate::error::JailError;
use crate::plan::{Record, Sockets};
use crate::recorder::{Shared, Waiting};
use crate::seccomp::{self, Filter, Lists};
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A tracer that works.
#[derive(Debug)]
pub(crate) struct Tracing {
    /// The list of the init.
    pub(crate) list: LayerState,
    /// What each call's process takes on besides.
    pub(crate) of_guests: Filter,
    pub(crate) desk: Arc<Desk>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Begun {
    /// The recorder traces.
    Traces(Tracing),
    /// It cannot, and is gone: why.
    Not(&'static str),
}

/// Lets the recorder trace.
pub(crate) fn begin(
    (sockets, record): (Sockets, Record),
    waiting: Waiting,
    shared: &Arc<Shared>,
) -> Result<Begun, JailError> {
    const REFUSED: &str = "nobody may trace here";
    if !is_allowed() {
        return Ok(Begun::Not(REFUSED));
    }
    let Lists { of_the_init, of_guests } = seccomp::compile_for_a_tracer(sockets, record)?;
    let failed = |errno: Errno| JailError::os("prepare", "the recorder", errno.raw_os_error());
    let desk = Arc::new(Desk::new().map_err(failed)?);
    waiting.trace(Work { list: of_guests.clone(), shared: Arc::clone(shared), desk: Arc::clone(&desk) })?;
    let trial = try_out(&of_guests, shared.child(), shared.gate(), &desk);
    shared.child().store(0, Ordering::SeqCst);
    let why = match trial {
        Trial::Works => {
            let list = of_the_init.install()?;
            return Ok(Begun::Traces(Tracing { list, of_guests, desk }));
        }
        Trial::Refused => REFUSED,
        Trial::Overheard => "a tracer is not told of what is told outside",
    };
    desk.close();
    Ok(Begun::Not(why))
}
