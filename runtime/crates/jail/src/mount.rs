//! The fd-based mount API: trees, file systems, and a new root whose paths are resolved beneath its own descriptor.
//! It never follows a symbolic link inside the new root, and never creates anything on a mount that it did not make.

use crate::container::DOOR;
use crate::error::{ErrorKind, Fault, JailError};
use crate::kernel::{GVISOR_TOO_OLD, Kernel};
use crate::plan::Exec;
use crate::sys::{self, MountChange};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};
use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

mod apart;
mod pending;
mod table;

pub(crate) use apart::OwnProc;
pub(crate) use pending::{Pending, name};

/// The flags of mounts that we set.
const FLAGS: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
const _: () = assert!(
    libc::MOUNT_ATTR_RDONLY == libc::MS_RDONLY
        && libc::MOUNT_ATTR_NOSUID == libc::MS_NOSUID
        && libc::MOUNT_ATTR_NODEV == libc::MS_NODEV
        && libc::MOUNT_ATTR_NOEXEC == libc::MS_NOEXEC,
    "either way of mounting takes the same numbers"
);

/// No set-id bits, no devices: on every mount.
pub(crate) const GUARDED: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// A detached copy of a mount tree.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The root of the detached tree.
    pub(crate) fd: OwnedFd,
    /// What its root is.
    pub(crate) kind: FileType,
}

/// Whether mounts below a source come along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// They do.
    Recursive,
    /// They do not.
    One,
}

/// A detached copy of a host path, which must not be a symbolic link itself.
pub(crate) fn clone_host_path(path: &Path, depth: Depth) -> Result<Tree, JailError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW
        | recursion(depth);
    let fd = rustix::mount::open_tree(CWD, path, flags).map_err(|errno| source_error(path, errno))?;
    let kind = kind_of(&fd, path)?;
    if kind == FileType::Symlink {
        return Err(symlink_source(path));
    }
    let change = MountChange { private: true, recursive: depth == Depth::Recursive, ..MountChange::default() };
    sys::mount_setattr(fd.as_fd(), change).map_err(|errno| os("make private", path, errno))?;
    Ok(Tree { fd, kind })
}

/// A host directory by descriptor, without copying its mount.
pub(crate) fn open_host_directory(path: &Path) -> Result<OwnedFd, JailError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| source_error(path, errno))
}

/// A detached copy of what a descriptor refers to, in our own mount namespace.
fn clone_descriptor(fd: BorrowedFd<'_>, depth: Depth, path: &Path) -> Result<OwnedFd, JailError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | recursion(depth);
    rustix::mount::open_tree(fd, c"", flags).map_err(|errno| os("copy the mount of", path, errno))
}

fn recursion(depth: Depth) -> OpenTreeFlags {
    match depth {
        Depth::Recursive => OpenTreeFlags::AT_RECURSIVE,
        Depth::One => OpenTreeFlags::empty(),
    }
}

/// Mount flags of a tree that is or is not to be executed from.
pub(crate) fn exec_flag(exec: Exec) -> u64 {
    match exec {
        Exec::Allow => 0,
        Exec::Deny => libc::MOUNT_ATTR_NOEXEC,
    }
}

/// Sets flags on a whole tree.
fn restrict(tree: BorrowedFd<'_>, set: u64, path: &Path) -> Result<(), JailError> {
    let change = MountChange { set, recursive: true, ..MountChange::default() };
    sys::mount_setattr(tree, change).map_err(|errno| os("restrict the mount of", path, errno))
}

/// A new, detached file system.
fn new_file_system(kind: &str, options: &[(&str, &str)], flags: u64) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        if value.is_empty() {
            rustix::mount::fsconfig_set_flag(&context, *key)?;
        } else {
            rustix::mount::fsconfig_set_string(&context, *key, *value)?;
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    let flags = MountAttrFlags::from_bits_retain(u32::try_from(flags).expect("mount flags have 32 bits here"));
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)
}

