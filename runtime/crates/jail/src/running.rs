//! A call that runs: its streams, signals, size, and how it ended.
//! It never outlives its owner's interest: dropped before its end, it is killed with its whole tree.

use crate::channel::{Channel, protocol};
use crate::error::{ErrorKind, Fault, JailError};
use crate::plan::{CallStep, Limits, Plan, Rlimit};
use crate::pty;
use crate::recorder::{CallNumber, ProcessId};
use crate::sandbox::{Handle, lost, wait_readable};
use crate::watch::{Consequence, LimitHit, LimitKind, Watch};
use crate::wire::{CallEnd, Message, ProcessExit, Stage, Status};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

mod streams;

pub(crate) use streams::Streams;

/// How long a killed tree may take to be gone before the whole sandbox is killed: the kernel's own delay for a
/// process that waits for a disk, not the guest's.
pub(crate) const KILL_GRACE: Duration = Duration::from_secs(10);
/// How long opening a terminal may take.
const TERMINAL_LIMIT: Duration = Duration::from_secs(10);

/// How a call ended. Its whole tree has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How its own process ended.
    pub status: Status,
    /// The limit that ended it.
    pub cause: Option<LimitHit>,
    /// Limits that refused it something without ending it.
    pub refusals: Vec<LimitHit>,
    /// What it used.
    pub usage: Usage,
    /// Its own process and those that the init reaped for it.
    ///
    /// When a limit ended the session's init too, nobody was left to say more than that: then there is one entry, with
    /// process id 0 and `SIGKILL`.
    pub exits: Vec<ProcessExit>,
    /// How many more processes there were than `exits` can list.
    pub exits_unlisted: u64,
}

impl Ended {
    /// Whether a system call that the list refuses ended it.
    pub fn by_seccomp(&self) -> bool {
        self.status == Status::Signalled(libc::SIGSYS)
    }
}

/// What a call used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// CPU time of all its processes, microseconds.
    pub cpu_us: u64,
    /// The most memory that one of its processes held, KiB.
    pub max_rss_kib: u64,
    /// From its start to the end of its last process, microseconds.
    pub wall_us: u64,
}

/// A call that runs. Dropped, it is killed with its whole tree.
#[derive(Debug)]
pub struct Running {
    line: Arc<Line>,
    id: CallNumber,
    program: String,
    streams: Streams,
    began: Instant,
    bounds: Bounds,
    bound: Option<(Arc<Watch>, Arc<Handle>)>,
    ended: Mutex<Progress>,
}

/// What a call may use, as far as its end tells.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds {
    pub(crate) limits: Limits,
    /// `RLIMIT_FSIZE`.
    file_bytes: Option<u64>,
}

impl Bounds {
    pub(crate) fn of(plan: &Plan) -> Self {
        let limits = plan.limits();
        let file_bytes = plan.call.iter().find_map(|step| match step {
            CallStep::Rlimit { resource: Rlimit::FileSize, value } => Some(*value),
            CallStep::Rlimit { .. } | CallStep::OwnSession | CallStep::CloseDescriptors | CallStep::Seccomp { .. } => {
                None
            }
        });
        Self { limits, file_bytes }
    }

    /// What the kernel said when all was over: CPU time of processes that came and went between two looks, and a file
    /// at its limit, which ends whoever writes on unless it ignores `SIGXFSZ`. (A signal of this number that a guest
    /// sent itself looks alike.) The first of a pair ended the call.
    fn broken(&self, end: &CallEnd) -> (Vec<LimitHit>, Vec<LimitHit>) {
        let (mut ends, mut refusals) = (Vec::new(), Vec::new());
        let cpu_ms = self.limits.cpu_s.map(|seconds| seconds.saturating_mul(1000));
        if let Some(value) = cpu_ms.filter(|value| end.cpu_us / 1000 >= *value) {
            ends.push(LimitHit::new(LimitKind::Cpu, value, end.cpu_us / 1000));
        }
        let too_large = |exit: &ProcessExit| exit.status == Status::Signalled(libc::SIGXFSZ);
        if let Some(value) = self.file_bytes {
            let hit = LimitHit::new(LimitKind::Disk, value, value);
            if too_large(&end.main) {
                ends.push(hit);
            } else if end.exits.iter().any(too_large) {
                refusals.push(hit);
            }
        }
        (ends, refusals)
    }
}

