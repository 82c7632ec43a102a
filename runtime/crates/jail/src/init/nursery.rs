//! Where workers come from in a container on gVisor: a process beside the init, in its namespaces but that of processes.
//! It never talks to a guest, runs nothing but our own program, and has no capability.
//!
//! Elsewhere a worker is started outside and joins the sandbox; here nothing comes out by which it could. So this process
//! makes the init, stays outside of the guests' pid namespace, where they neither see nor signal it and the end of a call does
//! not reach it, and starts a worker when the supervisor asks: in a user namespace and a pid namespace below its own.

use super::NOT_AN_INIT;
use super::accounts::drain;
use crate::channel::{Channel, protocol};
use crate::container::PROGRAM;
use crate::error::JailError;
use crate::recorder::status;
use crate::sys::{self, Side};
use crate::wire::{DESCRIPTORS_USUAL_MAX, Message};
use crate::worker::{Kind, apart};
use crate::{capabilities, init::answers::tell};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::DumpableBehavior;
use std::os::fd::{AsFd as _, OwnedFd};

/// Workers that run at one time at most: as many as a supervisor has, by far.
const WORKERS_MAX: usize = 256;
const _: () = assert!(2 < DESCRIPTORS_USUAL_MAX, "two ends come along with the wish for a worker");

/// What it needs to come to be: opened while the container's own root is there still.
pub(super) struct Means {
    channel: Channel,
    program: OwnedFd,
}

impl Means {
    /// From what came along with the word to go on.
    pub(super) fn take(descriptors: Vec<OwnedFd>) -> Result<Self, JailError> {
        let channel = descriptors.into_iter().next().ok_or_else(|| protocol("no channel for workers came along"))?;
        let program = rustix::fs::open(PROGRAM, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| JailError::os("open", PROGRAM, errno.raw_os_error()))?;
        Ok(Self { channel: Channel::new(channel), program })
    }
}

/// The process that starts workers.
pub(super) struct Nursery {
    /// The init, whose parent it is and with which it ends.
    init: i32,
    program: OwnedFd,
    /// The guests' user and group, which are its own.
    guest: (u32, u32),
    /// `None` once the supervisor has closed it.
    channel: Option<Channel>,
    children: OwnedFd,
    workers: Vec<Nursling>,
}

/// A worker that runs.
struct Nursling {
    process: i32,
    line: Channel,
    state: State,
}

/// Whether its line is listened to still.
#[derive(PartialEq, Eq)]
enum State {
    Running,
    /// It was killed, and will be reaped.
    Killed,
}

