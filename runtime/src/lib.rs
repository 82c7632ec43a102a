//! Library of the `stockade` binary: the pipeline from a call to its sealed outcome, and the command line over it.
//! It never starts a process itself and says no `unsafe`: both are `stockade-jail`'s.

pub mod backend;
pub mod cli;
pub mod config;
pub mod egress;
pub mod error;
pub mod gateway;
pub mod journal;
pub mod secrets;
pub mod session;
pub mod workspace;
