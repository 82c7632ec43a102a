//! One policy, two walls: the same act as a command and as a tool's call, and attacks that only a tool could try.
//! It never takes two refusals for equal: each row's act succeeds without a wall, where it can.

mod acts;
mod attacks;
mod mixed;
mod poorer;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    stockade_tests::story::run_all("walls", || {
        [acts::stories(), attacks::stories(), mixed::stories(), poorer::stories()].into_iter().flatten().collect()
    })
}
