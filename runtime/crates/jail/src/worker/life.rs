//! The life of a worker, from outside: by what it is ended, and how its end is seen.
//! It never takes a silence for a life: who cannot say any more how a worker ended stands for one that was killed.

use super::WorkerEnd;
use crate::channel::{Channel, protocol};
use crate::error::JailError;
use crate::sandbox::open_handle;
use crate::wire::Message;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::Shutdown;
use rustix::process::Signal;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// By what a worker is ended, for everybody who may.
#[derive(Debug)]
pub(super) enum Tie {
    /// A handle of its process (a pidfd), and its id, which is its own until it is reaped.
    Process(OwnedFd, u32),
    /// A line to the nursery that started it in a container on gVisor, where it is no process out here.
    Line(Channel),
}

/// Who waits for it.
#[derive(Debug)]
pub(super) enum Life {
    /// We do.
    Child(Mutex<Child>),
    /// The nursery does, and says once how it ended.
    Nursed(Mutex<Option<WorkerEnd>>),
}

impl Tie {
    /// Of a process that we started.
    pub(super) fn of(mut child: Child) -> Result<(Arc<Self>, Life), JailError> {
        match open_handle(child.id()) {
            Ok(handle) => Ok((Arc::new(Self::Process(handle, child.id())), Life::Child(Mutex::new(child)))),
            Err(error) => {
                match child.kill().and_then(|()| child.wait()) {
                    // It ended by itself, which is what was wanted.
                    Ok(_) | Err(_) => Err(error),
                }
            }
        }
    }

    /// Of one that a nursery is asked for.
    pub(super) fn to_nursery(line: Channel) -> (Arc<Self>, Life) {
        (Arc::new(Self::Line(line)), Life::Nursed(Mutex::default()))
    }

    /// Its process, where it has one out here.
    pub(super) const fn id(&self) -> Option<u32> {
        match self {
            Self::Process(_, id) => Some(*id),
            Self::Line(_) => None,
        }
    }

    /// Readable once it has ended: a handle from then on, and a line by what is said, and then by its end.
    pub(super) fn ended(&self) -> BorrowedFd<'_> {
        match self {
            Self::Process(handle, _) => handle.as_fd(),
            Self::Line(line) => line.as_fd(),
        }
    }

    pub(super) fn kill(&self) {
        match self {
            Self::Process(handle, _) => match rustix::process::pidfd_send_signal(handle, Signal::KILL) {
                // ESRCH: it has ended already.
                Ok(()) | Err(_) => {}
            },
            Self::Line(line) => match rustix::net::shutdown(line, Shutdown::Write) {
                // ENOTCONN: the nursery is gone, and so is its container.
                Ok(()) | Err(_) => {}
            },
        }
    }

    /// Waits for its end, whether or not it was reaped.
    pub(super) fn has_ended(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let limit = Timespec::try_from(left).ok();
            let mut fds = [PollFd::from_borrowed_fd(self.ended(), PollFlags::IN)];
            match rustix::event::poll(&mut fds, limit.as_ref()) {
                Ok(1..) => return true,
                Ok(0) if left.is_zero() => return false,
                Ok(0) | Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}

impl Life {
    /// How a worker ended that has.
    pub(super) fn end(&self, tie: &Tie) -> Result<WorkerEnd, JailError> {
        match (self, tie) {
            (Self::Child(child), _) => {
                let status = whole(child).wait().map_err(|error| JailError::io("wait for", "a worker", &error))?;
                Ok(WorkerEnd::of(status))
            }
            (Self::Nursed(end), Tie::Line(line)) => {
                let mut end = whole(end);
                if let Some(end) = *end {
                    return Ok(end);
                }
                let told = match line.receive().map(|told| told.map(|told| told.message)) {
                    Ok(Some(Message::Gone(status))) => WorkerEnd::of_status(status),
                    Ok(Some(_)) => return Err(protocol("another message than a worker's end")),
                    // Its container ended, and it with that.
                    Ok(None) | Err(_) => WorkerEnd::Signalled(libc::SIGKILL),
                };
                Ok(*end.insert(told))
            }
            (Self::Nursed(_), Tie::Process(..)) => Err(JailError::bug("wait for", "a worker without its line")),
        }
    }

    /// Waits for the end of one that was killed: as long as it takes where we have to reap it.
    pub(super) fn settle(&self, tie: &Tie, within: Duration) {
        match self {
            Self::Child(child) => match whole(child).wait() {
                // Reaped before, or by somebody else.
                Ok(_) | Err(_) => {}
            },
            Self::Nursed(_) => {
                // Its line closes with the container at the latest.
                tie.has_ended(within);
            }
        }
    }
}

/// A panic of another thread leaves it whole: it is only asked.
fn whole<T>(guarded: &Mutex<T>) -> MutexGuard<'_, T> {
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
}
