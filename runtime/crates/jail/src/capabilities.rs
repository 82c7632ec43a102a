//! Dropping every Linux capability from every set, and `no_new_privs`.
//! It never raises anything, and never believes a call: what was dropped is read back.

use crate::enforced::LayerState;
use crate::error::JailError;

/// Empties the five sets of the calling thread and locks the secure bits.
///
/// # Errors
/// The kernel's answer, or a set that is not empty afterwards.
pub fn drop_all() -> Result<LayerState, JailError> {
    Err(JailError::bug("drop", "capabilities"))
}

/// Sets `no_new_privs` on the calling thread (prctl(2)).
///
/// # Errors
/// The kernel's answer, or a bit that is not set afterwards.
pub fn set_no_new_privileges() -> Result<LayerState, JailError> {
    Err(JailError::bug("set", "no_new_privs"))
}
