//! Bad input and broken machines: each ends in a clear error or a working fallback, and leaves nothing behind.
//! It never breaks anything that it did not make itself.

mod closed;
mod disks;
mod killed;
mod names;
mod refused;
mod review;
mod snapshots;
mod states;
mod tampered;

use std::process::ExitCode;

fn main() -> ExitCode {
    stockade_tests::story::run_all("faults", || {
        let parts = [
            refused::stories(),
            closed::stories(),
            disks::stories(),
            killed::stories(),
            names::stories(),
            review::stories(),
            snapshots::stories(),
            states::stories(),
            tampered::stories(),
        ];
        parts.into_iter().flatten().collect()
    })
}