/// A new tmpfs.
pub(crate) fn tmpfs(kernel: Kernel, size_mib: u64, mode: u32, flags: u64) -> Result<Pending, JailError> {
    let mut options = vec![("size", format!("{size_mib}m")), ("mode", format!("{mode:o}"))];
    match kernel {
        Kernel::Host => {
            // An inode costs the kernel about a KiB that the size does not count.
            let inodes = size_mib.saturating_mul(256).clamp(1024, 1 << 20);
            options.push(("nr_inodes", format!("{inodes}")));
        }
        // It knows no such limit, and refuses what it does not know.
        Kernel::Gvisor => {}
    }
    let options: Vec<_> = options.iter().map(|(key, value)| (*key, value.as_str())).collect();
    Pending::new_file_system(kernel, "tmpfs", &options, flags)
        .map_err(|errno| JailError::os("mount", format!("a tmpfs of {size_mib} MiB"), errno.raw_os_error()))
}

/// Puts a detached tree onto what `target` refers to.
pub(crate) fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", target, c"", flags)
}

/// The root that is being built.
#[derive(Debug)]
pub(crate) struct NewRoot {
    fd: OwnedFd,
    kernel: Kernel,
    /// Mounts that we made and that hold nothing of the host: the only ones in which a path may be created.
    ours: HashSet<u64>,
    /// Where something was mounted.
    mounted: RefCell<Vec<PathBuf>>,
}

impl NewRoot {
    /// A tmpfs, which becomes the root with [`NewRoot::enter`].
    pub(crate) fn new(kernel: Kernel, size_mib: u64) -> Result<Self, JailError> {
        let fd = match kernel {
            Kernel::Host => stacked(size_mib)?,
            Kernel::Gvisor => at_the_door(size_mib)?,
        };
        let mut root = Self { fd, kernel, ours: HashSet::new(), mounted: RefCell::default() };
        let id = root.mount_id(root.fd.as_fd(), Path::new("/"))?;
        root.ours.insert(id);
        Ok(root)
    }

    /// Makes this the root and detaches the old one (pivot_root(2), "new_root and put_old may be the same").
    pub(crate) fn enter(&self) -> Result<(), JailError> {
        let act = |act: &'static str| move |errno: Errno| JailError::os(act, "the new root", errno.raw_os_error());
        let flags = GUARDED | libc::MOUNT_ATTR_RDONLY;
        let closed = match self.kernel {
            Kernel::Host => sys::mount_setattr(self.fd.as_fd(), MountChange { set: flags, ..MountChange::default() }),
            Kernel::Gvisor => pending::restrict_one(self.fd.as_fd(), flags),
        };
        closed.map_err(act("make read-only"))?;
        rustix::process::fchdir(&self.fd).map_err(act("enter"))?;
        rustix::process::pivot_root(c".", c".").map_err(|errno| {
            act("pivot to")(errno).hint("a root on an initramfs cannot be pivoted away: boot from a real file system")
        })?;
        rustix::mount::unmount(c".", rustix::mount::UnmountFlags::DETACH).map_err(act("detach the old root under"))?;
        rustix::process::chdir(c"/").map_err(act("enter"))
    }

    /// Opens an existing path inside, refusing any symbolic link on the way.
    pub(crate) fn existing(&self, path: &Path) -> Result<OwnedFd, JailError> {
        self.open(path).map_err(|errno| inside_error(path, errno))
    }

