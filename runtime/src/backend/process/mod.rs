//! The process wall: grants and limits become a plan, and a logged call runs in the sandbox that the plan made.
//! It never judges a call.

pub mod host;
pub mod layout;
pub mod plan;
