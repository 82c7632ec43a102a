//! The process wall: a plan, carried out against the kernel, and an honest account of what was enforced.
//! It never decides what a guest may do; that is in the plan.
#![expect(unsafe_code, reason = "the one crate that talks to the kernel directly; each block argues its case")]

pub mod capabilities;
pub mod cgroup;
pub mod enforced;
pub mod error;
pub mod keyring;
pub mod landlock;
pub mod plan;
pub mod probe;
pub mod rlimit;
pub mod seccomp;
pub mod watch;
