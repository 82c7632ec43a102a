//! How a process comes to be traced before it does anything of its own, and a trial of whether that can be.
//! It never leaves a process untraced that goes on: without its tracer whatever the list tells of is refused to it.
//!
//! The kernel lets nobody attach to a process that shares the memory of one that is not dumpable, and the init never is.
//! So where there is a tracer, a call's process is a copy of the init, which closes what it holds of the init's, takes the
//! list on, allows to be attached to, and stops. The tracer, who waits for children anyway, finds it stopped, attaches and
//! lets it go on. The exec that follows gives it other memory and all that goes with that.

use super::desk::{Decided, Desk};
use crate::recorder::{Gate, look};
use crate::seccomp::Filter;
use crate::sys::{self, Side};
use crate::wire::Status;
use rustix::io::Errno;
use std::sync::atomic::AtomicI32;
use std::time::Duration;

/// The tracer's answer to each call of a trial: no call of the list has this error.
pub(super) const TOLD: Errno = Errno::REMOTEIO;
/// How a process of a trial ends.
const TOLD_OF_ALL: u8 = 0;
const UNTOLD: u8 = 1;
const OVERHEARD: u8 = 2;
/// Longest time of a trial: somebody outside who is told of a call may never answer.
const TRIAL_MAX: Duration = Duration::from_secs(3);

/// Takes the list on, and waits for the tracer: in a process of its own memory, which holds no descriptor from 3 on.
/// Allocates nothing unless it fails.
pub(crate) fn be_traced(list: &Filter) -> Result<(), Errno> {
    // Before anybody can reach into it: whoever does has a guest like himself.
    list.install().map_err(|error| Errno::from_raw_os_error(error.errno.unwrap_or(libc::EINVAL)))?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)?;
    sys::kill(rustix::process::getpid().as_raw_nonzero().get(), libc::SIGSTOP)
}

/// Copies the init; the copy does this, which does not return unless it failed. The copy's number and its fate; it is
/// killed when that is not decided in time.
pub(crate) fn make(
    child: &AtomicI32,
    gate: &Gate,
    desk: &Desk,
    limit: Option<Duration>,
    copy: impl FnOnce() -> Errno,
) -> Result<(i32, Decided), Errno> {
    desk.expects();
    // The tracer allocates only where it has passed the gate: no lock of the heap is copied in a locked state.
    gate.shut();
    // SAFETY: the process has two threads. The other one, the tracer, is outside of the gate, where it holds no lock but
    // the desk's, which the copy does not touch.
    let side = unsafe { sys::fork_telling(child) };
    match side {
        Ok(Side::Child) => {
            let errno = copy();
            sys::exit_now(errno.raw_os_error().min(127))
        }
        Ok(Side::Parent(pid)) => {
            gate.open();
            Ok((pid, desk.made(pid, limit)))
        }
        Err(errno) => {
            gate.open();
            Err(errno)
        }
    }
}

/// Whether a process may trace at all, found out by one that may end: a list of somebody outside may kill whoever tries.
pub(crate) fn is_allowed() -> bool {
    // SAFETY: the other thread of this process waits for work, and holds no lock.
    let side = unsafe { sys::fork(libc::SIGCHLD) };
    match side {
        Ok(Side::Child) => {
            // Its answer is not asked for: this is another way to be traced than the one that is tried afterwards.
            // SAFETY: this request takes no address (ptrace(2)).
            unsafe { libc::syscall(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, 0_usize, 0_usize) };
            sys::exit_now(0)
        }
        Ok(Side::Parent(pid)) => sys::reap(Some(pid), 0).is_ok_and(|reaped| reaped.is_some_and(|it| it.status == 0)),
        Err(_) => false,
    }
}

/// What a trial showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trial {
    /// The tracer attaches, is told of each call, and can refuse it.
    Works,
    /// It cannot.
    Refused,
    /// Somebody outside is told of calls, and so the tracer is not: the kernel tells the listener alone.
    Overheard,
}

/// Tries the tracer on a process that makes each call of which the list tells. The tracer refuses them all, with an error
/// that none of them has; what it is not told of fails, since no argument of it is one.
pub(crate) fn try_out(list: &Filter, child: &AtomicI32, gate: &Gate, desk: &Desk) -> Trial {
    let calls = list.examples();
    let tried = make(child, gate, desk, Some(TRIAL_MAX), || {
        match sys::close_range(0, 0).and_then(|()| be_traced(list)) {
            Ok(()) => {}
            Err(errno) => return errno,
        }
        let mut code = UNTOLD;
        for (number, [a, b, c, d, e, f]) in &calls {
            // SAFETY: no argument is an address of anything: each is 0 or has every bit set (see `Filter::examples`), and
            // there is no descriptor. So no call reads or writes memory, nor is there anything that it could change.
            let answered = unsafe { libc::syscall(i64::from(*number), *a, *b, *c, *d, *e, *f) };
            match sys::answer(answered) {
                Err(TOLD) => code = TOLD_OF_ALL,
                // Without a tracer; or refused by a list outside, to everybody.
                Err(Errno::NOSYS | Errno::PERM) => {}
                Ok(_) | Err(_) => sys::exit_now(i32::from(OVERHEARD)),
            }
        }
        sys::exit_now(i32::from(code))
    });
    match tried.map(|(_, decided)| decided) {
        Ok(Decided::Ended(status)) => match look::status(status) {
            Status::Exited(TOLD_OF_ALL) => Trial::Works,
            // Or it waited for somebody who does not answer.
            Status::Exited(OVERHEARD) | Status::Signalled(libc::SIGKILL) => Trial::Overheard,
            Status::Exited(_) | Status::Signalled(_) => Trial::Refused,
        },
        Ok(Decided::Executes) | Err(_) => Trial::Refused,
    }
}
