//! Resource limits of one process, set before its program starts.
//! It never raises a hard limit: a value above the one in force is clamped to it.

use crate::error::JailError;
use crate::plan::Rlimit;
use crate::sys;
use rustix::io::Errno;

/// Sets the soft and the hard limit of the calling process to `value`, in the unit of setrlimit(2), or leaves the hard
/// limit where it already is lower. Allocates nothing unless it fails.
///
/// # Errors
/// The kernel's answer of getrlimit(2) or setrlimit(2); neither fails for a known resource and a lower value.
pub fn set(resource: Rlimit, value: u64) -> Result<(), JailError> {
    set_number(number(resource), value, name(resource))
}

/// The same for a resource that no plan names.
pub(crate) fn set_number(number: libc::__rlimit_resource_t, value: u64, name: &str) -> Result<(), JailError> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `now` is a live rlimit that the kernel writes once and does not keep.
    if unsafe { libc::getrlimit(number, &raw mut now) } != 0 {
        return Err(JailError::last_os("read limit", name));
    }
    let value = value.min(now.rlim_max);
    let wanted = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: `wanted` is a live rlimit that the kernel only reads.
    if unsafe { libc::setrlimit(number, &raw const wanted) } != 0 {
        return Err(JailError::last_os("set limit", format!("{name} to {value}")));
    }
    Ok(())
}

/// A soft limit that was raised, to be put back in each call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raised(libc::rlimit);

/// Raises the soft limit of open files to the hard one: the recorder has a descriptor for each process of the sandbox.
pub(crate) fn raise_open_files() -> Result<Raised, JailError> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `now` is a live rlimit that the kernel writes once and does not keep.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut now) } != 0 {
        return Err(JailError::last_os("read limit", "open files"));
    }
    let raised = libc::rlimit { rlim_cur: now.rlim_max, ..now };
    // SAFETY: `raised` is a live rlimit that the kernel only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } != 0 {
        return Err(JailError::last_os("raise limit", "open files"));
    }
    Ok(Raised(now))
}

impl Raised {
    /// Puts the limit back, in a call's own process. Allocates nothing.
    pub(crate) fn put_back(self) -> Result<(), Errno> {
        // SAFETY: a live rlimit that the kernel only reads.
        sys::answer(i64::from(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const self.0) })).map(drop)
    }
}

/// Its name in an error.
const fn name(resource: Rlimit) -> &'static str {
    match resource {
        Rlimit::Core => "Core",
        Rlimit::OpenFiles => "OpenFiles",
        Rlimit::Pids => "Pids",
        Rlimit::FileSize => "FileSize",
        Rlimit::LockedMemory => "LockedMemory",
    }
}

/// The kernel's number of a resource.
const fn number(resource: Rlimit) -> libc::__rlimit_resource_t {
    match resource {
        Rlimit::Core => libc::RLIMIT_CORE,
        Rlimit::OpenFiles => libc::RLIMIT_NOFILE,
        Rlimit::Pids => libc::RLIMIT_NPROC,
        Rlimit::FileSize => libc::RLIMIT_FSIZE,
        Rlimit::LockedMemory => libc::RLIMIT_MEMLOCK,
    }
}
