//! The command line: it talks to people and to scripts, and holds no policy.

pub mod args;
pub mod screen;
pub mod style;
pub mod terminal;
