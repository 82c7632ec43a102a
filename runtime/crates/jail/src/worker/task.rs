//! What a worker is told before it confines itself: which kind it is, and what of its session's plan binds it.
//! It never holds a decision: everything in it follows from the kind and the plan.

use super::Kind;
use crate::channel::{Channel, protocol};
use crate::error::JailError;
use crate::kernel::Kernel;
use crate::landlock::Identity;
use crate::plan::{CallStep, LandlockRule, PathRights, Plan, Rlimit, SessionStep, Tcp, Wall};
use crate::sandbox::{Sandbox, lost, wait_readable};
use crate::wire::Message;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// How long the init may take to hand out what it has: it does nothing that waits.
const INSIDES_LIMIT: Duration = Duration::from_secs(10);

/// What a worker is started as: it has to know before it is told the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    /// Compile, beside nobody.
    Compile,
    /// Read or write beside the guests of this wall.
    Beside(Changes, Wall),
    /// Read or write beside guests on gVisor, where it was started in its place already (see [`super::apart`]).
    Inside(Changes),
}

/// Whether a worker may change files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changes {
    /// None.
    Never,
    /// Where a guest may.
    AsGuests,
}

const ERRANDS: [(Errand, [&str; 2]); 7] = [
    (Errand::Compile, ["compile", "alone"]),
    (Errand::Beside(Changes::Never, Wall::Namespaces), ["read", "namespaces"]),
    (Errand::Beside(Changes::Never, Wall::Landlock), ["read", "landlock"]),
    (Errand::Beside(Changes::AsGuests, Wall::Namespaces), ["write", "namespaces"]),
    (Errand::Beside(Changes::AsGuests, Wall::Landlock), ["write", "landlock"]),
    (Errand::Inside(Changes::Never), ["read", "gvisor"]),
    (Errand::Inside(Changes::AsGuests), ["write", "gvisor"]),
];

impl Errand {
    /// Of a kind of worker in a sandbox.
    pub(super) fn beside(kind: Kind, wall: Wall) -> Result<Self, JailError> {
        match kind {
            Kind::Compile => Err(compiler_in_a_sandbox()),
            Kind::Read => Ok(Self::Beside(Changes::Never, wall)),
            Kind::Write => Ok(Self::Beside(Changes::AsGuests, wall)),
        }
    }

    /// The same in a sandbox on gVisor, and whether it may change files.
    pub(super) fn inside(kind: Kind) -> Result<(Self, Changes), JailError> {
        let changes = match kind {
            Kind::Compile => return Err(compiler_in_a_sandbox()),
            Kind::Read => Changes::Never,
            Kind::Write => Changes::AsGuests,
        };
        Ok((Self::Inside(changes), changes))
    }

    /// As arguments of a process.
    pub(super) fn words(self) -> [&'static str; 2] {
        let (_, words) = ERRANDS.iter().find(|(errand, _)| *errand == self).expect("every errand is listed");
        *words
    }

    /// From the arguments of this process.
    pub(super) fn of_words(first: &OsStr, second: &OsStr) -> Option<Self> {
        ERRANDS.iter().find(|(_, words)| first == words[0] && second == words[1]).map(|(errand, _)| *errand)
    }

    /// For which kind of worker it is.
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Compile => Kind::Compile,
            Self::Beside(Changes::Never, _) | Self::Inside(Changes::Never) => Kind::Read,
            Self::Beside(Changes::AsGuests, _) | Self::Inside(Changes::AsGuests) => Kind::Write,
        }
    }

    /// Whose kernel it is on.
    pub(super) const fn kernel(self) -> Kernel {
        match self {
            Self::Compile | Self::Beside(..) => Kernel::Host,
            Self::Inside(_) => Kernel::Gvisor,
        }
    }
}

pub(super) fn compiler_in_a_sandbox() -> JailError {
    JailError::bug("start in a sandbox", "a worker that compiles")
}

/// The rest of what it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The guest's user and group inside, where there are namespaces to join. Beside guests, what binds its life comes along
    /// first, then the descriptors of these, then those of groups.
    pub(super) guest: Option<(u32, u32)>,
    /// What Landlock leaves the guests; `None` where the plan has no such step.
    pub(super) landlock: Option<(Vec<LandlockRule>, Tcp)>,
    /// On what these rules were put, where the init put them.
    pub(super) objects: Option<Vec<Identity>>,
    /// The guests' limits of one process.
    pub(super) limits: Vec<(Rlimit, u64)>,
}

/// What an init knows of its sandbox and nobody outside can find out as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Insides {
    /// On what each rule of the plan's Landlock step was put.
    pub objects: Vec<Identity>,
}

impl Task {
    /// For a worker beside the guests of this plan.
    pub(crate) fn beside(plan: &Plan) -> Self {
        let guest = plan.session.iter().find_map(|step| {
            if let SessionStep::Namespaces { guest_uid, guest_gid } = step {
                Some((*guest_uid, *guest_gid))
            } else {
                None
            }
        });
        let landlock = plan.session.iter().find_map(|step| {
            if let SessionStep::Landlock { rules, tcp } = step { Some((rules.clone(), *tcp)) } else { None }
        });
        let limits = plan.call.iter().filter_map(|step| match step {
            // Its open files are many calls' at once, and its threads are counted apart.
            CallStep::Rlimit { resource: Rlimit::OpenFiles | Rlimit::Pids, .. } => None,
            CallStep::Rlimit { resource, value } => Some((*resource, *value)),
            CallStep::OwnSession | CallStep::CloseDescriptors | CallStep::Seccomp { .. } => None,
        });
        Self { guest, landlock, objects: None, limits: limits.collect() }
    }

    /// For a worker that compiles.
    pub(crate) fn compile() -> Self {
        // Of TCP it is rid by its list of calls alone where it got a net namespace, and by both where it did not.
        let landlock = Some((Vec::new(), Tcp::LeftToNamespace));
        Self { guest: None, landlock, objects: None, limits: Vec::new() }
    }
}

/// The rights that a worker takes of a guest's.
pub(super) const fn rights(rights: PathRights, changes: Changes) -> PathRights {
    match (rights, changes) {
        (rights, Changes::AsGuests) => rights,
        (PathRights::Read | PathRights::ReadWriteExisting | PathRights::ReadWrite, Changes::Never) => PathRights::Read,
        (PathRights::ReadExec | PathRights::ReadWriteExec, Changes::Never) => PathRights::ReadExec,
    }
}

impl Sandbox {
    /// Asks the init for what a worker needs to come in: what binds its life, and then the namespaces, where there are any.
    pub(super) fn insides(&self) -> Result<(Insides, Vec<OwnedFd>), JailError> {
        let (channel, theirs) = Channel::pair()?;
        self.ask(&Message::Enquire, &[theirs.as_fd()])?;
        drop(theirs);
        wait_readable(channel.as_fd(), Some(Instant::now() + INSIDES_LIMIT))?;
        let received = channel.receive()?.ok_or_else(|| lost("it ended before it let a worker in"))?;
        let Message::Insides(insides) = received.message else {
            return Err(protocol("another answer than what is inside"));
        };
        Ok((insides, received.descriptors))
    }
}
