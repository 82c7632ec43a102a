//! Backends: what a logged call runs in.
//! They never decide: what they cannot express is refused before it gets here.

pub mod container;
pub mod process;
pub mod wasm;
