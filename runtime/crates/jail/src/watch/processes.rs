//! What a session's processes use, read from /proc: where no control group counts it.
//! It never believes a name or a path that a guest chose; only numbers that the kernel wrote.

use super::unmapped::{Care, Unmapped};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most processes that one sample looks at: more than any sensible `pids` limit, and a bound on a sample's cost.
const PROCESSES_MAX: usize = 8192;
/// Longest file of /proc that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024;
const BYTES_PER_KIB: u64 = 1024;

/// One look at a session's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sample {
    /// Processes, the init included.
    pub(super) processes: u64,
    /// Threads of all processes but the init: what a pids limit counts.
    pub(super) threads: u64,
    /// Memory that is the session's own, bytes; shared pages count once, as far as the kernel tells.
    pub(super) memory_bytes: u64,
    /// CPU time of all processes, the ended ones included, milliseconds.
    pub(super) cpu_ms: u64,
    /// The most descriptors that one process has open, when that could reach the limit asked about.
    pub(super) descriptors: u64,
    /// How much of the look went into asking about descriptors, which has a pace of its own.
    pub(super) scanned: Duration,
}

/// What a sample should find out beyond processes and CPU time: limits that somebody asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Questions {
    /// Memory: only counted exactly once the cheap upper bound exceeds this.
    pub(super) memory_bytes: Option<u64>,
    /// Descriptors: only counted for processes whose table has room for this many.
    pub(super) descriptors: Option<u64>,
}

/// Looks at the processes below an init, time after time.
#[derive(Debug)]
pub(super) struct Sampler {
    init: u32,
    unmapped: Unmapped,
    /// Memory at the last look, an upper bound.
    memory_bytes: u64,
    ticks_per_s: u64,
    /// Process and start time, and what it had used when it was last seen.
    seen: BTreeMap<(u32, u64), Times>,
    /// CPU time of processes that ended without a parent taking it over (a parent that ignores SIGCHLD), ticks.
    lost: u64,
}

/// CPU time of one process, ticks.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    own: u64,
    /// Of children that ended and were waited for.
    children: u64,
}

impl Sampler {
    /// For the processes below this init, whose private tmpfs are at these paths inside.
    pub(super) fn new(init: u32, private: Vec<PathBuf>) -> Self {
        // SAFETY: sysconf takes a number and returns a number.
        let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        let ticks_per_s = u64::try_from(ticks).ok().filter(|ticks| *ticks > 0).unwrap_or(100);
        let unmapped = Unmapped::new(private);
        Self { init, unmapped, memory_bytes: 0, ticks_per_s, seen: BTreeMap::new(), lost: 0 }
    }

    /// One look. Processes that end meanwhile are left out.
    pub(super) fn sample(&mut self, questions: Questions) -> Sample {
        let pids = tree(self.init);
        let mut sample = Sample::default();
        let mut now = BTreeMap::new();
        let mut places = Vec::with_capacity(pids.len());
        for pid in &pids {
            let Some(stat) = Stat::read(*pid) else { continue };
            sample.processes += 1;
            if *pid != self.init {
                sample.threads += stat.threads;
            }
            now.insert((*pid, stat.start), stat.times);
            if questions.memory_bytes.is_some() || questions.descriptors.is_some() {
                let place = Place::of(*pid, &stat);
                let status = Status::read(&place);
                sample.memory_bytes += status.memory_bytes;
                let many = questions.descriptors.is_some_and(|limit| status.table_size >= limit);
                if many && !self.is_ours(*pid, &place) {
                    sample.descriptors = sample.descriptors.max(place.descriptors().count() as u64);
                }
                places.push(place);
            }
        }
        if let Some(limit_bytes) = questions.memory_bytes {
            self.add_files(&mut sample, &places, limit_bytes);
        }
        sample.cpu_ms = self.account(now).saturating_mul(1000) / self.ticks_per_s;
        sample
    }

