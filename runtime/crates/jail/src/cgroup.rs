//! A control group for one session: version 2 where a subtree is ours, version 1 where we may write to it.
//! It never changes a group that it did not make, and never leaves one behind that it could empty.

mod container;
mod files;
mod locate;
mod room;
pub(crate) mod victims;

use crate::enforced::{Layer, LayerState};
use crate::error::JailError;
use crate::plan::Limits;
use files::{count, join, make, read, remove, write};
use locate::{Own, Place};
pub(crate) use room::enter;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long dropping waits for killed processes to leave: they need to be scheduled once to die.
const EMPTY_WAIT: Duration = Duration::from_millis(500);
/// Between looks at whether they have left.
const EMPTY_LOOK: Duration = Duration::from_millis(2);
const BYTES_PER_MIB: u64 = 1 << 20;
/// Names of our groups begin so; the maker's process id follows, by which leftovers are known.
const PREFIX: &str = "stockade-";

/// A group of our own; its processes are killed and it is removed when this is dropped.
#[derive(Debug)]
pub struct Group {
    version: Version,
    /// One directory in version 2; in version 1 one for each controller that we got.
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
    cpu: Option<PathBuf>,
    freezer: Option<PathBuf>,
    counters: Counters,
    /// What the limit of processes was set to; `None` also where it is not ours to change.
    room: Mutex<Option<u64>>,
    maker: Maker,
}

/// Who made a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    /// We did.
    Ours,
    /// A container's engine, which bounds it and removes it.
    Engine,
}

/// Counters that are read twice for every call: kept open, since opening a file here costs many times what reading does.
#[derive(Debug, Default)]
struct Counters {
    memory: Option<File>,
    pids: Option<File>,
    cpu: Option<File>,
}

/// Which files a group has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// What a group used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// CPU time of all processes, the ended ones too, microseconds.
    pub cpu_us: Option<u64>,
    /// Memory now, bytes.
    pub memory_bytes: Option<u64>,
    /// The most memory at one time, bytes.
    pub memory_peak_bytes: Option<u64>,
    /// Processes and threads now.
    pub pids: Option<u64>,
}

/// What the kernel counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events {
    /// Processes that the kernel killed because the group was out of memory.
    pub oom_kills: u64,
    /// Forks that were refused because the group was full.
    pub pids_max_hits: u64,
}

/// What groups a machine lets us make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Support {
    /// Version 2: below this group, with memory and pids.
    Two(PathBuf),
    /// Version 1, with these controllers.
    One(Vec<&'static str>),
    /// None: why.
    None(String),
}

impl Group {
    /// Makes a group with these limits, as far as this machine lets us, and says how memory, processes and CPU time
    /// are held: exactly by the group, or else by the watcher's samples and why. Limits that are not set are not
    /// reported. `name` is a file name: the session's.
    pub fn create(limits: &Limits, name: &str) -> (Option<Self>, Vec<LayerState>) {
        let name = format!("{PREFIX}{}-{name}", std::process::id());
        let made = own_groups().and_then(|own| {
            Self::version_two(&own, limits, &name).or_else(|two| {
                Self::version_one(&own, limits, &name).map_err(|one| format!("version 2: {two}; version 1: {one}"))
            })
        });
        match made {
            Ok(group) => {
                let layers = group.layers(limits);
                (Some(group), layers)
            }
            Err(why) => (None, sampled(limits, &format!("no control group ({why})"))),
        }
    }

    /// Moves a process into the group, with all its threads; its children are born there.
    ///
    /// # Errors
    /// The kernel's answer: `ESRCH` for a process that ended, `EACCES` across a border of delegation.
    pub fn add(&self, pid: u32) -> Result<(), JailError> {
        for directory in self.directories() {
            write(&join(directory, "cgroup.procs"), &pid.to_string()).map_err(|error| {
                JailError::io("move a process into the group", directory.display().to_string(), &error)
            })?;
        }
        Ok(())
    }

