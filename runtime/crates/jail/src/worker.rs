//! Workers: processes of our own program that run foreign code beside a session's guests, or compile it, confined first.
//! It never confines them itself and never reads what they say later: a worker does the one, its user the other.
//!
//! A worker of a session has what a guest of it has, and less: its view of files, its user, its rights by path, no
//! capability, and a list of calls of its own without processes, programs and sockets. It stays outside of the guests' pid
//! namespace: they cannot see it, and the end of a call, which kills everybody in there, does not reach it.

use crate::cgroup::Group;
use crate::channel::{Channel, protocol};
use crate::enforced::LayerState;
use crate::error::JailError;
use crate::plan::Wall;
use crate::sandbox::{Handle, Sandbox, lost, wait_readable};
use crate::spawner::Helper;
use crate::wire::{Message, Status};
use std::fmt;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

pub(crate) mod apart;
mod confine;
pub(crate) mod inside;
mod life;
mod own_table;
mod task;

pub use inside::{Confined, Files, Unconfined, run_as_worker_if_asked};
use life::{Life, Tie};
use task::Errand;
pub(crate) use task::{Insides, Task};

/// How long a worker may take until it is confined: its user's own preparations are in it.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a killed worker may take to end: it waits for nobody.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Threads and processes that a worker may have until it is confined, by which the limit of its session's group grows.
/// Afterwards it has those that it has.
const THREADS_MAX: u64 = 4;

/// What a worker is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Compiles: belongs to no session, and has no file, no network and an end to its time and memory.
    Compile,
    /// Runs what only reads: whatever it does, the kernel lets it change no file.
    Read,
    /// Runs what may write where a guest may.
    Write,
}

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerEnd {
    /// Of itself, with this code.
    Exited(u8),
    /// It made a call that its list does not have, and the kernel ended it: a bug of ours, or somebody took it over.
    Forbidden,
    /// By this signal: killed from outside, out of memory or of time, or of its own fault.
    Signalled(i32),
}

/// A running, confined worker. Dropping it kills and reaps it.
#[derive(Debug)]
pub struct Worker {
    kind: Kind,
    channel: Option<OwnedFd>,
    life: Life,
    tie: Arc<Tie>,
    layers: Vec<LayerState>,
    /// The session's group, which counts the worker, and the room that it got there.
    group: Option<(Weak<Group>, u64)>,
}

impl Sandbox {
    /// Starts a worker beside this sandbox's guests, and waits until it is confined. It ends with the sandbox.
    ///
    /// # Errors
    /// [`Kind::Compile`], which belongs to no sandbox; what the machine refused; a worker that ended or took too long.
    pub fn worker(&self, kind: Kind) -> Result<Worker, JailError> {
        if let Some(nursery) = self.nursery() {
            return self.nursed(nursery, kind);
        }
        let (wall, mut task) = self.for_workers();
        let starting = Helper::begin_as(Errand::beside(kind, wall)?.words())?;
        // While it comes up.
        let (insides, entrance) = self.insides()?;
        task.objects = match wall {
            Wall::Namespaces => Some(insides.objects),
            // There each call puts the rules on what is there when it starts, and so does a worker.
            Wall::Landlock => None,
        };
        let (control, child) = starting.wait()?;
        let id = child.id();
        let mut worker = Worker::new(kind, child)?;
        self.handle().adopt(&worker);
        let tasks = match self.shared_group() {
            Some(group) => {
                group.make_room(THREADS_MAX)?;
                worker.group = Some((Arc::downgrade(group), THREADS_MAX));
                group.admit(id)?
            }
            None => Vec::new(),
        };
        let descriptors: Vec<_> = entrance.iter().chain(&tasks).map(OwnedFd::as_fd).collect();
        worker.begin(control, task, &descriptors)?;
        worker.give_back_what_it_does_not_need(id);
        Ok(worker)
    }

    /// The same where it is started inside, and so is in the group of its container from the beginning.
    fn nursed(&self, nursery: &Channel, kind: Kind) -> Result<Worker, JailError> {
        if kind == Kind::Compile {
            return Err(task::compiler_in_a_sandbox());
        }
        let (control, theirs) = Channel::pair()?;
        let (line, other_end) = Channel::pair()?;
        let (tie, life) = Tie::to_nursery(line);
        let mut worker = Worker { kind, channel: None, life, tie, layers: Vec::new(), group: None };
        self.handle().adopt(&worker);
        nursery.send(&Message::Nurse(kind), &[theirs.as_fd(), other_end.as_fd()])?;
        drop((theirs, other_end));
        let (_, task) = self.for_workers();
        worker.begin(control, task, &[])?;
        Ok(worker)
    }
}

impl Worker {
    /// Starts a worker that compiles, and waits until it is confined.
    ///
    /// # Errors
    /// What the machine refused; a worker that ended or took too long.
    pub fn compiler() -> Result<Self, JailError> {
        let (control, child) = Helper::begin_as(Errand::Compile.words())?.wait()?;
        let mut worker = Self::new(Kind::Compile, child)?;
        worker.begin(control, Task::compile(), &[])?;
        Ok(worker)
    }

    fn new(kind: Kind, child: Child) -> Result<Self, JailError> {
        let (tie, life) = Tie::of(child)?;
        Ok(Self { kind, channel: None, life, tie, layers: Vec::new(), group: None })
    }

