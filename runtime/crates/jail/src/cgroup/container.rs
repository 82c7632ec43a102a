//! The control group of a container: made and bounded by its engine, read here.
//! It never changes anything in it.

use super::files::{self, read};
use super::locate::{self, Own};
use super::{BYTES_PER_MIB, Counters, Group, Maker, Version, join, sampled};
use crate::container::PROCESSES_OF_OURS_MAX;
use crate::enforced::{Layer, LayerState, State};
use crate::plan::Limits;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

impl Group {
    /// The group that a container's first process is in, and how it holds these limits: as the kernel has them, whatever the
    /// engine was asked for.
    pub(crate) fn of_container(first_process: u32, limits: &Limits) -> (Option<Self>, Vec<LayerState>) {
        match groups_of(first_process) {
            Ok(own) => {
                let mut group = Self::found(&own);
                let layers = group.bounded(limits);
                group.leave_to_samples(&layers);
                (Some(group), layers)
            }
            Err(why) => (None, sampled(limits, &format!("the container's control group cannot be read ({why})"))),
        }
    }

    /// The same for a container on gVisor, and the limits that are left to the watcher. What runs in there is no process
    /// out here: of what a group does not count, the time of all of gVisor is sampled, and nothing else.
    pub(crate) fn of_gvisor(first_process: u32, limits: &Limits) -> (Option<Self>, Vec<LayerState>, Limits) {
        let (group, layers) = Self::of_container(first_process, limits);
        let is_held = |state: &LayerState| state.layer != Layer::CpuLimit && state.state == State::Active;
        let group = group.filter(|_| layers.iter().any(is_held));
        let mut layers: Vec<_> = layers.into_iter().filter(is_held).collect();
        let held = |layer: Layer| layers.iter().any(|state| state.layer == layer);
        let watched = Limits {
            memory_mib: limits.memory_mib.filter(|_| held(Layer::MemoryLimit)),
            pids: limits.pids.filter(|_| held(Layer::PidsLimit)),
            open_files: None,
            ..*limits
        };
        let unheld = |layer| LayerState::absent(layer, "the engine gave gVisor no control group that bounds it");
        layers.extend((limits.memory_mib != watched.memory_mib).then(|| unheld(Layer::MemoryLimit)));
        layers.extend((limits.pids != watched.pids).then(|| unheld(Layer::PidsLimit)));
        layers.extend(limits.cpu_s.map(|_| match &group {
            Some(_) => LayerState::active(Layer::CpuLimit).detail("counted by the kernel, gVisor's own time included"),
            None => LayerState::degraded(Layer::CpuLimit, "sampled, gVisor's own time included"),
        }));
        let files = || LayerState::active(Layer::OpenFilesLimit).detail("RLIMIT_NOFILE; hits are not told");
        layers.extend(limits.open_files.map(|_| files()));
        (group, layers, watched)
    }

    fn found(own: &Own) -> Self {
        let of = |controller: &str| own.controllers.get(controller).map(|place| place.directory.clone());
        let unified = own.unified.as_ref().map(|place| place.directory.clone());
        // Where controllers are mounted one by one, the unified hierarchy counts nothing.
        let (version, memory, pids, cpu) = match (of("memory"), of("pids"), unified) {
            (None, None, Some(unified)) => (Version::Two, Some(unified.clone()), Some(unified.clone()), Some(unified)),
            (memory, pids, _) => (Version::One, memory, pids, of("cpuacct")),
        };
        let counters = Counters::default();
        let (freezer, room, maker) = (None, Mutex::new(None), Maker::Engine);
        let mut group = Self { version, memory, pids, cpu, freezer, counters, room, maker };
        group.open_counters();
        // What cannot be read is not held, as far as we can tell.
        group.memory = group.memory.take().filter(|_| group.counters.memory.is_some());
        group.pids = group.pids.take().filter(|_| group.counters.pids.is_some());
        group
    }

    /// What the engine did not bound is not counted either: the watcher has to look.
    fn leave_to_samples(&mut self, layers: &[LayerState]) {
        let active = |layer: Layer| layers.iter().any(|state| state.layer == layer && state.state == State::Active);
        self.memory = self.memory.take().filter(|_| active(Layer::MemoryLimit));
        self.pids = self.pids.take().filter(|_| active(Layer::PidsLimit));
    }

    /// The limits that are set, and whether the group has them.
    fn bounded(&self, limits: &Limits) -> Vec<LayerState> {
        let memory_file = match self.version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        let bytes = limits.memory_mib.map(|mib| mib.saturating_mul(BYTES_PER_MIB));
        let memory = bytes.map(|bytes| held(Layer::MemoryLimit, self.memory.as_ref(), memory_file, bytes));
        // The container's first process and our threads are counted along.
        let pids = limits.pids.map(|pids| {
            held(Layer::PidsLimit, self.pids.as_ref(), "pids.max", pids.saturating_add(PROCESSES_OF_OURS_MAX))
        });
        let cpu = limits.cpu_s.map(|_| match &self.counters.cpu {
            Some(_) => LayerState::active(Layer::CpuLimit).detail("counted by the kernel, compared by the watcher"),
            None => LayerState::degraded(Layer::CpuLimit, "the engine's group does not count it: sampled"),
        });
        [memory, pids, cpu].into_iter().flatten().collect()
    }
}

fn held(layer: Layer, directory: Option<&PathBuf>, file: &str, limit: u64) -> LayerState {
    let found = directory.and_then(|directory| files::count(&join(directory, file)));
    match found {
        Some(found) if found <= limit => {
            LayerState::active(layer).detail(format!("the engine's control group: {file} is {found}"))
        }
        Some(found) => {
            LayerState::degraded(layer, format!("the engine's control group has {file} {found}, not {limit}: sampled"))
        }
        None => {
            LayerState::degraded(layer, format!("the engine's control group has no {file} that can be read: sampled"))
        }
    }
}

fn groups_of(process: u32) -> Result<Own, String> {
    let text = |path: &str| read(Path::new(path)).map_err(|error| format!("{path}: {}", error.kind()));
    Ok(locate::own(&text("/proc/self/mountinfo")?, &text(&format!("/proc/{process}/cgroup"))?))
}
