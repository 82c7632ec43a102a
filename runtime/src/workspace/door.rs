//! The door to the file system: entries by name in an open directory, never through a symlink.
//! It never takes a path of more than one component from a guest, and decides nothing.

use super::error::{Named, Result};
use super::path::RelPath;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Longest extended attribute list or value that Linux has, bytes (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const XATTR_BYTES_MAX: usize = 65_536;

/// Overlayfs's mark of a directory that hides what is below it, where an ordinary user mounts (`userxattr`).
pub(super) const OPAQUE: &[u8] = b"user.overlay.opaque";

type Sys<T> = std::result::Result<T, Errno>;

/// A moment by the kernel's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds since 1970.
    pub s: i64,
    /// And nanoseconds.
    pub ns: u32,
}

/// What kind of thing an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    Device,
    /// A character device 0:0, overlayfs's mark for "deleted".
    Whiteout,
}

/// What lstat(2) says, in fixed widths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) nlink: u64,
    pub(super) atime: Time,
    pub(super) mtime: Time,
    pub(super) ctime: Time,
}

impl Stat {
    /// Permission bits with setuid, setgid and sticky.
    pub(super) fn bits(&self) -> u32 {
        self.mode & 0o7777
    }
    pub(super) fn inode(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }
    pub(super) fn is_dir(&self) -> bool {
        self.kind == Kind::Directory
    }
}

impl From<fs::Stat> for Stat {
    fn from(raw: fs::Stat) -> Self {
        let kind = match FileType::from_raw_mode(raw.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::CharacterDevice if raw.st_rdev == 0 => Kind::Whiteout,
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => Kind::Device,
        };
        let time = |s: i64, ns: u64| Time { s, ns: u32::try_from(ns).unwrap_or(0) };
        // The field types differ between architectures; `from`/`try_from` keep this the same on all of them.
        #[expect(clippy::useless_conversion, reason = "nlink and dev are 32 bits wide on some architectures")]
        Self {
            kind,
            mode: raw.st_mode,
            uid: raw.st_uid,
            gid: raw.st_gid,
            size: u64::try_from(raw.st_size).unwrap_or(0),
            dev: u64::from(raw.st_dev),
            ino: u64::from(raw.st_ino),
            nlink: u64::from(raw.st_nlink),
            atime: time(raw.st_atime, raw.st_atime_nsec),
            mtime: time(raw.st_mtime, raw.st_mtime_nsec),
            ctime: time(raw.st_ctime, raw.st_ctime_nsec),
        }
    }
}

/// An open directory.
#[derive(Debug)]
pub(super) struct Dir(OwnedFd);

const BASE: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW);
const LIST: OFlags = BASE.union(OFlags::DIRECTORY).union(OFlags::RDONLY);

/// Reads xattrs of an open file; the handle of [`Dir::open_file`].
pub(super) type Handle = OwnedFd;

impl Dir {
    /// Opens a directory that the operator named; the only place where symlinks are followed.
    pub(super) fn open_ambient(path: &Path) -> Result<Self> {
        let flags = OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::RDONLY;
        fs::open(path, flags, Mode::empty()).map(Self).named("open directory", || path.display())
    }

    pub(super) fn child(&self, name: &[u8]) -> Sys<Self> {
        fs::openat(&self.0, name, LIST, Mode::empty()).map(Self)
    }

    /// The directory at `path` below this one, component by component: a symlink anywhere is an error, and nothing
    /// but names read from directories is ever looked up, so nothing can lead outside.
    pub(super) fn walk(&self, path: Option<&RelPath>) -> Sys<Self> {
        let flags = BASE.union(OFlags::DIRECTORY).union(OFlags::PATH);
        let mut here = None;
        if let Some(path) = path {
            for name in path.components() {
                let at = here.as_ref().unwrap_or(&self.0);
                here = Some(fs::openat(at, name, flags, Mode::empty())?);
            }
        }
        // `.` of a descriptor is that directory; this turns O_PATH into one that can be listed and synced.
        fs::openat(here.as_ref().unwrap_or(&self.0), ".", LIST, Mode::empty()).map(Self)
    }

    /// Like [`Self::walk`] for the directory that holds `path`.
    pub(super) fn walk_to_parent(&self, path: &RelPath) -> Sys<Self> {
        self.walk(path.parent().as_ref())
    }

