//! Dropping every Linux capability from every set, and `no_new_privs`.
//! It never raises anything, and never believes a call: what was dropped is read back.

use crate::enforced::{Layer, LayerState};
use crate::error::JailError;

/// `_LINUX_CAPABILITY_VERSION_3` (capget(2)).
const VERSION: u32 = 0x2008_0522;

/// Each secure bit but `KEEP_CAPS`, and the lock of each, `KEEP_CAPS`'s too (capabilities(7)): root is no exception,
/// changing ids restores nothing, the ambient set stays empty, and none of this can be undone.
const SECURE_BITS: libc::c_int = libc::SECBIT_NOROOT
    | libc::SECBIT_NOROOT_LOCKED
    | libc::SECBIT_NO_SETUID_FIXUP
    | libc::SECBIT_NO_SETUID_FIXUP_LOCKED
    | libc::SECBIT_KEEP_CAPS_LOCKED
    | libc::SECBIT_NO_CAP_AMBIENT_RAISE
    | libc::SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

/// `CAP_SETPCAP`: needed for the bounding set and the secure bits.
const CAP_SETPCAP: u32 = 8;
/// `CAP_SYS_PTRACE`.
const CAP_SYS_PTRACE: u32 = 19;

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// `struct __user_cap_data_struct`: one half of each of three sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Empties the effective, permitted, inheritable, ambient and bounding sets of the calling thread and locks the secure
/// bits, then reads everything back.
///
/// A process that never had `CAP_SETPCAP` (an ordinary user without a user namespace) cannot empty its bounding set nor
/// set secure bits. With `no_new_privs`, which must be set then, no program file can give it a capability all the same;
/// the layer's detail says so.
///
/// # Errors
/// The kernel's answer, or a set that is not empty afterwards.
pub fn drop_all() -> Result<LayerState, JailError> {
    let powerful = read_sets()?[0].effective & (1 << CAP_SETPCAP) != 0;
    clear_ambient()?;
    if powerful {
        drop_bounding()?;
        prctl(libc::PR_SET_SECUREBITS, SECURE_BITS.cast_unsigned().into(), "lock the secure bits")?;
    }
    write_sets([Half::default(); 2])?;
    verify(powerful)
}

/// The same on gVisor, which has neither an ambient set nor secure bits: as far as it has them, all sets are emptied and
/// read back. `no_new_privs`, which must be set before a guest runs, keeps program files from giving any.
pub(crate) fn drop_all_in_gvisor() -> Result<LayerState, JailError> {
    match clear_ambient() {
        Err(JailError { errno: Some(libc::EINVAL), .. }) => {}
        other => other?,
    }
    drop_bounding()?;
    write_sets([Half::default(); 2])?;
    let left = read_sets()? != [Half::default(); 2];
    let bounded = (0..64).map(bounding).collect::<Result<Vec<_>, _>>()?.contains(&Some(true));
    if left || bounded {
        return Err(JailError::host("drop capabilities", "a set is not empty afterwards"));
    }
    let detail = "four sets empty; gVisor has no ambient set and no secure bits";
    Ok(LayerState::active(Layer::Capabilities).detail(detail))
}

/// Leaves the calling thread one capability, `CAP_SYS_PTRACE`, where it has it, and nothing to gain another by: to read
/// what guests point at, also where they made themselves unreadable for their like.
///
/// # Errors
/// The kernel's answer, or a set that is another afterwards.
pub(crate) fn drop_all_but_reading() -> Result<(), JailError> {
    let had = read_sets()?[0];
    clear_ambient()?;
    if had.effective & (1 << CAP_SETPCAP) != 0 {
        drop_bounding()?;
        prctl(libc::PR_SET_SECUREBITS, SECURE_BITS.cast_unsigned().into(), "lock the secure bits")?;
    }
    let kept = had.permitted & (1 << CAP_SYS_PTRACE);
    let sets = [Half { effective: kept, permitted: kept, inheritable: 0 }, Half::default()];
    write_sets(sets)?;
    if read_sets()? == sets {
        Ok(())
    } else {
        Err(JailError::host("drop capabilities", "the recorder's sets are not what they were set to"))
    }
}

/// Sets `no_new_privs` on the calling thread (prctl(2)) and reads it back.
///
/// # Errors
/// The kernel's answer, or a bit that is not set afterwards.
pub fn set_no_new_privileges() -> Result<LayerState, JailError> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, "set no_new_privs")?;
    if no_new_privileges()? {
        Ok(LayerState::active(Layer::NoNewPrivileges))
    } else {
        Err(JailError::host("set no_new_privs", "the bit reads back as clear"))
    }
}

