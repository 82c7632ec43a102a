//! How a worker's end is told, wherever it was started: of itself, and killed while it runs.
//! It never starts a sandbox.

use super::asking::{SOON, try_ask, worker_of};
use std::time::Duration;
use stockade_jail::{Kind, Sandbox, WorkerEnd};

/// Ends two workers, and asks how they ended.
#[track_caller]
pub(crate) fn are_told(sandbox: &Sandbox) {
    let worker = worker_of(sandbox, Kind::Write);
    assert_eq!(worker.wait(Duration::from_millis(1)), Ok(None));
    assert_eq!(try_ask(&worker, &["exit", "7"]), None);
    assert_eq!(worker.wait(SOON), Ok(Some(WorkerEnd::Exited(7))));
    assert_eq!(worker.wait(SOON), Ok(Some(WorkerEnd::Exited(7))), "asked again");
    let worker = worker_of(sandbox, Kind::Read);
    let channel = worker.channel().expect("nobody took it");
    rustix::net::send(channel, b"spin", rustix::net::SendFlags::NOSIGNAL).expect("it listens");
    worker.kill();
    assert_eq!(worker.wait(SOON), Ok(Some(WorkerEnd::Signalled(libc::SIGKILL))));
}
