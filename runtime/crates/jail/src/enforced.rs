//! What was really enforced, layer by layer, and the grade that follows from it.
//! It never enforces anything and never rounds up: a layer that is not reported counts as absent.

use crate::plan::{Plan, Record};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One thing that stands between a guest and the host, or bounds what the guest uses up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// The guest's ids and capabilities mean nothing outside.
    UserNamespace,
    /// The guest sees mounts of its own.
    MountNamespace,
    /// The guest sees processes of its own.
    PidNamespace,
    /// The guest has network interfaces and abstract sockets of its own.
    NetNamespace,
    /// The guest has System V and POSIX message objects of its own.
    IpcNamespace,
    /// The guest has a host name of its own.
    UtsNamespace,
    /// The guest sees control groups from its own downwards.
    CgroupNamespace,
    /// A new root that shows only what was granted; the old one is detached.
    Root,
    /// No Linux capability in any set, and no way to get one back.
    Capabilities,
    /// `no_new_privs`: set-id bits and file capabilities have no effect.
    NoNewPrivileges,
    /// Rights by path, and scopes for signals and abstract sockets.
    Landlock,
    /// The list of system calls.
    Seccomp,
    /// A session keyring of its own.
    Keyring,
    /// What changes something, starts or leaves is told to the supervisor.
    Recorder,
    /// A way out for what is granted, in place of a net namespace that leads nowhere.
    Outlet,
    /// Only descriptors 0, 1 and 2 reach the guest's program.
    Descriptors,
    /// Everything ends with the session.
    Lifetime,
    /// An engine's container around everything else: of an image by its digest, hardened, read back.
    Container,
    /// A kernel of the container's own, gVisor, between the guest and the host's.
    Gvisor,
    /// Bound on memory.
    MemoryLimit,
    /// Bound on processes and threads.
    PidsLimit,
    /// Bound on CPU time.
    CpuLimit,
    /// Bound on what is written.
    DiskLimit,
    /// Bound on open descriptors.
    OpenFilesLimit,
}

/// How well a layer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As designed.
    Active,
    /// It holds, but less than designed: why.
    Degraded(String),
    /// It is not there: why.
    Absent(String),
}

/// A layer and how well it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerState {
    /// Which layer.
    pub layer: Layer,
    /// How well it holds.
    pub state: State,
    /// What exactly is in force: a version, a digest, a mechanism.
    pub detail: Option<String>,
}

/// What was enforced as a whole. Ordered: a profile's floor is compared with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// Nothing that deserves the name of a wall.
    None,
    /// The kernel filters paths and system calls, but the guest shares the host's namespaces; or, on gVisor's kernel, they
    /// are there and nothing but mounts filters paths.
    Partial,
    /// Namespaces, a root of its own, and the filters behind them.
    Full,
}

/// Everything that was enforced for a session, and its grade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforced {
    /// Every layer that was set up or tried, in the order in which it happened.
    pub layers: Vec<LayerState>,
    /// What they amount to.
    pub grade: Grade,
}

impl Enforced {
    /// Grades these layers.
    pub fn new(layers: Vec<LayerState>) -> Self {
        let grade = grade(&layers);
        Self { layers, grade }
    }
}

impl Enforced {
    /// Whether there is a kernel of the container's own, whose guests have a list of calls of their own.
    pub fn is_on_gvisor(&self) -> bool {
        has_gvisor(&self.layers)
    }

    /// What is recorded of a sandbox of this plan: what the plan says, or nothing where the machine refused it.
    pub fn record(&self, plan: &Plan) -> Record {
        let absent = |layer: &LayerState| layer.layer == Layer::Recorder && matches!(layer.state, State::Absent(_));
        if self.layers.iter().any(absent) { Record::Off } else { plan.record() }
    }
}

impl LayerState {
    /// As designed.
    pub const fn active(layer: Layer) -> Self {
        Self { layer, state: State::Active, detail: None }
    }

    /// It holds, but less than designed.
    pub fn degraded(layer: Layer, why: impl Into<String>) -> Self {
        Self { layer, state: State::Degraded(why.into()), detail: None }
    }

