//! MCP as clients have it: what the wire does with anything that comes, and real clients of both eras on top of it.
//! It never takes a client that is not there for one that works.

mod apply;
mod claude;
mod clients;
mod components;
mod conformance;
mod ends;
mod line;
mod protocol;
mod sessions;

use std::process::ExitCode;

fn main() -> ExitCode {
    stockade_tests::story::run_all("mcp", || {
        let parts = [
            protocol::stories(),
            sessions::stories(),
            apply::stories(),
            ends::stories(),
            components::stories(),
            clients::stories(),
            claude::stories(),
            conformance::stories(),
        ];
        parts.into_iter().flatten().collect()
    })
}
