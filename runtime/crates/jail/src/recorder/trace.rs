//! The recorder where the kernel gives no listener: the same thread of the init, as the tracer of every guest (ptrace(2)).
//! It never decides: the answer to a call stands in the list of system calls, as for a listener.
//!
//! A process stops where it would wait for a listener's answer, and besides where it makes another one and where it
//! executes a program; and the tracer hears of each end before the parent does. So births, programs and ends are exact, and
//! need no second look. Nothing is opened on behalf of anybody. A stop is no wait that a signal could interrupt, so nobody
//! ever sees an `EINTR` for it.
//!
//! It waits for whatever comes first and answers it at once: it never waits for a certain process, so none can hold it up,
//! however it is stopped or killed.

mod begin;
mod birth;
mod desk;
mod ptrace;

pub(crate) use begin::{Begun, Tracing, begin};
pub(crate) use birth::{be_traced, make};
pub(crate) use desk::{Decided, Desk, Done};

use super::calls::{self, Meaning, Open};
use super::event::{Bounded, Happened, How, ProcessId};
use super::guest::Proc;
use super::listener::Notification;
use super::look::{self, Kin};
use super::memory::Memory;
use super::name::{self, Last};
use super::open::PATH_BYTES_MAX;
use super::shared::{Shared, Unchanged};
use crate::error::JailError;
use crate::seccomp::{self, Answer, Filter};
use crate::sys::{self, Reaped};
use birth::TOLD;
use ptrace::{Stop, Until};
use rustix::io::Errno;
use std::collections::HashMap;
use std::sync::Arc;

/// Processes that ended and that their parents left lying: beyond these it is looked which of them are still there.
const LEFT_MAX: usize = 1024;

/// What a tracer works with.
#[derive(Debug)]
pub(super) struct Work {
    /// The guests' list.
    pub(super) list: Filter,
    pub(super) shared: Arc<Shared>,
    pub(super) desk: Arc<Desk>,
}

/// A thread that is traced.
#[derive(Debug)]
struct Tracee {
    /// The number of its process; its own, where it is the first thread of that.
    process: i32,
    /// `None`: a trial, of which nothing is written down.
    id: Option<ProcessId>,
    /// The program that it asked for in the call that it is in.
    asked: Option<Bounded>,
    /// Whether the main thread waits for its program.
    awaited: bool,
}

/// A thread that nobody is known to have made yet: who did was not heard of, or will never be, being killed.
#[derive(Debug)]
struct Unclaimed {
    kin: Option<Kin>,
    /// It ended already.
    ended: Option<Reaped>,
}

/// A process that ended and that its parent did not reap yet.
#[derive(Debug, Clone, Copy)]
struct Left {
    process: ProcessId,
    call: ProcessId,
}

struct Tracer<'a> {
    work: &'a Work,
    proc: &'a Proc,
    tracees: HashMap<i32, Tracee>,
    unclaimed: HashMap<i32, Unclaimed>,
    /// Threads that were claimed before their maker was heard of, and the maker's process: it will be, or is killed.
    foreseen: HashMap<i32, i32>,
    left: HashMap<i32, Left>,
    left_max: usize,
}

/// What a thread that was made is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Process,
    Thread,
}

