//! The directory of the store: who may see it, its lock, its keys, and writing that a crash cannot halve.
//! It never reads a file that somebody else could have written or could read.

use crate::error::{Error, Result, plain};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use stockade_audit::Machine;
use stockade_jail::locked::LockedBytes;
use zeroize::Zeroizing;

use crate::secrets::placeholder::KEY_BYTES;
use crate::secrets::plain::jailed;

/// Longest wait for another process that changes the store.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Most that a key file may hold, bytes.
const KEY_FILE_BYTES_MAX: usize = 4096;

/// The store's directory, checked and held open: what its path comes to mean later does not matter.
#[derive(Debug)]
pub(super) struct Room {
    directory: OwnedFd,
    path: PathBuf,
    uid: u32,
}

/// The right to change the store. It ends when dropped.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    room: &'a Room,
}

/// A turn. It ends when dropped, with its descriptor.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "its lock ends with it")] OwnedFd);

impl Room {
    /// Opens the directory, making it (0700) where it is not there.
    pub(super) fn open(path: &Path, uid: u32) -> Result<Self> {
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::io("make", path, &errno.into())),
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let directory =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Error::io("open", path, &errno.into()))?;
        let stat = rustix::fs::fstat(&directory).map_err(|errno| Error::io("look at", path, &errno.into()))?;
        check_private(&stat, path, uid)?;
        Ok(Self { directory, path: path.to_owned(), uid })
    }

    /// The directory's path, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the right to change the store.
    pub(super) fn lock(&self) -> Result<Locked<'_>> {
        if locked(&self.directory, &self.path, LOCK_WAIT)? {
            return Ok(Locked { room: self });
        }
        Err(Error::operator(format!("store \"{}\" is being changed", self.path.display()))
            .hint("wait for the other `stockade secret` to end"))
    }

    /// Waits for the turn to do something that only one process may do at a time, and that may take longer than a change.
    pub(super) fn turn(&self, name: &str, patience: Duration) -> Result<Turn> {
        let path = self.path.join(name);
        let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDWR;
        let file = rustix::fs::openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| Error::io("open", &path, &errno.into()))?;
        let stat = rustix::fs::fstat(&file).map_err(|errno| Error::io("look at", &path, &errno.into()))?;
        check_private(&stat, &path, self.uid)?;
        if locked(&file, &path, patience)? {
            return Ok(Turn(file));
        }
        Err(Error::host(format!("\"{}\" is locked for more than {} s", path.display(), patience.as_secs()))
            .hint("another session that exchanges the same secret hangs"))
    }

    /// A file's bytes; `None` when it is not there. They may be a key: they wipe themselves.
    pub(super) fn read(&self, name: &str, bytes_max: usize) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let path = self.path.join(name);
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::RDONLY;
        let file = match rustix::fs::openat(&self.directory, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(no_file(&path, "is a symbolic link")),
            Err(errno) => return Err(Error::io("open", &path, &errno.into())),
        };
        let stat = rustix::fs::fstat(&file).map_err(|errno| Error::io("look at", &path, &errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(no_file(&path, "is not a regular file"));
        }
        if stat.st_nlink != 1 {
            return Err(no_file(&path, "has a second name"));
        }
        check_private(&stat, &path, self.uid)?;
        read_bounded(File::from(file), &path, bytes_max).map(Some)
    }

    /// The key of this name; drawn now, under the lock, where there is none.
    pub(super) fn key(&self, name: &str, machine: &Machine) -> Result<LockedBytes> {
        if let Some(bytes) = self.read(name, KEY_FILE_BYTES_MAX)? {
            return key_of(bytes, &self.path.join(name));
        }
        let locked = self.lock()?;
        // Another process may have drawn it while this one waited.
        if let Some(bytes) = self.read(name, KEY_FILE_BYTES_MAX)? {
            return key_of(bytes, &self.path.join(name));
        }
        let mut drawn = Zeroizing::new(vec![0; KEY_BYTES]);
        machine.random.fill(&mut drawn).map_err(|error| Error::host(format!("draw a key: {}", plain(&error))))?;
        locked.write(name, &drawn)?;
        key_of(drawn, &self.path.join(name))
    }
}

