//! The process of a worker, from its start to its end: it makes what it needs, is confined, and only then reads a byte that
//! somebody else wrote.
//! It never serves anybody before it is confined.

use super::{Prepared, Surroundings, compile};
use crate::error::{Error, Result};
use stockade_jail::{Confined, Kind, Unconfined};

/// Exit code of a worker whose work was done, or whose supervisor is gone.
const DONE: i32 = 0;
/// Exit code of one that could not go on.
const FAILED: i32 = 1;

/// Becomes a worker, and gives its exit code.
pub fn main(unconfined: Unconfined) -> i32 {
    match live(unconfined) {
        Ok(()) => DONE,
        Err(error) => {
            // The supervisor finds out how it ended by its code; why is for the operator.
            tracing::error!(%error, "a worker ended");
            FAILED
        }
    }
}

fn live(unconfined: Unconfined) -> Result<()> {
    let confined = |error: stockade_jail::JailError| crate::backend::process::failed(&error);
    match unconfined.kind() {
        Kind::Compile => {
            let Confined { channel, .. } = unconfined.irrevocably_confine().map_err(confined)?;
            compile(channel)
        }
        Kind::Read | Kind::Write => {
            let mut prepared = Prepared::new()?;
            // The list of system calls lets nobody make another thread.
            let start = || prepared.start_threads().map_err(|error| std::io::Error::other(error.to_string()));
            let Confined { channel, files, .. } = unconfined.irrevocably_confine_with(start).map_err(confined)?;
            let files = files.ok_or_else(|| Error::bug("a worker for tools has no files"))?;
            prepared.serve(channel, Surroundings { root: files.root, own_descriptors: files.proc_fds })
        }
    }
}
