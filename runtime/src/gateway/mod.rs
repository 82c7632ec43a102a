//! Wires over which calls arrive: JSON lines for harnesses and scripts, and MCP, both on standard input and output.
//! It never lets a call near a session that was not parsed within limits.

mod lines;
pub mod mcp;

pub use lines::{Asked, read, serve};
