//! The watcher: says which limit a call hit, from the kernel's counters where there are some, else by sampling.
//! It never kills by itself: it calls back with the call that must end, once for each limit.

mod disk;
mod observe;
mod processes;
mod unmapped;

use crate::cgroup::Group;
use crate::enforced::{Layer, LayerState};
use crate::error::JailError;
use crate::plan::Limits;
use crate::recorder::CallNumber;
use disk::LastLook;
pub use disk::LayerLook;
use observe::{Observer, Seen};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Shortest pause between looks, where /proc is sampled: a memory bomb gains some 2 GiB a second.
const PAUSE_SAMPLING: Duration = Duration::from_millis(20);
/// The same where the kernel counts, and only the reason of death is looked up.
const PAUSE_COUNTING: Duration = Duration::from_millis(100);
/// Longest pause, however dear a look is: what is held for half a second is seen.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// A look may take one part in so many of the time: with much memory left, and near the limit.
const LOOK_SHARE: u32 = 500;
const LOOK_SHARE_NEAR: u32 = 30;
const MS_PER_S: u64 = 1000;
const BYTES_PER_MIB: u64 = 1 << 20;

/// A limit of [`Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitKind {
    /// `memory_mib`.
    Memory,
    /// `pids`.
    Pids,
    /// `cpu_s`.
    Cpu,
    /// `wall_s`.
    Wall,
    /// `output_mib`.
    Output,
    /// `disk_mib`.
    Disk,
    /// `open_files`.
    OpenFiles,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Processes and threads, or descriptors.
    Count,
}

/// What follows from a hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consequence {
    /// The call and all its processes end.
    Ends,
    /// The kernel refused the guest more of it; the call goes on.
    Reported,
}

/// A limit was hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LimitHit {
    /// Which.
    pub limit: LimitKind,
    /// The limit, in `unit`.
    pub value: u64,
    /// What was seen, in `unit`: at least what was used, since a sample comes late.
    pub observed: u64,
    /// Unit of `value` and `observed`.
    pub unit: Unit,
}

impl LimitHit {
    /// A hit of this limit; the unit follows from it.
    pub const fn new(limit: LimitKind, value: u64, observed: u64) -> Self {
        Self { limit, value, observed, unit: limit.unit() }
    }
}

impl LimitKind {
    /// What follows when this limit is hit.
    pub const fn consequence(self) -> Consequence {
        match self {
            Self::Memory | Self::Cpu | Self::Wall | Self::Output | Self::Disk => Consequence::Ends,
            Self::Pids | Self::OpenFiles => Consequence::Reported,
        }
    }

    /// What this limit counts.
    pub const fn unit(self) -> Unit {
        match self {
            Self::Memory | Self::Output | Self::Disk => Unit::Bytes,
            Self::Cpu | Self::Wall => Unit::Milliseconds,
            Self::Pids | Self::OpenFiles => Unit::Count,
        }
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Output => "output",
            Self::Disk => "disk",
            Self::OpenFiles => "open-files",
        })
    }
}

/// What is watched.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The session's limits.
    pub limits: Limits,
    /// Process id of the session's init, as the supervisor sees it: the root of the tree.
    pub init_pid: u32,
    /// The session's group, where there is one.
    pub group: Option<Arc<Group>>,
    /// Directories whose files together count as `disk_mib`: the upper directory of the session's layer.
    pub disk: Vec<PathBuf>,
    /// Paths inside of the session's private tmpfs, whose files count as `memory_mib` where no group counts them.
    pub private: Vec<PathBuf>,
}