    /// Kills every process of the group, those that are being forked included.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn kill(&self) -> Result<(), JailError> {
        let Some(directory) = self.directories().next() else { return Ok(()) };
        match write(&join(directory, "cgroup.kill"), "1") {
            Ok(()) => return Ok(()),
            // Version 1, and version 2 before Linux 5.14, have no such file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied && self.version == Version::One => {}
            Err(error) => return Err(JailError::io("kill group", directory.display().to_string(), &error)),
        }
        self.kill_one_by_one(directory)
    }

    /// What the group used so far; a counter that this kernel lacks is `None`.
    pub fn usage(&self) -> Usage {
        let number = |place: &Option<PathBuf>, file: &str| count(&join(place.as_ref()?, file));
        match self.version {
            Version::Two => Usage {
                cpu_us: self.cpu_us(),
                memory_bytes: number(&self.memory, "memory.current"),
                memory_peak_bytes: number(&self.memory, "memory.peak"),
                pids: number(&self.pids, "pids.current"),
            },
            Version::One => Usage {
                cpu_us: self.cpu_us(),
                memory_bytes: number(&self.memory, "memory.usage_in_bytes"),
                memory_peak_bytes: number(&self.memory, "memory.max_usage_in_bytes"),
                pids: number(&self.pids, "pids.current"),
            },
        }
    }

    /// What the kernel counted so far.
    pub fn events(&self) -> Events {
        let keyed = |file: &Option<File>, key: &str| files::keyed_now(file.as_ref()?, key);
        Events {
            oom_kills: keyed(&self.counters.memory, "oom_kill").unwrap_or(0),
            pids_max_hits: keyed(&self.counters.pids, "max").unwrap_or(0),
        }
    }

    /// CPU time of all processes, the ended ones too, microseconds; `None` where the kernel does not count it here.
    pub fn cpu_us(&self) -> Option<u64> {
        let file = self.counters.cpu.as_ref()?;
        match self.version {
            Version::Two => files::keyed_now(file, "usage_usec"),
            Version::One => files::count_now(file).map(|ns| ns / 1000),
        }
    }

    /// Opens the counters, once the directories are known.
    fn open_counters(&mut self) {
        let (memory, cpu) = match self.version {
            Version::Two => ("memory.events", "cpu.stat"),
            Version::One => ("memory.oom_control", "cpuacct.usage"),
        };
        let open = |place: &Option<PathBuf>, file: &str| File::open(join(place.as_ref()?, file)).ok();
        self.counters = Counters {
            memory: open(&self.memory, memory),
            pids: open(&self.pids, "pids.events"),
            cpu: open(&self.cpu, cpu),
        };
    }

    /// Whether the kernel itself counts and bounds memory; otherwise the watcher must sample it.
    pub(crate) const fn holds_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Whether the kernel itself counts and bounds processes.
    pub(crate) const fn holds_pids(&self) -> bool {
        self.pids.is_some()
    }

    /// Whether the kernel itself counts CPU time.
    pub(crate) const fn holds_cpu(&self) -> bool {
        self.counters.cpu.is_some()
    }

    /// Each directory once.
    fn directories(&self) -> impl Iterator<Item = &Path> {
        let all = [&self.memory, &self.pids, &self.cpu, &self.freezer];
        let one = match self.version {
            Version::Two => 1,
            Version::One => all.len(),
        };
        all.into_iter().flatten().take(one).map(PathBuf::as_path)
    }

    /// A group of version 2, with memory and pids, below the nearest ancestor that is ours.
    fn version_two(own: &Own, limits: &Limits, name: &str) -> Result<Self, String> {
        let parent = delegated(own, Enable::Yes)?;
        sweep(&parent);
        let directory = make(&parent, name)?;
        let mut group = Self {
            version: Version::Two,
            memory: Some(directory.clone()),
            pids: Some(directory.clone()),
            cpu: Some(directory.clone()),
            freezer: None,
            counters: Counters::default(),
            room: Mutex::new(limits.pids),
            maker: Maker::Ours,
        };
        // From here on dropping `group` removes the directory again.
        if let Some(bytes) = limits.memory_mib.map(|mib| mib.saturating_mul(BYTES_PER_MIB)) {
            files::set(&directory, "memory.max", bytes)?;
            // Without this a guest would push the host into swapping first. Absent where the kernel has no swap.
            files::set_if_there(&directory, "memory.swap.max", 0)?;
        }
        if let Some(pids) = limits.pids {
            files::set(&directory, "pids.max", pids)?;
        }
        group.open_counters();
        Ok(group)
    }

    /// Groups of version 1, one for each controller; memory or pids must be among them.
    fn version_one(own: &Own, limits: &Limits, name: &str) -> Result<Self, String> {
        if own.controllers.is_empty() {
            return Err("not mounted".to_owned());
        }
        let mut group = Self {
            version: Version::One,
            memory: None,
            pids: None,
            cpu: None,
            freezer: None,
            counters: Counters::default(),
            room: Mutex::new(limits.pids),
            maker: Maker::Ours,
        };
        let mut refusals = Vec::new();
        let below = |controller: &str, refusals: &mut Vec<String>| {
            let parent = own.controllers.get(controller)?;
            sweep(&parent.directory);
            make(&parent.directory, name).map_err(|why| refusals.push(why)).ok()
        };
        group.memory = below("memory", &mut refusals);
        group.pids = below("pids", &mut refusals);
        group.cpu = below("cpuacct", &mut refusals);
        group.freezer = below("freezer", &mut refusals);
        if group.memory.is_none() && group.pids.is_none() {
            let why = refusals.into_iter().next();
            return Err(why.unwrap_or_else(|| "neither memory nor pids is mounted".to_owned()));
        }
        if let (Some(directory), Some(mib)) = (&group.memory, limits.memory_mib) {
            let bytes = mib.saturating_mul(BYTES_PER_MIB);
            files::set(directory, "memory.limit_in_bytes", bytes)?;
            // Memory and swap together; absent where swap is not accounted for.
            files::set_if_there(directory, "memory.memsw.limit_in_bytes", bytes)?;
        }
        if let (Some(directory), Some(pids)) = (&group.pids, limits.pids) {
            files::set(directory, "pids.max", pids)?;
        }
        group.open_counters();
        Ok(group)
    }

    /// How this group holds the limits that are set.
    fn layers(&self, limits: &Limits) -> Vec<LayerState> {
        let version = match self.version {
            Version::One => "version 1",
            Version::Two => "version 2",
        };
        let held = |layer, held: bool, how: &str| {
            if held {
                LayerState::active(layer).detail(format!("control group {version}: {how}"))
            } else {
                LayerState::degraded(layer, format!("control group {version} without this controller: sampled"))
            }
        };
        let mut layers = Vec::new();
        if limits.memory_mib.is_some() {
            layers.push(held(Layer::MemoryLimit, self.memory.is_some(), "bounded by the kernel"));
        }
        if limits.pids.is_some() {
            layers.push(held(Layer::PidsLimit, self.pids.is_some(), "bounded by the kernel"));
        }
        if limits.cpu_s.is_some() {
            layers.push(held(Layer::CpuLimit, self.cpu.is_some(), "counted by the kernel, compared by the watcher"));
        }
        layers
    }

    /// Kills without `cgroup.kill`: frozen first, where that is possible, so that nothing forks meanwhile.
    fn kill_one_by_one(&self, directory: &Path) -> Result<(), JailError> {
        // Freezing reaches into every processor of the machine; where nobody is left, nobody can fork either.
        if read(&join(directory, "cgroup.procs")).is_ok_and(|procs| procs.is_empty()) {
            return Ok(());
        }
        if let Some(freezer) = &self.freezer {
            freeze(freezer, "FROZEN");
        }
        let deadline = Instant::now() + EMPTY_WAIT;
        let killed = loop {
            let text = match read(&join(directory, "cgroup.procs")) {
                Ok(text) => text,
                Err(error) => break Err(JailError::io("list group", directory.display().to_string(), &error)),
            };
            let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect();
            for pid in &pids {
                // SAFETY: kill(2) takes no pointer. The id was read just now from our own group, and cannot have been
                // given to another process unless that one ended within these microseconds.
                let _gone_is_fine = unsafe { libc::kill(*pid, libc::SIGKILL) };
            }
            // Frozen processes die when thawed; all of them have the signal now, and none could fork.
            if self.freezer.is_some() || pids.is_empty() || Instant::now() > deadline {
                break Ok(());
            }
        };
        if let Some(freezer) = &self.freezer {
            freeze(freezer, "THAWED");
        }
        killed
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.maker == Maker::Engine {
            return;
        }
        // Dropping cannot fail; a group that could not be emptied is swept by the next one (see `sweep`).
        let _swept_later = self.kill();
        let deadline = Instant::now() + EMPTY_WAIT;
        for directory in self.directories().map(Path::to_path_buf).collect::<Vec<_>>() {
            while !remove(&directory) && Instant::now() < deadline {
                std::thread::sleep(EMPTY_LOOK);
            }
        }
    }
}

