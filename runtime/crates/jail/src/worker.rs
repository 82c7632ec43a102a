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
use crate::sandbox::{Handle, Sandbox, lost, open_handle, wait_readable};
use crate::spawner::Helper;
use crate::wire::{Message, Status};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;
use std::fmt;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

mod confine;
pub(crate) mod inside;
mod own_table;
mod task;

pub use inside::{Confined, Files, Unconfined, run_as_worker_if_asked};
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
    /// Waits for the process, whose id is its own until then.
    process: Mutex<Child>,
    handle: Arc<OwnedFd>,
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
        self.takes_workers()?;
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
        let mut worker = Worker::new(kind, child)?;
        self.handle().adopt(&worker);
        let tasks = match self.shared_group() {
            Some(group) => {
                group.make_room(THREADS_MAX)?;
                worker.group = Some((Arc::downgrade(group), THREADS_MAX));
                group.admit(worker.id())?
            }
            None => Vec::new(),
        };
        let descriptors: Vec<_> = entrance.iter().chain(&tasks).map(OwnedFd::as_fd).collect();
        worker.begin(control, task, &descriptors)?;
        worker.give_back_what_it_does_not_need();
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

    fn new(kind: Kind, mut child: Child) -> Result<Self, JailError> {
        match open_handle(child.id()) {
            Ok(handle) => {
                let (process, handle) = (Mutex::new(child), Arc::new(handle));
                Ok(Self { kind, channel: None, process, handle, layers: Vec::new(), group: None })
            }
            Err(error) => {
                match child.kill().and_then(|()| child.wait()) {
                    // It ended by itself, which is what was wanted.
                    Ok(_) | Err(_) => Err(error),
                }
            }
        }
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
    fn give_back_what_it_does_not_need(&mut self) {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.id())).map_or(0, Iterator::count);
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

    /// Its process id, as this process sees it.
    pub fn id(&self) -> u32 {
        self.child().id()
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

    /// Readable once it has ended (a pidfd).
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// Ends it, and does not wait.
    pub fn kill(&self) {
        kill(&self.handle);
    }

    /// Waits until it ended, this long at most; `None`: it still runs.
    ///
    /// # Errors
    /// Somebody else of this process waits for every child.
    pub fn wait(&self, within: Duration) -> Result<Option<WorkerEnd>, JailError> {
        if !has_ended(self.handle.as_fd(), within) {
            return Ok(None);
        }
        let status = self.child().wait().map_err(|error| JailError::io("wait for", "a worker", &error))?;
        Ok(Some(WorkerEnd::of(status)))
    }

    /// A panic of another thread leaves it whole: it is only asked.
    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
        match self.child().wait() {
            // Reaped before, or by somebody else.
            Ok(_) | Err(_) => {}
        }
        if let Some((group, room)) = self.room() {
            group.give_room_back(room);
        }
    }
}

impl WorkerEnd {
    fn of(status: ExitStatus) -> Self {
        match status.signal() {
            Some(libc::SIGSYS) => Self::Forbidden,
            Some(signal) => Self::Signalled(signal),
            None => Self::Exited(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)),
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
    /// A handle of each, and its id.
    workers: Vec<(Weak<OwnedFd>, u32)>,
    ended: bool,
}

impl Handle {
    /// Lets a worker end with the sandbox; at once, if that has ended.
    fn adopt(&self, worker: &Worker) {
        let id = worker.id();
        let mut flock = self.flock();
        if flock.ended {
            kill(&worker.handle);
        }
        flock.workers.retain(|(known, _)| known.strong_count() > 0);
        flock.workers.push((Arc::downgrade(&worker.handle), id));
    }

    /// Ids of the workers that have an owner: until it lets go of one, its id is no other process's.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let flock = self.flock();
        flock.workers.iter().filter(|(handle, _)| handle.strong_count() > 0).map(|(_, id)| *id).collect()
    }

    /// Ends every worker, also those to come.
    pub(crate) fn kill_workers(&self) {
        let mut flock = self.flock();
        flock.ended = true;
        flock.workers.iter().filter_map(|(worker, _)| worker.upgrade()).for_each(|worker| kill(&worker));
    }

    /// Waits until the killed workers have ended; whoever has one reaps it.
    pub(crate) fn await_workers(&self) -> Result<(), JailError> {
        let killed: Vec<_> = self.flock().workers.iter().filter_map(|(worker, _)| worker.upgrade()).collect();
        if killed.iter().all(|worker| has_ended(worker.as_fd(), END_LIMIT)) {
            Ok(())
        } else {
            Err(lost("a worker of it did not end in time"))
        }
    }
}

fn kill(worker: &OwnedFd) {
    match rustix::process::pidfd_send_signal(worker, Signal::KILL) {
        // ESRCH: it has ended already.
        Ok(()) | Err(_) => {}
    }
}

/// Waits for the end of a process, whether or not it was reaped.
fn has_ended(handle: BorrowedFd<'_>, within: Duration) -> bool {
    let until = Instant::now() + within;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let limit = Timespec::try_from(left).ok();
        let mut fds = [PollFd::from_borrowed_fd(handle, PollFlags::IN)];
        match rustix::event::poll(&mut fds, limit.as_ref()) {
            Ok(1..) => return true,
            Ok(0) if left.is_zero() => return false,
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
