//! Backends: what a logged call runs in.
//! They never decide: what they cannot express is refused before it gets here.

pub mod container;
pub mod process;
pub mod wasm;

use crate::error::{Error, Result};
use stockade_policy::Backend;

/// Refuses a wall that this binary does not have, before anything of a session is made.
///
/// # Errors
/// Operator: the profile asks for it.
pub fn refuse_unbuilt(backend: &Backend) -> Result<()> {
    match backend {
        Backend::Process => Ok(()),
        Backend::Container(_) => Err(Error::operator("the container wall is not built into this binary")
            .hint("--backend process, or a profile without backend = \"container\"")),
    }
}
