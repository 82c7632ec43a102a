//! The file system as an argument: what a log needs of it, and nothing else, so that tests can cut the power.
//! It never follows a symbolic link at the end of a path, and never makes a file that others may read.

use crate::error::{At as _, AuditError, Result};
use std::ffi::OsString;
use std::fmt::Debug;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file open for appending. Both calls may come from different threads.
pub trait DiskFile: Send + Sync + Debug {
    /// Appends some of the bytes; says how many.
    ///
    /// # Errors
    /// As `write(2)`.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Returns when everything written is on disk.
    ///
    /// # Errors
    /// As `fdatasync(2)`. After an error nothing about the file's content is known.
    fn sync(&self) -> io::Result<()>;
    /// Lets the disk begin with what was written, so that a [`DiskFile::sync`] right after waits for less. By itself it
    /// promises nothing.
    fn begin_sync(&self) {}
}

/// A file at a moment: another one has another mark, and so has the same one after a change of any kind.
///
/// Nobody can choose it: the kernel gives inodes away, and sets the moment of the last change (inode(7), `ctime`), which
/// no call sets back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMark {
    /// Device that it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Its length.
    pub bytes: u64,
    /// When it was last changed: seconds since 1970, and nanoseconds.
    pub changed: [i64; 2],
}

/// What waiting for a lock means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until the other process is done.
    Block,
    /// Not at all: a taken lock is an error of kind `WouldBlock`.
    Never,
}

/// Holds a lock until dropped.
pub trait Held: Send + Sync + Debug {}

