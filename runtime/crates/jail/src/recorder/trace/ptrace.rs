//! ptrace(2): one function for each request that the tracer makes, and what a stop means.
//! It never decides anything. A process can be killed while it is stopped: "no such process" is no error here, since its
//! end is told like any other.

use crate::sys;
use rustix::io::Errno;
use std::ffi::c_void;

/// What the kernel tells of, and that a process whose tracer is gone ends.
const OPTIONS: libc::c_int = libc::PTRACE_O_EXITKILL
    | libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACESECCOMP;
/// `PTRACE_EVENT_STOP`, and `PTRACE_SYSCALL_INFO_SECCOMP`.
const EVENT_STOP: i32 = 128;
const OF_A_FILTER: u8 = 3;

/// Why a thread stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It makes a call of which the list tells.
    Calls,
    /// It comes back from the call that it was let go on into.
    Returns,
    /// It made a process.
    Forks,
    /// It made a thread, or a process of which its parent is told by no or an unusual signal.
    Clones,
    /// It executes a program.
    Executes,
    /// A signal came.
    Signalled(i32),
    /// Its process was stopped, by a signal that was told before.
    Halts,
    /// It begins to be traced, or its process is not stopped any more.
    Pauses,
}

impl Stop {
    /// What wait(2)'s status word says.
    pub(super) fn of(status: i32) -> Self {
        let signal = libc::WSTOPSIG(status);
        match status >> 16 {
            0 if signal == libc::SIGTRAP | 0x80 => Self::Returns,
            0 => Self::Signalled(signal),
            libc::PTRACE_EVENT_SECCOMP => Self::Calls,
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => Self::Forks,
            libc::PTRACE_EVENT_CLONE => Self::Clones,
            libc::PTRACE_EVENT_EXEC => Self::Executes,
            EVENT_STOP => match signal {
                libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => Self::Halts,
                _ => Self::Pauses,
            },
            _ => Self::Pauses,
        }
    }
}

/// How far a stopped thread goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Until something is told of it.
    Told,
    /// Until it comes back from the call that it is in.
    Returned,
}

/// `struct ptrace_syscall_info` of a stop by a filter.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Info {
    what: u8,
    _pad: [u8; 3],
    architecture: u32,
    instruction: u64,
    stack: u64,
    number: u64,
    arguments: [u64; 6],
    data: u32,
    _more: u32,
}
const _: () = assert!(size_of::<Info>() == 88);

/// What a request without memory answers.
fn ask(request: libc::c_uint, thread: i32, data: usize) -> Result<(), Errno> {
    let nothing = std::ptr::null_mut::<c_void>();
    // SAFETY: none of the requests that come here (see the callers) takes its last argument for an address.
    let result = unsafe { libc::syscall(libc::SYS_ptrace, request, thread, nothing, data) };
    sys::answer(result).map(drop)
}

/// Begins to trace a process, and whatever it makes.
pub(super) fn seize(process: i32) -> Result<(), Errno> {
    ask(libc::PTRACE_SEIZE, process, usize::try_from(OPTIONS).unwrap_or(0))
}

/// Lets a stopped thread go on, with this signal or, 0, without one.
pub(super) fn go_on(thread: i32, until: Until, signal: i32) {
    let request = match until {
        Until::Told => libc::PTRACE_CONT,
        Until::Returned => libc::PTRACE_SYSCALL,
    };
    gone_is_well(ask(request, thread, usize::try_from(signal).unwrap_or(0)));
}

/// Leaves a thread stopped whose process is, until that goes on or something else happens to it.
pub(super) fn stay(thread: i32) {
    gone_is_well(ask(libc::PTRACE_LISTEN, thread, 0));
}

fn gone_is_well(result: Result<(), Errno>) {
    match result {
        // The other errors cannot be: the thread is ours, and in the stop that was told of.
        Ok(()) | Err(_) => {}
    }
}

/// The number that comes with a stop: of a new thread, or of who executes under another number than before.
pub(super) fn message(thread: i32) -> Option<i32> {
    let mut message: libc::c_ulong = 0;
    let nothing = std::ptr::null_mut::<c_void>();
    // SAFETY: the kernel writes one unsigned long to `message`, which lives through the call.
    let result =
        unsafe { libc::syscall(libc::SYS_ptrace, libc::PTRACE_GETEVENTMSG, thread, nothing, &raw mut message) };
    sys::answer(result).ok()?;
    i32::try_from(message).ok().filter(|number| *number > 0)
}

