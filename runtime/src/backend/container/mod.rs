//! The container wall: an engine's container of an image around the same sandbox that the process wall is.
//! It never judges a call, and runs none: that is the sandbox's, wherever it came up.

pub mod engine;
pub mod shown;
pub mod wall;
