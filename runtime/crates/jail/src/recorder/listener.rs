//! The descriptor on which the kernel tells of calls and takes the answers: seccomp_unotify(2), one function each.
//! It never reads a guest's memory, and never answers what it was not asked.

use crate::sys;
use rustix::io::Errno;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`: the guest runs on where we ran, instead of waking another processor.
const SYNC_WAKE_UP: libc::c_ulong = 1;

/// A call that waits for an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notification {
    /// Names it to the kernel.
    pub(super) id: u64,
    /// The thread that makes it, in our pid namespace. Its number may be another's by now, unless
    /// [`Listener::is_waiting`] says otherwise afterwards.
    pub(super) tid: i32,
    /// The call.
    pub(super) number: u32,
    /// Its arguments, as the registers have them.
    pub(super) arguments: [u64; 6],
}

impl Notification {
    /// The thread, as most of the kernel's interfaces want it.
    pub(super) const fn thread(&self) -> u32 {
        self.tid.unsigned_abs()
    }
}

/// What happens with a call that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// The kernel does it.
    Continue,
    /// It returns this error.
    Errno(i32),
    /// It has been answered already.
    Answered,
}

/// The listener.
#[derive(Debug)]
pub(super) struct Listener(OwnedFd);

impl Listener {
    /// Takes the descriptor, and asks for hand-offs on one processor where the kernel has them (Linux 6.6).
    pub(super) fn new(descriptor: OwnedFd) -> Self {
        match sys::ioctl_number(&descriptor, libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) {
            // Without them it is slower, and nothing else.
            Ok(_) | Err(_) => Self(descriptor),
        }
    }

    /// Waits for a call. `None`: whoever made it has ended, or a signal came; there will be others.
    pub(super) fn receive(&self) -> Result<Option<Notification>, Errno> {
        // SAFETY: an all-zero seccomp_notif is a valid value of that plain C structure, and what the kernel demands.
        let mut told: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the request takes a pointer to a seccomp_notif, which `told` is; the kernel writes it once.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut told) };
        match sys::answer(i64::from(result)) {
            Ok(_) => Ok(Some(Notification {
                id: told.id,
                tid: told.pid.cast_signed(),
                number: told.data.nr.cast_unsigned(),
                arguments: told.data.args,
            })),
            Err(Errno::INTR | Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Whether a call still waits: then its thread still is who it was, and what was read of it was its own.
    pub(super) fn is_waiting(&self, id: u64) -> bool {
        // SAFETY: the request takes a pointer to a u64, which the kernel reads.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) };
        result == 0
    }

    /// Answers an open with a descriptor of ours, which becomes the guest's under the lowest number that is free there;
    /// with these flags, `O_CLOEXEC` or none. A call that waits no more needs no answer.
    pub(super) fn reply_with(&self, id: u64, file: BorrowedFd<'_>, descriptor_flags: u32) -> Result<(), Errno> {
        let answer = libc::seccomp_notif_addfd {
            id,
            flags: u32::try_from(libc::SECCOMP_ADDFD_FLAG_SEND).unwrap_or(2),
            srcfd: file.as_raw_fd().cast_unsigned(),
            newfd: 0,
            newfd_flags: descriptor_flags,
        };
        // SAFETY: the request takes a pointer to a seccomp_notif_addfd, which the kernel reads.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const answer) };
        match sys::answer(i64::from(result)) {
            Ok(_) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Answers. A call that waits no more needs no answer.
    pub(super) fn reply(&self, id: u64, reply: Reply) -> Result<(), Errno> {
        let (error, flags) = match reply {
            Reply::Continue => (0, u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(1)),
            Reply::Errno(errno) => (-errno, 0),
            Reply::Answered => return Ok(()),
        };
        let answer = libc::seccomp_notif_resp { id, val: 0, error, flags };
        // SAFETY: the request takes a pointer to a seccomp_notif_resp, which the kernel reads.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer) };
        match sys::answer(i64::from(result)) {
            Ok(_) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}
