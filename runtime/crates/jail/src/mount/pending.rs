//! What is about to be mounted: detached already on the host's kernel, or, on one without detached mounts, noted down.
//! It never mounts on anything but what a descriptor refers to, and never leaves a mount with fewer restrictions than noted.

use super::table::Table;
use super::{Depth, FLAGS, attach, restrict, source_error, symlink_source};
use crate::error::JailError;
use crate::kernel::Kernel;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A mount that is on its way.
#[derive(Debug)]
pub(crate) enum Pending {
    /// A detached one.
    Detached(OwnedFd),
    /// One that mount(2) will make, with these flags.
    Noted(What, u64),
}

/// What mount(2) will mount. (`MOUNT_ATTR_*` and `MS_*` are the same numbers where we use them, see [`FLAGS`].)
#[derive(Debug)]
pub(crate) enum What {
    /// What a descriptor refers to.
    Again(OwnedFd, Depth),
    /// A new file system with these options.
    New { kind: &'static str, options: String },
}

impl Pending {
    /// What is at a path outside of the new root, which must not be a symbolic link itself, to be mounted by name.
    pub(crate) fn of_path(path: &Path, depth: Depth) -> Result<(Self, FileType), JailError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|errno| source_error(path, errno))?;
        let kind = super::kind_of(&fd, path)?;
        if kind == FileType::Symlink {
            return Err(symlink_source(path));
        }
        Ok((Self::Noted(What::Again(fd, depth), 0), kind))
    }

    /// What it shows, where that is in what an engine mounted into the container, and not in its image: on gVisor alone.
    pub(crate) fn of_an_engines_mount(&self, path: &Path) -> Result<Option<&OwnedFd>, JailError> {
        let Self::Noted(What::Again(source, _), _) = self else { return Ok(None) };
        let failed =
            |errno: Errno| JailError::os("find the mount of", path.display().to_string(), errno.raw_os_error());
        let place = rustix::fs::readlink(name(source.as_fd()), Vec::new()).map_err(failed)?;
        let place = Path::new(OsStr::from_bytes(place.as_bytes()));
        let table = Table::read().map_err(failed)?;
        Ok(Some(source).filter(|_| table.leads_into_a_mount(place)))
    }

    /// What a descriptor refers to, once more.
    pub(crate) fn again(kernel: Kernel, fd: BorrowedFd<'_>, depth: Depth, path: &Path) -> Result<Self, JailError> {
        match kernel {
            Kernel::Host => super::clone_descriptor(fd, depth, path).map(Self::Detached),
            Kernel::Gvisor => {
                let fd =
                    fd.try_clone_to_owned().map_err(|error| JailError::io("hold", path.display().to_string(), &error));
                Ok(Self::Noted(What::Again(fd?, depth), 0))
            }
        }
    }

    /// A new file system.
    pub(crate) fn new_file_system(
        kernel: Kernel,
        kind: &'static str,
        options: &[(&str, &str)],
        flags: u64,
    ) -> Result<Self, Errno> {
        match kernel {
            Kernel::Host => super::new_file_system(kind, options, flags).map(Self::Detached),
            Kernel::Gvisor => {
                let options = options.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
                Ok(Self::Noted(What::New { kind, options }, flags))
            }
        }
    }

    /// Sets flags on all of it.
    pub(crate) fn restrict(&mut self, set: u64, path: &Path) -> Result<(), JailError> {
        match self {
            Self::Detached(tree) => restrict(tree.as_fd(), set, path),
            Self::Noted(_, flags) => {
                *flags |= set;
                Ok(())
            }
        }
    }

    /// Puts it onto what `target` refers to.
    pub(crate) fn attach(&self, target: BorrowedFd<'_>) -> Result<(), Errno> {
        match self {
            Self::Detached(tree) => attach(tree.as_fd(), target),
            Self::Noted(What::Again(source, depth), flags) => again(source.as_fd(), *depth, target, *flags),
            Self::Noted(What::New { kind, options }, flags) => {
                let options = CString::new(options.as_str()).map_err(|_| Errno::INVAL)?;
                rustix::mount::mount(*kind, name(target), *kind, mount_flags(*flags), options.as_c_str())
            }
        }
    }
}

/// Keeps what is mounted from now on apart from everybody else.
pub(crate) fn make_everything_private() -> Result<(), Errno> {
    rustix::mount::mount_change(c"/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
}

/// Sets flags on the one mount that a descriptor is the root of.
pub(crate) fn restrict_one(mount: BorrowedFd<'_>, flags: u64) -> Result<(), Errno> {
    rustix::mount::mount_remount(name(mount), MountFlags::BIND | mount_flags(flags), c"")
}

/// A descriptor by its name: links on the way to what it refers to play no part.
pub(crate) fn name(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

pub(super) fn mount_flags(flags: u64) -> MountFlags {
    MountFlags::from_bits_retain(u32::try_from(flags & FLAGS).expect("four bits"))
}

/// A bind takes no flags: they are set on each mount that came of it, before anything else is done.
fn again(source: BorrowedFd<'_>, depth: Depth, target: BorrowedFd<'_>, flags: u64) -> Result<(), Errno> {
    let before = Table::read()?;
    match depth {
        Depth::Recursive => rustix::mount::mount_bind_recursive(name(source), name(target))?,
        Depth::One => rustix::mount::mount_bind(name(source), name(target))?,
    }
    if flags == 0 {
        return Ok(());
    }
    let after = Table::read()?;
    let mut made = after.but(&before).peekable();
    if made.peek().is_none() {
        return Err(Errno::NOENT);
    }
    made.try_for_each(|mount| {
        // What is not said again is taken back.
        let flags = MountFlags::BIND | mount_flags(flags | mount.flags);
        match rustix::mount::mount_remount(&mount.place, flags, c"") {
            // Nobody reaches it by any path, and nobody inside can take away what lies over it.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL) if after.is_covered(mount) => Ok(()),
            other => other,
        }
    })
}
