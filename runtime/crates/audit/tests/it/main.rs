//! The tests of the log from outside: what it writes, what it refuses, what its verifier says.
//! It never reaches into the crate.

mod common;
mod crash;
mod forged;
mod index;
mod interop;
mod memdisk;
mod processes;
mod query;
mod recorded;
mod story;
mod tamper;
mod tiles;
mod tools;
mod vectors;
mod verify;
mod waits;
mod write;