impl Nursery {
    /// Takes every right from this process, which has one thread and made the init a moment ago. What is mounted is the init's
    /// work: when that enters its root, this process finds itself in the same one.
    pub(super) fn open(means: Means, init: i32) -> Result<Self, JailError> {
        let Means { channel, program } = means;
        capabilities::set_no_new_privileges()?;
        capabilities::drop_all_in_gvisor()?;
        let failed = |errno: Errno| JailError::os("prepare", "the start of workers", errno.raw_os_error());
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed)?;
        let children = sys::child_signal_descriptor().map_err(failed)?;
        let guest = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        Ok(Self { init, program, guest, channel: Some(channel), children, workers: Vec::new() })
    }

    /// Its life: until the init ends. What it has started ends with it then, since the container does.
    pub(super) fn serve(mut self) -> i32 {
        loop {
            match self.turn() {
                Ok(Turn::Next) => {}
                Ok(Turn::Last) => return 0,
                Err(_) => return NOT_AN_INIT,
            }
        }
    }

    fn turn(&mut self) -> Result<Turn, JailError> {
        let woken = self.wait()?;
        drain(&self.children)?;
        if self.reap()? == Turn::Last {
            return Ok(Turn::Last);
        }
        for process in woken.lines {
            self.kill(process);
        }
        if woken.channel {
            self.on_channel()?;
        }
        Ok(Turn::Next)
    }

    fn wait(&self) -> Result<Woken, JailError> {
        let mut fds = vec![PollFd::from_borrowed_fd(self.children.as_fd(), PollFlags::IN)];
        let listened: Vec<_> = self.workers.iter().filter(|worker| worker.state == State::Running).collect();
        fds.extend(listened.iter().map(|worker| PollFd::from_borrowed_fd(worker.line.as_fd(), PollFlags::IN)));
        fds.extend(self.channel.iter().map(|channel| PollFd::from_borrowed_fd(channel.as_fd(), PollFlags::IN)));
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))
            .map_err(|errno| JailError::os("wait for", "the supervisor", errno.raw_os_error()))?;
        let mut ready = fds.iter().skip(1).map(|fd| !fd.revents().is_empty());
        let lines = listened.iter().filter(|_| ready.next() == Some(true)).map(|worker| worker.process).collect();
        Ok(Woken { lines, channel: ready.next() == Some(true) })
    }

    /// Reaps who has ended, and says so.
    fn reap(&mut self) -> Result<Turn, JailError> {
        loop {
            match sys::reap(None, libc::WNOHANG) {
                Ok(Some(ended)) if ended.pid == self.init => return Ok(Turn::Last),
                Ok(Some(ended)) => {
                    let Some(at) = self.workers.iter().position(|worker| worker.process == ended.pid) else { continue };
                    let worker = self.workers.swap_remove(at);
                    tell(&worker.line, &Message::Gone(status(ended.status)), &[])?;
                }
                Ok(None) => return Ok(Turn::Next),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(JailError::os("wait for", "workers", errno.raw_os_error())),
            }
        }
    }

    /// Whatever comes on a line, and that nothing can come any more, means that nobody wants its worker.
    fn kill(&mut self, process: i32) {
        if let Some(worker) = self.workers.iter_mut().find(|worker| worker.process == process) {
            worker.state = State::Killed;
            match sys::kill(process, libc::SIGKILL) {
                // ESRCH cannot be: it was not reaped.
                Ok(()) | Err(_) => {}
            }
        }
    }

    fn on_channel(&mut self) -> Result<(), JailError> {
        let Some(channel) = &self.channel else { return Ok(()) };
        let Some(received) = channel.receive()? else {
            // No more are wanted; those that there are have lines of their own.
            self.channel = None;
            return Ok(());
        };
        let mut ends = received.descriptors.into_iter().map(Channel::new);
        match (received.message, ends.next(), ends.next()) {
            (Message::Nurse(kind), Some(control), Some(line)) => self.start(kind, &control, line),
            (_, _, _) => Err(protocol("a message that asks for no worker")),
        }
    }

    fn start(&mut self, kind: Kind, control: &Channel, line: Channel) -> Result<(), JailError> {
        let refused = |errno: Errno| JailError::os("make", "the process of a worker", errno.raw_os_error());
        if self.workers.len() >= WORKERS_MAX {
            return tell(control, &Message::Failed(refused(Errno::AGAIN)), &[]);
        }
        // SAFETY: this process has one thread, as the keeper that it was forked from; the flags are without CLONE_VM.
        match unsafe { sys::fork(libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::SIGCHLD) } {
            Ok(Side::Parent(process)) => {
                self.workers.push(Nursling { process, line, state: State::Running });
                Ok(())
            }
            Ok(Side::Child) => {
                let error = apart::execute(kind, self.guest, control.as_fd(), self.program.as_fd());
                match tell(control, &Message::Failed(error), &[]) {
                    // Where even this cannot be said, the supervisor sees the channel close.
                    Ok(()) | Err(_) => sys::exit_now(NOT_AN_INIT),
                }
            }
            Err(errno) => tell(control, &Message::Failed(refused(errno)), &[]),
        }
    }
}

/// Whether there is more to do.
#[derive(PartialEq, Eq)]
enum Turn {
    Next,
    /// The init has ended.
    Last,
}

/// What woke it.
struct Woken {
    /// Workers whose lines say something.
    lines: Vec<i32>,
    channel: bool,
}