impl Locked<'_> {
    /// Writes a file whole or not at all, also across a crash: a new file, synced, renamed over the old one, synced.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let temporary = format!("{name}.new");
        let path = self.room.path.join(&temporary);
        let directory = &self.room.directory;
        let fail = |act: &'static str| move |errno: Errno| Error::io(act, &self.room.path.join(name), &errno.into());
        // What a crashed writer left; under the lock there is no other.
        match rustix::fs::unlinkat(directory, &temporary, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(fail("clear the way for")(errno)),
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
        let made = rustix::fs::openat(directory, &temporary, flags, Mode::RUSR | Mode::WUSR).map_err(fail("make"))?;
        let mut file = File::from(made);
        file.write_all(bytes).map_err(|error| Error::io("write", &path, &error))?;
        file.sync_all().map_err(|error| Error::io("sync", &path, &error))?;
        rustix::fs::renameat(directory, &temporary, directory, name).map_err(fail("replace"))?;
        rustix::fs::fsync(directory).map_err(fail("sync the directory of"))
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // It cannot fail for a lock that is held; and the kernel ends it with the descriptor.
        match rustix::fs::flock(&self.room.directory, FlockOperation::Unlock) {
            Ok(()) | Err(_) => {}
        }
    }
}

/// Waits for a lock on what is open; false when somebody else holds it all the while.
fn locked(file: &OwnedFd, path: &Path, patience: Duration) -> Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(false),
            Err(errno) => return Err(Error::io("lock", path, &errno.into())),
        }
    }
}

/// A key from elsewhere: a file that a service manager decrypted for us.
pub(in crate::secrets) fn credential(directory: &Path, name: &str, uid: u32) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let path = directory.join(name);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", &path, &error)),
    };
    let stat = rustix::fs::fstat(&file).map_err(|errno| Error::io("look at", &path, &errno.into()))?;
    // The manager makes them for us, or as root for us to read; the group's bits are the mask of an access list there.
    if (stat.st_uid != uid && stat.st_uid != 0) || stat.st_mode & 0o007 != 0 {
        return Err(no_file(&path, "can be read by others"));
    }
    read_bounded(file, &path, crate::secrets::plain::PLAIN_BYTES_MAX + 1).map(Some)
}

/// A whole file, unless it is longer than it may be.
pub(in crate::secrets) fn read_bounded(file: File, path: &Path, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>> {
    // Room for all of it at once: a vector that grows leaves copies behind.
    let size = file.metadata().map_err(|error| Error::io("look at", path, &error))?.len();
    let room = usize::try_from(size).unwrap_or(usize::MAX).min(bytes_max) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(|error| Error::io("read", path, &error))?;
    if bytes.len() > bytes_max {
        return Err(Error::operator(format!("file \"{}\" has more than {bytes_max} bytes", path.display()))
            .hint("check that it is what you mean"));
    }
    Ok(bytes)
}

fn key_of(mut bytes: Zeroizing<Vec<u8>>, path: &Path) -> Result<LockedBytes> {
    if bytes.len() != KEY_BYTES {
        return Err(Error::operator(format!("key \"{}\" has not {KEY_BYTES} bytes", path.display()))
            .hint("restore it from a backup; without it the store cannot be read"));
    }
    LockedBytes::take(&mut bytes).map_err(|error| jailed(&error))
}

fn no_file(path: &Path, why: &str) -> Error {
    Error::operator(format!("file \"{}\" {why}", path.display())).hint("remove it, and find out who put it there")
}

/// Refuses what belongs to somebody else, or what others may read or write.
fn check_private(stat: &Stat, path: &Path, uid: u32) -> Result<()> {
    let shown = path.display();
    if stat.st_uid != uid {
        return Err(Error::operator(format!("\"{shown}\" belongs to user {}", stat.st_uid))
            .hint("secrets are kept in a directory of your own: set STOCKADE_STATE"));
    }
    if stat.st_mode & 0o077 != 0 {
        return Err(Error::operator(format!("\"{shown}\" can be read or written by others"))
            .hint(format!("chmod go-rwx {shown}; and rotate what was readable")));
    }
    Ok(())
}
