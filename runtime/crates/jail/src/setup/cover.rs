//! Files of ours in place of what paths inside show: the resolver's address, trust bundles.
//! It never changes a directory of the host, and never leaves a writable copy.

use super::Room;
use crate::error::{ErrorKind, Fault, JailError};
use crate::mount::{self, Depth, GUARDED, Pending};
use crate::plan::Cover;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where a directory of files that the host lacks is put for a moment.
const STAGED_DIRECTORY: &str = "/.cover";
/// What no covering file is mounted without.
const READ_ONLY: u64 = GUARDED | libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC;

/// Where the file of one cover is while it is being shown.
fn staged(number: usize) -> PathBuf {
    PathBuf::from(format!("/.cover-{number}"))
}

/// Names that a directory of the host lacks, and the covers that bring them.
type Lacking<'plan> = BTreeMap<PathBuf, Vec<(OsString, &'plan Cover)>>;

impl Room {
    /// Shows each file at its paths.
    pub(super) fn cover(&mut self, files: &[Cover]) -> Result<(), JailError> {
        let mut lacking = Lacking::new();
        for (number, cover) in files.iter().enumerate() {
            let staged = staged(number);
            let root = self.root()?;
            write(root.new_file(&staged, cover.mode)?, cover, &staged)?;
            let source = root.existing(&staged)?;
            for path in &cover.paths {
                match root.find(path)? {
                    Some(place) => self.show(source.as_fd(), &place, path)?,
                    // The root is read-only once it is entered: there a name is enough, and cheaper than a mount.
                    None if root.is_ours(path)? && root.link(&staged, path)? => {}
                    None if root.is_ours(path)? => {
                        let place = root.file(path)?;
                        self.show(source.as_fd(), &place, path)?;
                    }
                    None => {
                        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                            return Err(JailError::bug("cover", path.display().to_string()));
                        };
                        lacking.entry(parent.to_owned()).or_default().push((name.to_owned(), cover));
                    }
                }
            }
            // Its mounts outlive its name.
            root.remove(&staged, AtFlags::empty())?;
        }
        lacking.iter().try_for_each(|(parent, names)| self.bring(parent, names))
    }

    fn show(&self, source: BorrowedFd<'_>, place: &OwnedFd, path: &Path) -> Result<(), JailError> {
        if mount::kind_of(place, path)? == FileType::Directory {
            return Err(refused(path, Errno::ISDIR));
        }
        let mut tree = Pending::again(self.kernel, source, Depth::One, path)?;
        tree.restrict(READ_ONLY, path)?;
        self.root()?.mount(&tree, place.as_fd(), path)
    }

    /// Shows a read-only directory of the host again, with these files in it: an overlay of one directory over another.
    fn bring(&self, parent: &Path, names: &[(OsString, &Cover)]) -> Result<(), JailError> {
        let root = self.root()?;
        let below = root.existing(parent)?;
        let flags = rustix::fs::fstatvfs(&below).map_err(|errno| refused(parent, errno))?.f_flag;
        if !flags.contains(StatVfsMountFlags::RDONLY) {
            return Err(JailError::host("create a file in", parent.display().to_string())
                .kind(ErrorKind::TargetMissing)
                .fault(Fault::Operator)
                .hint("it is a directory of the host that the sandbox may write: create the file there first"));
        }
        if root.holds_mounts(parent) {
            // They would be hidden, and what they hide would show.
            return Err(JailError::bug("cover a file in", parent.display().to_string()));
        }
        let mode = rustix::fs::fstat(&below).map_err(|errno| refused(parent, errno))?.st_mode;
        let bytes = names.iter().map(|(_, cover)| cover.content.bytes().len() as u64).sum::<u64>();
        let above = mount::tmpfs(self.kernel, bytes.div_ceil(1 << 20) + 1, mode & 0o7777, GUARDED)?;
        // Overlayfs wants its layers attached, and makes private copies of their mounts.
        let staging = Path::new(STAGED_DIRECTORY);
        let place = root.directory(staging, 0o700)?;
        root.mount(&above, place.as_fd(), staging)?;
        let above = root.existing(staging)?;
        for (name, cover) in names {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let path = parent.join(name);
            let file = rustix::fs::openat(&above, name, flags, Mode::from_raw_mode(cover.mode));
            write(file.map_err(|errno| refused(&path, errno))?, cover, &path)?;
        }
        let exec = if flags.contains(StatVfsMountFlags::NOEXEC) { libc::MOUNT_ATTR_NOEXEC } else { 0 };
        let flags = GUARDED | libc::MOUNT_ATTR_RDONLY | exec;
        let tree = super::screen(self.kernel, &above, &below, flags)
            .map_err(|errno| refused(parent, errno).kind(ErrorKind::OverlayRefused))?;
        root.mount(&tree, below.as_fd(), parent)?;
        root.unmount(staging)?;
        root.remove(staging, AtFlags::REMOVEDIR)
    }
}

fn write(file: OwnedFd, cover: &Cover, path: &Path) -> Result<(), JailError> {
    let written = File::from(file).write_all(cover.content.bytes());
    written.map_err(|error| JailError::io("write", path.display().to_string(), &error))
}

fn refused(path: &Path, errno: Errno) -> JailError {
    JailError::os("cover", path.display().to_string(), errno.raw_os_error())
}