    /// `None` if there is no such entry.
    pub(super) fn stat(&self, name: &[u8]) -> Sys<Option<Stat>> {
        match fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(raw) => Ok(Some(raw.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    pub(super) fn stat_self(&self) -> Sys<Stat> {
        fs::fstat(&self.0).map(Stat::from)
    }

    /// The entry at `path`; `None` if it or a directory above it is missing or not a directory.
    pub(super) fn stat_at(&self, path: &RelPath) -> Sys<Option<Stat>> {
        match self.walk_to_parent(path) {
            Ok(parent) => parent.stat(path.name()),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The names in this directory, sorted, without `.` and `..`.
    pub(super) fn names(&self) -> Sys<Vec<Box<[u8]>>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.into());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Opens a regular file for reading. A fifo put in its place is not waited for.
    pub(super) fn open_file(&self, name: &[u8]) -> Sys<Handle> {
        let fd = fs::openat(&self.0, name, BASE | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())?;
        match Stat::from(fs::fstat(&fd)?).kind {
            Kind::File => Ok(fd),
            Kind::Directory | Kind::Symlink | Kind::Fifo | Kind::Socket | Kind::Device | Kind::Whiteout => {
                Err(Errno::INVAL)
            }
        }
    }

    pub(super) fn create_file(&self, name: &[u8]) -> Sys<Handle> {
        fs::openat(&self.0, name, BASE | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR)
    }

    pub(super) fn make_dir(&self, name: &[u8], bits: u32) -> Sys<()> {
        fs::mkdirat(&self.0, name, Mode::from_raw_mode(bits))
    }

    pub(super) fn make_symlink(&self, name: &[u8], target: &[u8]) -> Sys<()> {
        fs::symlinkat(target, &self.0, name)
    }

    /// Overlayfs's mark for "deleted", which takes no privilege to make (mknod(2)).
    pub(super) fn make_whiteout(&self, name: &[u8]) -> Sys<()> {
        fs::mknodat(&self.0, name, FileType::CharacterDevice, Mode::empty(), 0)
    }

    pub(super) fn read_link(&self, name: &[u8]) -> Sys<Vec<u8>> {
        fs::readlinkat(&self.0, name, Vec::new()).map(|target| target.into_bytes())
    }

    pub(super) fn link(&self, name: &[u8], to: &Self, new: &[u8]) -> Sys<()> {
        fs::linkat(&self.0, name, &to.0, new, AtFlags::empty())
    }

    /// Swaps two entries; `INVAL` where the file system cannot.
    pub(super) fn exchange(&self, name: &[u8], other: &[u8]) -> Sys<()> {
        fs::renameat_with(&self.0, name, &self.0, other, RenameFlags::EXCHANGE)
    }

    /// Waits until nobody else holds this directory's lock; it is held until the directory is closed.
    pub(super) fn lock(&self) -> Sys<()> {
        fs::flock(&self.0, fs::FlockOperation::LockExclusive)
    }

    /// Takes the lock, or returns false if somebody holds it.
    pub(super) fn try_lock(&self) -> Sys<bool> {
        match fs::flock(&self.0, fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    pub(super) fn rename_over(&self, name: &[u8], new: &[u8]) -> Sys<()> {
        fs::renameat(&self.0, name, &self.0, new)
    }

    /// Fails with `EXIST` rather than replace anything.
    pub(super) fn rename_new(&self, name: &[u8], to: &Self, new: &[u8]) -> Sys<()> {
        match fs::renameat_with(&self.0, name, &to.0, new, RenameFlags::NOREPLACE) {
            // A file system that does not know the flag (NFS, some FUSE): look, then rename.
            Err(Errno::INVAL) => match to.stat(new)? {
                Some(_) => Err(Errno::EXIST),
                None => fs::renameat(&self.0, name, &to.0, new),
            },
            other => other,
        }
    }

    pub(super) fn unlink(&self, name: &[u8]) -> Sys<()> {
        fs::unlinkat(&self.0, name, AtFlags::empty())
    }

    pub(super) fn remove_dir(&self, name: &[u8]) -> Sys<()> {
        fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)
    }

    pub(super) fn set_owner(&self, name: &[u8], uid: u32, gid: u32) -> Sys<()> {
        let (uid, gid) = (fs::Uid::from_raw(uid), fs::Gid::from_raw(gid));
        fs::chownat(&self.0, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
    }

    pub(super) fn set_times(&self, name: &[u8], accessed: Time, modified: Time) -> Sys<()> {
        let spec = |time: Time| Timespec { tv_sec: time.s, tv_nsec: i64::from(time.ns) };
        let times = Timestamps { last_access: spec(accessed), last_modification: spec(modified) };
        fs::utimensat(&self.0, name, &times, AtFlags::SYMLINK_NOFOLLOW)
    }

    pub(super) fn sync(&self) -> Sys<()> {
        fs::fsync(&self.0)
    }

    /// The kind of file system, `f_type` of statfs(2).
    pub(super) fn file_system(&self) -> Sys<u64> {
        #[expect(clippy::cast_sign_loss, reason = "a magic number of 32 bits, signed on some architectures")]
        fs::fstatfs(&self.0).map(|stat| stat.f_type as u64 & 0xffff_ffff)
    }

    /// Everything of the file system that holds this directory.
    pub(super) fn sync_file_system(&self) -> Sys<()> {
        fs::syncfs(&self.0)
    }

    /// Changes the permission bits of an entry that may not be openable at all, without following it: the inode is
    /// pinned with O_PATH first, and `/proc/self/fd` leads to that inode and nothing else.
    pub(super) fn set_bits(&self, name: &[u8], bits: u32) -> Sys<()> {
        let pinned = self.pin(name)?;
        if Stat::from(fs::fstat(&pinned)?).kind == Kind::Symlink {
            return Err(Errno::LOOP);
        }
        fs::chmod(through_proc(&pinned), Mode::from_raw_mode(bits))
    }

    fn pin(&self, name: &[u8]) -> Sys<OwnedFd> {
        fs::openat(&self.0, name, BASE | OFlags::PATH, Mode::empty())
    }

    /// `user.*` attributes of an entry, overlayfs's own left out, sorted. Only files and directories have any.
    pub(super) fn xattrs(&self, name: &[u8]) -> Sys<Vec<(Vec<u8>, Vec<u8>)>> {
        let pinned = self.pin(name)?;
        let mut found = Vec::new();
        for name in list_xattrs(&pinned)? {
            let theirs = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
            if theirs && let Some(value) = read_xattr(&pinned, &name)? {
                found.push((name, value));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// One attribute, overlayfs's own included.
    pub(super) fn xattr(&self, name: &[u8], attribute: &[u8]) -> Sys<Option<Vec<u8>>> {
        read_xattr(&self.pin(name)?, attribute)
    }

    /// Where a directory of another layer hides what is below it, so does the one of that name here.
    pub(super) fn copy_opaque(&self, other: &Self, name: &[u8]) -> Sys<()> {
        let Some(value) = other.xattr(name, OPAQUE)? else { return Ok(()) };
        fs::setxattr(through_proc(&self.pin(name)?), OPAQUE, &value, XattrFlags::empty())
    }

    /// Makes the `user.*` attributes exactly these.
    pub(super) fn set_xattrs(&self, name: &[u8], wanted: &[(Vec<u8>, Vec<u8>)]) -> Sys<()> {
        let pinned = self.pin(name)?;
        let path = through_proc(&pinned);
        let present = self.xattrs(name)?;
        for (attribute, _) in present.iter().filter(|(a, _)| wanted.iter().all(|(w, _)| w != a)) {
            fs::removexattr(&path, attribute.as_slice())?;
        }
        for (attribute, value) in wanted.iter().filter(|pair| !present.contains(pair)) {
            fs::setxattr(&path, attribute.as_slice(), value, XattrFlags::empty())?;
        }
        Ok(())
    }
}

/// A file of ours, for reading and writing with the standard library.
pub(super) fn file(handle: Handle) -> File {
    File::from(handle)
}

/// Shares the extents of `from` with `to`; refused where the file system cannot.
pub(super) fn reflink(from: &Handle, to: &Handle) -> Sys<()> {
    fs::ioctl_ficlone(to, from)
}

/// True when the process may give files away.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Effective user of this process.
pub(super) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn through_proc(pinned: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", pinned.as_raw_fd()))
}

/// Attribute calls on an O_PATH descriptor are refused by the kernel, so they go through `/proc/self/fd`.
fn list_xattrs(pinned: &OwnedFd) -> Sys<Vec<Vec<u8>>> {
    let mut buffer = vec![0_u8; 1024];
    let length = loop {
        match fs::listxattr(through_proc(pinned), buffer.as_mut_slice()) {
            Err(Errno::RANGE) if buffer.len() < XATTR_BYTES_MAX => buffer.resize(XATTR_BYTES_MAX, 0),
            // A file system without attributes has none; a symlink's or a fifo's are not ours to carry.
            Err(Errno::NOTSUP | Errno::LOOP | Errno::PERM | Errno::ACCESS) => return Ok(Vec::new()),
            other => break other?,
        }
    };
    buffer.truncate(length);
    Ok(buffer.split(|b| *b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}

fn read_xattr(pinned: &OwnedFd, name: &[u8]) -> Sys<Option<Vec<u8>>> {
    let mut buffer = vec![0_u8; 256];
    loop {
        match fs::getxattr(through_proc(pinned), name, buffer.as_mut_slice()) {
            Err(Errno::RANGE) if buffer.len() < XATTR_BYTES_MAX => buffer.resize(XATTR_BYTES_MAX, 0),
            Err(Errno::NODATA | Errno::NOTSUP | Errno::LOOP | Errno::PERM | Errno::ACCESS) => return Ok(None),
            Err(errno) => return Err(errno),
            Ok(length) => {
                buffer.truncate(length);
                return Ok(Some(buffer));
            }
        }
    }
}

/// Makes a file's content durable.
pub(super) fn sync_handle(handle: &Handle) -> Sys<()> {
    fs::fsync(handle)
}
