//! What a session's processes use, read from /proc: where no control group counts it.
//! It never believes a name or a path that a guest chose; only numbers that the kernel wrote.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

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
    /// Threads of all processes, the init's included: what a pids limit counts.
    pub(super) threads: u64,
    /// Memory that is the session's own, bytes; shared pages count once, as far as the kernel tells.
    pub(super) memory_bytes: u64,
    /// CPU time of all processes, the ended ones included, milliseconds.
    pub(super) cpu_ms: u64,
    /// The most descriptors that one process has open, when that could reach the limit asked about.
    pub(super) descriptors: u64,
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
    pub(super) fn new(init: u32) -> Self {
        // SAFETY: sysconf takes a number and returns a number.
        let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        let ticks_per_s = u64::try_from(ticks).ok().filter(|ticks| *ticks > 0).unwrap_or(100);
        Self { init, ticks_per_s, seen: BTreeMap::new(), lost: 0 }
    }

    /// One look. Processes that end meanwhile are left out.
    pub(super) fn sample(&mut self, questions: Questions) -> Sample {
        let pids = tree(self.init);
        let mut sample = Sample::default();
        let mut now = BTreeMap::new();
        for pid in &pids {
            let Some(stat) = Stat::read(*pid) else { continue };
            sample.processes += 1;
            sample.threads += stat.threads;
            now.insert((*pid, stat.start), stat.times);
            if questions.memory_bytes.is_some() || questions.descriptors.is_some() {
                let status = Status::read(*pid);
                sample.memory_bytes += status.memory_bytes;
                if questions.descriptors.is_some_and(|limit| status.table_size >= limit) {
                    sample.descriptors = sample.descriptors.max(descriptors(*pid));
                }
            }
        }
        if questions.memory_bytes.is_some_and(|limit| sample.memory_bytes > limit) {
            // Pages that forked processes still share were counted once for each: ask for shares, which costs more.
            sample.memory_bytes = pids.iter().map(|pid| share_bytes(*pid)).sum();
        }
        sample.cpu_ms = self.account(now).saturating_mul(1000) / self.ticks_per_s;
        sample
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

/// Fields of /proc/PID/stat (proc_pid_stat(5)).
struct Stat {
    times: Times,
    threads: u64,
    start: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let stat = text(Path::new(&format!("/proc/{pid}/stat")))?;
        // The name may hold anything, parentheses too; the last one ends it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let times = Times { own: number(14)? + number(15)?, children: number(16)? + number(17)? };
        Some(Self { times, threads: number(20)?, start: number(22)? })
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
    fn read(pid: u32) -> Self {
        let text = text(Path::new(&format!("/proc/{pid}/status"))).unwrap_or_default();
        Self {
            memory_bytes: sum_kib(&text, &["RssAnon:", "RssShmem:", "VmSwap:"]),
            table_size: number_after(&text, "FDSize:").unwrap_or(0),
        }
    }
}

/// A process's share of what it has in memory, or the upper bound where the kernel does not tell.
fn share_bytes(pid: u32) -> u64 {
    match text(Path::new(&format!("/proc/{pid}/smaps_rollup"))) {
        Some(text) if !text.is_empty() => sum_kib(&text, &["Pss_Anon:", "Pss_Shmem:", "SwapPss:"]),
        _ => Status::read(pid).memory_bytes,
    }
}

/// Open descriptors of a process.
fn descriptors(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64)
}

/// Bytes of files that a session holds open and has unlinked: no walk of a directory finds them. Files in memory
/// count as memory and are left out.
pub(super) fn unlinked_bytes(init: u32) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut seen = std::collections::BTreeSet::new();
    let mut bytes = 0;
    for pid in tree(init) {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            let Ok(file) = fs::metadata(&path) else { continue };
            if !file.is_file() || file.nlink() > 0 || !seen.insert((file.dev(), file.ino())) {
                continue;
            }
            let in_memory = rustix::fs::statfs(&path).is_ok_and(|system| system.f_type == libc::TMPFS_MAGIC);
            if !in_memory {
                bytes += file.blocks() * 512;
            }
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