    /// It is not there.
    pub fn absent(layer: Layer, why: impl Into<String>) -> Self {
        Self { layer, state: State::Absent(why.into()), detail: None }
    }

    /// The same, with what exactly is in force.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// What a layer must be for a grade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Active.
    Whole,
    /// Active or degraded.
    Some,
}

/// Layers that the grade `full` needs.
///
/// Landlock may be degraded here: what older kernels cannot filter (truncation, device controls, signals, abstract
/// sockets) is held by read-only mounts and by the pid and net namespaces. The control group namespace may be too:
/// it hides names of groups, and the root shows no control group file system at all.
const FULL: [(Layer, Need); 14] = [
    (Layer::UserNamespace, Need::Whole),
    (Layer::MountNamespace, Need::Whole),
    (Layer::PidNamespace, Need::Whole),
    (Layer::NetNamespace, Need::Whole),
    (Layer::IpcNamespace, Need::Whole),
    (Layer::UtsNamespace, Need::Whole),
    (Layer::CgroupNamespace, Need::Some),
    (Layer::Root, Need::Whole),
    (Layer::Capabilities, Need::Whole),
    (Layer::NoNewPrivileges, Need::Whole),
    (Layer::Landlock, Need::Some),
    (Layer::Seccomp, Need::Whole),
    (Layer::Descriptors, Need::Whole),
    (Layer::Lifetime, Need::Whole),
];

/// Layers that the grade `partial` needs. The lifetime may be degraded: without a pid namespace a process that
/// leaves its group is found by sampling, not by the kernel.
const PARTIAL: [(Layer, Need); 6] = [
    (Layer::Capabilities, Need::Whole),
    (Layer::NoNewPrivileges, Need::Whole),
    (Layer::Landlock, Need::Some),
    (Layer::Seccomp, Need::Whole),
    (Layer::Descriptors, Need::Whole),
    (Layer::Lifetime, Need::Some),
];

/// Layers that gVisor's kernel has not, of those that the grade `full` needs: there all others make `partial`.
const NOT_ON_GVISOR: [Layer; 2] = [Layer::CgroupNamespace, Layer::Landlock];

/// What the grade `partial` needs on gVisor's kernel.
fn needed_on_gvisor() -> impl Iterator<Item = (Layer, Need)> {
    FULL.into_iter().filter(|(layer, _)| !NOT_ON_GVISOR.contains(layer))
}

/// The grade of these layers. Limits, the keyring and the recorder never change it: they bound use or tell of it, they
/// are not walls (what the keyring layer hides is also refused by seccomp).
pub fn grade(layers: &[LayerState]) -> Grade {
    // Around a container's sandbox there is one more wall, which was asked for: one with a hole is not whole.
    let around = !layers.iter().any(|layer| layer.layer == Layer::Container && layer.state != State::Active);
    // On gVisor paths are a matter of mounts alone, and a second kernel is between the guest and the host's.
    if around && FULL.iter().all(|need| meets(layers, *need)) {
        Grade::Full
    } else if PARTIAL.iter().all(|need| meets(layers, *need))
        || has_gvisor(layers) && needed_on_gvisor().all(|need| meets(layers, need))
    {
        Grade::Partial
    } else {
        Grade::None
    }
}

fn has_gvisor(layers: &[LayerState]) -> bool {
    layers.iter().any(|layer| layer.layer == Layer::Gvisor && layer.state == State::Active)
}