/// Whether the watcher has been told of the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Runs,
    Ended,
}

/// The channel of a call, and why it was killed.
#[derive(Debug)]
pub(crate) struct Line {
    channel: Channel,
    cause: Mutex<Option<LimitHit>>,
}

impl Line {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel, cause: Mutex::new(None) }
    }

    /// Ends the call; the first limit that was given is the cause.
    pub(crate) fn kill(&self, cause: Option<LimitHit>) {
        let mut known = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        *known = known.or(cause);
        match self.channel.try_send(&Message::Kill, &[]) {
            // A call that has ended, or that was told so often before that there is no room: it ends anyway.
            Ok(()) | Err(_) => {}
        }
    }
}

impl Running {
    pub(crate) fn new(
        line: Arc<Line>,
        id: CallNumber,
        program: String,
        streams: Streams,
        began: Instant,
        bounds: Bounds,
    ) -> Self {
        Self { line, id, program, streams, began, bounds, bound: None, ended: Mutex::new(Progress::Runs) }
    }

    /// Ties the call to its sandbox.
    pub(crate) fn bind(&mut self, watch: Arc<Watch>, sandbox: Arc<Handle>) {
        self.bound = Some((watch, sandbox));
    }

    /// Receives the terminal's master, where the call has a terminal.
    pub(crate) fn take_terminal(&mut self) -> Result<(), JailError> {
        let master = match &mut self.streams {
            Streams::Terminal { master } => Some(master),
            Streams::StandIn(_) => None,
            Streams::Pipes { .. } | Streams::Elsewhere => return Ok(()),
        };
        wait_readable(self.line.channel.as_fd(), Some(Instant::now() + TERMINAL_LIMIT))?;
        let received = self.line.channel.receive()?.ok_or_else(|| lost("it ended before the terminal was open"))?;
        match (received.message, master, received.descriptors.into_iter().next()) {
            (Message::Started(_), Some(master), Some(opened)) => *master = Some(opened),
            (Message::Started(_), None, None) => {}
            (Message::Refused(stage, errno), ..) => return Err(refusal(stage, errno, &self.program)),
            _ => return Err(protocol("a message instead of a terminal")),
        }
        Ok(())
    }

    /// Which call of its sandbox this is: the recorder's first event of it names it so.
    pub fn number(&self) -> CallNumber {
        self.id
    }

    /// The writing end of the call's descriptor 0, once.
    pub fn take_stdin(&mut self) -> Option<OwnedFd> {
        if let Streams::Pipes { stdin, .. } = &mut self.streams { stdin.take() } else { None }
    }

    /// The reading end of the call's descriptor 1, once.
    pub fn take_stdout(&mut self) -> Option<OwnedFd> {
        if let Streams::Pipes { stdout, .. } = &mut self.streams { stdout.take() } else { None }
    }

    /// The reading end of the call's descriptor 2, once.
    pub fn take_stderr(&mut self) -> Option<OwnedFd> {
        if let Streams::Pipes { stderr, .. } = &mut self.streams { stderr.take() } else { None }
    }

