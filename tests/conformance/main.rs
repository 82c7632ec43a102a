//! What a call must do: the same as unconfined where it may, and what the profile says where it may not.
//! It never looks inside: streams, exit codes, signals, files and the log are what a caller sees.

mod commands;
mod fallback;
mod limits;
mod lines;
mod port;
mod signals;
mod streams;
mod surroundings;
mod witness;

use std::process::ExitCode;

fn main() -> ExitCode {
    stockade_tests::story::run_all("conformance", || {
        let parts = [
            streams::stories(),
            signals::stories(),
            surroundings::stories(),
            limits::stories(),
            lines::stories(),
            fallback::stories(),
            commands::stories(),
            port::stories(),
            witness::stories(),
        ];
        parts.into_iter().flatten().collect()
    })
}
