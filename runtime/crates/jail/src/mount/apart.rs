//! The mounts of a process that is alone in its mount namespace, on gVisor's kernel: all of them read-only, and its `/proc`.
//! It never takes away what lies over something else, and never believes that a mount was restricted before it has looked.

use super::pending::{mount_flags, name};
use super::table::Table;
use super::{GUARDED, os};
use crate::error::JailError;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// Where processes are shown.
const PROC: &str = "/proc";

/// A `/proc` that knows the calling process, over that of the guests.
pub(crate) struct OwnProc(());

impl OwnProc {
    /// Mounts it; there is a directory for it in every plan with namespaces.
    pub(crate) fn mount() -> Result<Self, JailError> {
        let flags = mount_flags(GUARDED | libc::MOUNT_ATTR_NOEXEC);
        rustix::mount::mount("proc", PROC, "proc", flags, c"").map_err(failed("mount"))?;
        Ok(Self(()))
    }

    /// The descriptors of the calling process as a directory that is the root of a mount, attached to nothing: every way up
    /// ends there.
    pub(crate) fn descriptors(&self) -> Result<OwnedFd, JailError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &str| rustix::fs::open(path, flags, Mode::empty());
        let table = open("/proc/self/fd").map_err(failed("open the descriptors in"))?;
        rustix::mount::mount_bind(name(table.as_fd()), PROC).map_err(failed("mount the descriptors on"))?;
        let alone = open(PROC).map_err(failed("open the descriptors on"))?;
        rustix::mount::unmount(PROC, UnmountFlags::DETACH).map_err(failed("take the descriptors from"))?;
        Ok(alone)
    }

    /// Makes every mount read-only that a path leads to, and looks whether each is.
    pub(crate) fn make_everything_read_only(&self) -> Result<(), JailError> {
        let read = || Table::read().map_err(|errno| os("read the mounts in", Path::new(PROC), errno));
        for mount in read()?.within_reach() {
            // What is not said again is taken back.
            let flags = MountFlags::BIND | mount_flags(mount.flags | libc::MOUNT_ATTR_RDONLY);
            rustix::mount::mount_remount(&mount.place, flags, c"")
                .map_err(|errno| os("mount read-only", &mount.place, errno))?;
        }
        match read()?.within_reach().find(|mount| mount.flags & libc::MOUNT_ATTR_RDONLY == 0) {
            None => Ok(()),
            Some(mount) => Err(os("mount read-only", &mount.place, Errno::BUSY)),
        }
    }

    /// Takes it away, and shows nothing in its place.
    pub(crate) fn leave_nothing(self) -> Result<(), JailError> {
        rustix::mount::unmount(PROC, UnmountFlags::DETACH).map_err(failed("take away"))?;
        let flags = mount_flags(GUARDED | libc::MOUNT_ATTR_NOEXEC | libc::MOUNT_ATTR_RDONLY);
        rustix::mount::mount("tmpfs", PROC, "tmpfs", flags, c"size=4k,mode=555").map_err(failed("cover"))
    }
}

fn failed(act: &'static str) -> impl Fn(Errno) -> JailError {
    move |errno| os(act, Path::new(PROC), errno)
}
