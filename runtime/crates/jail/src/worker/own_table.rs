//! The worker's own table of descriptors, as a directory that leads nowhere else.
//! It never is a directory of the host's `/proc`: from there `..` would lead to the host's root (CVE-2024-21626).

use crate::error::JailError;
use crate::plan::Wall;
use crate::sys::{self, Side};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// `/proc/self/fd`, by a descriptor.
#[derive(Debug)]
pub(super) struct OwnTable(pub(super) OwnedFd);

/// Exit codes of the process that makes a mount: below this an error number, from this on a descriptor's.
const DESCRIPTORS_FROM: i32 = 128;

/// Opens it.
///
/// Beside guests in namespaces as a mount of its own, attached to nothing, so that its root is where every way up ends.
/// Making one takes a capability; an ordinary user has it in a user namespace of its own, from which there is no way into
/// the session's. So a process is there for a moment that has one and shares our descriptors.
///
/// Beside guests without namespaces as it is: there is no other root to be kept in.
pub(super) fn open(wall: Wall) -> Result<OwnTable, JailError> {
    let failed = |errno: Errno| JailError::os("open", "the worker's own /proc/self/fd", errno.raw_os_error());
    match wall {
        Wall::Landlock => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(c"/proc/self/fd", flags, Mode::empty()).map(OwnTable).map_err(failed)
        }
        Wall::Namespaces => match clone("/proc/self/fd") {
            Err(Errno::PERM) => clone_from_another(),
            made => made,
        }
        .map(OwnTable)
        .map_err(failed),
    }
}

/// A mount of its own of this directory.
fn clone(path: &str) -> Result<OwnedFd, Errno> {
    rustix::mount::open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
}

/// The same, made by a process in namespaces of its own.
fn clone_from_another() -> Result<OwnedFd, Errno> {
    // As `/proc` counts, which may count otherwise than we do.
    let own = rustix::fs::readlink(c"/proc/self", Vec::new())?;
    let path = format!("/proc/{}/fd", own.to_str().map_err(|_| Errno::INVAL)?);
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: this process has one thread, as `run_as_worker_if_asked` is called before any is started; the flags are
    // without CLONE_VM.
    let pid = match unsafe { sys::fork(flags) }? {
        Side::Child => sys::exit_now(match clone(&path) {
            // Left open: the table is our parent's too.
            Ok(made) => DESCRIPTORS_FROM + std::os::fd::IntoRawFd::into_raw_fd(made),
            Err(errno) => errno.raw_os_error(),
        }),
        Side::Parent(pid) => pid,
    };
    let ended = sys::reap(Some(pid), 0)?.ok_or(Errno::CHILD)?;
    if !libc::WIFEXITED(ended.status) {
        return Err(Errno::CHILD);
    }
    match libc::WEXITSTATUS(ended.status) {
        code @ DESCRIPTORS_FROM.. => {
            // SAFETY: the process that just ended opened this descriptor in the table that we share, close-on-exec, and told
            // nobody else of it; there is one thread here, which waited meanwhile. Its number is small: only the channel
            // and three standard ones came before.
            Ok(unsafe { OwnedFd::from_raw_fd(code - DESCRIPTORS_FROM) })
        }
        errno => Err(Errno::from_raw_os_error(errno)),
    }
}
