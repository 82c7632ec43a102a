//! What `openat2` does of a guest's path, done here where the kernel has none or a filter keeps it from us: name by name.
//! It never gives the kernel more than one name, never one that is followed, and never goes up but to a directory that it
//! holds: wherever names are moved to meanwhile, it is in a directory that it came to from its first one.

use super::{PATH_BYTES_MAX, Scope};
use rustix::fs::{FileType, Mode, OFlags, PROC_SUPER_MAGIC, Stat};
use rustix::io::Errno;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Links that one path may lead through (path_resolution(7)).
const LINKS_MAX: usize = 40;
/// Directories that are held at once: as many as a path without links can name.
const DEPTH_MAX: usize = PATH_BYTES_MAX / 2;
/// Names that one resolution goes through, with those that links say and however often it is tried again: four times what
/// a path can name, and no more than some ten milliseconds of a thread that other calls share.
pub(super) const NAMES_MAX: usize = PATH_BYTES_MAX * 2;
/// How a name is looked at: what it is, and not what it leads to.
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// What may be asked for. Above all not `O_TMPFILE`, and nothing that openat(2) passes over without a word.
const KNOWN: OFlags = LOOK
    .union(OFlags::RWMODE)
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::TRUNC)
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOCTTY)
    .union(OFlags::NONBLOCK);
/// Exclusive: whatever has the name, a link as well, is what must not be there.
const NEW: OFlags = OFlags::CREATE.union(OFlags::EXCL);
/// Of a mount on which no link is followed (`ST_NOSYMFOLLOW`, statfs(2)).
const NO_LINKS: i64 = 0x2000;
/// The first directory of a procfs (`PROC_ROOT_INO`). The links in it are text; in all others of a procfs they are magic.
const PROC_TOP: u64 = 1;

/// Opens what a path leads to, as `openat2` does with `RESOLVE_NO_MAGICLINKS` and the scope's flag.
///
/// # Errors
/// As of `openat2`. `EAGAIN`: a name was exchanged while it was opened. `ENAMETOOLONG`, beside: links lead deeper than any
/// path without links. `ELOOP`, beside: there are more names to go through than are left.
pub(super) fn open(
    top: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
    scope: Scope,
    names_left: &mut usize,
) -> Result<OwnedFd, Errno> {
    if !KNOWN.contains(flags) || path.contains(&0) {
        return Err(Errno::INVAL);
    }
    if path.len() >= PATH_BYTES_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    let mut walk = Walk { top, scope, held: Vec::new(), names: Vec::new(), slash: false, links: 0, names_left };
    walk.take(path)?;
    while let Some(name) = walk.names.pop() {
        let is_last = walk.names.is_empty();
        match name.as_slice() {
            b"." => walk.here(LOOK).map(drop)?,
            b".." => walk.up()?,
            name if is_last => {
                if let Some(opened) = walk.last(name, flags, mode)? {
                    return Ok(opened);
                }
            }
            name => walk.enter(name)?,
        }
    }
    // The path ended in dots, or is the first directory: that is there, and no link.
    walk.here_as(flags, mode)
}

/// On its way.
struct Walk<'a> {
    /// Where it began, and what it never leaves.
    top: BorrowedFd<'a>,
    scope: Scope,
    /// The directories below it that it came through: each was a name in the one before when it was opened.
    held: Vec<OwnedFd>,
    /// What is still to be gone through, the next one last.
    names: Vec<Vec<u8>>,
    /// The last name stands before a slash: a directory is meant, and a link is followed.
    slash: bool,
    links: usize,
    /// How many names it may still be told.
    names_left: &'a mut usize,
}

