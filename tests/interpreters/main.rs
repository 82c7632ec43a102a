//! The `shell` and the `python` tool as components, as they are shipped.
//! It never asks whether they are confined: their host's tests do.

#[path = "../../tools-wasm/tools/shell/tests/common/mod.rs"]
mod common;
mod host;
mod python;
mod shell;
