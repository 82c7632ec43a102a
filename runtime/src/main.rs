//! The binary `stockade`: becomes a sandbox's init or a worker when it was started as one, else reads its command line.
//! It never does anything else.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: an init must not have threads, and must not read a command line that a guest could have chosen.
    stockade_jail::run_as_init_if_asked();
    stockade_jail::worker::run_as_worker_if_asked(stockade::backend::wasm::worker::main);
    stockade_jail::keep_one_heap();
    stockade::cli::main()
}
