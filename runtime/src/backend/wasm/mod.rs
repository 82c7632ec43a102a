//! The WASI wall: a logged call of a tool runs as a component, in a fresh instance, in a worker beside the session's commands.
//! It never compiles or runs a component in this process, and never judges a call.

pub mod cache;
pub mod call;
mod channel;
pub mod command;
pub mod component;
pub mod manifest;
pub mod parts;
pub mod schema;
mod wall;
pub mod wire;
#[cfg(not(feature = "engine"))]
#[path = "no_worker.rs"]
pub mod worker;
#[cfg(feature = "engine")]
pub mod worker;

pub use cache::Cache;
pub use call::{
    CallGrant, Carries, End, Failure, Files, Limits, OpenFlags, Printed, Progress, Reply, ToolIo, ToolRan, ToolUsage,
    Use, What,
};
pub use component::Component;
pub use manifest::Manifest;
pub use wall::{Kind, Life, Start, Started, ToolWall};
