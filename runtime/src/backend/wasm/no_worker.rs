//! What stands for the workers' side in a build without an engine: each component is refused, with the reason.
//! It never runs or compiles anything.

use crate::error::{Error, Result};
use stockade_jail::worker::Unconfined;

/// Nothing is compiled: one that says it is an engine.
#[derive(Debug)]
pub enum Engine {}

/// No engine.
///
/// # Errors
/// Operator: always.
pub fn compiler() -> Result<Engine> {
    let hint = "build with the feature \"engine\", which is on unless somebody turns it off";
    Err(Error::operator("this build has no engine for components").hint(hint))
}

/// What code is for; without an engine there is none.
pub fn compatibility(engine: &Engine) -> u64 {
    match *engine {}
}

/// Nobody starts such a worker, since nothing is compiled for one.
pub fn main(_unconfined: Unconfined) -> i32 {
    1
}