/// What this machine lets us make, without making anything: for `stockade doctor`.
pub fn support() -> Support {
    let own = match own_groups() {
        Ok(own) => own,
        Err(why) => return Support::None(why),
    };
    let two = match delegated(&own, Enable::No) {
        Ok(parent) => return Support::Two(parent),
        Err(why) => why,
    };
    let writable: Vec<&'static str> = ["memory", "pids", "cpuacct", "freezer"]
        .into_iter()
        .filter(|name| own.controllers.get(*name).is_some_and(|place| files::writable(&place.directory)))
        .collect();
    if writable.contains(&"memory") || writable.contains(&"pids") {
        return Support::One(writable);
    }
    let one = if own.controllers.is_empty() { "not mounted" } else { "not writable" };
    Support::None(format!("version 2: {two}; version 1: {one}"))
}

/// The groups of this process.
fn own_groups() -> Result<Own, String> {
    let text = |path: &str| read(Path::new(path)).map_err(|error| format!("{path}: {}", error.kind()));
    Ok(locate::own(&text("/proc/self/mountinfo")?, &text("/proc/self/cgroup")?))
}

/// Whether controllers may be switched on while looking for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Enable {
    Yes,
    No,
}

/// The nearest group, from our own upwards, below which we may make a group with memory and pids.
fn delegated(own: &Own, enable: Enable) -> Result<PathBuf, String> {
    let Place { directory, mount } = own.unified.as_ref().ok_or("not mounted")?;
    let mut why = "not writable".to_owned();
    for ancestor in directory.ancestors().take_while(|ancestor| ancestor.starts_with(mount)) {
        if !files::writable(ancestor) || !files::writable(&join(ancestor, "cgroup.procs")) {
            break;
        }
        match offers(ancestor, *directory == ancestor, enable) {
            Ok(()) => return Ok(ancestor.to_path_buf()),
            Err(reason) => why = reason,
        }
    }
    Err(why)
}

