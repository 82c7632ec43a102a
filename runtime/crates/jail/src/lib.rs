//! The process wall: a plan, carried out against the kernel, and an honest account of what was enforced.
//! It never decides what a guest may do; that is in the plan.
#![expect(unsafe_code, reason = "the one crate that talks to the kernel directly; each block argues its case")]

mod bytes;
pub mod capabilities;
pub mod cgroup;
mod channel;
mod child;
pub mod container;
pub mod enforced;
pub mod error;
mod heap;
mod idmap;
mod init;
mod kernel;
pub mod keyring;
pub mod landlock;
pub mod locked;
mod look;
mod mount;
mod namespaces;
mod netns;
pub mod outlet;
pub mod plan;
mod pool;
pub mod probe;
pub mod program;
mod pty;
pub mod recorder;
pub mod rlimit;
mod route;
mod running;
mod sandbox;
pub mod seccomp;
mod setup;
mod spawner;
mod staged;
mod sys;
mod tree;
pub mod watch;
pub mod wire;
pub mod worker;

pub use enforced::{Enforced, Grade};
pub use error::{ErrorKind, Fault, JailError};
pub use heap::{give_back_what_is_free, keep_one_heap};
pub use idmap::guest_ids_outside;
pub use init::run_as_init_if_asked;
pub use look::{Seen, look};
pub use outlet::OutletEnd;
pub use plan::Plan;
pub use pool::Pool;
pub use running::{Ended, Running, Usage};
pub use sandbox::{Command, InnerStream, Options, Sandbox, Stdio};
pub use spawner::Helper;
pub use staged::{Staged, detach_all};
pub use wire::{ProcessExit, Status};
pub use worker::{Confined, Kind, Unconfined, Worker, WorkerEnd, run_as_worker_if_asked};