/// A file system, as far as a log needs one. [`crate::system::SystemDisk`] is the real one.
pub trait Disk: Send + Sync + Debug {
    /// Refuses a directory that is a symbolic link, not ours, or writable by others.
    ///
    /// # Errors
    /// `Exposed`, or `Io` when it cannot be looked at.
    fn check_dir(&self, path: &Path) -> Result<()>;
    /// Makes a directory for its owner alone.
    ///
    /// # Errors
    /// As `mkdir(2)`; an existing one is an error.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a file for its owner alone, to append to.
    ///
    /// # Errors
    /// As `open(2)` with `O_CREAT | O_EXCL | O_NOFOLLOW`.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file to append to.
    ///
    /// # Errors
    /// As `open(2)` with `O_NOFOLLOW`.
    fn append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file to read from `offset` on.
    ///
    /// # Errors
    /// As `open(2)` with `O_NOFOLLOW`.
    fn read(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Read + Send>>;
    /// Length of a file, bytes.
    ///
    /// # Errors
    /// As `fstat(2)`.
    fn len(&self, path: &Path) -> io::Result<u64>;
    /// What tells a file from every other, and from itself before it was last changed.
    ///
    /// # Errors
    /// As `stat(2)`.
    fn mark(&self, path: &Path) -> io::Result<FileMark>;
    /// Shortens a file to `len` bytes and puts that on disk.
    ///
    /// # Errors
    /// As `ftruncate(2)`.
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()>;
    /// Moves a file over another.
    ///
    /// # Errors
    /// As `rename(2)`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// As `unlink(2)`.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    ///
    /// # Errors
    /// As `rmdir(2)`.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, sorted.
    ///
    /// # Errors
    /// As `getdents(2)`.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;
    /// Returns when the names in a directory are on disk.
    ///
    /// # Errors
    /// As `fsync(2)`.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Returns when everything below a directory is on disk.
    ///
    /// # Errors
    /// As `syncfs(2)`.
    fn sync_tree(&self, path: &Path) -> io::Result<()>;
    /// Takes the exclusive lock of a file, which is made if need be.
    ///
    /// # Errors
    /// As `flock(2)`.
    fn lock(&self, path: &Path, wait: Wait) -> io::Result<Box<dyn Held>>;
}

/// Writes all of the bytes, however little a call takes.
pub(crate) fn write_all(file: &dyn DiskFile, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What was written and is not yet known to be on disk. Whoever holds one settles it, or makes no promise.
#[derive(Debug, Default)]
#[must_use = "what is owed is not on disk before it is settled"]
pub(crate) struct Owed {
    files: Vec<(PathBuf, Arc<dyn DiskFile>)>,
    dirs: Vec<PathBuf>,
}

impl Owed {
    pub(crate) fn file(&mut self, path: &Path, file: Arc<dyn DiskFile>) {
        self.files.push((path.to_owned(), file));
    }

    /// The names in a directory.
    pub(crate) fn dir(&mut self, path: &Path) {
        self.dirs.push(path.to_owned());
    }

    pub(crate) fn and(mut self, mut other: Self) -> Self {
        self.files.append(&mut other.files);
        self.dirs.append(&mut other.dirs);
        self
    }

    /// Returns when all of it is on disk, in no order. The disk is told of every file before the first is waited for: so
    /// a journalling file system commits once for all of them.
    pub(crate) fn settle(self, disk: &dyn Disk) -> Result<()> {
        if self.files.len() > 1 {
            self.files.iter().for_each(|(_, file)| file.begin_sync());
        }
        for (path, file) in &self.files {
            file.sync().at("sync", path)?;
        }
        for dir in &self.dirs {
            disk.sync_dir(dir).at("sync directory", dir)?;
        }
        Ok(())
    }
}

/// Makes a file that was not there, with this content.
pub(crate) fn create_with(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<Arc<dyn DiskFile>> {
    let file = disk.create(path).at("create", path)?;
    write_all(&*file, bytes).at("write", path)?;
    Ok(file)
}

/// How sure a replaced file must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settle {
    /// On disk before the call returns.
    Now,
    /// Whenever the kernel likes: for what can be derived again.
    Later,
}

/// Replaces a file as a whole: readers see the old content or the new, never a mixture.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8], settle: Settle) -> Result<()> {
    let new = Replacement::write(disk, path, bytes)?;
    if settle == Settle::Now {
        let mut owed = Owed::default();
        new.owe(&mut owed);
        owed.settle(disk)?;
    }
    new.take_place(disk)?;
    if settle == Settle::Now {
        let parent = path.parent().expect("a log's file has a parent");
        disk.sync_dir(parent).at("sync directory", parent)?;
    }
    Ok(())
}

/// The new content of a file, beside the old one. Its content should be on disk before it takes the place.
#[must_use = "a replacement that does not take the place of the file changes nothing"]
pub(crate) struct Replacement {
    path: PathBuf,
    temporary: PathBuf,
    file: Arc<dyn DiskFile>,
}

impl Replacement {
    pub(crate) fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<Self> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let file = match disk.create(&temporary) {
            // Left from a replacement that was cut short.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove(&temporary).at("remove", &temporary)?;
                disk.create(&temporary)
            }
            other => other,
        };
        let file = file.at("create", &temporary)?;
        write_all(&*file, bytes).at("write", &temporary)?;
        Ok(Self { path: path.to_owned(), temporary, file })
    }

    pub(crate) fn owe(&self, owed: &mut Owed) {
        owed.file(&self.temporary, Arc::clone(&self.file));
    }

    pub(crate) fn take_place(self, disk: &dyn Disk) -> Result<()> {
        disk.rename(&self.temporary, &self.path).at("rename", &self.temporary)
    }
}

/// Reads a file of at most `bytes_max` bytes; `None` when there is none.
pub(crate) fn read_file(disk: &dyn Disk, path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>> {
    let reader = match disk.read(path, 0) {
        Ok(reader) => reader,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at("open", path),
    };
    let mut bytes = Vec::new();
    reader.take(bytes_max as u64 + 1).read_to_end(&mut bytes).at("read", path)?;
    if bytes.len() > bytes_max {
        let what = format!("it has more than the {bytes_max} bytes that such a file may have");
        return Err(AuditError::Corrupt { path: path.to_owned(), what });
    }
    Ok(Some(bytes))
}

/// Makes a directory unless it is there, and checks it either way.
pub(crate) fn ensure_dir(disk: &dyn Disk, path: &Path) -> Result<()> {
    match disk.create_dir(path) {
        Ok(()) => {
            let parent = path.parent().expect("a log's directory has a parent");
            disk.sync_dir(parent).at("sync directory", parent)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.check_dir(path),
        Err(error) => Err(error).at("create directory", path),
    }
}
