//! Files that one call made, and their permissions, for which WASI 0.2 has no word.
//! It never changes the permissions of a file that the call did not make.

use crate::backend::wasm::worker::resolve::Entry;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How names begin of files that wait beside those whose places they will take: what is in them is to be read by whoever
/// may read those, which is not known yet.
const BESIDE: &[u8] = b".stockade-write-";
const PRIVATE: Mode = Mode::from_raw_mode(0o600);
const ORDINARY: Mode = Mode::from_raw_mode(0o666);

/// The permissions with which a path is opened.
pub(super) fn mode(flags: OFlags, path: &[u8]) -> Mode {
    if flags.contains(OFlags::CREATE | OFlags::EXCL) && waits(path) {
        PRIVATE
    } else if flags.contains(OFlags::CREATE) {
        ORDINARY
    } else {
        // openat2(2) refuses one where no file is made.
        Mode::empty()
    }
}

/// Whether a file under this name waits for another.
fn waits(path: &[u8]) -> bool {
    path.rsplit(|byte| *byte == b'/').next().is_some_and(|name| name.starts_with(BESIDE))
}

/// Where a file stands that the call made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// Under a name beside another file, readable by nobody else.
    Beside,
    /// Under a name of its own.
    Named,
}

/// The files that one call made.
#[derive(Debug)]
pub(super) struct Made {
    /// What a new file has not, as of any process.
    umask: Mode,
    /// By device and inode.
    files: Mutex<HashMap<(u64, u64), Stands>>,
}

impl Made {
    pub(super) fn new(umask: Mode) -> Self {
        Self { umask, files: Mutex::default() }
    }

    /// The call made a file at this path.
    pub(super) fn add(&self, stat: &Stat, path: &[u8]) {
        let stands = if waits(path) { Stands::Beside } else { Stands::Named };
        self.files().insert((stat.st_dev, stat.st_ino), stands);
    }

    /// An entry is about to get another name. A file that this call made takes the permissions of the one whose place it
    /// takes: who replaces a script's content does not mean to make it one that cannot be run. One that takes nobody's has
    /// waited for its name, and gets what a new file has. Whatever else is renamed stays what it is.
    pub(super) fn is_named(&self, old: &Entry, new: &Entry) -> Result<(), Errno> {
        let look = |entry: &Entry| rustix::fs::statat(&entry.parent, entry.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
        let Ok(before) = look(old) else {
            // The kernel says why it cannot be renamed.
            return Ok(());
        };
        let Some(stands) = self.stands(&before) else { return Ok(()) };
        let replaced = look(new).ok().filter(|there| (there.st_dev, there.st_ino) != (before.st_dev, before.st_ino));
        let mode = match (replaced, stands) {
            (Some(there), _) if FileType::from_raw_mode(there.st_mode) == FileType::RegularFile => {
                Mode::from_raw_mode(there.st_mode & 0o777)
            }
            (None, Stands::Beside) if !waits(&new.name) => ORDINARY - self.umask,
            (Some(_) | None, Stands::Beside | Stands::Named) => return Ok(()),
        };
        let file = opened(old)?;
        // What has the name by now is looked at again: somebody else may have put another file there.
        let stat = rustix::fs::fstat(&file)?;
        if self.stands(&stat).is_none() {
            return Ok(());
        }
        rustix::fs::fchmod(&file, mode)?;
        self.files().insert((stat.st_dev, stat.st_ino), Stands::Named);
        Ok(())
    }

    fn stands(&self, stat: &Stat) -> Option<Stands> {
        self.files().get(&(stat.st_dev, stat.st_ino)).copied()
    }

    fn files(&self) -> MutexGuard<'_, HashMap<(u64, u64), Stands>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file itself, so that its permissions can be set. It may have taken some that let nobody read it.
fn opened(entry: &Entry) -> Result<OwnedFd, Errno> {
    let open = |access: OFlags| {
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(&entry.parent, entry.name.as_slice(), flags, Mode::empty())
    };
    match open(OFlags::RDONLY) {
        Err(Errno::ACCESS) => open(OFlags::WRONLY),
        other => other,
    }
}
