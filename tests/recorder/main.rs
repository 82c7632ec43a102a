//! The recorder from outside: it changes nothing of what programs do, nothing that they do is left out, and nothing that
//! they do stops it. It never asks the recorder itself: what counts is the sealed log, and what `verify` says of it.

mod account;
mod omissions;
mod traced;
mod waits;
mod walks;
mod work;

use std::process::ExitCode;
use stockade_tests::story::run_trials;

fn main() -> ExitCode {
    run_trials("recorder", |person| {
        let parts = [walks::stories(), omissions::stories(), waits::stories(), work::stories(), traced::stories()];
        parts.into_iter().flatten().map(|story| story.trial(person, account::THEATRE)).collect()
    })
}