    /// Says what it is to become, and waits until it says that it is.
    fn begin(&mut self, control: Channel, task: Task, descriptors: &[BorrowedFd<'_>]) -> Result<(), JailError> {
        match control.send(&Message::Task(task), descriptors) {
            // A worker that ended has said why, and that is what is heard next.
            Ok(()) | Err(_) => {}
        }
        wait_readable(control.as_fd(), Some(Instant::now() + START_LIMIT))?;
        let answer = control.receive()?.ok_or_else(|| lost("a worker ended before it was confined"))?;
        if let Message::Failed(error) = answer.message {
            return Err(error);
        }
        let Message::Confined(layers) = answer.message else {
            return Err(protocol("a message out of turn from a worker"));
        };
        self.layers = layers;
        self.channel = Some(control.into_end());
        Ok(())
    }

    /// The group that still counts it, and its room there.
    fn room(&self) -> Option<(Arc<Group>, u64)> {
        self.group.as_ref().and_then(|(group, room)| Some((group.upgrade()?, *room)))
    }

    /// Its list lets it make no thread any more: the guests' limit grows by those that it has.
    fn give_back_what_it_does_not_need(&mut self, id: u32) {
        let threads = std::fs::read_dir(format!("/proc/{id}/task")).map_or(0, Iterator::count);
        let threads = u64::try_from(threads).unwrap_or(THREADS_MAX);
        if let Some((group, room)) = self.room()
            && (1..room).contains(&threads)
        {
            group.give_room_back(room - threads);
            self.group = Some((Arc::downgrade(&group), threads));
        }
    }

    /// What it is for.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its process id, as this process sees it; `None` where a kernel of a container's own has it.
    pub fn id(&self) -> Option<u32> {
        self.tie.id()
    }

    /// What was really enforced for it.
    pub fn layers(&self) -> &[LayerState] {
        &self.layers
    }

    /// This side's end of the `SOCK_SEQPACKET` pair to it; `None` once it was taken.
    pub fn channel(&self) -> Option<BorrowedFd<'_>> {
        self.channel.as_ref().map(OwnedFd::as_fd)
    }

    /// The same, to keep.
    pub fn take_channel(&mut self) -> Option<OwnedFd> {
        self.channel.take()
    }

    /// Readable once it has ended; not to be read.
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.tie.ended()
    }

    /// Ends it, and does not wait.
    pub fn kill(&self) {
        self.tie.kill();
    }

    /// Waits until it ended, this long at most; `None`: it still runs.
    ///
    /// # Errors
    /// Somebody else of this process waits for every child.
    pub fn wait(&self, within: Duration) -> Result<Option<WorkerEnd>, JailError> {
        if !self.tie.has_ended(within) {
            return Ok(None);
        }
        self.life.end(&self.tie).map(Some)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
        self.life.settle(&self.tie, END_LIMIT);
        if let Some((group, room)) = self.room() {
            group.give_room_back(room);
        }
    }
}

impl WorkerEnd {
    fn of(status: ExitStatus) -> Self {
        Self::of_status(match status.signal() {
            Some(signal) => Status::Signalled(signal),
            None => Status::Exited(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)),
        })
    }

    const fn of_status(status: Status) -> Self {
        match status {
            Status::Signalled(libc::SIGSYS) => Self::Forbidden,
            Status::Signalled(signal) => Self::Signalled(signal),
            Status::Exited(code) => Self::Exited(code),
        }
    }

    /// As of any process.
    pub const fn status(self) -> Status {
        match self {
            Self::Exited(code) => Status::Exited(code),
            Self::Forbidden => Status::Signalled(libc::SIGSYS),
            Self::Signalled(signal) => Status::Signalled(signal),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Compile => "compile",
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

impl fmt::Display for WorkerEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "it ended with code {code}"),
            Self::Forbidden => f.write_str("it made a system call that a worker never makes, and the kernel ended it"),
            Self::Signalled(signal) => write!(f, "signal {signal} ended it"),
        }
    }
}

/// Workers of a sandbox, to end with it.
#[derive(Debug, Default)]
pub(crate) struct Flock {
    workers: Vec<Weak<Tie>>,
    ended: bool,
}

impl Handle {
    /// Lets a worker end with the sandbox; at once, if that has ended.
    fn adopt(&self, worker: &Worker) {
        let mut flock = self.flock();
        if flock.ended {
            worker.tie.kill();
        }
        flock.workers.retain(|known| known.strong_count() > 0);
        flock.workers.push(Arc::downgrade(&worker.tie));
    }

    /// Ids of the workers that have an owner: until it lets go of one, its id is no other process's. On gVisor they
    /// have none out here, and no layer that is looked at.
    pub(crate) fn workers(&self) -> Vec<u32> {
        self.flock().workers.iter().filter_map(|worker| worker.upgrade()?.id()).collect()
    }

    /// Ends every worker, also those to come.
    pub(crate) fn kill_workers(&self) {
        let mut flock = self.flock();
        flock.ended = true;
        flock.workers.iter().filter_map(Weak::upgrade).for_each(|worker| worker.kill());
    }

    /// Waits until the killed workers have ended; whoever has one reaps it.
    pub(crate) fn await_workers(&self) -> Result<(), JailError> {
        let killed: Vec<_> = self.flock().workers.iter().filter_map(Weak::upgrade).collect();
        if killed.iter().all(|worker| worker.has_ended(END_LIMIT)) {
            Ok(())
        } else {
            Err(lost("a worker of it did not end in time"))
        }
    }
}
