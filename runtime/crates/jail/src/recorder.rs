//! The recorder: what the processes of a sandbox change, start and ask for, reported by the kernel as they do it.
//! It never allows and never refuses anything: what is refused is in the list of system calls, and stays refused.
//!
//! It has two halves. Inside, a thread of the init (`inside`) answers the kernel's notifications (seccomp_unotify(2))
//! and performs opens for writing on behalf of the guest; it writes each event into a ring of shared memory before it
//! answers, so that an event is never lost with the init. Outside, the supervisor ([`Events`]) reads the ring.
//! The guest's memory is so parsed in a process that is confined as the guest is, and never in the supervisor.
//! Where the kernel gives it no listener, it traces guests instead (`trace`).

mod calls;
pub mod event;
mod executables;
mod frame;
mod gate;
mod guest;
mod inside;
mod listener;
mod look;
mod memory;
mod name;
mod open;
mod outside;
mod processes;
mod ring;
mod shared;
mod trace;
mod way;

pub use event::{
    Asked, Bounded, CallNumber, Event, Executable, FileId, Happened, How, NameChange, Origin, Peer, ProcessId,
    Property, now_ns,
};
pub(crate) use gate::Gate;
pub(crate) use inside::Waiting;
pub(crate) use look::status;
pub(crate) use outside::Handed;
pub use outside::{Events, Grade};
pub(crate) use processes::Processes;
pub(crate) use ring::Ends;
pub(crate) use shared::{LOOK_FIRST, Shared};
pub(crate) use trace::{Decided, Desk, Done, be_traced, make};

use crate::child::Traced;
use crate::enforced::{Layer, LayerState};
use crate::error::JailError;
use crate::plan::{Record, Sockets, Wall};
use crate::seccomp::{self, Filter, Wait};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use trace::{Begun, Tracing};

/// A list of system calls that is in force, and the recorder behind it.
#[derive(Debug)]
pub(crate) struct Installed {
    /// The list, and how much is recorded.
    pub(crate) layers: Vec<LayerState>,
    /// The processes.
    pub(crate) shared: Arc<Shared>,
    /// Readable when a process has ended that somebody else reaped.
    pub(crate) exits: Option<OwnedFd>,
    /// For the supervisor.
    pub(crate) handed: Option<Handed>,
    /// Where the recorder traces: who hears of ends, and what a call's process needs.
    pub(crate) desk: Option<Arc<Desk>>,
    pub(crate) traced: Option<Traced>,
}

impl Installed {
    /// For a plan that has no list of calls, in a test.
    pub(crate) fn without_a_list() -> Self {
        unrecorded(None, "the plan has no list of calls to tell of")
    }
}

/// Takes the list on, with the recorder listening where there is one and the machine allows it.
pub(crate) fn install(
    filter: &Filter,
    (sockets, record): (Sockets, Record),
    wall: Wall,
    waiting: Option<Waiting>,
) -> Result<Installed, JailError> {
    let Some(waiting) = waiting else {
        return Ok(unrecorded(Some(filter.install()?), "the plan has no recorder"));
    };
    let failed = |errno: Errno| JailError::os("prepare", "the recorder", errno.raw_os_error());
    let (writer, ends) = ring::make().map_err(failed)?;
    let (sender, executables) = executables::pair().map_err(failed)?;
    let (processes, exits) = Processes::recorded(writer).map_err(failed)?;
    let shared = Arc::new(Shared::recorded(processes, sender));
    let can_open = can_open();
    let installed = match filter.install_with_listener(Wait::Killable) {
        Err(Errno::INVAL) => {
            filter.install_with_listener(Wait::Interruptible).map(|listener| (listener, Wait::Interruptible))
        }
        other => other.map(|listener| (listener, Wait::Killable)),
    };
    let (listener, wait) = match installed {
        Ok(installed) => installed,
        Err(errno) => {
            let why = match errno {
                Errno::BUSY => "somebody outside listens to this process already, and the kernel allows one",
                _ => "the kernel does not tell a process of another's system calls",
            };
            let handed = Handed { ends, executables, grade: Grade::Trace };
            return match trace::begin((sockets, record), waiting, &shared)? {
                Begun::Traces(tracing) => traced(tracing, shared, handed, why),
                // Without a listener what it is told of would be refused: the same list without a recorder.
                Begun::Not(why_not) => {
                    install_without(&seccomp::compile(sockets, Record::Off)?, &format!("{why}; {why_not}"))
                }
            };
        }
    };
    let (grade, why) = match (wall, wait) {
        (Wall::Namespaces, Wait::Killable) if can_open => (Grade::NotifyAndOpen, ""),
        (Wall::Namespaces, Wait::Killable) => {
            (Grade::Notify, "there is no openat2, with which files are opened for guests")
        }
        // It would open with the init's rights.
        (Wall::Landlock, _) => (Grade::Notify, "without namespaces the init is not confined as its guests are"),
        // A signal would leave a file opened for nobody.
        (_, Wait::Interruptible) => (Grade::Notify, "the kernel lets signals end a guest's wait (before Linux 5.19)"),
    };
    waiting.go(listener, filter.clone(), Arc::clone(&shared), grade)?;
    let layers = vec![LayerState::active(Layer::Seccomp), grade.layer(why)];
    Ok(Installed {
        layers,
        shared,
        exits: Some(exits),
        handed: Some(Handed { ends, executables, grade }),
        desk: None,
        traced: None,
    })
}

/// Takes a list on that tells nobody, where there can be no recorder.
pub(crate) fn install_without(list: &Filter, why: &str) -> Result<Installed, JailError> {
    Ok(unrecorded(Some(list.install()?), why))
}

/// Whether files can be opened on behalf of guests, who would be told otherwise that there is no such call.
pub(crate) fn can_open() -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let tried = rustix::fs::openat2(CWD, c"/", flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
    !matches!(tried, Err(Errno::NOSYS | Errno::PERM))
}

fn traced(tracing: Tracing, shared: Arc<Shared>, handed: Handed, why: &str) -> Result<Installed, JailError> {
    let Tracing { list, of_guests, desk } = tracing;
    let traced = Traced::new(Arc::clone(&desk), of_guests)
        .map_err(|errno| JailError::os("prepare", "the recorder", errno.raw_os_error()))?;
    let layers = vec![list, Grade::Trace.layer(why)];
    // Ends are told by the desk.
    Ok(Installed { layers, shared, exits: None, handed: Some(handed), desk: Some(desk), traced: Some(traced) })
}

fn unrecorded(list: Option<LayerState>, why: &str) -> Installed {
    let layers = list.into_iter().chain([Grade::OutcomeOnly.layer(why)]).collect();
    Installed { layers, shared: Arc::new(Shared::unrecorded()), exits: None, handed: None, desk: None, traced: None }
}