    /// The master of the call's terminal, or on gVisor a stream that stands for it. Reading a master gives `EIO` when nobody
    /// inside has the other end open any more; such a stream ends then, by `ECONNRESET` when it was written to unread.
    pub fn terminal(&self) -> Option<BorrowedFd<'_>> {
        match &self.streams {
            Streams::Terminal { master } => master.as_ref().map(OwnedFd::as_fd),
            Streams::StandIn(stream) => Some(stream.as_fd()),
            Streams::Pipes { .. } | Streams::Elsewhere => None,
        }
    }

    /// Sends a signal to the foreground of the call's terminal, or to the process group of its program.
    ///
    /// # Errors
    /// The sandbox is gone. A call that has ended is no error: the signal came late.
    pub fn signal(&self, signal: i32) -> Result<(), JailError> {
        match self.line.channel.try_send(&Message::Signal(signal), &[]) {
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(JailError::os("signal", &self.program, errno.raw_os_error())),
        }
    }

    /// Sets the size of the call's terminal; without one there is nothing to do.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), JailError> {
        let resized = match (&self.streams, self.terminal()) {
            (_, None) => return Ok(()),
            (Streams::StandIn(_), Some(_)) => match self.line.channel.try_send(&Message::Resize { rows, columns }, &[])
            {
                // It has ended.
                Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
                other => other,
            },
            (_, Some(master)) => pty::resize(master, rows, columns),
        };
        resized.map_err(|errno| JailError::os("resize the terminal of", &self.program, errno.raw_os_error()))
    }

    /// Ends the call and its whole tree; [`Running::wait`] then tells this cause.
    pub fn kill(&self, cause: Option<LimitHit>) {
        self.line.kill(cause);
    }

    /// Waits for the end of the call and of everything that it started; enforces its wall time meanwhile.
    ///
    /// # Errors
    /// What kept the program from being executed, or a sandbox that is gone.
    pub fn wait(&self) -> Result<Ended, JailError> {
        loop {
            if let Some(ended) = self.wait_until(None)? {
                return Ok(ended);
            }
        }
    }

    /// The same for at most this long; `None` when the call still runs.
    ///
    /// # Errors
    /// As [`Running::wait`].
    pub fn wait_timeout(&self, limit: Duration) -> Result<Option<Ended>, JailError> {
        self.wait_until(Some(Instant::now() + limit))
    }

    fn wait_until(&self, caller: Option<Instant>) -> Result<Option<Ended>, JailError> {
        let wall = self.bounds.limits.wall_s.map(|wall_s| self.began + Duration::from_secs(wall_s));
        let first = [caller, wall].into_iter().flatten().min();
        if wait_readable(self.line.channel.as_fd(), first).is_ok() {
            return self.receive_end().map(Some);
        }
        match (wall, self.bounds.limits.wall_s) {
            (Some(wall), Some(wall_s)) if wall <= Instant::now() => {
                self.kill(Some(self.wall_hit(wall_s)));
                let grace = Instant::now() + KILL_GRACE;
                if let Err(error) = wait_readable(self.line.channel.as_fd(), Some(grace)) {
                    self.kill_sandbox();
                    return Err(error.hint("its processes did not end when killed, so the whole sandbox was"));
                }
                self.receive_end().map(Some)
            }
            _ => Ok(None),
        }
    }

    fn wall_hit(&self, wall_s: u64) -> LimitHit {
        let observed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let limit = LimitKind::Wall;
        LimitHit { limit, value: wall_s.saturating_mul(1000), observed, unit: limit.unit() }
    }

    fn kill_sandbox(&self) {
        if let Some((_, sandbox)) = &self.bound {
            sandbox.kill();
        }
    }

    fn receive_end(&self) -> Result<Ended, JailError> {
        let received = match self.line.channel.receive() {
            // It left something of ours unread when it ended.
            Err(error) if error.errno == Some(libc::ECONNRESET) => None,
            other => other?,
        };
        let hits = self.tell_watcher();
        match received.map(|received| received.message) {
            Some(Message::Ended(end)) => Ok(self.ended(end, hits)),
            Some(Message::Refused(stage, errno)) => Err(refusal(stage, errno, &self.program)),
            None => self.without_report(hits),
            Some(
                Message::Setup(_)
                | Message::Look(_)
                | Message::Seen(_)
                | Message::Umask(_)
                | Message::OnGvisor
                | Message::Lines
                | Message::Enter
                | Message::Spawn(_)
                | Message::Socket(_)
                | Message::Connect { .. }
                | Message::Made
                | Message::Enquire
                | Message::Nurse(_)
                | Message::Gone(_)
                | Message::Insides(_)
                | Message::Task(_)
                | Message::Confined(_)
                | Message::InMemory(_)
                | Message::Signal(_)
                | Message::Resize { .. }
                | Message::Kill
                | Message::Forked(_)
                | Message::Ready(_)
                | Message::Failed(_)
                | Message::Started(_),
            ) => {
                self.kill_sandbox();
                Err(protocol("a message out of turn from the init"))
            }
        }
    }

    /// The init is gone. Where a limit explains that, it ended the call: a group out of memory can have nobody left to
    /// end but the init.
    fn without_report(&self, hits: Vec<LimitHit>) -> Result<Ended, JailError> {
        let killed = *self.line.cause.lock().unwrap_or_else(PoisonError::into_inner);
        if killed.is_none() && hits.iter().all(|hit| hit.limit.consequence() != Consequence::Ends) {
            return Err(lost("it ended while the call ran"));
        }
        let main = ProcessExit {
            process: ProcessId(0),
            pid: 0,
            status: Status::Signalled(libc::SIGKILL),
            cpu_us: 0,
            max_rss_kib: 0,
        };
        let wall_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let end = CallEnd { main, wall_us, cpu_us: 0, max_rss_kib: 0, exits: Vec::new(), exits_unlisted: 0 };
        Ok(self.ended(end, hits))
    }

    fn ended(&self, end: CallEnd, hits: Vec<LimitHit>) -> Ended {
        let (mut ends, mut refusals): (Vec<_>, Vec<_>) =
            hits.into_iter().partition(|hit| hit.limit.consequence() == Consequence::Ends);
        let killed = *self.line.cause.lock().unwrap_or_else(PoisonError::into_inner);
        let broken = self.bounds.broken(&end);
        ends.extend(broken.0);
        refusals.extend(broken.1);
        let mut exits = vec![end.main];
        exits.extend(end.exits);
        Ended {
            status: end.main.status,
            cause: killed.or_else(|| ends.first().copied()),
            refusals,
            usage: Usage { cpu_us: end.cpu_us, max_rss_kib: end.max_rss_kib, wall_us: end.wall_us },
            exits,
            exits_unlisted: end.exits_unlisted,
        }
    }

    /// Once: the watcher stops looking, and says what it saw.
    fn tell_watcher(&self) -> Vec<LimitHit> {
        let mut progress = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if *progress == Progress::Ended {
            return Vec::new();
        }
        *progress = Progress::Ended;
        self.bound.as_ref().map(|(watch, _)| watch.call_ended(self.id)).unwrap_or_default()
    }
}

