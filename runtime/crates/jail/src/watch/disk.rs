//! What a session's layer takes on disk: walked rarely, since walking is dear, and at once when space goes fast.
//! It never follows a symlink, and never leaves the directories that it was given.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A walk may take this fraction of the time.
const WALK_SHARE: u32 = 50;
/// Between walks, when the file system did not lose much: short, since what others free hides what a session takes.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// `st_blocks` counts these (stat(2)).
const BLOCK_BYTES: u64 = 512;

/// Looks at some directories once more when a call ends: one that fills them fast is over before the next walk. It
/// costs no more than the comparison of the layer that follows every call; free space alone would not tell, since others
/// free it at the same time.
#[derive(Debug)]
pub(super) struct LastLook {
    directories: Vec<PathBuf>,
    limit_bytes: u64,
    init: u32,
}

impl LastLook {
    pub(super) const fn new(directories: Vec<PathBuf>, limit_bytes: u64, init: u32) -> Self {
        Self { directories, limit_bytes, init }
    }

    /// The usage, when it exceeds the limit.
    pub(super) fn exceeded(&self) -> Option<u64> {
        Disk::new(self.directories.clone(), self.limit_bytes, self.init).exceeded(Instant::now())
    }
}

/// Free space of the file systems that hold the directories; one that is asked twice counts twice, always.
fn free_bytes(directories: &[PathBuf]) -> u64 {
    let systems = directories.iter().filter_map(|directory| rustix::fs::statvfs(directory).ok());
    systems.map(|system| system.f_bfree.saturating_mul(system.f_frsize)).sum()
}

/// Watches some directories.
#[derive(Debug)]
pub(super) struct Disk {
    directories: Vec<PathBuf>,
    limit_bytes: u64,
    init: u32,
    last: Option<Walk>,
}

/// The last walk.
#[derive(Debug)]
struct Walk {
    used_bytes: u64,
    /// Free space of the file systems together at that time.
    free_bytes: u64,
    ended: Instant,
    took: Duration,
}

impl Disk {
    pub(super) const fn new(directories: Vec<PathBuf>, limit_bytes: u64, init: u32) -> Self {
        Self { directories, limit_bytes, init, last: None }
    }

    /// The usage, when it exceeds the limit.
    pub(super) fn exceeded(&mut self, now: Instant) -> Option<u64> {
        let free_bytes = free_bytes(&self.directories);
        if !self.is_due(now, free_bytes) {
            return None;
        }
        let used_bytes = self.walk() + super::processes::unlinked_bytes(self.init);
        let ended = Instant::now();
        self.last = Some(Walk { used_bytes, free_bytes, ended, took: ended.saturating_duration_since(now) });
        (used_bytes > self.limit_bytes).then_some(used_bytes)
    }

    /// Whether to walk: half of what was left may be gone, or it has been long enough. The first test alone would miss
    /// a session that fills what others free at the same time; the second alone would come late.
    fn is_due(&self, now: Instant, free_bytes: u64) -> bool {
        let Some(last) = &self.last else { return true };
        let left = self.limit_bytes.saturating_sub(last.used_bytes);
        let lost = last.free_bytes.saturating_sub(free_bytes);
        let pause = (last.took * WALK_SHARE).clamp(PAUSE_MIN, PAUSE_MAX);
        let since = now.saturating_duration_since(last.ended);
        // At least as long as the last walk took, so that a busy host cannot make us walk all the time.
        (lost > left / 2 && since > last.took) || since > pause
    }

    /// Bytes on disk of everything below; a file with several names counts once.
    fn walk(&self) -> u64 {
        let mut bytes = 0;
        let mut several = BTreeSet::new();
        let mut pending = self.directories.clone();
        while let Some(directory) = pending.pop() {
            // A directory that vanished, or that the guest made unreadable to us, holds nothing that we could count;
            // the loss of free space still shows.
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            for entry in entries.filter_map(Result::ok) {
                let Ok(file) = entry.metadata() else { continue };
                if file.is_dir() {
                    pending.push(entry.path());
                } else if file.nlink() > 1 && !several.insert((file.dev(), file.ino())) {
                    continue;
                }
                bytes += file.blocks() * BLOCK_BYTES;
            }
        }
        bytes
    }
}
