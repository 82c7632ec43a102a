//! Memory for keys: kept out of swap, core dumps and children, and wiped when it is given back.
//! It never grows, moves or copies what it holds.

use crate::error::JailError;
use crate::sys;
use rustix::io::Errno;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, compiler_fence};

/// Bytes on pages of their own. Their `Debug` text is their length.
pub struct LockedBytes {
    at: NonNull<u8>,
    /// What mmap(2) was asked for.
    mapped: usize,
    len: usize,
    residency: Residency,
}

/// Whether the kernel may write such pages to swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residency {
    /// It may not.
    Locked,
    /// It may: the limit of locked memory (`RLIMIT_MEMLOCK`) is reached.
    Swappable,
}

// SAFETY: the mapping belongs to this value alone, has no thread affinity, and is only written through `&mut self`.
unsafe impl Send for LockedBytes {}
// SAFETY: through `&self` the bytes are only read.
unsafe impl Sync for LockedBytes {}

impl LockedBytes {
    /// Pages for `len` zero bytes.
    ///
    /// # Errors
    /// Host: there is no memory, or the kernel does not keep it out of dumps and children. Locking alone may fail: its
    /// limit is small for ordinary users; [`Self::residency`] says so.
    pub fn zeroed(len: usize) -> Result<Self, JailError> {
        let fail = |act: &'static str| move |errno: Errno| JailError::os(act, "memory for a key", errno.raw_os_error());
        // The kernel rounds up to whole pages, here and in every call below.
        let mapped = len.max(1);
        let at = map(mapped).map_err(fail("map"))?;
        // From here on it is unmapped by `drop`, whatever fails.
        let mut made = Self { at, mapped, len, residency: Residency::Swappable };
        made.advise(libc::MADV_DONTDUMP).map_err(fail("keep out of dumps"))?;
        // Wiped and not unmapped in children: one that touches it shall see zeros, and not die of it.
        made.advise(libc::MADV_WIPEONFORK).map_err(fail("keep out of children"))?;
        made.residency = made.lock();
        Ok(made)
    }

    /// Takes the bytes over, and wipes where they were.
    ///
    /// # Errors
    /// As [`Self::zeroed`]; then they are wiped all the same.
    pub fn take(from: &mut [u8]) -> Result<Self, JailError> {
        let made = Self::zeroed(from.len()).map(|mut made| {
            made.as_mut_slice().copy_from_slice(from);
            made
        });
        wipe(from);
        made
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `at` is the start of a readable mapping of at least `len` initialised bytes (fresh pages are zero) that
        // lives as long as `self`; nobody writes it while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }

    /// The bytes, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, the mapping is writable, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether they can get into swap.
    pub fn residency(&self) -> Residency {
        self.residency
    }

    fn advise(&self, advice: i32) -> Result<(), Errno> {
        // SAFETY: the range is exactly our own mapping; neither advice used here changes its present contents
        // (madvise(2)).
        let result = unsafe { libc::madvise(self.at.as_ptr().cast(), self.mapped, advice) };
        sys::answer(i64::from(result)).map(drop)
    }

    fn lock(&self) -> Residency {
        // SAFETY: the range is exactly our own mapping; locking changes where it lives and nothing else (mlock(2)).
        let result = unsafe { libc::mlock(self.at.as_ptr().cast(), self.mapped) };
        if result == 0 { Residency::Locked } else { Residency::Swappable }
    }
}

impl Drop for LockedBytes {
    fn drop(&mut self) {
        wipe(self.as_mut_slice());
        // SAFETY: the range is exactly the mapping that `zeroed` made; no reference into it outlives `self`.
        let result = unsafe { libc::munmap(self.at.as_ptr().cast(), self.mapped) };
        assert_eq!(result, 0, "munmap(2) fails only for a range that is not a mapping");
    }
}

impl fmt::Debug for LockedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockedBytes({} bytes)", self.len)
    }
}

/// From here on nobody but root can trace this process or read its memory, and it leaves no core dump. Its children are
/// as they would have been: exec resets both.
///
/// # Errors
/// Host: the kernel refuses. Then no key may be loaded.
pub fn never_dump_this_process() -> Result<(), JailError> {
    let fail = |errno: Errno| JailError::os("make undumpable", "this process", errno.raw_os_error());
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).map_err(fail)
}

fn map(bytes: usize) -> Result<NonNull<u8>, Errno> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: the kernel chooses a free range, so that no existing memory changes; there is no file (mmap(2)).
    let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOMEM));
    }
    NonNull::new(at.cast()).ok_or(Errno::NOMEM)
}

/// Writes zeros that the compiler must not leave out.
fn wipe(bytes: &mut [u8]) {
    for byte in bytes.iter_mut() {
        // SAFETY: `byte` is a valid, exclusive reference to a plain byte.
        unsafe { std::ptr::write_volatile(byte, 0) };
    }
    compiler_fence(Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line `VmFlags` of the mapping that holds an address.
    fn flags_of(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("Linux has it");
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let range = range.and_then(|(from, to)| {
                Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?)
            });
            match range {
                Some(range) => inside = range.contains(&address),
                None if inside && line.starts_with("VmFlags:") => return line.to_owned(),
                None => {}
            }
        }
        panic!("no mapping holds {address:x}");
    }

    #[test]
    fn keys_are_kept_out_of_dumps_and_children() {
        let mut source = *b"not a real key";
        let held = LockedBytes::take(&mut source).expect("memory");
        assert_eq!(source, [0; 14], "where it was is wiped");
        assert_eq!(held.as_slice(), b"not a real key");
        let flags = flags_of(held.as_slice().as_ptr().addr());
        assert!(flags.contains(" dd"), "MADV_DONTDUMP: {flags}");
        assert!(flags.contains(" wf"), "MADV_WIPEONFORK: {flags}");
        assert_eq!(flags.contains(" lo"), held.residency() == Residency::Locked, "{flags}");
        assert_eq!(format!("{held:?}"), "LockedBytes(14 bytes)");
    }

    #[test]
    fn no_bytes_are_bytes_too() {
        assert!(LockedBytes::zeroed(0).expect("memory").is_empty());
    }
}
