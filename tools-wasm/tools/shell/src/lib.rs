//! The `shell` tool: a bash-compatible interpreter with the usual text tools, in which no process is ever started.
//! It never runs a part of a script that it cannot do as a whole: what is beyond it is refused before anything ran.

mod arguments;
mod check;
mod commands;
mod fast;
mod files;
mod finite;
#[cfg(target_os = "wasi")]
mod guest;
mod options;
mod run;
#[cfg(target_os = "wasi")]
mod watch;

pub use arguments::Arguments;
pub use check::{Beyond, beyond};
pub use run::{Answer, Place, prepare, refusal, run};
