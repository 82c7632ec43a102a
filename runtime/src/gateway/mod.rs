//! Wires over which calls arrive: today JSON lines on standard input and output, for harnesses and scripts.
//! It never lets a call near a session that was not parsed within limits.

mod lines;

pub use lines::{Asked, read, serve};
