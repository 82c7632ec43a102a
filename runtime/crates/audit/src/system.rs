//! The doors to the machine: its files, its clock, its randomness. Everything else in this crate takes them as arguments.
//! It never reads the environment.

use crate::disk::{Disk, DiskFile, FileMark, Held, Wait};
use crate::error::{At as _, AuditError, Result};
use rustix::fs::{Advice, OFlags};
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

const PAGE_BYTES: u64 = 4096;

/// Where a log gets its time from.
pub trait Clock: Send + Sync {
    /// Wall clock, ns since 1970.
    fn wall_ns(&self) -> u64;
    /// A clock that never goes back, ns since some moment.
    fn mono_ns(&self) -> u64;
    /// How long ago a moment was by that clock, ns.
    fn since_ns(&self, moment: Instant) -> u64;
}

/// Where a log gets keys and salts from.
pub trait Random: Send + Sync {
    /// Fills the buffer with bytes that nobody can guess.
    ///
    /// # Errors
    /// When there are none; then nothing may be signed or salted.
    fn fill(&self, out: &mut [u8]) -> io::Result<()>;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the door to the clock: everything else takes `Clock` as an argument"
    )]
    fn wall_ns(&self) -> u64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
    }

    fn mono_ns(&self) -> u64 {
        self.since_ns(self.start)
    }

    fn since_ns(&self, moment: Instant) -> u64 {
        u64::try_from(moment.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The kernel's random generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, out: &mut [u8]) -> io::Result<()> {
        getrandom::fill(out).map_err(io::Error::from)
    }
}

/// The machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

#[derive(Debug)]
struct SystemFile(File);

impl DiskFile for SystemFile {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0).write(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn begin_sync(&self) {
        // posix_fadvise(2) writes dirty pages out without waiting, and then forgets the clean ones. So only the last page,
        // which was just written to: the others may be read again soon. Refused, the sync does all the work.
        let last = self.0.metadata().map(|metadata| metadata.len().saturating_sub(1) / PAGE_BYTES * PAGE_BYTES);
        drop(last.map(|from| rustix::fs::fadvise(&self.0, from, None, Advice::DontNeed)));
    }
}

/// The lock ends when its descriptor is closed.
#[derive(Debug)]
struct SystemLock {
    _file: File,
}

impl Held for SystemLock {}

fn flags() -> i32 {
    (OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK).bits().cast_signed()
}

/// A regular file only: a fifo or device put in a log's place must not make us wait or act.
fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}

impl Disk for SystemDisk {
    fn check_dir(&self, path: &Path) -> Result<()> {
        let exposed = |why| Err(AuditError::Exposed { path: path.to_owned(), why });
        let metadata = path.symlink_metadata().at("look at", path)?;
        if !metadata.is_dir() {
            return exposed("not a directory");
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return exposed("owned by somebody else");
        }
        if metadata.mode() & 0o022 != 0 {
            return exposed("writable by others");
        }
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).custom_flags(flags()).open(path)?;
        Ok(Arc::new(SystemFile(file)))
    }

    fn append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().append(true).custom_flags(flags()).open(path)?;
        Ok(Arc::new(SystemFile(regular(file)?)))
    }

    fn read(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = regular(OpenOptions::new().read(true).custom_flags(flags()).open(path)?)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(path.symlink_metadata()?.len())
    }

    fn mark(&self, path: &Path) -> io::Result<FileMark> {
        let found = path.symlink_metadata()?;
        let changed = [found.ctime(), found.ctime_nsec()];
        Ok(FileMark { device: found.dev(), inode: found.ino(), bytes: found.len(), changed })
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let file = regular(OpenOptions::new().write(true).custom_flags(flags()).open(path)?)?;
        file.set_len(len)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names = path.read_dir()?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_tree(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(path)?)?)
    }

    fn lock(&self, path: &Path, wait: Wait) -> io::Result<Box<dyn Held>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags());
        let file = regular(options.open(path)?)?;
        match wait {
            Wait::Block => file.lock()?,
            Wait::Never => match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(TryLockError::Error(error)) => return Err(error),
            },
        }
        Ok(Box::new(SystemLock { _file: file }))
    }
}