/// The watcher of one session. Its thread sleeps while nothing runs, and ends when this is dropped.
///
/// Calls that run at the same time in one session share its limits: each of them sees the CPU time of all.
#[derive(Debug)]
pub struct Watch {
    layers: Vec<LayerState>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the supervisor's threads and the watcher's share.
#[derive(Debug)]
struct Shared {
    limits: Limits,
    /// What is looked at once more at the end of a call, where the disk is limited.
    disk: Option<LastLook>,
    group: Option<Arc<Group>>,
    state: Mutex<Board>,
    wake: Condvar,
}

/// Written under the lock: by the supervisor when calls begin and end, by the watcher when limits are hit.
#[derive(Debug, Default)]
struct Board {
    running: BTreeMap<CallNumber, Running>,
    /// The call that ended last: what outlives its call is charged to it.
    last: Option<CallNumber>,
    /// The last look, from which a call that begins is measured where no group counts.
    seen: Seen,
    stop: bool,
}

/// A call and how things stood when it began.
#[derive(Debug)]
struct Running {
    began: Instant,
    base: Seen,
    hits: Vec<LimitHit>,
}

impl Watch {
    /// Starts the watcher. `end` is called on its thread, once for each call and limit, when a call must end; it must
    /// not block. For processes that outlive the session's calls it names the call that ended last.
    ///
    /// # Errors
    /// The machine has no room for another thread.
    pub fn start(scope: Scope, end: impl FnMut(CallNumber, LimitHit) + Send + 'static) -> Result<Self, JailError> {
        let layers = layers(&scope);
        let shared = Arc::new(Shared {
            limits: scope.limits,
            disk: scope
                .limits
                .disk_mib
                .map(|mib| LastLook::new(scope.disk.clone(), mib.saturating_mul(BYTES_PER_MIB), scope.init_pid)),
            group: scope.group.clone(),
            state: Mutex::new(Board::default()),
            wake: Condvar::new(),
        });
        let observer = Observer::new(scope);
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("stockade-watch".to_owned())
            .spawn(move || theirs.watch(observer, end))
            .map_err(|error| JailError::io("start the watcher", "thread", &error))?;
        Ok(Self { layers, shared, thread: Some(thread) })
    }

    /// How the limits are held that [`Group::create`] does not report: disk and open files.
    pub fn layers(&self) -> &[LayerState] {
        &self.layers
    }

    /// What looks at the session's layer while something else than a call runs; `None` where no limit is set, or no layer
    /// is apart from what was there before.
    pub fn layer_look(&self) -> Option<LayerLook> {
        self.shared.disk.clone().filter(LastLook::is_of_something).map(LayerLook::new)
    }

    /// A call starts now.
    pub fn call_began(&self, call: CallNumber) {
        let counted = self.shared.group.as_deref().map(observe::counted);
        let mut board = self.shared.lock();
        let base = counted.unwrap_or(board.seen);
        board.running.insert(call, Running { began: Instant::now(), base, hits: Vec::new() });
        drop(board);
        self.shared.wake.notify_one();
    }

    /// A call ended: every limit that it hit, in the order in which that was seen, after one last look at what the
    /// kernel counted.
    pub fn call_ended(&self, call: CallNumber) -> Vec<LimitHit> {
        let counted = self.shared.group.as_deref().map(observe::counted);
        let mut board = self.shared.lock();
        let Some(mut running) = board.running.remove(&call) else { return Vec::new() };
        board.last = Some(call);
        drop(board);
        let disk_bytes = self.shared.disk.as_ref().and_then(LastLook::exceeded);
        if counted.is_some() || disk_bytes.is_some() {
            let seen = Seen { disk_bytes, ..counted.unwrap_or_default() };
            for hit in hits(&self.shared.limits, &running, &seen, Instant::now()) {
                running.note(hit);
            }
        }
        running.hits
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A watcher that panicked has said so on its own; there is nothing left to stop.
            let _panicked = thread.join();
        }
    }
}

impl Shared {
    /// The board. A panic of another thread leaves it whole: each change is one insertion or removal.
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The watcher's thread.
    fn watch(&self, mut observer: Observer, mut end: impl FnMut(CallNumber, LimitHit)) {
        let mut idle_hits: Vec<LimitKind> = Vec::new();
        while self.pause(&observer) {
            let seen = observer.look();
            let now = Instant::now();
            let mut ending = Vec::new();
            let mut board = self.lock();
            board.seen = seen;
            if board.running.is_empty() {
                let idle = Running { began: now, base: seen, hits: Vec::new() };
                let new =
                    hits(&self.limits, &idle, &seen, now).into_iter().filter(|hit| !idle_hits.contains(&hit.limit));
                ending.extend(board.last.into_iter().flat_map(|call| new.clone().map(move |hit| (call, hit))));
                idle_hits.extend(ending.iter().map(|(_, hit)| hit.limit));
            } else {
                idle_hits.clear();
            }
            for (call, running) in &mut board.running {
                for hit in hits(&self.limits, running, &seen, now) {
                    if running.note(hit) && hit.limit.consequence() == Consequence::Ends {
                        ending.push((*call, hit));
                    }
                }
            }
            drop(board);
            ending
                .into_iter()
                .filter(|(_, hit)| hit.limit.consequence() == Consequence::Ends)
                .for_each(|(call, hit)| end(call, hit));
        }
    }

