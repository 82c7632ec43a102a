//! Memory of a session that no process needs to map: the content of its private tmpfs, and files without a name.
//! It never believes a path that a guest chose: a link of /proc only says which descriptors are worth asking about.
//!
//! What it cannot see: a file without a name while its only descriptor waits in a socket, and shared pages that
//! somebody maps but only a process that ended has touched. A control group sees both.

use super::observe::processor_time;
use super::processes::Place;
use super::{LOOK_SHARE, LOOK_SHARE_NEAR};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between scans of descriptors, when the machine's shared memory did not grow.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Growth of the machine's shared memory that is never worth a scan.
const NOISE_BYTES: u64 = 1 << 20;
/// What the kernel keeps for an entry of a tmpfs: an inode and a name, rounded up.
const INODE_BYTES: u64 = 1024;
/// `st_blocks` counts these (stat(2)).
const BLOCK_BYTES: u64 = 512;
/// Longest list of mappings that is read: some 65,000 mappings, as many as a process may have.
const MAPPINGS_BYTES_MAX: u64 = 64 << 20;

/// Watches the memory of one session that belongs to files.
#[derive(Debug)]
pub(super) struct Unmapped {
    /// Paths inside, of every private tmpfs.
    paths: Vec<PathBuf>,
    /// The same, opened once a guest runs whose root leads there.
    mounts: Vec<Mount>,
    /// The device of files without a name; `None` where the kernel has no such files.
    nameless: Option<u64>,
    /// What the last scan found.
    files: BTreeSet<(u64, u64)>,
    last: Option<Scan>,
}

#[derive(Debug)]
struct Mount {
    fd: OwnedFd,
    device: u64,
}

/// The last scan of descriptors.
#[derive(Debug, Clone, Copy)]
struct Scan {
    bytes: u64,
    /// Shared memory of the whole machine at that time.
    machine_bytes: u64,
    ended: Instant,
    took: Duration,
}

/// How sure an answer has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// A scan of a while ago will do, unless the machine's shared memory grew by more than a part of what is left.
    Recent {
        /// Memory that the session may still use, bytes.
        left_bytes: u64,
    },
    /// Scan now.
    Now,
}

impl Unmapped {
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        let memfd = rustix::fs::memfd_create(c"stockade-watch", rustix::fs::MemfdFlags::CLOEXEC).ok();
        let nameless = memfd.and_then(|fd| rustix::fs::fstat(fd).ok()).map(|stat| stat.st_dev);
        Self { paths, mounts: Vec::new(), nameless, files: BTreeSet::new(), last: None }
    }

    /// Bytes of all files in memory, and how long a scan took, if this was one.
    pub(super) fn bytes(&mut self, places: &[Place], care: Care) -> (u64, Duration) {
        if self.mounts.is_empty() && !self.paths.is_empty() {
            self.open(places);
        }
        let machine_bytes = machine_bytes();
        let due = match care {
            Care::Now => true,
            Care::Recent { left_bytes } => self.is_due(Instant::now(), machine_bytes, left_bytes),
        };
        if due {
            let before = processor_time();
            let bytes = self.scan(places);
            let took = processor_time().saturating_sub(before);
            self.last = Some(Scan { bytes, machine_bytes, ended: Instant::now(), took });
        }
        let files_bytes = self.last.map_or(0, |scan| scan.bytes);
        let took = self.last.filter(|_| due).map_or(Duration::ZERO, |scan| scan.took);
        (files_bytes + self.mounts.iter().map(used_bytes).sum::<u64>(), took)
    }

    /// Whether to scan. Growth alone would miss a session that fills what others free at the same time; time alone
    /// would come late.
    fn is_due(&self, now: Instant, machine_bytes: u64, left_bytes: u64) -> bool {
        let Some(last) = &self.last else { return true };
        let grown = machine_bytes.saturating_sub(last.machine_bytes);
        let since = now.saturating_duration_since(last.ended);
        let pause = (last.took * LOOK_SHARE).clamp(PAUSE_MIN, PAUSE_MAX);
        // The machine's shared memory is not the session's alone: a busy host must not make us scan all the time.
        (grown > (left_bytes / 8).max(NOISE_BYTES) && since > last.took * LOOK_SHARE_NEAR) || since > pause
    }

    /// Bytes of the nameless files that the session holds open, each once.
    fn scan(&mut self, places: &[Place]) -> u64 {
        self.files.clear();
        let mut bytes = 0;
        for entry in places.iter().flat_map(Place::descriptors) {
            let Ok(link) = fs::read_link(&entry) else { continue };
            // The kernel's own name for them. Who names a file alike only makes us look at it.
            if !link.as_os_str().as_bytes().starts_with(b"/memfd:") {
                continue;
            }
            let Ok(file) = fs::metadata(&entry) else { continue };
            let is_private = self.mounts.iter().any(|mount| mount.device == file.dev());
            if file.is_file() && file.nlink() == 0 && !is_private && self.files.insert((file.dev(), file.ino())) {
                bytes += file.blocks() * BLOCK_BYTES;
            }
        }
        bytes
    }

    /// Opens the private tmpfs through the root of a guest's process: the init's own is closed to an ordinary user.
    fn open(&mut self, places: &[Place]) {
        let ours = fs::read_link("/proc/self/ns/mnt").ok();
        for place in places {
            // An id that was given away meanwhile would show the machine's own directories.
            let theirs = fs::read_link(place.path("ns/mnt")).ok();
            if theirs.is_none() || theirs == ours {
                continue;
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let Ok(root) = rustix::fs::open(place.path("root"), flags, Mode::empty()) else { continue };
            self.mounts = self.paths.iter().filter_map(|path| mount(&root, path)).collect();
            if !self.mounts.is_empty() {
                return;
            }
        }
    }

    /// Shared memory that a process maps and that no file counted here holds, bytes; `None` where its mappings cannot
    /// be read to their end.
    pub(super) fn mapped_bytes(&self, mappings: &Path) -> Option<u64> {
        let file = fs::File::open(mappings).ok()?;
        let mut lines = BufReader::new(file.take(MAPPINGS_BYTES_MAX));
        let (mut total, mut read, mut counts) = (0_u64, 0_u64, false);
        let (mut line, mut share) = (Vec::new(), 0_u64);
        loop {
            line.clear();
            let length = lines.read_until(b'\n', &mut line).ok()?;
            read += length as u64;
            if length == 0 {
                return (read < MAPPINGS_BYTES_MAX).then_some(total);
            }
            let text = String::from_utf8_lossy(&line);
            // Fields begin with a capital letter, mappings with an address.
            if text.starts_with(|first: char| first.is_ascii_digit() || first.is_ascii_lowercase()) {
                counts = self.is_uncounted(&text);
            } else if let Some(kib) = text.strip_prefix("Pss:").filter(|_| counts).and_then(kib) {
                share = kib;
            } else if let Some(kib) = text.strip_prefix("Anonymous:").filter(|_| counts).and_then(kib) {
                // Private copies are counted with the anonymous memory.
                total += share.saturating_sub(kib) * 1024;
            }
        }
    }

    /// Whether this line of a list of mappings names a nameless file that no descriptor holds.
    fn is_uncounted(&self, line: &str) -> bool {
        let mut fields = line.split_ascii_whitespace().skip(3);
        let (device, inode) = (fields.next().and_then(device), fields.next().and_then(|text| text.parse().ok()));
        match (device, inode) {
            (Some(device), Some(inode)) => Some(device) == self.nameless && !self.files.contains(&(device, inode)),
            _ => false,
        }
    }
}

