//! One look at a session: the group's counters where it has them, samples of /proc and of the disk where it has not.
//! It never compares with a limit to decide; it only spares itself looks that could not matter.

use super::disk::Disk;
use super::processes::{Questions, Sampler};
use super::{BYTES_PER_MIB, LOOK_SHARE, LOOK_SHARE_NEAR, PAUSE_COUNTING, PAUSE_MAX, PAUSE_SAMPLING, Scope};
use crate::cgroup::Group;
use crate::plan::Limits;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What was seen. Counters only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// Counter: processes that the kernel killed for memory.
    pub(super) oom_kills: u64,
    /// Counter: forks that the kernel refused.
    pub(super) pids_max_hits: u64,
    /// Counter: CPU time of the session.
    pub(super) cpu_ms: u64,
    /// The most memory at one time, where the kernel counts.
    pub(super) memory_peak_bytes: u64,
    /// Memory now, where it is sampled.
    pub(super) sampled_memory_bytes: Option<u64>,
    /// Processes and threads now, where they are sampled.
    pub(super) sampled_threads: Option<u64>,
    /// The most open descriptors of one process now, when that could reach the limit.
    pub(super) descriptors: u64,
    /// Bytes on disk, when they exceed the limit.
    pub(super) disk_bytes: Option<u64>,
}

/// What the kernel counted for a group.
pub(super) fn counted(group: &Group) -> Seen {
    let events = group.events();
    // The peak costs a look of its own and is asked for only when it will be reported.
    let peak = (events.oom_kills > 0).then(|| group.usage()).and_then(|usage| usage.memory_peak_bytes);
    Seen {
        oom_kills: events.oom_kills,
        pids_max_hits: events.pids_max_hits,
        cpu_ms: group.cpu_us().unwrap_or(0) / 1000,
        memory_peak_bytes: peak.unwrap_or(0),
        ..Seen::default()
    }
}

/// Looks, time after time.
#[derive(Debug)]
pub(super) struct Observer {
    limits: Limits,
    group: Option<Arc<Group>>,
    sampler: Sampler,
    disk: Option<Disk>,
    /// How much of a processor the last look took.
    took: Duration,
    /// Free memory of the machine after the last look, and what the session may still use of it, bytes; where memory is
    /// sampled.
    free: Option<(u64, u64)>,
    /// Processes other than the init, at the last look.
    others: u64,
    /// Whether half of the memory that is sampled was used at the last look.
    near: bool,
}

impl Observer {
    pub(super) fn new(scope: Scope) -> Self {
        let disk =
            scope.limits.disk_mib.map(|mib| Disk::new(scope.disk, mib.saturating_mul(BYTES_PER_MIB), scope.init_pid));
        Self {
            limits: scope.limits,
            group: scope.group,
            sampler: Sampler::new(scope.init_pid, scope.private),
            disk,
            took: Duration::ZERO,
            free: None,
            others: 0,
            near: false,
        }
    }

    /// How long to wait before the next look: looking takes a small share of the time, a larger one near a limit.
    pub(super) fn pause(&self) -> Duration {
        let shortest = if self.samples() { PAUSE_SAMPLING } else { PAUSE_COUNTING };
        let share = if self.near { LOOK_SHARE_NEAR } else { LOOK_SHARE };
        (self.took * share).clamp(shortest, PAUSE_MAX)
    }

    /// Whether to look before the pause is over: the machine lost much of what the session may still use. Others may be
    /// to blame, so this costs no more than looking near the limit does.
    pub(super) fn hurries(&self, since: Duration) -> bool {
        let Some((free_bytes, left_bytes)) = self.free else { return false };
        since >= PAUSE_SAMPLING.max(self.took * LOOK_SHARE_NEAR) && free_bytes > free_now() + left_bytes / 4
    }

    /// How often to ask whether to hurry: a quarter of what is left is gone in no less at 2 GiB a second, which is two
    /// bytes in a nanosecond.
    pub(super) fn glance(&self) -> Duration {
        self.free
            .map_or(PAUSE_MAX, |(_, left_bytes)| Duration::from_nanos(left_bytes / 8).clamp(PAUSE_SAMPLING, PAUSE_MAX))
    }

    /// Whether something may still run that no call waits for, and that only samples would notice.
    pub(super) const fn is_busy(&self) -> bool {
        self.others > 0
    }

    /// Looks once.
    pub(super) fn look(&mut self) -> Seen {
        let began = processor_time();
        let mut seen = self.group.as_deref().map(counted).unwrap_or_default();
        let mut scanned = Duration::ZERO;
        if self.samples() || self.limits.open_files.is_some() || self.disk.is_some() {
            scanned = self.sample(&mut seen);
        }
        // Scans and walks have a pace of their own, so they do not count towards ours.
        self.took = processor_time().saturating_sub(began).saturating_sub(scanned);
        seen.disk_bytes = self.disk.as_mut().and_then(|disk| disk.exceeded(Instant::now()));
        seen
    }

    /// Adds what /proc says about things that the group does not count; how long scans took.
    fn sample(&mut self, seen: &mut Seen) -> Duration {
        let memory_bytes = self.limits.memory_mib.filter(|_| !self.holds(Group::holds_memory));
        let questions = Questions {
            memory_bytes: memory_bytes.map(|mib| mib.saturating_mul(BYTES_PER_MIB)),
            descriptors: self.limits.open_files,
        };
        let sample = self.sampler.sample(questions);
        self.others = sample.processes.saturating_sub(1);
        if !self.holds(Group::holds_cpu) {
            seen.cpu_ms = sample.cpu_ms;
        }
        if memory_bytes.is_some() {
            seen.sampled_memory_bytes = Some(sample.memory_bytes);
            self.near = questions.memory_bytes.is_some_and(|limit| sample.memory_bytes > limit / 2);
            let left = questions.memory_bytes.map(|limit| limit.saturating_sub(sample.memory_bytes));
            self.free = left.map(|left_bytes| (free_now(), left_bytes));
        }
        if self.limits.pids.is_some() && !self.holds(Group::holds_pids) {
            seen.sampled_threads = Some(sample.threads);
        }
        seen.descriptors = sample.descriptors;
        sample.scanned
    }

    /// Whether a limit that is set is not counted by the kernel.
    fn samples(&self) -> bool {
        self.limits.memory_mib.is_some() && !self.holds(Group::holds_memory)
            || self.limits.pids.is_some() && !self.holds(Group::holds_pids)
            || self.limits.cpu_s.is_some() && !self.holds(Group::holds_cpu)
    }

    /// Whether there is a group, and it counts this.
    fn holds(&self, what: impl Fn(&Group) -> bool) -> bool {
        self.group.as_deref().is_some_and(what)
    }
}

/// Free memory of the machine: a number that the kernel keeps, so asking is cheap.
fn free_now() -> u64 {
    let info = rustix::system::sysinfo();
    info.freeram.saturating_mul(info.mem_unit.into())
}

/// Processor time of this thread. A look on a busy machine waits more than it works, and the wait costs nobody anything.
pub(super) fn processor_time() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a live timespec that the kernel writes once and does not keep.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    // It cannot fail for the calling thread; if it did, looks would seem to cost nothing, and come more often.
    if result != 0 {
        return Duration::ZERO;
    }
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}
