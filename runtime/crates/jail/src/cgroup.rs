//! A control group for one session: version 2 where a subtree is ours, version 1 where we are root.
//! It never touches a group that it did not make, and never leaves one behind that it could empty.

use crate::enforced::LayerState;
use crate::error::JailError;
use crate::plan::Limits;

/// A group of our own; removed with its processes when dropped.
#[derive(Debug)]
pub struct Group {}

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

impl Group {
    /// Makes a group with these limits, as far as this machine lets us, and says how each limit is held.
    pub fn create(_limits: &Limits, _name: &str) -> (Option<Self>, Vec<LayerState>) {
        (None, Vec::new())
    }

    /// Moves a process into the group, with all its threads; its children are born there.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn add(&self, pid: u32) -> Result<(), JailError> {
        Err(JailError::bug("add to group", pid.to_string()))
    }

    /// Kills every process of the group.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn kill(&self) -> Result<(), JailError> {
        Err(JailError::bug("kill group", ""))
    }

    /// What the group used so far.
    pub fn usage(&self) -> Usage {
        Usage::default()
    }

    /// What the kernel counted so far.
    pub fn events(&self) -> Events {
        Events::default()
    }
}
