//! A call's own process where the recorder traces: a copy of the init instead of one that shares its memory.
//! It never executes untraced: the list that it takes on refuses that.

use super::{Order, exec, prepare};
use crate::recorder::{Decided, Desk, Gate, be_traced, make};
use crate::seccomp::Filter;
use crate::sys::{self, SharedMemory};
use crate::wire::Stage;
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// What such a start needs.
#[derive(Debug)]
pub(crate) struct Traced {
    desk: Arc<Desk>,
    list: Filter,
    failed: Failed,
}

/// Where a copy says why it could not execute: the only memory that it shares with the init.
#[derive(Debug)]
struct Failed(SharedMemory);

impl Failed {
    const BYTES: usize = 4096;

    fn new() -> Result<Self, Errno> {
        let memory = rustix::fs::memfd_create(c"stockade-start", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&memory, 4096)?;
        SharedMemory::map(memory.as_fd(), Self::BYTES).map(Self)
    }

    fn word(&self) -> &AtomicU64 {
        // SAFETY: the mapping is a page, which a word at its beginning is in and aligned to; it lives as long as `self`, and
        // nobody cuts its file, of which there is no descriptor any more; an atomic may be changed by others.
        unsafe { &*self.0.start().cast::<AtomicU64>() }
    }

    /// Forgets what the last one said.
    fn clear(&self) {
        self.word().store(0, Ordering::SeqCst);
    }

    fn say(&self, (stage, errno): (Stage, i32)) {
        self.word()
            .store(u64::from(stage.number()) << 32 | u64::from(errno.unsigned_abs()) | 1 << 63, Ordering::SeqCst);
    }

    /// What was said, if anything.
    fn said(&self) -> Option<(Stage, i32)> {
        let word = self.word().load(Ordering::SeqCst);
        let stage = Stage::from_number(u8::try_from(word >> 32 & 0xff).ok()?)?;
        let errno = i32::try_from(word & 0xffff).ok()?;
        (word >> 63 == 1).then_some((stage, errno))
    }
}

impl Traced {
    pub(crate) fn new(desk: Arc<Desk>, list: Filter) -> Result<Self, Errno> {
        Ok(Self { desk, list, failed: Failed::new()? })
    }

    /// As [`super::Steps::start`].
    pub(super) fn start(&self, order: &Order<'_>, child: &AtomicI32, gate: &Gate) -> Result<i32, (Stage, i32)> {
        self.failed.clear();
        let made = make(child, gate, &self.desk, None, || {
            self.failed.say(self.execute(order));
            Errno::from_raw_os_error(127)
        });
        match made.map_err(|errno| (Stage::Fork, errno.raw_os_error()))? {
            (pid, Decided::Executes) => Ok(pid),
            // Killed before it came to anything, it is a call that ended so.
            (pid, Decided::Ended(_)) => self.failed.said().map_or(Ok(pid), Err),
        }
    }

    /// In the copy. Returns only when something failed.
    fn execute(&self, order: &Order<'_>) -> (Stage, i32) {
        let at = |stage: Stage| move |errno: Errno| (stage, errno.raw_os_error());
        let ready = prepare(order)
            .and_then(|()| sys::close_range(3, 0).map_err(at(Stage::Descriptors)))
            .and_then(|()| be_traced(&self.list).map_err(at(Stage::Fork)));
        match ready {
            Ok(()) => (Stage::Exec, exec(order.call)),
            Err(failed) => failed,
        }
    }
}
