//! What is shown read-only of the host on gVisor, which empties a file that is opened with `O_TRUNC` before it asks whether
//! the mount may be written, in whatever way it is mounted; but not what lies under an overlay.
//! It never shows such a file itself, and never changes one.

use super::overlays::screen;
use super::{Room, SCREEN_EMPTY};
use crate::error::{Fault, JailError};
use crate::mount::{self, Depth, Pending};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// Longest file that is copied, bytes: what holds all of them is small, and in memory.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Where a copy is, and where it is shown through an overlay, until it is mounted; the mount outlives the names.
const COPIES: &str = "/.copies";
const COPY: &str = "/.copies/file";
const SHOWN: &str = "/.read-only";
const SHOWN_COPY: &str = "/.read-only/file";

impl Room {
    /// Shows it at `place`: a directory through an overlay that has no layer to write to, a file as a copy of this moment.
    /// `false` for what is neither, and cannot be emptied.
    pub(super) fn show_read_only(
        &self,
        source: &OwnedFd,
        place: &OwnedFd,
        target: &Path,
        flags: u64,
    ) -> Result<bool, JailError> {
        let root = self.root()?;
        let flags = flags | libc::MOUNT_ATTR_RDONLY;
        match mount::kind_of(source, target)? {
            FileType::Directory => self.through_overlay(source, place, target, flags)?,
            FileType::RegularFile => {
                let copies = self.copied(source, target)?;
                let shown = root.directory(Path::new(SHOWN), 0o700)?;
                self.through_overlay(&copies, &shown, target, flags)?;
                let copy = root.existing(Path::new(SHOWN_COPY))?;
                let mut tree = Pending::again(self.kernel, copy.as_fd(), Depth::One, target)?;
                tree.restrict(flags, target)?;
                root.mount(&tree, place.as_fd(), target)?;
                root.unmount(Path::new(SHOWN))?;
                root.remove(Path::new(SHOWN), AtFlags::REMOVEDIR)?;
                root.remove(Path::new(COPY), AtFlags::empty())?;
                root.remove(Path::new(COPIES), AtFlags::REMOVEDIR)?;
            }
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => return Ok(false),
        }
        Ok(true)
    }

    fn through_overlay(&self, lower: &OwnedFd, place: &OwnedFd, target: &Path, flags: u64) -> Result<(), JailError> {
        let root = self.root()?;
        let empty = root.directory(Path::new(SCREEN_EMPTY), 0o755)?;
        let tree = screen(self.kernel, lower, &empty, flags)
            .map_err(|errno| JailError::os("show read-only", target.display().to_string(), errno.raw_os_error()))?;
        root.mount(&tree, place.as_fd(), target)
    }

    /// The directory of a copy in the new root, with the same permission bits; empty and closed where we may not read it, as a guest may not.
    fn copied(&self, source: &OwnedFd, target: &Path) -> Result<OwnedFd, JailError> {
        let failed = |errno: Errno| JailError::os("copy", target.display().to_string(), errno.raw_os_error());
        let status = rustix::fs::fstat(source).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let (content, mode) = match rustix::fs::open(mount::name(source.as_fd()), flags, Mode::empty()) {
            Err(Errno::ACCESS) => (Vec::new(), 0),
            Err(errno) => return Err(failed(errno)),
            Ok(file) => {
                let mut content = Vec::new();
                let read = File::from(file).take(FILE_BYTES_MAX + 1).read_to_end(&mut content);
                read.map_err(|error| JailError::io("copy", target.display().to_string(), &error))?;
                (content, status.st_mode & 0o777)
            }
        };
        if u64::try_from(content.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
            let what = format!("\"{}\", which is longer than {FILE_BYTES_MAX} bytes,", target.display());
            let error = JailError::host("show read-only on gVisor", what).fault(Fault::Operator);
            return Err(error.hint("gVisor shows single files of the host as copies: grant its directory"));
        }
        let root = self.root()?;
        let copies = root.directory(Path::new(COPIES), 0o700)?;
        let mut copy = File::from(root.new_file(Path::new(COPY), mode)?);
        copy.write_all(&content).map_err(|error| JailError::io("copy", target.display().to_string(), &error))?;
        Ok(copies)
    }
}