    /// Name by name, each of which is no link: `openat2` would do the same in one call, where neither the kernel nor a
    /// filter around us lacks it.
    fn open(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut found = rustix::fs::openat(&self.fd, c".", flags | OFlags::DIRECTORY, Mode::empty())?;
        for component in path.components() {
            let name = match component {
                Component::RootDir | Component::CurDir => continue,
                Component::Normal(name) => name,
                // Paths of a plan have none.
                Component::ParentDir | Component::Prefix(_) => return Err(Errno::INVAL),
            };
            found = rustix::fs::openat(&found, name, flags, Mode::empty())?;
            // These flags open a link as such.
            if FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) == FileType::Symlink {
                return Err(Errno::LOOP);
            }
        }
        Ok(found)
    }

    /// The directory at this path inside, made with its parents where it is missing.
    pub(crate) fn directory(&self, path: &Path, mode: u32) -> Result<OwnedFd, JailError> {
        match self.open(path) {
            Ok(fd) if kind_of(&fd, path)? == FileType::Directory => Ok(fd),
            Ok(_) => Err(inside_error(path, Errno::NOTDIR)),
            Err(Errno::NOENT) => {
                let (parent, name) = self.parent(path)?;
                rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(mode))
                    .map_err(|errno| inside_error(path, errno))?;
                self.existing(path)
            }
            Err(errno) => Err(inside_error(path, errno)),
        }
    }

    /// The file at this path inside, made empty where it is missing.
    pub(crate) fn file(&self, path: &Path) -> Result<OwnedFd, JailError> {
        match self.open(path) {
            Err(Errno::NOENT) => {
                self.new_file(path, 0o444)?;
                self.existing(path)
            }
            other => other.map_err(|errno| inside_error(path, errno)),
        }
    }

    /// A new file at this path inside, open for writing.
    pub(crate) fn new_file(&self, path: &Path, mode: u32) -> Result<OwnedFd, JailError> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(mode)).map_err(|errno| inside_error(path, errno))
    }

    /// A symbolic link at this path inside.
    pub(crate) fn symlink(&self, path: &Path, target: &Path) -> Result<(), JailError> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::symlinkat(target, &parent, name).map_err(|errno| inside_error(path, errno))
    }

    /// A second name inside for a file in the root itself; `false`: the path lies on another mount.
    pub(crate) fn link(&self, file: &Path, path: &Path) -> Result<bool, JailError> {
        let (parent, name) = self.parent(path)?;
        let file = file.strip_prefix("/").unwrap_or(file);
        match rustix::fs::linkat(&self.fd, file, &parent, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::XDEV) => Ok(false),
            Err(errno) => Err(inside_error(path, errno)),
        }
    }

    /// The parent directory of a path that is to be created, on a mount of ours, and the last name.
    fn parent<'path>(&self, path: &'path Path) -> Result<(OwnedFd, &'path OsStr), JailError> {
        let (Some(parent), Some(Component::Normal(name))) = (path.parent(), path.components().next_back()) else {
            return Err(JailError::bug("create", path.display().to_string()));
        };
        let parent = self.directory(parent, 0o755)?;
        if !self.ours.contains(&self.mount_id(parent.as_fd(), path)?) {
            return Err(JailError::host("create", path.display().to_string())
                .kind(ErrorKind::TargetMissing)
                .fault(Fault::Operator)
                .hint(
                    "it lies in a directory of the host, where setting up a sandbox creates nothing: create it first",
                ));
        }
        Ok((parent, name))
    }

    /// Mounts something on an existing path inside.
    pub(crate) fn mount(&self, tree: &Pending, target: BorrowedFd<'_>, path: &Path) -> Result<(), JailError> {
        self.mounted.borrow_mut().push(path.to_owned());
        tree.attach(target).map_err(|errno| os("mount on", path, errno))
    }

    /// Whether something was mounted below this path.
    pub(crate) fn holds_mounts(&self, path: &Path) -> bool {
        self.mounted.borrow().iter().any(|mounted| mounted != path && mounted.starts_with(path))
    }

    /// Opens a path inside if it is there, refusing any symbolic link on the way.
    pub(crate) fn find(&self, path: &Path) -> Result<Option<OwnedFd>, JailError> {
        match self.open(path) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(inside_error(path, errno)),
        }
    }

    /// Whether a path may be created here: in the nearest directory that is there, which is a mount of ours.
    pub(crate) fn is_ours(&self, path: &Path) -> Result<bool, JailError> {
        for above in path.ancestors().skip(1) {
            if let Some(found) = self.find(above)? {
                return Ok(self.ours.contains(&self.mount_id(found.as_fd(), above)?));
            }
        }
        Err(inside_error(path, Errno::NOENT))
    }

    /// Mounts a file system of our own making, in which later steps may create.
    pub(crate) fn mount_own(&mut self, tree: &Pending, path: &Path, mode: u32) -> Result<(), JailError> {
        let target = self.directory(path, mode)?;
        self.mount(tree, target.as_fd(), path)?;
        let id = self.mount_id(self.existing(path)?.as_fd(), path)?;
        self.ours.insert(id);
        Ok(())
    }

    /// What tells a mount of ours from all others.
    fn mount_id(&self, fd: BorrowedFd<'_>, path: &Path) -> Result<u64, JailError> {
        match self.kernel {
            Kernel::Host => mount_id(fd, path),
            // Its mounts have no numbers. A file system of our own making is on a device that nothing else is on.
            Kernel::Gvisor => rustix::fs::fstat(fd).map(|stat| stat.st_dev).map_err(|errno| os("look at", path, errno)),
        }
    }

    /// Removes a name that was only needed while building.
    pub(crate) fn remove(&self, path: &Path, flags: AtFlags) -> Result<(), JailError> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::unlinkat(&parent, name, flags).map_err(|errno| inside_error(path, errno))
    }

    /// Takes away a mount that was only needed while building.
    pub(crate) fn unmount(&self, path: &Path) -> Result<(), JailError> {
        rustix::process::fchdir(&self.fd).map_err(|errno| os("enter", Path::new("/"), errno))?;
        let relative = path.strip_prefix("/").unwrap_or(path);
        let flags = rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW;
        rustix::mount::unmount(relative, flags).map_err(|errno| os("unmount", path, errno))
    }
}

