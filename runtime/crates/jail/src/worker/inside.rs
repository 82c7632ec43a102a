//! The worker's own side: what it is before it is confined, and what it has afterwards.
//! It never reads a byte from its user before it is confined, and never comes back from that.

use super::own_table::{self, OwnTable};
use super::task::Errand;
use super::{Kind, confine};
use crate::channel::{Channel, protocol};
use crate::enforced::LayerState;
use crate::error::JailError;
use crate::init::take_streams;
use crate::wire::Message;
use crate::{heap, sys};
use std::os::fd::OwnedFd;

/// `argv[0]` of a process that is to be a worker.
pub(crate) const NAME: &str = "stockade-worker";
/// Exit code of a worker that was not started by a supervisor, or could not become one.
const NOT_A_WORKER: i32 = 125;

/// Becomes a worker if this process was started as one, runs `main` and ends with what it returns; else returns. Beside
/// [`crate::run_as_init_if_asked`], before any thread is started.
pub fn run_as_worker_if_asked(main: impl FnOnce(Unconfined) -> i32) {
    let mut arguments = std::env::args_os();
    if arguments.next().is_none_or(|name| name != NAME) {
        return;
    }
    let errand = match (arguments.next(), arguments.next()) {
        (Some(first), Some(second)) => Errand::of_words(&first, &second),
        (_, _) => None,
    };
    let started = errand.and_then(|errand| Some((errand, take_streams(c"stockade-worker").ok()?)));
    let Some((errand, (control, other))) = started else { sys::exit_now(NOT_A_WORKER) };
    heap::keep_one_heap();
    sys::exit_now(match Unconfined::prepare(errand, other) {
        Ok(own_table) => main(Unconfined { errand, control, own_table }),
        Err(error) => fail(&control, error),
    })
}

/// Says why there is no worker.
fn fail(control: &Channel, error: JailError) -> i32 {
    match control.send(&Message::Failed(error), &[]) {
        // Where even this cannot be said, the supervisor sees the channel close.
        Ok(()) | Err(_) => NOT_A_WORKER,
    }
}

/// A worker that is not confined yet. It has read nothing that anybody else wrote: time to map memory and to open what it
/// needs of its own.
#[derive(Debug)]
pub struct Unconfined {
    errand: Errand,
    control: Channel,
    own_table: Option<OwnTable>,
}

/// A worker that is confined.
#[derive(Debug)]
pub struct Confined {
    /// What it is for.
    pub kind: Kind,
    /// The end of the `SOCK_SEQPACKET` pair to the supervisor.
    pub channel: OwnedFd,
    /// The session's files; `None` for a worker that compiles.
    pub files: Option<Files>,
    /// What was enforced, as the supervisor was told.
    pub layers: Vec<LayerState>,
}

/// Where the files of a session are.
#[derive(Debug)]
pub struct Files {
    /// The root that guests see, as a place (`O_PATH`): what may be opened below it is up to mounts and Landlock, as it is
    /// for them.
    pub root: OwnedFd,
    /// The worker's own table of descriptors, as a directory: readlinkat(2) of a number in it says the path of an open
    /// descriptor as it is inside. (The `/proc` of the guests does not know the worker.) Nothing else is there, and no way
    /// up.
    pub proc_fds: OwnedFd,
}

impl Unconfined {
    /// While the process is small, and what it is outside.
    fn prepare(errand: Errand, other: OwnedFd) -> Result<Option<OwnTable>, JailError> {
        confine::be_preferred_when_memory_runs_out();
        confine::take_refusals_for_signals();
        match errand {
            Errand::Compile => Ok(None),
            Errand::Beside(_, wall) => own_table::open(wall).map(Some),
            // Opened before the program was executed, when there was a right to.
            Errand::Inside(_) => Ok(Some(OwnTable(other))),
        }
    }

    /// What it is for.
    pub const fn kind(&self) -> Kind {
        self.errand.kind()
    }

    /// Confines this process for good, and tells the supervisor. There must be one thread.
    ///
    /// # Errors
    /// What could not be done. The supervisor was told; all that is left is to end.
    pub fn irrevocably_confine(self) -> Result<Confined, JailError> {
        self.irrevocably_confine_with(|| Ok(()))
    }

    /// The same with threads: `start` may make some, when all is done but the list of system calls, which then binds each
    /// of them and lets nobody make another.
    ///
    /// # Errors
    /// As of [`Unconfined::irrevocably_confine`].
    pub fn irrevocably_confine_with(self, start: impl FnOnce() -> std::io::Result<()>) -> Result<Confined, JailError> {
        let Self { errand, control, own_table } = self;
        match Self::confine(errand, &control, own_table, start) {
            Ok((files, layers)) => Ok(Confined { kind: errand.kind(), channel: control.into_end(), files, layers }),
            Err(error) => {
                fail(&control, error.clone());
                Err(error)
            }
        }
    }

    fn confine(
        errand: Errand,
        control: &Channel,
        own_table: Option<OwnTable>,
        start: impl FnOnce() -> std::io::Result<()>,
    ) -> Result<(Option<Files>, Vec<LayerState>), JailError> {
        let received = control.receive_any_length()?.ok_or_else(|| protocol("a channel closed before the task"))?;
        let Message::Task(task) = received.message else { return Err(protocol("a message before the task")) };
        let (root, layers) = confine::irrevocably(errand, task, received.descriptors, start)?;
        let files = match (root, own_table) {
            (Some(root), Some(OwnTable(proc_fds))) => Some(Files { root, proc_fds }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(JailError::bug("confine", "a worker of two kinds")),
        };
        control.send(&Message::Confined(layers.clone()), &[])?;
        Ok((files, layers))
    }
}
