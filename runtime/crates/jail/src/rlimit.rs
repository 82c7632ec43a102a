//! Resource limits of one process, set before its program starts.
//! It never raises a limit: a value above the hard limit in force is clamped to it.

use crate::error::JailError;
use crate::plan::Rlimit;

/// Sets the soft and the hard limit of the calling process to `value`, in the unit of setrlimit(2), or leaves the hard
/// limit where it already is lower. Allocates nothing unless it fails.
///
/// # Errors
/// The kernel's answer of getrlimit(2) or setrlimit(2); neither fails for a known resource and a lower value.
pub fn set(resource: Rlimit, value: u64) -> Result<(), JailError> {
    let number = number(resource);
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `now` is a live rlimit that the kernel writes once and does not keep.
    if unsafe { libc::getrlimit(number, &raw mut now) } != 0 {
        return Err(JailError::last_os("read limit", format!("{resource:?}")));
    }
    let value = value.min(now.rlim_max);
    let wanted = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: `wanted` is a live rlimit that the kernel only reads.
    if unsafe { libc::setrlimit(number, &raw const wanted) } != 0 {
        return Err(JailError::last_os("set limit", format!("{resource:?} to {value}")));
    }
    Ok(())
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
