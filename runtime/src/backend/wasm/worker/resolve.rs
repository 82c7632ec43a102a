//! Paths of a guest, resolved to descriptors: what is judged, acted on and recorded is the object itself.
//! It never compares the text of two paths, and what acts on a name does so in the directory that was opened for it, so that
//! whoever exchanges names meanwhile gets the act done in that directory or not at all.

mod walk;

use crate::error::{Error, Result as Outcome};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

/// Bytes of a guest's path at most (`PATH_MAX`).
pub(super) const PATH_BYTES_MAX: usize = 4096;
/// How often a resolution that a rename disturbed is tried again (openat2(2), EAGAIN). Whoever renames without end can
/// keep a path from being resolved, and gets no other object by it.
const TRIES: usize = 64;

/// Who resolves paths: one of them for all paths of a view. What they open is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolver {
    /// `openat2`, Linux 5.6 and newer.
    Kernel,
    /// Our own walk, one name after the other, where the kernel answers that it has no such call or that we may not.
    Walk,
}

/// What a path must stay below. None goes through `/proc/PID/fd` and alike, which lead anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// What leads above the directory, or begins with a slash, leads nowhere.
    Beneath,
    /// The directory is `/`: absolute links and dots stay below it.
    AsRoot,
}

impl Scope {
    const fn flags(self) -> ResolveFlags {
        let flag = match self {
            Self::Beneath => ResolveFlags::BENEATH,
            Self::AsRoot => ResolveFlags::IN_ROOT,
        };
        flag.union(ResolveFlags::NO_MAGICLINKS)
    }
}

/// The view of files that a worker lives in.
#[derive(Debug)]
pub(super) struct Tree {
    /// What is `/` for the guests: all that there is.
    root: OwnedFd,
    /// Where descriptors have their names.
    own_descriptors: OwnedFd,
    /// The root's own name, where it is not `/`: only where a worker shares the host's mounts.
    root_name: Vec<u8>,
    /// What files that are made in it have not.
    umask: Mode,
    /// Chosen when the view is made, and never again.
    resolver: Resolver,
}

/// Where a path leads: the directory of its last component, and that.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) parent: OwnedFd,
    pub(super) name: Vec<u8>,
    /// The path ended in a slash: it means a directory.
    pub(super) is_directory: bool,
}

impl Tree {
    /// The view of files below a directory. The kernel resolves its paths, if it can.
    ///
    /// # Errors
    /// Host: the directory cannot be opened.
    pub(super) fn new(root: OwnedFd, own_descriptors: OwnedFd, umask: Mode) -> Outcome<Self> {
        let resolver = Resolver::Kernel;
        let mut tree = Self { root, own_descriptors, root_name: Vec::new(), umask, resolver };
        let first = |tree: &Self| {
            tree.raw(tree.root.as_fd(), b".", OFlags::PATH | OFlags::DIRECTORY, Mode::empty(), Scope::Beneath)
        };
        if let Err(Errno::NOSYS | Errno::PERM) = first(&tree) {
            tracing::info!("there is no openat2 here: a walk resolves the paths of tools");
            tree.resolver = Resolver::Walk;
        }
        first(&tree).map_err(|errno| {
            let why = crate::error::plain(&std::io::Error::from(errno));
            Error::host(format!("resolve paths below the root of a worker: {why}"))
        })?;
        let name = tree.name(tree.root.as_fd());
        tree.root_name = if name == b"/" { Vec::new() } else { name };
        Ok(tree)
    }

    /// The same, by this resolver: for tests of both.
    #[cfg(test)]
    pub(super) fn by(self, resolver: Resolver) -> Self {
        Self { resolver, ..self }
    }

    /// What files that are made in it have not, as of any process.
    pub(super) const fn umask(&self) -> Mode {
        self.umask
    }

