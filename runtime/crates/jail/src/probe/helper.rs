//! Runs each experiment in a fresh process of our own program.
//! It never lets an experiment's outcome be mistaken: what cannot be read back counts as refused.

use super::experiment::{Experiment, Observation, in_helper};
use crate::spawner;
use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;

/// `argv[0]` of a process that is to carry out one experiment.
pub(crate) const NAME: &str = "stockade-probe";

/// Carries an experiment out in a process of its own.
pub(super) fn in_process(experiment: Experiment) -> Observation {
    let refused = |step: &str, errno: i32| Observation::Refused { step: step.to_owned(), errno };
    let Ok(asked) = serde_json::to_vec(&experiment) else { return refused("describe the experiment", 0) };
    match spawner::output_of(NAME, OsStr::from_bytes(&asked)) {
        Ok(told) => serde_json::from_slice(&told).unwrap_or_else(|_| refused("end in good order", 0)),
        Err(error) => refused("start a process", error.raw_os_error().unwrap_or_default()),
    }
}

/// Carries out the experiment that the arguments name, and tells what came of it on standard output.
pub(crate) fn run(experiment: Option<&OsStr>) -> i32 {
    let asked = experiment.and_then(|text| serde_json::from_slice(text.as_bytes()).ok());
    let Some(asked) = asked else { return 2 };
    let Ok(told) = serde_json::to_vec(&in_helper(asked)) else { return 2 };
    // Flushed by hand: the process ends without the library's clean-up.
    let mut stdout = std::io::stdout();
    i32::from(stdout.write_all(&told).and_then(|()| stdout.flush()).is_err())
}