/// Whether children of this group get memory and pids, switching them on where we may.
fn offers(group: &Path, ours: bool, enable: Enable) -> Result<(), String> {
    let has = |file: &str| {
        let text = read(&join(group, file)).unwrap_or_default();
        ["memory", "pids"].iter().all(|wanted| text.split_whitespace().any(|word| word == *wanted))
    };
    if has("cgroup.subtree_control") {
        return Ok(());
    }
    if !has("cgroup.controllers") {
        return Err("memory and pids are not delegated".to_owned());
    }
    // A group that has processes cannot hand controllers down (cgroups(7), "no internal processes"), the root excepted.
    let is_root = !join(group, "cgroup.type").exists();
    let procs = read(&join(group, "cgroup.procs")).unwrap_or_default();
    let alone = ours && procs.lines().eq([std::process::id().to_string()]);
    if !is_root && !procs.is_empty() && !alone {
        return Err("the group has other processes in it, so it cannot be divided".to_owned());
    }
    if enable == Enable::No {
        return Ok(());
    }
    if !is_root && alone {
        let leaf = make(group, &format!("{PREFIX}{}-supervisor", std::process::id()))?;
        write(&join(&leaf, "cgroup.procs"), &std::process::id().to_string()).map_err(|error| error.to_string())?;
    }
    write(&join(group, "cgroup.subtree_control"), "+memory +pids")
        .map_err(|error| format!("cannot divide the group: {error}"))
}

/// Removes what an earlier supervisor left when it was killed. Only empty groups can be removed, so that at worst a
/// group is taken that was made this instant by a process whose id we cannot see: its `add` then fails, aloud.
fn sweep(parent: &Path) {
    for name in files::children(parent) {
        let maker =
            name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()).and_then(|pid| pid.parse::<u32>().ok());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            remove(&join(parent, &name));
        }
    }
}

/// Freezes or thaws a group of version 1 and waits, briefly, until the kernel says so. A group that will not freeze is
/// killed all the same, only with more rounds.
fn freeze(freezer: &Path, state: &str) {
    let file = join(freezer, "freezer.state");
    let deadline = Instant::now() + EMPTY_WAIT;
    while write(&file, state).is_ok() && Instant::now() < deadline {
        if read(&file).is_ok_and(|now| now.trim() == state) {
            return;
        }
        std::thread::sleep(EMPTY_LOOK);
    }
}

/// How limits are held without any group.
fn sampled(limits: &Limits, why: &str) -> Vec<LayerState> {
    let mut layers = Vec::new();
    if limits.memory_mib.is_some() {
        layers.push(LayerState::degraded(Layer::MemoryLimit, format!("{why}: sampled from /proc")));
    }
    if limits.pids.is_some() {
        layers.push(LayerState::degraded(
            Layer::PidsLimit,
            format!("{why}: RLIMIT_NPROC of the guest's id, hits sampled"),
        ));
    }
    if limits.cpu_s.is_some() {
        layers.push(LayerState::degraded(Layer::CpuLimit, format!("{why}: sampled from /proc")));
    }
    layers
}

#[cfg(test)]
mod tests;
