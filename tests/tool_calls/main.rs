//! Tools as a harness meets them: called over JSON lines beside commands, in one session, with a log that passes.
//! It never looks inside: answers, files and the log are what a caller sees.

mod commands;
mod components;
mod files;
mod limits;
mod lines;

use std::process::ExitCode;

fn main() -> ExitCode {
    stockade_tests::story::run_all("tool_calls", || {
        [files::stories(), components::stories(), commands::stories(), limits::stories()]
            .into_iter()
            .flatten()
            .collect()
    })
}