/// Traces until the desk is closed.
pub(super) fn run(work: &Work, proc: &Proc) -> Result<(), JailError> {
    seccomp::of_the_tracer()?.install()?;
    let mut tracer = Tracer {
        work,
        proc,
        tracees: HashMap::new(),
        unclaimed: HashMap::new(),
        foreseen: HashMap::new(),
        left: HashMap::new(),
        left_max: LEFT_MAX,
    };
    loop {
        let made = work.desk.count();
        if work.desk.is_closed() {
            return Ok(());
        }
        match sys::reap(None, libc::__WALL | libc::WUNTRACED) {
            Ok(Some(first)) => {
                for told in turn(first) {
                    // Nobody is made meanwhile.
                    let _passing = work.shared.gate().pass();
                    tracer.hear(told);
                }
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => work.desk.is_idle(made),
            Err(errno) => return Err(JailError::os("wait for", "guests", errno.raw_os_error())),
        }
    }
}

/// Everybody who waits, before any of them goes on: the kernel names the first that it finds, and one that stops again at
/// once would be the first each time.
fn turn(first: Reaped) -> Vec<Reaped> {
    let mut turn = vec![first];
    while let Ok(Some(next)) = sys::reap(None, libc::__WALL | libc::WUNTRACED | libc::WNOHANG) {
        turn.push(next);
    }
    turn
}

impl Tracer<'_> {
    fn hear(&mut self, told: Reaped) {
        if !libc::WIFSTOPPED(told.status) {
            return self.ended(told);
        }
        let (thread, stop) = (told.pid, Stop::of(told.status));
        let Some(tracee) = self.tracees.get_mut(&thread) else { return self.stranger(thread, stop) };
        match stop {
            Stop::Calls => return self.calls(thread),
            Stop::Returns => {
                if let Some((id, asked)) = tracee.id.zip(tracee.asked.take()) {
                    let mut processes = self.work.shared.processes();
                    processes.asks_for_program(id, asked, None);
                    processes.exec_failed(id);
                }
            }
            Stop::Forks => self.makes(thread, Made::Process),
            Stop::Clones => self.makes(thread, Made::Thread),
            Stop::Executes => self.executes(thread),
            Stop::Signalled(signal) => return ptrace::go_on(thread, Until::Told, signal),
            Stop::Halts => return ptrace::stay(thread),
            Stop::Pauses => {}
        }
        ptrace::go_on(thread, Until::Told, 0);
    }

    /// The first stop of a thread that is not known: the main process of a call, which stopped itself, or one whose maker
    /// was not heard of yet.
    fn stranger(&mut self, thread: i32, stop: Stop) {
        if matches!(stop, Stop::Signalled(_)) && self.work.shared.is_child(thread) {
            return self.adopt(thread);
        }
        let kin = look::kin(thread);
        let maker = kin
            .map(|kin| if kin.process == thread { (kin.parent, Made::Process) } else { (kin.process, Made::Thread) });
        self.unclaimed.insert(thread, Unclaimed { kin, ended: None });
        if let Some((maker, made)) = maker.filter(|(maker, _)| self.tracees.contains_key(maker)) {
            self.foreseen.insert(thread, maker);
            self.claim(thread, maker, made);
        }
    }

    /// Begins to trace the process that the main thread made. Where the kernel refuses, its exec is refused too.
    fn adopt(&mut self, process: i32) {
        let mut processes = self.work.shared.processes();
        processes.main_is(process);
        let id = processes.of_zombie(process);
        drop(processes);
        if ptrace::seize(process).is_ok() {
            self.tracees.insert(process, Tracee { process, id, asked: None, awaited: true });
            self.left.remove(&process);
        }
        match sys::kill(process, libc::SIGCONT) {
            // It was killed meanwhile: its end is told.
            Ok(()) | Err(_) => {}
        }
    }

    /// A thread made something.
    fn makes(&mut self, thread: i32, how: Made) {
        let Some(new) = ptrace::message(thread) else { return };
        // It may have come, done its work and ended before this was heard.
        if self.foreseen.remove(&new).is_some() || self.tracees.contains_key(&new) {
            return;
        }
        let made = match how {
            Made::Process => Made::Process,
            // A process too, where its parent is to be told of its end by another signal than usual, or by none.
            Made::Thread => {
                let kin = self.unclaimed.get(&new).map_or_else(|| look::kin(new), |unclaimed| unclaimed.kin);
                if kin.is_some_and(|kin| kin.process == new) { Made::Process } else { Made::Thread }
            }
        };
        self.claim(new, thread, made);
    }

    /// It is known who made a thread.
    fn claim(&mut self, new: i32, maker: i32, made: Made) {
        let Some(maker) = self.tracees.get(&maker) else { return };
        let (process, id) = match made {
            Made::Thread => (maker.process, maker.id),
            Made::Process => (new, self.work.shared.processes().born(new, maker.process, None)),
        };
        let unclaimed = self.unclaimed.remove(&new);
        let ended = unclaimed.as_ref().and_then(|unclaimed| unclaimed.ended);
        if made == Made::Process || ended.is_none() {
            self.left.remove(&new);
            self.tracees.insert(new, Tracee { process, id, asked: None, awaited: false });
        }
        match (unclaimed, ended) {
            (Some(_), Some(ended)) if made == Made::Process => self.ended(ended),
            (Some(_), None) => ptrace::go_on(new, Until::Told, 0),
            (Some(_), Some(_)) | (None, _) => {}
        }
    }

    /// Whoever made those that nobody claimed has ended, or they would have been claimed: that one, unless the kernel names
    /// another parent.
    fn settle_unclaimed(&mut self, ended: i32) {
        for (new, kin) in self.unclaimed.iter().map(|(new, it)| (*new, it.kin)).collect::<Vec<_>>() {
            let made = if kin.is_none_or(|kin| kin.process == new) { Made::Process } else { Made::Thread };
            let parent = kin.map(|kin| if made == Made::Process { kin.parent } else { kin.process });
            let maker = parent.filter(|parent| self.tracees.contains_key(parent)).unwrap_or(ended);
            self.claim(new, maker, made);
        }
    }

    /// A process executes a program. Its other threads are gone, and whoever asked has the number of the first one now.
    fn executes(&mut self, process: i32) {
        let former = ptrace::message(process).filter(|former| *former != process);
        let asked = match former.and_then(|former| self.tracees.remove(&former)) {
            Some(thread) => thread.asked,
            None => self.tracees.get_mut(&process).and_then(|first| first.asked.take()),
        };
        self.foreseen.retain(|_, maker| *maker != process);
        let Some(tracee) = self.tracees.get_mut(&process) else { return };
        tracee.asked = None;
        if let Some(id) = tracee.id {
            let shared = &self.work.shared;
            shared.processes().asks_for_program(id, asked.unwrap_or_default(), None);
            shared.confirm(id, process, Unchanged::Executes);
        }
        if std::mem::take(&mut tracee.awaited) {
            self.work.desk.decide(Decided::Executes);
        }
    }

    fn ended(&mut self, told: Reaped) {
        let Some(tracee) = self.tracees.get(&told.pid) else { return self.stranger_ended(told) };
        if tracee.process != told.pid {
            self.tracees.remove(&told.pid);
            return;
        }
        self.settle_unclaimed(told.pid);
        self.foreseen.retain(|_, maker| *maker != told.pid);
        let Some(Tracee { id, asked, awaited, .. }) = self.tracees.remove(&told.pid) else { return };
        if let Some(id) = id {
            if let Some(asked) = asked {
                self.work.shared.processes().asks_for_program(id, asked, None);
            }
            self.end(id, told);
        }
        if awaited {
            self.work.desk.decide(Decided::Ended(told.status));
        }
    }

    /// The end of a process that is not traced: one whose parent left it to the init, one that was killed before it was
    /// traced, one whose maker was not heard of.
    fn stranger_ended(&mut self, told: Reaped) {
        let shared = &self.work.shared;
        if let Some(Left { process, call }) = self.left.remove(&told.pid) {
            self.work.desk.done(Done { reaped: told, process, call });
        } else if shared.is_child(told.pid) {
            let mut processes = shared.processes();
            processes.main_is(told.pid);
            let id = processes.of_zombie(told.pid);
            drop(processes);
            if let Some(id) = id {
                self.end(id, told);
            }
            self.work.desk.decide(Decided::Ended(told.status));
        } else {
            let kin = self.unclaimed.remove(&told.pid).and_then(|unclaimed| unclaimed.kin);
            self.unclaimed.insert(told.pid, Unclaimed { kin, ended: Some(told) });
        }
    }

    /// Writes an end down. The init has to account for a process that is gone now; one that is still there is its
    /// parent's to wait for, and becomes the init's if that one does not.
    fn end(&mut self, id: ProcessId, told: Reaped) {
        let mut processes = self.work.shared.processes();
        let call = processes.call_of(id).unwrap_or(id);
        let there = processes.is_there(id);
        processes.end(id, Some(look::status(told.status)));
        drop(processes);
        if !there {
            return self.work.desk.done(Done { reaped: told, process: id, call });
        }
        if self.left.len() >= self.left_max {
            self.left.retain(|pid, _| sys::kill(*pid, 0) != Err(Errno::SRCH));
            self.left_max = LEFT_MAX.max(self.left.len().saturating_mul(2));
        }
        self.left.insert(told.pid, Left { process: id, call });
    }

    /// A thread is stopped at a call of which the list tells.
    fn calls(&mut self, thread: i32) {
        let Some((number, arguments)) = ptrace::call(thread) else {
            // It is gone; or nobody can tell what it is about to do.
            ptrace::refuse(thread, libc::ENOSYS);
            return ptrace::go_on(thread, Until::Told, 0);
        };
        if self.tracees.get(&thread).is_some_and(|tracee| tracee.id.is_none()) {
            ptrace::refuse(thread, TOLD.raw_os_error());
            return ptrace::go_on(thread, Until::Told, 0);
        }
        let told = Notification { id: 0, tid: thread, number, arguments };
        let until = match self.work.list.answer(number, &arguments) {
            Some(Answer::Allow) => self.tell(&told),
            Some(Answer::Errno(errno)) => {
                let [first, second, third, ..] = arguments;
                let name = seccomp::name(number).unwrap_or("unknown");
                let arguments = [first, second, third];
                self.write(thread, How::Confirmed, Happened::Call { name, arguments, errno: Some(errno) });
                ptrace::refuse(thread, errno);
                Until::Told
            }
            // The kernel stops at nothing else.
            None => {
                ptrace::refuse(thread, libc::ENOSYS);
                Until::Told
            }
        };
        ptrace::go_on(thread, until, 0);
    }

    /// Writes a call down; how far its thread goes on.
    fn tell(&mut self, told: &Notification) -> Until {
        match calls::meaning(told, self.proc) {
            Meaning::Open(open) => {
                let what = self.opened(told, open);
                self.write(told.tid, How::Observed, what);
            }
            Meaning::Exec(asked) => {
                if let Some(tracee) = self.tracees.get_mut(&told.tid) {
                    tracee.asked = Some(asked);
                }
                return Until::Returned;
            }
            // Known without, or of no concern where nothing is opened on behalf of anybody.
            Meaning::Begins | Meaning::Waits | Meaning::Shares | Meaning::Umask(_) => {}
            Meaning::Confines => {
                let [first, second, third, ..] = told.arguments;
                let arguments = [first, second, third];
                let what = Happened::Call { name: "landlock_restrict_self", arguments, errno: None };
                self.write(told.tid, How::Confirmed, what);
            }
            Meaning::Other(how, what) => self.write(told.tid, how, what),
        }
        Until::Told
    }

    /// An open, as the guest said it: where it leads to now, or what is there to be made.
    fn opened(&self, told: &Notification, open: Open) -> Happened {
        let mut bytes = [0; PATH_BYTES_MAX];
        let said = calls::bounded(Memory::of(told.thread()).text(open.name, &mut bytes));
        if !open.writes() {
            return Happened::Read { path: name::joined(self.proc, told.thread(), open.directory, said) };
        }
        let last = if open.flags & libc::O_NOFOLLOW.cast_unsigned() == 0 { Last::Followed } else { Last::Kept };
        open.happened(name::resolved(self.proc, told.thread(), open.directory, said, last))
    }

    fn write(&self, thread: i32, how: How, what: Happened) {
        if let Some(id) = self.tracees.get(&thread).and_then(|tracee| tracee.id) {
            self.work.shared.processes().write(id, how, what);
        }
    }
}
