//! What the two threads of an init that records have in common: the processes, and what one asks the other to look at.
//! It never holds a lock over a call of which the recorder is told: the other thread could wait for it for ever.

use super::event::{CallNumber, Executable, ProcessId};
use super::executables::Sender;
use super::gate::Gate;
use super::look;
use super::processes::{Image, Processes};
use crate::tree;
use crate::wire::Status;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How soon the init looks by itself at what nothing told of; the time doubles up to the second one, while calls run.
pub(crate) const LOOK_FIRST: Duration = Duration::from_millis(16);
const LOOK_LAST: Duration = Duration::from_secs(1);

/// What both threads have.
#[derive(Debug)]
pub(crate) struct Shared {
    processes: Mutex<Processes>,
    /// The main process that is being made, written by the kernel before it runs: 0 for none.
    child: AtomicI32,
    gate: Gate,
    sender: Option<Mutex<Sender>>,
}

impl Shared {
    /// Without a recorder.
    pub(crate) fn unrecorded() -> Self {
        let processes = Mutex::new(Processes::unrecorded());
        Self { processes, child: AtomicI32::new(0), gate: Gate::default(), sender: None }
    }

    /// With a recorder.
    pub(crate) fn recorded(processes: Processes, sender: Sender) -> Self {
        Self {
            processes: Mutex::new(processes),
            child: AtomicI32::new(0),
            gate: Gate::default(),
            sender: Some(Mutex::new(sender)),
        }
    }

    /// The processes. While this is held, its holder makes no system call of which the recorder is told.
    pub(crate) fn processes(&self) -> MutexGuard<'_, Processes> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The processes, for whoever says that some of them ended. A process can be killed while a file is opened on its
    /// behalf: that is over by now and written down, and another open is not begun for who is gone.
    pub(crate) fn processes_after_opens(&self) -> MutexGuard<'_, Processes> {
        drop(self.gate.pass());
        self.processes()
    }

    /// Where the kernel writes the number of a call's main process.
    pub(crate) const fn child(&self) -> &AtomicI32 {
        &self.child
    }

    /// What keeps a file that is open for a guest from a process that is being made.
    pub(crate) const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// A call is about to be started: the number of its main process.
    pub(crate) fn expect(&self, number: CallNumber) -> ProcessId {
        let mut processes = self.processes();
        self.child.store(0, Ordering::SeqCst);
        processes.expect(number)
    }

    /// It was started, or not.
    pub(crate) fn started(&self, id: ProcessId, pid: Option<i32>) {
        let mut processes = self.processes();
        let known = pid.or_else(|| Some(self.child.load(Ordering::SeqCst)).filter(|pid| *pid != 0));
        if let Some(pid) = known {
            processes.main_is(pid);
        }
        if pid.is_none() {
            processes.end(id, known.map(|_| Status::Exited(127)));
            processes.expect_no_more();
        }
        self.child.store(0, Ordering::SeqCst);
    }

    /// Whether this is the main process that is being made.
    pub(super) fn is_child(&self, pid: i32) -> bool {
        self.child.load(Ordering::SeqCst) == pid
    }

    /// Looks, in the init's main thread, at what nothing told of: programs that make none of the calls which are told of,
    /// and processes that never made one. When to look again; `last` is when this was.
    pub(crate) fn look(&self, last: Duration) -> Option<Duration> {
        self.sender.as_ref()?;
        let undecided = self.processes().undecided();
        for (id, pid) in undecided {
            self.confirm(id, pid, Unchanged::Waits);
        }
        for (pid, parent) in tree::below_this_process() {
            if self.processes().knows(pid) {
                continue;
            }
            // What has this number now may be another than what was found.
            let Some(handle) = look::handle(pid) else { continue };
            let kin = look::kin_of_handle(handle.as_fd()).or_else(|| look::kin(pid));
            if kin.is_some_and(|kin| kin.process == pid && kin.parent == parent) {
                self.processes().born(pid, parent, Some(handle));
            }
        }
        Some(last.saturating_mul(2).min(LOOK_LAST))
    }

    /// Finds out whether a process executes what it asked for.
    pub(super) fn confirm(&self, id: ProcessId, pid: i32, unchanged: Unchanged) {
        let before = self.processes().image(id);
        let now = look::image(pid);
        let changed = now.is_some() && now != before;
        if !changed && unchanged != Unchanged::Executes {
            if unchanged == Unchanged::Failed {
                self.processes().exec_failed(id);
            }
            return;
        }
        let image = Image::of(pid);
        if unchanged == Unchanged::Waits && image.argv.bytes.is_empty() {
            // It is being loaded this moment.
            return;
        }
        if let Some((_, executable)) = &image.running {
            self.send(pid, executable);
        }
        self.processes().executes(id, now, image);
    }

    /// Sends a file that is executed to the supervisor, once.
    fn send(&self, pid: i32, executable: &Executable) {
        let Some(sender) = &self.sender else { return };
        let lock = || sender.lock().unwrap_or_else(PoisonError::into_inner);
        if lock().has_sent(executable) {
            return;
        }
        if let Some(file) = look::open_executable(pid) {
            lock().send(executable, file.as_fd());
        }
    }
}

/// What it means that a process which asked for a program executes what it executed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unchanged {
    /// It was refused: it goes on.
    Failed,
    /// It executes the same again, at the same addresses: it began a program this moment.
    Executes,
    /// Nothing yet: the kernel may still be at it.
    Waits,
}