/// Whether `no_new_privs` is set on the calling thread.
fn no_new_privileges() -> Result<bool, JailError> {
    Ok(prctl(libc::PR_GET_NO_NEW_PRIVS, 0, "read no_new_privs")? == 1)
}

/// Drops each capability that the running kernel knows from the bounding set.
fn drop_bounding() -> Result<(), JailError> {
    for capability in 0..64 {
        match bounding(capability)? {
            None => return Ok(()),
            Some(false) => {}
            Some(true) => {
                prctl(libc::PR_CAPBSET_DROP, capability, "drop from the bounding set")?;
            }
        }
    }
    Ok(())
}

/// Whether the bounding set has a capability; `None` beyond the last one that the kernel knows.
fn bounding(capability: libc::c_ulong) -> Result<Option<bool>, JailError> {
    match prctl(libc::PR_CAPBSET_READ, capability, "read the bounding set") {
        Ok(value) => Ok(Some(value == 1)),
        Err(JailError { errno: Some(libc::EINVAL), .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Empties the ambient set.
fn clear_ambient() -> Result<(), JailError> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL.cast_unsigned().into(), "clear the ambient set")
        .map(drop)
}

/// What must be true afterwards.
fn verify(powerful: bool) -> Result<LayerState, JailError> {
    let left = |set: &str| JailError::host("drop capabilities", format!("the {set} set is not empty afterwards"));
    if read_sets()? != [Half::default(); 2] {
        return Err(left("effective, permitted or inheritable"));
    }
    let mut bounded = 0;
    for capability in 0..64 {
        match bounding(capability)? {
            None => break,
            Some(true) => bounded += 1,
            Some(false) => {}
        }
        let is_set = libc::PR_CAP_AMBIENT_IS_SET.cast_unsigned().into();
        if prctl_two(libc::PR_CAP_AMBIENT, is_set, capability, "read the ambient set")? != 0 {
            return Err(left("ambient"));
        }
    }
    let state = LayerState::active(Layer::Capabilities);
    if powerful {
        if bounded != 0 {
            return Err(left("bounding"));
        }
        if prctl(libc::PR_GET_SECUREBITS, 0, "read the secure bits")? != SECURE_BITS {
            return Err(JailError::host("lock the secure bits", "they read back differently"));
        }
        Ok(state.detail("five sets empty, secure bits locked"))
    } else if no_new_privileges()? {
        Ok(state.detail(format!("four sets empty; {bounded} left in the bounding set, out of reach with no_new_privs")))
    } else {
        Err(JailError::bug("drop capabilities", "no_new_privs comes first where the bounding set cannot be emptied"))
    }
}

/// The effective, permitted and inheritable sets.
fn read_sets() -> Result<[Half; 2], JailError> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: version 3 makes the kernel write exactly two halves, which `halves` has; both pointers live through the
    // call and the kernel keeps neither.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) } != 0 {
        return Err(JailError::last_os("read capabilities", "capget"));
    }
    Ok(halves)
}

/// Sets the effective, permitted and inheritable sets.
fn write_sets(halves: [Half; 2]) -> Result<(), JailError> {
    let mut header = Header { version: VERSION, pid: 0 };
    // SAFETY: version 3 makes the kernel read exactly two halves, which `halves` has; both pointers live through the
    // call and the kernel keeps neither.
    if unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) } != 0 {
        return Err(JailError::last_os("drop capabilities", "capset"));
    }
    Ok(())
}

/// prctl(2) with one argument.
fn prctl(option: libc::c_int, argument: libc::c_ulong, act: &'static str) -> Result<libc::c_int, JailError> {
    prctl_two(option, argument, 0, act)
}

/// prctl(2) with two arguments; the kernel wants the unused ones to be zero.
fn prctl_two(
    option: libc::c_int,
    first: libc::c_ulong,
    second: libc::c_ulong,
    act: &'static str,
) -> Result<libc::c_int, JailError> {
    const ZERO: libc::c_ulong = 0;
    // SAFETY: none of the options used in this file takes a pointer; all five arguments are passed in full width.
    let answer = unsafe { libc::prctl(option, first, second, ZERO, ZERO) };
    if answer < 0 { Err(JailError::last_os(act, "prctl")) } else { Ok(answer) }
}