    /// Whether a process is the init, or a child of it that has not executed its program yet: what it has open is the
    /// init's.
    fn is_ours(&self, pid: u32, place: &Place) -> bool {
        pid == self.init || place.parent == self.init && place.borrows_memory()
    }

    /// Adds what is in files to what processes map, and counts exactly once that could be too much.
    fn add_files(&mut self, sample: &mut Sample, places: &[Place], limit_bytes: u64) {
        let left_bytes = limit_bytes.saturating_sub(self.memory_bytes.max(sample.memory_bytes));
        let (files_bytes, took) = self.unmapped.bytes(places, Care::Recent { left_bytes });
        sample.memory_bytes += files_bytes;
        sample.scanned = took;
        self.memory_bytes = sample.memory_bytes;
        if sample.memory_bytes > limit_bytes {
            // Pages that forked processes still share were counted once for each, and mapped files twice: ask for
            // shares, which costs more.
            let (files_bytes, _) = self.unmapped.bytes(places, Care::Now);
            let own = places.iter().filter(|place| !place.borrows_memory());
            sample.memory_bytes = files_bytes + own.map(|place| share_bytes(place, &self.unmapped)).sum::<u64>();
        }
    }

    /// CPU time of everything that ever ran, ticks: the living, what they took over from the ended, and what nobody
    /// took over.
    fn account(&mut self, now: BTreeMap<(u32, u64), Times>) -> u64 {
        let ended: u64 =
            self.seen.iter().filter(|(id, _)| !now.contains_key(id)).map(|(_, times)| times.own + times.children).sum();
        let taken_over: u64 = now
            .iter()
            .map(|(id, times)| times.children.saturating_sub(self.seen.get(id).map_or(0, |before| before.children)))
            .sum();
        self.lost += ended.saturating_sub(taken_over);
        self.seen = now;
        self.seen.values().map(|times| times.own + times.children).sum::<u64>() + self.lost
    }
}

/// All processes below and including `init`, by the kernel's lists of children.
pub(super) fn tree(init: u32) -> Vec<u32> {
    let mut found = vec![init];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.filter_map(Result::ok) {
            let children = text(&thread.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        if found.len() > PROCESSES_MAX {
            break;
        }
    }
    found
}

/// Where /proc tells about a process.
#[derive(Debug)]
pub(super) struct Place {
    pid: u32,
    parent: u32,
    threads: u64,
    /// Of the process, or of one of its threads: what a process has is asked of its first thread, and nobody answers
    /// for one that ended before the others.
    directory: PathBuf,
}

impl Place {
    fn of(pid: u32, stat: &Stat) -> Self {
        let mut place =
            Self { pid, parent: stat.parent, threads: stat.threads, directory: format!("/proc/{pid}").into() };
        if stat.threads > 1 && stat.ended {
            let mut others = place.threads().into_iter().filter(|thread| *thread != pid);
            if let Some(thread) = others.find(|thread| Stat::at(&place.thread(*thread)).is_some_and(|stat| !stat.ended))
            {
                place.directory = place.thread(thread);
            }
        }
        place
    }

    /// A file that tells something.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Every open descriptor, as a link: of all threads, since one may have left the table of the others.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = PathBuf> + use<> {
        let mut tables = vec![self.path("fd")];
        if self.threads > 1 {
            let apart = |thread: &u32| !same(KCMP_FILES, self.pid, *thread);
            tables.extend(self.threads().into_iter().filter(apart).map(|thread| self.thread(thread).join("fd")));
        }
        tables
            .into_iter()
            .filter_map(|table| fs::read_dir(table).ok())
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
    }

    /// Whether its memory is its parent's, as it is between vfork(2) and exec.
    fn borrows_memory(&self) -> bool {
        same(KCMP_VM, self.pid, self.parent)
    }

    fn threads(&self) -> Vec<u32> {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.pid)) else { return Vec::new() };
        threads.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
    }

    fn thread(&self, thread: u32) -> PathBuf {
        format!("/proc/{}/task/{thread}", self.pid).into()
    }
}

