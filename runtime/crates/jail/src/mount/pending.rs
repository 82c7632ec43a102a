//! What is about to be mounted: detached already on the host's kernel, or, on one without detached mounts, noted down.
//! It never mounts on anything but what a descriptor refers to, and never leaves a mount with fewer restrictions than noted.

use super::{Depth, FLAGS, attach, restrict, source_error, symlink_source};
use crate::error::JailError;
use crate::kernel::Kernel;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};
use std::collections::HashSet;
use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

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

fn mount_flags(flags: u64) -> MountFlags {
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

/// The mounts of this process.
struct Table(Vec<Mount>);

/// A line of it (proc_pid_mountinfo(5)).
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    number: u64,
    parent: u64,
    place: PathBuf,
    flags: u64,
}

impl Table {
    fn read() -> Result<Self, Errno> {
        let table = std::fs::read("/proc/self/mountinfo");
        Self::parse(&table.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?).ok_or(Errno::PROTO)
    }

    /// Every line, or none: one that is not understood could be one that is to be restricted.
    fn parse(table: &[u8]) -> Option<Self> {
        let lines = table.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(Mount::parse).collect::<Option<_>>().map(Self)
    }

    /// Those that were not in an earlier table.
    fn but(&self, earlier: &Self) -> impl Iterator<Item = &Mount> {
        let known: HashSet<u64> = earlier.0.iter().map(|mount| mount.number).collect();
        self.0.iter().filter(move |mount| !known.contains(&mount.number))
    }

    /// Whether another mount lies over the place of one, on the same mount as that.
    fn is_covered(&self, mount: &Mount) -> bool {
        let lies_over = |other: &Mount| {
            other.number != mount.number && other.parent == mount.parent && mount.place.starts_with(&other.place)
        };
        self.0.iter().any(lies_over)
    }
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
        let (number, parent) = (number()?, number()?);
        let place = unescaped(fields.nth(2)?);
        Some(Self { number, parent, place, flags: flags_of(fields.next()?) })
    }
}

fn flags_of(options: &[u8]) -> u64 {
    let flag = |option: &[u8]| match option {
        b"ro" => libc::MOUNT_ATTR_RDONLY,
        b"nosuid" => libc::MOUNT_ATTR_NOSUID,
        b"nodev" => libc::MOUNT_ATTR_NODEV,
        b"noexec" => libc::MOUNT_ATTR_NOEXEC,
        _ => 0,
    };
    options.split(|byte| *byte == b',').map(flag).fold(0, |all, one| all | one)
}

/// Spaces, tabs, line ends and backslashes come as three octal digits.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match (first, digits.and_then(|digits| u8::from_str_radix(digits, 8).ok())) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            (_, _) => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mount_that_came_of_a_bind_is_known_and_no_other() {
        let before = b"27 26 0:17 / / ro - 9p none ro\n28 27 0:21 / /new/a ro,noexec - 9p none rw\n";
        let made = b"29 28 0:2 / /new/a/b\\040c ro,noexec - x y z\n30 28 0:3 / /new/a/b\\040c/d rw - 9p none rw\n";
        let after = Table::parse(&[&before[..], &made[..]].concat()).expect("four lines");
        let before = Table::parse(before).expect("two lines");
        let closed = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC;
        let mount = |number, place: &str, flags| Mount { number, parent: 28, place: place.into(), flags };
        let found: Vec<_> = after.but(&before).collect();
        assert_eq!(found, [&mount(29, "/new/a/b c", closed), &mount(30, "/new/a/b c/d", 0)]);
        // Both are on the same mount, and the first lies over the place of the second.
        assert!(after.is_covered(found[1]) && !after.is_covered(found[0]));
        assert!(Table::parse(b"27 26 0:17 /\n").is_none() && Table::parse(b"x 26 0:17 / / ro\n").is_none());
    }

    #[test]
    fn a_place_is_read_as_it_was_written() {
        assert_eq!(unescaped(b"/a\\134040\\011"), PathBuf::from("/a\\040\t"));
        assert_eq!(unescaped(b"/a\\9\\"), PathBuf::from("/a\\9\\"));
    }
}