/// Whether a layer is reported, and each report of it is good enough: the weakest counts.
fn meets(layers: &[LayerState], (layer, need): (Layer, Need)) -> bool {
    let mut reports = layers.iter().filter(|report| report.layer == layer).peekable();
    reports.peek().is_some()
        && reports.all(|report| match report.state {
            State::Active => true,
            State::Degraded(_) => need == Need::Some,
            State::Absent(_) => false,
        })
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::UserNamespace => "user-namespace",
            Self::MountNamespace => "mount-namespace",
            Self::PidNamespace => "pid-namespace",
            Self::NetNamespace => "net-namespace",
            Self::IpcNamespace => "ipc-namespace",
            Self::UtsNamespace => "uts-namespace",
            Self::CgroupNamespace => "cgroup-namespace",
            Self::Root => "root",
            Self::Capabilities => "capabilities",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::Keyring => "keyring",
            Self::Recorder => "recorder",
            Self::Outlet => "outlet",
            Self::Descriptors => "descriptors",
            Self::Lifetime => "lifetime",
            Self::Container => "container",
            Self::Gvisor => "gvisor",
            Self::MemoryLimit => "memory-limit",
            Self::PidsLimit => "pids-limit",
            Self::CpuLimit => "cpu-limit",
            Self::DiskLimit => "disk-limit",
            Self::OpenFilesLimit => "open-files-limit",
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active => f.write_str("active"),
            Self::Degraded(why) => write!(f, "degraded: {why}"),
            Self::Absent(why) => write!(f, "absent: {why}"),
        }
    }
}

impl fmt::Display for LayerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.layer, self.state)?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Partial => "partial",
            Self::Full => "full",
        })
    }
}

impl fmt::Display for Enforced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "grade: {}", self.grade)?;
        self.layers.iter().try_for_each(|layer| writeln!(f, "{layer}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every layer of the grade `full`, active.
    fn walls() -> Vec<LayerState> {
        FULL.iter().map(|(layer, _)| LayerState::active(*layer)).collect()
    }

    #[test]
    fn all_walls_are_full_and_nothing_is_none() {
        assert_eq!(grade(&walls()), Grade::Full);
        assert_eq!(grade(&[]), Grade::None);
    }

    #[test]
    fn a_missing_or_absent_wall_is_never_full() {
        for index in 0..FULL.len() {
            let mut layers = walls();
            let taken = layers.remove(index);
            assert!(grade(&layers) < Grade::Full, "{taken} was missing");
            layers.push(LayerState::absent(taken.layer, "test"));
            assert!(grade(&layers) < Grade::Full, "{taken} was absent");
            // A second, better report of the same layer does not hide the worse one.
            layers.push(taken.clone());
            assert!(grade(&layers) < Grade::Full, "{taken} was absent once");
        }
    }

    #[test]
    fn filters_without_namespaces_are_partial() {
        let layers: Vec<_> = PARTIAL.iter().map(|(layer, _)| LayerState::active(*layer)).collect();
        assert_eq!(grade(&layers), Grade::Partial);
        for index in 0..PARTIAL.len() {
            let mut fewer = layers.clone();
            fewer.remove(index);
            assert_eq!(grade(&fewer), Grade::None);
        }
    }

    #[test]
    fn a_container_that_is_not_as_it_was_asked_for_is_not_full() {
        let mut layers = walls();
        layers.push(LayerState::active(Layer::Container));
        assert_eq!(grade(&layers), Grade::Full);
        layers.push(LayerState::degraded(Layer::Container, "root is writable, not read-only"));
        assert_eq!(grade(&layers), Grade::Partial);
    }

    #[test]
    fn a_kernel_between_makes_up_for_landlock_and_for_nothing_else() {
        let mut layers: Vec<_> = needed_on_gvisor().map(|(layer, _)| LayerState::active(layer)).collect();
        layers.extend([Layer::Landlock, Layer::CgroupNamespace].map(|layer| LayerState::absent(layer, "test")));
        assert_eq!(grade(&layers), Grade::None);
        layers.push(LayerState::active(Layer::Gvisor));
        assert_eq!(grade(&layers), Grade::Partial);
        assert_eq!(layers.len(), 12 + 3);
        for index in 0..12 {
            let mut fewer = layers.clone();
            fewer.remove(index);
            assert_eq!(grade(&fewer), Grade::None, "without {}", layers[index]);
        }
    }

    #[test]
    fn limits_keyring_and_recorder_never_change_the_grade() {
        let mut layers = walls();
        for layer in [
            Layer::MemoryLimit,
            Layer::PidsLimit,
            Layer::CpuLimit,
            Layer::DiskLimit,
            Layer::OpenFilesLimit,
            Layer::Keyring,
            Layer::Recorder,
        ] {
            layers.push(LayerState::absent(layer, "test"));
        }
        assert_eq!(grade(&layers), Grade::Full);
    }
}
