//! Names that a guest said, as the kernel resolves them at that moment: the account of what changed has only such names.
//! It never follows a link of `/proc` that leads elsewhere for us than for the guest, and decides nothing by what it finds.

use super::event::Bounded;
use super::guest::Proc;
use super::open::PATH_BYTES_MAX;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use std::os::fd::AsFd as _;

/// What becomes of a link in the last place of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// It is what is meant.
    Kept,
    /// What it leads to is meant.
    Followed,
}

/// Where a name leads that begins in this directory of a thread. The directories in it are named as the kernel names
/// them, without links and `..`; what cannot be resolved stays as it was said, after the directory that it begins in.
pub(super) fn resolved(proc: &Proc, thread: u32, directory: i32, said: Bounded, last: Last) -> Bounded {
    if said.cut {
        return joined(proc, thread, directory, said);
    }
    if last == Last::Followed
        && let Some(bytes) = place(proc, thread, directory, &said.bytes)
    {
        return Bounded { bytes, cut: false };
    }
    let end = said.bytes.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let name = said.bytes.get(..end).unwrap_or_default();
    let (above, own) = match name.iter().rposition(|byte| *byte == b'/') {
        Some(0) => (&b"/"[..], name.get(1..)),
        Some(at) => (name.get(..at).unwrap_or_default(), name.get(at + 1..)),
        // The directory that it begins in has the kernel's name already.
        None => return joined(proc, thread, directory, said),
    };
    let own = own.filter(|own| !matches!(*own, b"" | b"." | b".."));
    match (own, place(proc, thread, directory, above)) {
        (Some(own), Some(above)) => Bounded { bytes: below(above, own), cut: false },
        (None, _) | (_, None) => joined(proc, thread, directory, said),
    }
}

/// A name after the directory that it begins in. Nothing is resolved: `..` and links stay what they are.
pub(super) fn joined(proc: &Proc, thread: u32, directory: i32, said: Bounded) -> Bounded {
    if said.bytes.first() == Some(&b'/') {
        return said;
    }
    let mut base = [0; PATH_BYTES_MAX];
    let length = proc.base_name(thread, directory, &mut base).unwrap_or(0);
    let base = base.get(..length).unwrap_or_default().to_vec();
    let bytes =
        if base.is_empty() || said.bytes.is_empty() { [base, said.bytes].concat() } else { below(base, &said.bytes) };
    Bounded { bytes, cut: said.cut }
}

/// How the kernel names what is at a path now.
fn place(proc: &Proc, thread: u32, directory: i32, path: &[u8]) -> Option<Vec<u8>> {
    let base = if path.first() == Some(&b'/') { None } else { Some(proc.base(thread, directory).ok()?) };
    let base = base.as_ref().map_or(CWD, |base| base.as_fd());
    let (flags, how) = (OFlags::PATH | OFlags::CLOEXEC, ResolveFlags::NO_MAGICLINKS);
    let file = rustix::fs::openat2(base, path, flags, Mode::empty(), how).ok()?;
    let mut name = [0; PATH_BYTES_MAX];
    let length = proc.name_of(&file, &mut name).ok()?;
    name.get(..length).map(<[u8]>::to_vec)
}

fn below(mut above: Vec<u8>, name: &[u8]) -> Vec<u8> {
    if above.last() != Some(&b'/') {
        above.push(b'/');
    }
    above.extend_from_slice(name);
    above
}
