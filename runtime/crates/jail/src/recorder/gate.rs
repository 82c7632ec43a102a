//! Keeps the init from starting a call, and from saying that a process ended, while a file is open for a guest.
//! It never keeps the recorder waiting longer than a fork takes.
//!
//! Threads share their table of descriptors, and a call's process is born with a copy of it, which it closes when it
//! executes its program. A file that happened to be open for a guest in that moment would stay open until then: whoever
//! executes it meanwhile is told that it is being written (`ETXTBSY`), and a lock on it outlives its owner. So the init
//! shuts this gate before it makes a process, and that process, which has its copy and shares our memory, opens it again
//! before anything else: the init itself waits for the process' exec, which the recorder has to answer.

use rustix::io::Errno;
use rustix::thread::futex;
use std::sync::atomic::{AtomicU32, Ordering};

const OPEN: u32 = 0;
const SHUT: u32 = 1;
/// Shut, and somebody waits: only then does opening it cost a system call.
const WAITED: u32 = 2;

/// The gate, which the init's main thread and the recorder's threads pass one at a time.
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicU32);

/// The gate is shut for as long as this lives.
#[derive(Debug)]
pub(crate) struct Passing<'a>(&'a Gate);

impl Gate {
    /// Waits until the other one has passed, and shuts the gate. Who shuts it by this opens it by [`Gate::open`], or its
    /// child does.
    pub(crate) fn shut(&self) {
        if self.0.compare_exchange(OPEN, SHUT, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return;
        }
        // Whoever waited shuts it as waited for: there may be another one.
        while self.0.swap(WAITED, Ordering::Acquire) != OPEN {
            match futex::wait(&self.0, futex::Flags::PRIVATE, WAITED, None) {
                // AGAIN: it was opened meanwhile. INTR: it is looked at again.
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                // Not from this call; spinning is right, if slow.
                Err(_) => std::hint::spin_loop(),
            }
        }
    }

    /// Opens it. Allocates nothing, and makes one system call that every list has: a child before exec may.
    pub(crate) fn open(&self) {
        if self.0.swap(OPEN, Ordering::Release) != WAITED {
            return;
        }
        match futex::wake(&self.0, futex::Flags::PRIVATE, 1) {
            // Nobody waited, or the one who did goes on.
            Ok(_) | Err(_) => {}
        }
    }

    /// Shuts it until the answer is dropped.
    pub(crate) fn pass(&self) -> Passing<'_> {
        self.shut();
        Passing(self)
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn two_never_pass_together() {
        let gate = Gate::default();
        let (inside, passed) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let passing = gate.pass();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        passed.fetch_add(1, Ordering::SeqCst);
                        assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                        drop(passing);
                    }
                });
            }
        });
        assert_eq!(passed.load(Ordering::SeqCst), 40_000);
    }

    #[test]
    fn another_one_may_open_it() {
        let gate = Gate::default();
        gate.shut();
        std::thread::scope(|scope| {
            scope.spawn(|| drop(gate.pass()));
            gate.open();
        });
        drop(gate.pass());
    }
}
