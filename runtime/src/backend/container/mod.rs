//! Containers: the wall that an engine of this machine, Docker or Podman, builds around our own init.
//! It never runs anything beside an engine: what starts a process there is the engine.

pub mod engine;