/// The call that a thread is stopped at by its list: number and registers.
pub(super) fn call(thread: i32) -> Option<(u32, [u64; 6])> {
    let mut info = Info::default();
    // SAFETY: the kernel writes at most the size that is given to `info`, which lives through the call and for which
    // every bit pattern is valid.
    let result = unsafe {
        libc::syscall(libc::SYS_ptrace, libc::PTRACE_GET_SYSCALL_INFO, thread, size_of::<Info>(), &raw mut info)
    };
    sys::answer(result).ok().filter(|_| info.what == OF_A_FILTER)?;
    Some((u32::try_from(info.number).ok()?, info.arguments))
}

/// Has the call that a thread is stopped at return an error instead of being made. `false`: it is gone.
pub(super) fn refuse(thread: i32, errno: i32) -> bool {
    registers::refuse(thread, i64::from(-errno).cast_unsigned()).is_ok()
}

/// A set of registers, read or written.
fn registers<T>(request: libc::c_uint, thread: i32, set: libc::c_int, values: &mut T) -> Result<(), Errno> {
    let mut vector = libc::iovec { iov_base: (&raw mut *values).cast(), iov_len: size_of::<T>() };
    // SAFETY: the kernel reads or writes at most the length that `vector` says, at an address that is exclusively ours
    // until the call returns; callers pass arrays of numbers, for which every bit pattern is valid.
    let result = unsafe { libc::syscall(libc::SYS_ptrace, request, thread, set, &raw mut vector) };
    sys::answer(result).map(drop)
}

/// `NT_PRSTATUS`: the general registers.
const GENERAL: libc::c_int = 1;

#[cfg(target_arch = "x86_64")]
mod registers {
    use super::{Errno, GENERAL};

    /// `struct user_regs_struct`: how many, and where `rax` and `orig_rax` are.
    const COUNT: usize = 27;
    const RESULT: usize = 10;
    const NUMBER: usize = 15;

    /// A number that no call has is no call; what is in the place of the result then is the result.
    pub(super) fn refuse(thread: i32, result: u64) -> Result<(), Errno> {
        let mut all = [0_u64; COUNT];
        super::registers(libc::PTRACE_GETREGSET, thread, GENERAL, &mut all)?;
        all[RESULT] = result;
        all[NUMBER] = u64::MAX;
        super::registers(libc::PTRACE_SETREGSET, thread, GENERAL, &mut all)
    }
}

#[cfg(target_arch = "aarch64")]
mod registers {
    use super::{Errno, GENERAL};

    /// `struct user_pt_regs`: how many, and where `x0` is.
    const COUNT: usize = 34;
    const RESULT: usize = 0;
    /// `NT_ARM_SYSTEM_CALL`: the number of the call.
    const NUMBER: libc::c_int = 0x404;

    /// The number first: setting it leaves the result as it is.
    pub(super) fn refuse(thread: i32, result: u64) -> Result<(), Errno> {
        super::registers(libc::PTRACE_SETREGSET, thread, NUMBER, &mut -1_i32)?;
        let mut all = [0_u64; COUNT];
        super::registers(libc::PTRACE_GETREGSET, thread, GENERAL, &mut all)?;
        all[RESULT] = result;
        super::registers(libc::PTRACE_SETREGSET, thread, GENERAL, &mut all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stop_is_told_from_the_others() {
        let stopped = |signal: i32, event: i32| event << 16 | signal << 8 | 0x7f;
        assert_eq!(Stop::of(stopped(libc::SIGTRAP, libc::PTRACE_EVENT_SECCOMP)), Stop::Calls);
        assert_eq!(Stop::of(stopped(libc::SIGTRAP | 0x80, 0)), Stop::Returns);
        assert_eq!(Stop::of(stopped(libc::SIGTRAP, 0)), Stop::Signalled(libc::SIGTRAP));
        assert_eq!(Stop::of(stopped(libc::SIGSTOP, 0)), Stop::Signalled(libc::SIGSTOP));
        assert_eq!(Stop::of(stopped(libc::SIGTSTP, EVENT_STOP)), Stop::Halts);
        assert_eq!(Stop::of(stopped(libc::SIGTRAP, EVENT_STOP)), Stop::Pauses);
        assert_eq!(Stop::of(stopped(64, 0)), Stop::Signalled(64));
    }
}
