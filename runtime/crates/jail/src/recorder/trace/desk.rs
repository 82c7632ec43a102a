//! What passes between the init's main thread, which makes the calls' processes, and its tracer, which hears of their ends.
//! It never waits for a guest, except for the program of the one that is being made.
//!
//! Two threads of one process that wait for its children take each other's news. So where there is a tracer, it alone waits.

use crate::recorder::ProcessId;
use crate::sys::{self, Reaped};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use rustix::thread::futex;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const UNDECIDED: u32 = 0;
const EXECUTES: u32 = 1;
const ENDED: u32 = 2;

/// What became of the process that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decided {
    /// It executes its program.
    Executes,
    /// It ended before: wait(2)'s status word.
    Ended(i32),
}

/// A process that was the init's to wait for, and is no more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    pub(crate) reaped: Reaped,
    pub(crate) process: ProcessId,
    /// The main process of its call.
    pub(crate) call: ProcessId,
}

/// The desk.
#[derive(Debug)]
pub(crate) struct Desk {
    tray: Mutex<Tray>,
    /// Readable when there is something in the tray.
    bell: OwnedFd,
    /// How many processes the main thread has made: what a tracer without any sleeps on.
    made: AtomicU32,
    /// Of the last one. Set back by the main thread, before it makes the next one.
    decided: AtomicU32,
    status: AtomicI32,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Tray {
    done: Vec<Done>,
    /// How many had been made when the tracer found that there was no child any more.
    idle_at: Option<u32>,
}

impl Desk {
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self {
            tray: Mutex::default(),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            made: AtomicU32::new(0),
            decided: AtomicU32::new(UNDECIDED),
            status: AtomicI32::new(0),
            closed: AtomicBool::new(false),
        })
    }

    fn tray(&self) -> MutexGuard<'_, Tray> {
        self.tray.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Main thread: the bell, for its poll.
    pub(crate) fn bell(&self) -> Result<OwnedFd, Errno> {
        rustix::io::fcntl_dupfd_cloexec(&self.bell, 3)
    }

    /// Main thread: a process is about to be made.
    pub(crate) fn expects(&self) {
        self.decided.store(UNDECIDED, Ordering::SeqCst);
    }

    /// Main thread: it was made. What becomes of it; beyond the limit it is killed.
    pub(crate) fn made(&self, pid: i32, limit: Option<Duration>) -> Decided {
        self.made.fetch_add(1, Ordering::SeqCst);
        wake(&self.made);
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            match self.decided.load(Ordering::SeqCst) {
                EXECUTES => return Decided::Executes,
                ENDED => return Decided::Ended(self.status.load(Ordering::SeqCst)),
                undecided => {
                    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                    if left == Some(Duration::ZERO) {
                        kill(pid);
                        sleep(&self.decided, undecided, None);
                    } else {
                        sleep(&self.decided, undecided, left);
                    }
                }
            }
        }
    }

    /// Main thread: who ended since; and whether no child is left.
    pub(crate) fn take(&self) -> (Vec<Done>, bool) {
        let mut tray = self.tray();
        (std::mem::take(&mut tray.done), tray.idle_at == Some(self.made.load(Ordering::SeqCst)))
    }

    /// Main thread: no tracer is needed.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.made.fetch_add(1, Ordering::SeqCst);
        wake(&self.made);
    }

    /// Tracer: how many were made; asked for before it waits.
    pub(super) fn count(&self) -> u32 {
        self.made.load(Ordering::SeqCst)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Tracer: there is no child, and was none when so many had been made; sleeps until there are more.
    pub(super) fn is_idle(&self, count: u32) {
        let before = self.tray().idle_at.replace(count);
        if before != Some(count) {
            self.ring();
        }
        sleep(&self.made, count, None);
    }

    /// Tracer: somebody ended.
    pub(super) fn done(&self, done: Done) {
        self.tray().done.push(done);
        self.ring();
    }

    /// Tracer: what becomes of the process that was made.
    pub(super) fn decide(&self, decided: Decided) {
        let word = match decided {
            Decided::Executes => EXECUTES,
            Decided::Ended(status) => {
                self.status.store(status, Ordering::SeqCst);
                ENDED
            }
        };
        self.decided.store(word, Ordering::SeqCst);
        wake(&self.decided);
    }

    fn ring(&self) {
        match rustix::io::write(&self.bell, &1_u64.to_ne_bytes()) {
            // Full, it is readable.
            Ok(_) | Err(_) => {}
        }
    }
}

fn kill(pid: i32) {
    match sys::kill(pid, libc::SIGKILL) {
        // It has ended this moment.
        Ok(()) | Err(_) => {}
    }
}

fn sleep(word: &AtomicU32, while_it_is: u32, limit: Option<Duration>) {
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    match futex::wait(word, futex::Flags::PRIVATE, while_it_is, limit.as_ref()) {
        // Whoever sleeps looks again.
        Ok(()) | Err(_) => {}
    }
}

fn wake(word: &AtomicU32) {
    match futex::wake(word, futex::Flags::PRIVATE, 1) {
        // Nobody slept, or the one who did goes on.
        Ok(_) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_left_only_when_all_that_were_made_are_gone() {
        let desk = Desk::new().unwrap();
        assert!(!desk.take().1, "nobody looked yet");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                desk.is_idle(0);
                assert_eq!(desk.count(), 1);
                desk.decide(Decided::Ended(7));
            });
            while !desk.take().1 {
                std::thread::yield_now();
            }
            desk.expects();
            assert_eq!(desk.made(0, None), Decided::Ended(7));
            assert!(!desk.take().1, "one was made since");
        });
        let reaped = Reaped { pid: 3, status: 0, cpu_us: 0, max_rss_kib: 0 };
        desk.done(Done { reaped, process: ProcessId(1), call: ProcessId(1) });
        assert_eq!(desk.take().0.len(), 1);
        assert_eq!(desk.take().0.len(), 0, "once");
    }
}
