//! Limits, floors, durability and recording, and how two of each combine: always to the stricter.
//! It never fills in a limit that nobody wrote.

use core::fmt;

/// Largest value of any limit: beyond it a product with a unit could overflow, and it limits nothing anyway.
pub const LIMIT_MAX: u64 = u32::MAX as u64;

/// A thing that is limited; the name carries the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// Wall time of one call, seconds.
    WallS,
    /// CPU time of one call, user and system of all its processes, seconds.
    CpuS,
    /// Memory of the session, MiB.
    MemoryMib,
    /// Processes and threads of the session at one time.
    Pids,
    /// Open descriptors of one process.
    OpenFiles,
    /// What the session may write to its layer, and to each private tmpfs, MiB.
    DiskMib,
    /// Standard output and error of one call together, MiB.
    OutputMib,
    /// Bytes sent out by the session, MiB.
    EgressMib,
    /// Requests of the session to the network, per second.
    RequestsPerS,
    /// Requests that may come at once before `requests_per_s` holds them back.
    Burst,
}

impl Limit {
    /// Every limit, in the order in which they are printed.
    pub const ALL: [Self; 10] = [
        Self::WallS,
        Self::CpuS,
        Self::MemoryMib,
        Self::Pids,
        Self::OpenFiles,
        Self::DiskMib,
        Self::OutputMib,
        Self::EgressMib,
        Self::RequestsPerS,
        Self::Burst,
    ];

    /// The key in a profile.
    pub const fn key(self) -> &'static str {
        match self {
            Self::WallS => "wall_s",
            Self::CpuS => "cpu_s",
            Self::MemoryMib => "memory_mib",
            Self::Pids => "pids",
            Self::OpenFiles => "open_files",
            Self::DiskMib => "disk_mib",
            Self::OutputMib => "output_mib",
            Self::EgressMib => "egress_mib",
            Self::RequestsPerS => "requests_per_s",
            Self::Burst => "burst",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// Values of limits. What is not set is not limited by the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Indexed by `Limit as usize`; values are 1 to [`LIMIT_MAX`].
    values: [Option<u64>; Limit::ALL.len()],
}

impl Limits {
    /// The value of one limit; `None` is no limit.
    pub fn get(&self, limit: Limit) -> Option<u64> {
        self.values.get(limit as usize).copied().flatten()
    }

    /// Lowers one limit to `value`, unless it is lower already.
    pub(crate) fn lower(&mut self, limit: Limit, value: u64) {
        if let Some(slot) = self.values.get_mut(limit as usize) {
            *slot = Some(slot.map_or(value, |now| now.min(value)));
        }
    }

    /// The tighter of both, limit by limit.
    #[must_use]
    pub fn tighter(mut self, other: &Self) -> Self {
        for (limit, value) in other.iter() {
            self.lower(limit, value);
        }
        self
    }

    /// The limits that are set.
    pub fn iter(&self) -> impl Iterator<Item = (Limit, u64)> + '_ {
        Limit::ALL.into_iter().filter_map(|limit| Some((limit, self.get(limit)?)))
    }
}

/// The weakest enforcement under which a profile may run. The order is by strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Floor {
    /// A wall without namespaces will do (Landlock and seccomp alone).
    Partial,
    /// Every layer must be active. Also what holds when no profile says anything.
    Full,
}

impl Floor {
    /// As written in a profile.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Partial => "partial",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// When a record must have reached the disk. The order is by strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// Within the time of a group commit; what cannot be taken back waits in any case.
    Group,
    /// Before the caller gets a result.
    BeforeResult,
    /// Before the call runs.
    BeforeRun,
}

impl Durability {
    /// As written in a profile.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::BeforeResult => "before-result",
            Self::BeforeRun => "before-run",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a recorder reports of a session. The order is by how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Recording {
    /// Nothing: the log has calls, outcomes and the outlet's account alone. For what lives by signals: one can interrupt a
    /// call that is told of before the recorder has it, and a program whose handlers do not ask for a restart then sees
    /// an error that it would not see unrecorded.
    Off,
    /// Processes, and what they change or ask the network for. What holds when no profile says anything else.
    Changes,
    /// And every file that is opened to be read.
    AllOpens,
}

impl Recording {
    /// As written in a profile.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Changes => "changes",
            Self::AllOpens => "all-opens",
        }
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The weakest recorder under which a profile may run, by what its records of opened files are worth. The order is by
/// strength.
///
/// It is a key of its own beside [`Floor`]: that one is about what a guest can do, this about what can be proved of it
/// afterwards, and either may be wanted without the other. A recorder depends on more of the machine than a wall does
/// (one listener for each chain of filters, so none under another one), so by default none is demanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordFloor {
    /// No recorder is needed: what was changed is found by comparing, and who did it is not known.
    OutcomeOnly,
    /// The same as the next, from a recorder that stops each process to look at it (ptrace(2)): as true, but to be seen by
    /// the process, and dearer for each that is started.
    Traced,
    /// What a process says it opens, at the moment when it says so.
    Observed,
    /// What was opened, since the recorder opened it on the process's behalf.
    Performed,
}

impl RecordFloor {
    /// As written in a profile.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutcomeOnly => "outcome-only",
            Self::Traced => "traced",
            Self::Observed => "observed",
            Self::Performed => "performed",
        }
    }

    /// Whether a session that records this much can meet it on any machine.
    pub(crate) fn fits(self, recording: Recording) -> bool {
        self == Self::OutcomeOnly || recording > Recording::Off
    }
}

impl fmt::Display for RecordFloor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