impl Walk<'_> {
    /// Goes through these names next: a path's, or those that a link says in its place.
    fn take(&mut self, text: &[u8]) -> Result<(), Errno> {
        if text.is_empty() {
            return Err(Errno::NOENT);
        }
        if text.starts_with(b"/") {
            match self.scope {
                Scope::Beneath => return Err(Errno::XDEV),
                Scope::AsRoot => self.held.clear(),
            }
        }
        if self.names.is_empty() {
            self.slash |= text.ends_with(b"/");
        }
        let names = text.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        let before = self.names.len();
        self.names.extend(names.rev().map(<[u8]>::to_vec));
        let more = self.names.len() - before;
        *self.names_left = self.names_left.checked_sub(more).ok_or(Errno::LOOP)?;
        Ok(())
    }

    fn directory(&self) -> BorrowedFd<'_> {
        self.held.last().map_or(self.top, |held| held.as_fd())
    }

    /// Opens the directory where the walk is. The kernel says whether one may go through it, as it does for dots.
    fn here(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.here_as(flags | OFlags::DIRECTORY, Mode::empty())
    }

    fn here_as(&self, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(self.directory(), c".", flags, mode)
    }

    /// Goes to the directory that it came from, which may have another parent by now.
    fn up(&mut self) -> Result<(), Errno> {
        self.here(LOOK)?;
        match (self.held.pop(), self.scope) {
            (Some(_), _) | (None, Scope::AsRoot) => Ok(()),
            (None, Scope::Beneath) => Err(Errno::XDEV),
        }
    }

    /// What has a name now.
    fn look(&self, name: &[u8]) -> Result<(OwnedFd, Stat, FileType), Errno> {
        let found = rustix::fs::openat(self.directory(), name, LOOK, Mode::empty())?;
        let stat = rustix::fs::fstat(&found)?;
        Ok((found, stat, FileType::from_raw_mode(stat.st_mode)))
    }

    /// Goes through a name that others follow.
    fn enter(&mut self, name: &[u8]) -> Result<(), Errno> {
        if self.held.len() >= DEPTH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        match rustix::fs::openat(self.directory(), name, LOOK | OFlags::DIRECTORY, Mode::empty()) {
            Ok(directory) => {
                self.held.push(directory);
                Ok(())
            }
            Err(Errno::NOTDIR) => match self.look(name)? {
                (link, _, FileType::Symlink) => {
                    let says = self.text(&link)?;
                    self.take(&says)
                }
                (_, _, FileType::Directory) => Err(Errno::AGAIN),
                _ => Err(Errno::NOTDIR),
            },
            Err(other) => Err(other),
        }
    }

    /// Opens what has the last name. `None`: it is a link, and there are names again.
    ///
    /// The kernel is asked to open it before it is looked at, so that nobody can put another in between: whatever it opens
    /// is what has that name in that directory, and no link.
    fn last(&mut self, name: &[u8], flags: OFlags, mode: Mode) -> Result<Option<OwnedFd>, Errno> {
        if self.slash && flags.contains(OFlags::CREATE) {
            return Err(Errno::ISDIR);
        }
        let follows = self.slash || !(flags.contains(OFlags::NOFOLLOW) || flags.contains(NEW));
        let flags = if self.slash { flags | OFlags::DIRECTORY } else { flags };
        let refused = match rustix::fs::openat(self.directory(), name, flags | OFlags::NOFOLLOW, mode) {
            Err(errno @ (Errno::LOOP | Errno::NOTDIR)) if follows => Some(errno),
            // By these flags a link is opened as such.
            Ok(found) if follows && flags.contains(OFlags::PATH) && !flags.contains(OFlags::DIRECTORY) => {
                let kind = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
                if kind != FileType::Symlink {
                    return Ok(Some(found));
                }
                None
            }
            other => return other.map(Some),
        };
        match (self.look(name)?, refused) {
            ((link, stat, FileType::Symlink), _) => {
                self.may_follow(&stat)?;
                let says = self.text(&link)?;
                self.take(&says).map(|()| None)
            }
            // It was a link when it was opened, and is none now.
            (_, None | Some(Errno::LOOP)) => Err(Errno::AGAIN),
            (_, Some(errno)) => Err(errno),
        }
    }

    /// What a link says, if it may be followed.
    fn text(&mut self, link: &OwnedFd) -> Result<Vec<u8>, Errno> {
        self.links += 1;
        let system = rustix::fs::fstatfs(link)?;
        let is_magic = || -> Result<bool, Errno> {
            let above = rustix::fs::fstat(self.directory())?;
            Ok(system.f_type == PROC_SUPER_MAGIC && above.st_ino != PROC_TOP)
        };
        if self.links > LINKS_MAX || system.f_flags & NO_LINKS != 0 || is_magic()? {
            return Err(Errno::LOOP);
        }
        rustix::fs::readlinkat(link, c"", Vec::new()).map(std::ffi::CString::into_bytes)
    }

    /// In a directory where anybody makes names, a link of somebody else leads nowhere: as of a kernel that protects them
    /// (`protected_symlinks`, proc_sys_fs(5)), whether this one does or not.
    fn may_follow(&self, link: &Stat) -> Result<(), Errno> {
        let above = rustix::fs::fstat(self.directory())?;
        let is_shared = Mode::from_raw_mode(above.st_mode).contains(Mode::SVTX | Mode::WOTH);
        let own = rustix::process::geteuid().as_raw();
        if !is_shared || link.st_uid == own || link.st_uid == above.st_uid { Ok(()) } else { Err(Errno::ACCESS) }
    }
}

#[cfg(test)]
mod tests;