/// A new root, stacked on the old one: that stays the process's root until [`NewRoot::enter`].
fn stacked(size_mib: u64) -> Result<OwnedFd, JailError> {
    let everything = MountChange { private: true, recursive: true, ..MountChange::default() };
    let old = rustix::fs::open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| os("open", Path::new("/"), errno))?;
    sys::mount_setattr(old.as_fd(), everything).map_err(|errno| os("make private", Path::new("/"), errno))?;
    let Pending::Detached(fd) = tmpfs(Kernel::Host, size_mib, 0o755, GUARDED)? else {
        return Err(JailError::bug("mount", "a root that is not detached"));
    };
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&fd, c"", CWD, c"/", flags)
        .map_err(|errno| JailError::os("mount", "the new root", errno.raw_os_error()))?;
    Ok(fd)
}

/// A new root over the directory by which the first process came in, which nobody needs any more: mount(2) needs a place,
/// and this one is ours in every container.
fn at_the_door(size_mib: u64) -> Result<OwnedFd, JailError> {
    // One that has no mount namespaces says only here that it made none.
    pending::make_everything_private().map_err(|errno| {
        os("make private", Path::new("/"), errno).kind(ErrorKind::NamespacesRefused).hint(GVISOR_TOO_OLD)
    })?;
    let door = Path::new(DOOR);
    tmpfs(Kernel::Gvisor, size_mib, 0o755, GUARDED)?
        .attach(open_host_directory(door)?.as_fd())
        .map_err(|errno| JailError::os("mount", "the new root", errno.raw_os_error()))?;
    open_host_directory(door)
}

/// What a descriptor refers to.
pub(crate) fn kind_of(fd: &OwnedFd, path: &Path) -> Result<FileType, JailError> {
    let stat = rustix::fs::fstat(fd).map_err(|errno| os("look at", path, errno))?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn mount_id(fd: BorrowedFd<'_>, path: &Path) -> Result<u64, JailError> {
    let found = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
        .map_err(|errno| os("look at", path, errno))?;
    if found.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        return Err(JailError::host("tell mounts apart at", path.display().to_string()).hint("Linux 5.12 or later can"));
    }
    Ok(found.stx_mnt_id)
}

fn os(act: &'static str, path: &Path, errno: Errno) -> JailError {
    JailError::os(act, path.display().to_string(), errno.raw_os_error())
}

fn source_error(path: &Path, errno: Errno) -> JailError {
    let error = os("open", path, errno);
    match errno {
        Errno::NOENT | Errno::NOTDIR => error.kind(ErrorKind::SourceMissing).fault(Fault::Operator),
        Errno::LOOP => symlink_source(path),
        Errno::ACCESS => error.fault(Fault::Operator),
        _ => error,
    }
}

fn symlink_source(path: &Path) -> JailError {
    os("open", path, Errno::LOOP)
        .kind(ErrorKind::SymlinkInTheWay)
        .fault(Fault::Operator)
        .hint("name what the link points to")
}

fn inside_error(path: &Path, errno: Errno) -> JailError {
    let error = os("prepare", path, errno);
    match errno {
        Errno::LOOP => error
            .kind(ErrorKind::SymlinkInTheWay)
            .fault(Fault::Guest)
            .hint("a symbolic link stands where the plan expects a directory or a file; set-up follows none"),
        Errno::NOENT => error.kind(ErrorKind::TargetMissing).fault(Fault::Operator),
        _ => error,
    }
}

/// Where a tree is put for a moment when the kernel insists on attached layers.
pub(crate) fn staging(number: usize) -> PathBuf {
    PathBuf::from(format!("/.stage-{number}"))
}