/// Readable when the call has ended: for callers that wait for many things at once.
impl AsFd for Running {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.channel.as_fd()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.line.kill(None);
        drop(self.tell_watcher());
    }
}

/// What kept a program from being executed, in words.
fn refusal(stage: Stage, errno: i32, program: &str) -> JailError {
    let error = |act: &str| JailError::os(act, program, errno);
    match (stage, errno) {
        (Stage::Exec, libc::ENOENT | libc::ENOTDIR) => error("run")
            .kind(ErrorKind::ProgramNotFound)
            .fault(Fault::Guest)
            .hint("there is no such program inside, or the interpreter that its first line names is missing"),
        (Stage::Exec, libc::EACCES | libc::ENOEXEC | libc::EISDIR | libc::ELIBBAD | libc::ETXTBSY) => {
            error("run").kind(ErrorKind::ProgramNotExecutable).fault(Fault::Guest)
        }
        (Stage::Exec, libc::E2BIG) => error("run").kind(ErrorKind::ProgramNotExecutable).fault(Fault::Guest),
        (Stage::Exec, _) => error("run").kind(ErrorKind::ProgramNotExecutable),
        (Stage::WorkingDirectory, _) => {
            error("enter the working directory of").kind(ErrorKind::WorkingDirectory).fault(Fault::Guest)
        }
        (Stage::Fork, _) => error("make a process for"),
        (Stage::Terminal, _) => error("open a terminal for"),
        (Stage::Descriptors, _) => error("pass descriptors to"),
        (Stage::OwnSession, _) => error("make a session for"),
        (Stage::Rlimit, _) => error("limit the resources of"),
        (Stage::Landlock, _) => error("confine the paths of"),
        (Stage::Socket, _) => error("make a socket for"),
    }
}

#[cfg(test)]
mod tests;
