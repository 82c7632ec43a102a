//! What a session's layer takes on disk: walked rarely, since walking is dear, and at once when space goes fast.
//! It never follows a symlink, and never leaves the directories that it was given.

use super::{LimitHit, LimitKind};
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
#[derive(Debug, Clone)]
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
        self.disk().exceeded(Instant::now())
    }

    /// Whether there is a directory to look at.
    pub(super) fn is_of_something(&self) -> bool {
        !self.directories.is_empty()
    }

    fn disk(&self) -> Disk {
        Disk::new(self.directories.clone(), self.limit_bytes, self.init)
    }
}

/// Looks at what a session takes on disk while something runs that is no call of its sandbox: a worker writes files of the
/// layer, and the watcher sleeps meanwhile.
#[derive(Debug)]
pub struct LayerLook {
    disk: Disk,
    last: LastLook,
}

impl LayerLook {
    pub(super) fn new(last: LastLook) -> Self {
        Self { disk: last.disk(), last }
    }

    /// The limit, when it is exceeded. It may be asked at any time: it looks no more often than its share of the time lets
    /// it. `workers` are processes beside the sandbox's own, by their ids: what they hold open and have unlinked counts.
    pub(crate) fn exceeded(&mut self, workers: &[u32]) -> Option<LimitHit> {
        self.disk.set_beside(workers);
        self.disk.exceeded(Instant::now()).map(|used| self.hit(used))
    }

    /// The same at the end of what ran, whenever the last look was. It holds nothing open any more, so nobody is asked for
    /// what is unlinked: that would cost more than a small tool does.
    pub fn exceeded_at_last(&self) -> Option<LimitHit> {
        let mut disk = self.last.disk();
        disk.holders.clear();
        disk.exceeded(Instant::now()).map(|used| self.hit(used))
    }

    fn hit(&self, used_bytes: u64) -> LimitHit {
        LimitHit::new(LimitKind::Disk, self.last.limit_bytes, used_bytes)
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
    /// Processes whose trees may hold files that no walk finds: the init, and those beside it.
    holders: Vec<u32>,
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
    pub(super) fn new(directories: Vec<PathBuf>, limit_bytes: u64, init: u32) -> Self {
        Self { directories, limit_bytes, holders: vec![init], last: None }
    }

    fn set_beside(&mut self, workers: &[u32]) {
        self.holders.truncate(1);
        self.holders.extend_from_slice(workers);
    }

    /// The usage, when it exceeds the limit.
    pub(super) fn exceeded(&mut self, now: Instant) -> Option<u64> {
        let free_bytes = free_bytes(&self.directories);
        if !self.is_due(now, free_bytes) {
            return None;
        }
        let used_bytes = self.walk() + super::processes::unlinked_bytes(&self.holders);
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