/// A private tmpfs below a guest's root; `None` where something else is there.
fn mount(root: &OwnedFd, path: &Path) -> Option<Mount> {
    let path = path.strip_prefix("/").ok()?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let fd = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve).ok()?;
    let system = rustix::fs::fstatfs(&fd).ok()?;
    let device = rustix::fs::fstat(&fd).ok()?.st_dev;
    (system.f_type == libc::TMPFS_MAGIC).then_some(Mount { fd, device })
}

/// What a tmpfs holds, its entries included.
fn used_bytes(mount: &Mount) -> u64 {
    let Ok(system) = rustix::fs::fstatvfs(&mount.fd) else { return 0 };
    let content = system.f_blocks.saturating_sub(system.f_bfree).saturating_mul(system.f_frsize);
    content + system.f_files.saturating_sub(system.f_ffree).saturating_mul(INODE_BYTES)
}

/// Shared memory of the whole machine: one number that the kernel keeps, so asking is cheap.
fn machine_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.sharedram.saturating_mul(info.mem_unit.into())
}

/// A device as /proc/PID/maps writes it.
fn device(text: &str) -> Option<u64> {
    let (major, minor) = text.split_once(':')?;
    let number = |text| u32::from_str_radix(text, 16).ok();
    Some(rustix::fs::makedev(number(major)?, number(minor)?))
}

/// A number with a unit of kB.
fn kib(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
7f0000000000-7f0000001000 rw-s 00000000 00:01 7 /dev/zero (deleted)\nRss: 9 kB\nPss: 40 kB\nAnonymous: 0 kB\n\
7f0000000000-7f0000001000 rw-s 00000000 00:01 8 /memfd:a (deleted)\nPss: 100 kB\nAnonymous: 0 kB\n\
a00000000000-a00000001000 rw-p 00000000 00:01 9 /memfd:Pss: 1 (deleted)\nPss: 5 kB\nAnonymous: 4 kB\n\
7f0000000000-7f0000001000 r--p 00000000 fd:10 7 /usr/lib/x\nPss: 1000 kB\nAnonymous: 0 kB\n\
7f0000000000-7f0000001000 rw-p 00000000 00:00 0\nPss: 3000 kB\nAnonymous: 3000 kB\n";

    #[test]
    fn shared_pages_count_unless_a_descriptor_counts_them() {
        let file = std::env::temp_dir().join(format!("jail-mappings-{}", std::process::id()));
        fs::write(&file, LIST).expect("a temporary file");
        let mut unmapped = Unmapped::new(Vec::new());
        unmapped.nameless = Some(1);
        unmapped.files.insert((1, 8));
        let bytes = unmapped.mapped_bytes(&file);
        fs::remove_file(&file).expect("our own file");
        assert_eq!(bytes, Some(41 * 1024));
    }
}