    /// Opens the directory that the whole view begins with.
    pub(super) fn root(&self) -> Result<OwnedFd, Errno> {
        self.raw(self.root.as_fd(), b".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty(), Scope::Beneath)
    }

    /// Opens a directory by its absolute path inside.
    pub(super) fn directory(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.raw(self.root.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty(), Scope::AsRoot)
    }

    /// Opens what a guest's path leads to. A link may lead anywhere in the view, as for any command; the path itself
    /// stays below its directory, as WASI wants it.
    pub(super) fn open(
        &self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        flags: OFlags,
        mode: Mode,
    ) -> Result<OwnedFd, Errno> {
        check(path)?;
        match self.raw(directory, path, flags, mode, Scope::Beneath) {
            Err(Errno::XDEV) => {
                let mut from_root = self.name(directory);
                from_root.push(b'/');
                from_root.extend_from_slice(path);
                self.raw(self.root.as_fd(), &from_root, flags, mode, Scope::AsRoot)
            }
            other => other,
        }
    }

    /// Opens the directory of the last component of a guest's path, for what acts on names: that is then done on the
    /// descriptor, and follows no link.
    pub(super) fn entry(&self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<Entry, Errno> {
        check(path)?;
        let trimmed = path.trim_ascii_end_slashes();
        let is_directory = trimmed.len() < path.len();
        let (parent, name) = match trimmed.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => trimmed.split_at(slash + 1),
            None => (&b"."[..], trimmed),
        };
        if matches!(name, b"." | b"..") {
            return Err(Errno::INVAL);
        }
        let parent = self.open(directory, parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Entry { parent, name: name.to_vec(), is_directory })
    }

    /// Opens what a path leads to, for its attributes alone.
    pub(super) fn look(
        &self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        follow: Follow,
    ) -> Result<(OwnedFd, Stat), Errno> {
        let flags = match follow {
            Follow::Links => OFlags::PATH,
            Follow::Nothing => OFlags::PATH | OFlags::NOFOLLOW,
        };
        let found = self.open(directory, path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&found)?;
        Ok((found, stat))
    }

    /// The path of an open file, inside, as the kernel has it now.
    pub(super) fn name(&self, file: BorrowedFd<'_>) -> Vec<u8> {
        let number = file.as_raw_fd().to_string();
        let Ok(name) = rustix::fs::readlinkat(&self.own_descriptors, number, Vec::new()) else { return Vec::new() };
        let name = name.into_bytes();
        match name.strip_prefix(self.root_name.as_slice()) {
            Some([]) => b"/".to_vec(),
            Some(inside) => inside.to_vec(),
            None => name,
        }
    }

    /// The path of an entry.
    pub(super) fn entry_name(&self, entry: &Entry) -> Vec<u8> {
        joined(self.name(entry.parent.as_fd()), &entry.name)
    }

    /// The best name for what could not be resolved: its directory's own, and what the guest said.
    pub(super) fn unresolved(&self, directory: BorrowedFd<'_>, path: &[u8]) -> Vec<u8> {
        match self.entry(directory, path) {
            Ok(entry) => self.entry_name(&entry),
            Err(_) => joined(self.name(directory), path.get(..PATH_BYTES_MAX).unwrap_or(path)),
        }
    }

    fn raw(
        &self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        flags: OFlags,
        mode: Mode,
        scope: Scope,
    ) -> Result<OwnedFd, Errno> {
        // A pipe without a writer would hold up every call of this worker, and no terminal becomes ours.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let flags = if flags.contains(OFlags::PATH) { flags - OFlags::NOCTTY - OFlags::NONBLOCK } else { flags };
        let mut names_left = walk::NAMES_MAX;
        for _ in 0..TRIES {
            let opened = match self.resolver {
                Resolver::Kernel => rustix::fs::openat2(directory, path, flags, mode, scope.flags()),
                Resolver::Walk => walk::open(directory, path, flags, mode, scope, &mut names_left),
            };
            match opened {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
        Err(Errno::BUSY)
    }
}

/// Whether a path's last component is followed where it is a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    Links,
    Nothing,
}

/// What WASI asks of a path before anybody resolves it: relative, and not above its directory.
fn check(path: &[u8]) -> Result<(), Errno> {
    if path.is_empty() {
        return Err(Errno::NOENT);
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    if path.starts_with(b"/") {
        return Err(Errno::PERM);
    }
    let mut depth = 0_usize;
    for part in path.split(|byte| *byte == b'/') {
        depth = match part {
            b"" | b"." => depth,
            b".." => depth.checked_sub(1).ok_or(Errno::PERM)?,
            _ => depth + 1,
        };
    }
    Ok(())
}

fn joined(mut directory: Vec<u8>, name: &[u8]) -> Vec<u8> {
    if !directory.ends_with(b"/") {
        directory.push(b'/');
    }
    directory.extend_from_slice(name);
    directory
}

trait TrimSlashes {
    fn trim_ascii_end_slashes(&self) -> &Self;
}

impl TrimSlashes for [u8] {
    fn trim_ascii_end_slashes(&self) -> &Self {
        let end = self.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        self.get(..end).unwrap_or_default()
    }
}

/// Opens a directory of the host by name: where a worker has no view of its own yet, or a test plays one.
pub(super) fn open_ambient_directory(path: &std::path::Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Follow nothing, for calls that take such flags.
pub(super) const NO_FOLLOW: AtFlags = AtFlags::SYMLINK_NOFOLLOW;