    /// Sleeps until the next look is due, or without end while nothing runs; `false` when the watcher must stop.
    fn pause(&self, observer: &Observer) -> bool {
        let mut board = self.lock();
        while !observer.is_busy() && board.running.is_empty() && !board.stop {
            board = self.wake.wait(board).unwrap_or_else(PoisonError::into_inner);
        }
        let began = Instant::now();
        let until = began + observer.pause();
        loop {
            // A call that begins meanwhile may have a nearer end of its wall time than any other.
            let wall = board.running.values().filter_map(|running| running.wall_end(&self.limits)).min();
            let left = wall.map_or(until, |wall| wall.min(until)).saturating_duration_since(Instant::now());
            if board.stop || left.is_zero() || observer.hurries(began.elapsed()) {
                return !board.stop;
            }
            board =
                self.wake.wait_timeout(board, left.min(observer.glance())).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Running {
    /// Notes a hit; `false` when this limit was hit before.
    fn note(&mut self, hit: LimitHit) -> bool {
        let new = self.hits.iter().all(|earlier| earlier.limit != hit.limit);
        if new {
            self.hits.push(hit);
        }
        new
    }

    /// When the call's wall time ends; `None` without a limit, and once that was noted.
    fn wall_end(&self, limits: &Limits) -> Option<Instant> {
        let noted = self.hits.iter().any(|hit| hit.limit == LimitKind::Wall);
        limits.wall_s.filter(|_| !noted).and_then(|seconds| self.began.checked_add(Duration::from_secs(seconds)))
    }
}

/// The limits that a call has hit by now: pure.
fn hits(limits: &Limits, running: &Running, seen: &Seen, now: Instant) -> Vec<LimitHit> {
    let base = &running.base;
    let mut hits = Vec::new();
    let mut hit = |limit, value, observed| hits.push(LimitHit::new(limit, value, observed));
    if let Some(mib) = limits.memory_mib {
        let value = mib.saturating_mul(BYTES_PER_MIB);
        // The kernel says that it killed; where it does not bound memory, the sample must be above the limit.
        if seen.oom_kills > base.oom_kills {
            hit(LimitKind::Memory, value, seen.memory_peak_bytes.max(value));
        } else if seen.sampled_memory_bytes.is_some_and(|bytes| bytes > value) {
            hit(LimitKind::Memory, value, seen.sampled_memory_bytes.unwrap_or(value));
        }
    }
    if let Some(value) = limits.cpu_s.map(|seconds| seconds.saturating_mul(MS_PER_S)) {
        let used = seen.cpu_ms.saturating_sub(base.cpu_ms);
        if used >= value {
            hit(LimitKind::Cpu, value, used);
        }
    }
    if let Some(value) = limits.wall_s.map(|seconds| seconds.saturating_mul(MS_PER_S)) {
        let passed = u64::try_from(now.saturating_duration_since(running.began).as_millis()).unwrap_or(u64::MAX);
        if passed >= value {
            hit(LimitKind::Wall, value, passed);
        }
    }
    if let Some(used) = seen.disk_bytes {
        hit(LimitKind::Disk, limits.disk_mib.unwrap_or(0).saturating_mul(BYTES_PER_MIB), used);
    }
    let is_full = |value: u64| {
        seen.pids_max_hits > base.pids_max_hits || seen.sampled_threads.is_some_and(|threads| threads >= value)
    };
    if let Some(value) = limits.pids.filter(|value| is_full(*value)) {
        hit(LimitKind::Pids, value, seen.sampled_threads.unwrap_or(value).max(value));
    }
    if let Some(value) = limits.open_files.filter(|limit| seen.descriptors >= *limit) {
        hit(LimitKind::OpenFiles, value, seen.descriptors);
    }
    hits
}

/// How disk and open files are held, where they are limited.
fn layers(scope: &Scope) -> Vec<LayerState> {
    let mut layers = Vec::new();
    if scope.limits.disk_mib.is_some() {
        let why = match scope.disk.is_empty() {
            true => {
                "each file and each tmpfs is bounded; no layer is apart from what was there, whose size could be sampled"
            }
            false => "the size of the layer is sampled; only tmpfs sizes are exact",
        };
        layers.push(LayerState::degraded(Layer::DiskLimit, why));
    }
    if scope.limits.open_files.is_some() {
        layers.push(LayerState::active(Layer::OpenFilesLimit).detail("RLIMIT_NOFILE; hits are sampled"));
    }
    layers
}

#[cfg(test)]
mod tests;
