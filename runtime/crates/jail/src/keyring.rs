//! A session keyring of the sandbox's own, so that keys which the host's session holds cannot be found from inside.
//! It never adds, reads or searches a key; seccomp refuses those calls to the guest.

use crate::enforced::{Layer, LayerState};
use crate::error::JailError;

/// Replaces the session keyring of the calling process by a new, empty, anonymous one (keyctl(2)).
///
/// # Errors
/// The kernel's answer, except for a kernel without keyrings (`ENOSYS`), where there is nothing to hide: that is a
/// layer that is absent, and says so.
pub fn join_new() -> Result<LayerState, JailError> {
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING with a null name reads no memory of ours: it makes an anonymous keyring.
    let serial = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, 0_usize) };
    if serial >= 0 {
        return Ok(LayerState::active(Layer::Keyring));
    }
    let error = std::io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOSYS) => Ok(LayerState::absent(Layer::Keyring, "the kernel has no keyrings")),
        // Docker's default seccomp list answers so: the guest's keyring calls get the same answer, from it and from us.
        Some(libc::EPERM) => Ok(LayerState::degraded(
            Layer::Keyring,
            "an outer sandbox refuses keyctl; ours refuses it to the guest too",
        )),
        _ => Err(JailError::io("join a new session keyring", "keyctl", &error)),
    }
}