/// What kcmp(2) compares: memory, and tables of descriptors.
const KCMP_VM: libc::c_long = 1;
const KCMP_FILES: libc::c_long = 2;

/// Whether two threads have the same one; `false` also where the kernel does not tell.
fn same(what: libc::c_long, one: u32, other: u32) -> bool {
    let (one, other) = (libc::c_long::from(one), libc::c_long::from(other));
    // SAFETY: kcmp(2) with these types takes five numbers, reads no memory of ours and changes nothing.
    let answer = unsafe { libc::syscall(libc::SYS_kcmp, one, other, what, 0_i64, 0_i64) };
    answer == 0
}

/// Fields of /proc/PID/stat (proc_pid_stat(5)).
struct Stat {
    parent: u32,
    ended: bool,
    times: Times,
    threads: u64,
    start: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::at(Path::new(&format!("/proc/{pid}")))
    }

    fn at(directory: &Path) -> Option<Self> {
        let stat = text(&directory.join("stat"))?;
        // The name may hold anything, parentheses too; the last one ends it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let times = Times { own: number(14)? + number(15)?, children: number(16)? + number(17)? };
        let parent = u32::try_from(number(4)?).ok()?;
        let ended = fields.first().is_some_and(|state| matches!(*state, "Z" | "X"));
        Some(Self { parent, ended, times, threads: number(20)?, start: number(22)? })
    }
}

/// Fields of /proc/PID/status (proc_pid_status(5)).
#[derive(Default)]
struct Status {
    /// Anonymous, shared and swapped: what is not a cached file. An upper bound, as forked processes share pages.
    memory_bytes: u64,
    /// Size of the table of descriptors.
    table_size: u64,
}

impl Status {
    fn read(place: &Place) -> Self {
        let text = text(&place.path("status")).unwrap_or_default();
        Self {
            memory_bytes: sum_kib(&text, &["RssAnon:", "RssShmem:", "VmSwap:"]),
            table_size: number_after(&text, "FDSize:").unwrap_or(0),
        }
    }
}

/// A process's share of what it has in memory and no file counts, or the upper bound where the kernel does not tell.
fn share_bytes(place: &Place, files: &Unmapped) -> u64 {
    match text(&place.path("smaps_rollup")) {
        Some(text) if !text.is_empty() => {
            let shared = sum_kib(&text, &["Pss_Shmem:"]);
            let uncounted = if shared > 0 { files.mapped_bytes(&place.path("smaps")).unwrap_or(shared) } else { 0 };
            sum_kib(&text, &["Pss_Anon:", "SwapPss:"]) + uncounted
        }
        _ => Status::read(place).memory_bytes,
    }
}

/// Bytes of files that these processes and their children hold open and have unlinked: no walk of a directory finds them.
/// Files in memory count as memory and are left out.
pub(super) fn unlinked_bytes(holders: &[u32]) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut seen = std::collections::BTreeSet::new();
    let mut bytes = 0;
    let trees = holders.iter().flat_map(|holder| tree(*holder));
    let places = trees.filter_map(|pid| Some(Place::of(pid, &Stat::read(pid)?)));
    for path in places.flat_map(|place| place.descriptors()) {
        let Ok(file) = fs::metadata(&path) else { continue };
        if !file.is_file() || file.nlink() > 0 || !seen.insert((file.dev(), file.ino())) {
            continue;
        }
        let in_memory = rustix::fs::statfs(&path).is_ok_and(|system| system.f_type == libc::TMPFS_MAGIC);
        if !in_memory {
            bytes += file.blocks() * 512;
        }
    }
    bytes
}

/// The sum of some lines with a unit of kB.
fn sum_kib(text: &str, keys: &[&str]) -> u64 {
    keys.iter().filter_map(|key| number_after(text, key)).sum::<u64>().saturating_mul(BYTES_PER_KIB)
}

/// The number on the line that begins with a key.
fn number_after(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
}

/// The text of a file of /proc, up to a bound.
fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    // A process's name may hold any bytes.
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
