//! A sandbox on its way: what its helper or container reports until the init is ready.
//! It never leaves a process behind when it is dropped before that.

use super::{Handle, lost, open_handle, reap, wait_readable};
use crate::channel::{Channel, protocol};
use crate::container::id_of;
use crate::error::JailError;
use crate::plan::Wall;
use crate::wire::{Message, Ready};
use rustix::process::Signal;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Child;
use std::sync::Mutex;
use std::time::Instant;

/// A sandbox that is being started; dropped before it is ready, it kills and reaps what there is of it.
pub(super) struct Starting {
    parent: Parent,
    init: Option<Handle>,
    init_pid: Option<u32>,
    report: Option<(Ready, Vec<OwnedFd>)>,
    wall: Wall,
    outcome: Outcome,
}

/// Whether the started init has another owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Pending,
    Started,
}

/// What the init comes from.
pub(super) enum Parent {
    /// A helper of ours, which ends when the init is made; without namespaces it is the init itself.
    Helper(Child),
    /// A container's first process, which outlives the init; without namespaces of our own it is the init itself.
    Container(OwnedFd),
    /// The process that a whole container on gVisor is out here, its number, and our end of the channel to its first one.
    Gvisor(OwnedFd, u32, OwnedFd),
}

impl Starting {
    pub(super) fn new(parent: Parent, wall: Wall) -> Self {
        Self { parent, init: None, init_pid: None, report: None, wall, outcome: Outcome::Pending }
    }

    /// Waits for the init's id. Its report can come before, and is kept.
    pub(super) fn until_forked(&mut self, control: &Channel, deadline: Instant) -> Result<u32, JailError> {
        loop {
            if let Some(pid) = self.init_pid {
                return Ok(pid);
            }
            self.next_message(control, deadline)?;
        }
    }

    /// Waits for the init's report, and the sockets of the outlet that come with it.
    pub(super) fn until_ready(
        &mut self,
        control: &Channel,
        deadline: Instant,
    ) -> Result<(Ready, Vec<OwnedFd>), JailError> {
        loop {
            if let Some(report) = self.report.take() {
                return Ok(report);
            }
            self.next_message(control, deadline)?;
        }
    }

    fn next_message(&mut self, control: &Channel, deadline: Instant) -> Result<(), JailError> {
        wait_readable(control.as_fd(), Some(deadline))?;
        let received = control.receive()?.ok_or_else(|| lost("it ended during the set-up"))?;
        match received.message {
            Message::Forked(pid) if self.init_pid.is_none() => {
                let found = self.handle_of(pid, received.descriptors);
                // An init that ended at once has said why, and that is what is to be heard.
                let (init, pid) = found.map_err(|error| last_words(control, deadline).unwrap_or(error))?;
                let line = match &self.parent {
                    Parent::Gvisor(_, _, line) => Some(duplicate(line)?),
                    Parent::Helper(_) | Parent::Container(_) => None,
                };
                self.init = Some(Handle { init, line, flock: Mutex::default() });
                self.init_pid = Some(pid);
                Ok(())
            }
            Message::Ready(report) if self.report.is_none() => {
                self.report = Some((report, received.descriptors));
                Ok(())
            }
            Message::Failed(error) => Err(error),
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
            | Message::Enquire
            | Message::Nurse(_)
            | Message::Gone(_)
            | Message::Insides(_)
            | Message::Task(_)
            | Message::Confined(_)
            | Message::Made
            | Message::InMemory(_)
            | Message::Signal(_)
            | Message::Resize { .. }
            | Message::Kill
            | Message::Forked(_)
            | Message::Ready(_)
            | Message::Started(_)
            | Message::Refused(..)
            | Message::Ended(_) => Err(protocol("a message out of turn from the init")),
        }
    }

    /// The init's handle, and its process id as this process sees it.
    fn handle_of(&self, told: u32, descriptors: Vec<OwnedFd>) -> Result<(OwnedFd, u32), JailError> {
        let handle = match (&self.parent, self.wall) {
            (Parent::Helper(_), _) => return Ok((open_handle(told)?, told)),
            (Parent::Container(_), Wall::Namespaces) => {
                descriptors.into_iter().next().ok_or_else(|| protocol("an init without its handle"))?
            }
            (Parent::Container(first), Wall::Landlock) => duplicate(first)?,
            // Its init is no process out here: what ends all of it stands for it.
            (Parent::Gvisor(first, number, _), _) => return Ok((duplicate(first)?, *number)),
        };
        let pid = id_of(handle.as_fd())?;
        Ok((handle, pid))
    }

    /// The started init. A helper, where it is another process, has ended or is about to.
    pub(super) fn finish(mut self) -> Result<Handle, JailError> {
        if let (Wall::Namespaces, Parent::Helper(helper)) = (self.wall, &mut self.parent) {
            helper.wait().map_err(|error| JailError::io("wait for", "the helper", &error))?;
        }
        let init = self.init.take().ok_or_else(|| lost("it never said who it is"))?;
        self.outcome = Outcome::Started;
        Ok(init)
    }
}

fn duplicate(descriptor: &OwnedFd) -> Result<OwnedFd, JailError> {
    descriptor.try_clone().map_err(|error| JailError::io("hold", "the first process", &error))
}

/// What a channel still holds of an error.
fn last_words(control: &Channel, deadline: Instant) -> Option<JailError> {
    wait_readable(control.as_fd(), Some(deadline)).ok()?;
    let received = control.receive().ok()??;
    if let Message::Failed(error) = received.message { Some(error) } else { None }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if self.outcome == Outcome::Started {
            return;
        }
        if let (Some(init), Wall::Namespaces) = (&self.init, self.wall) {
            init.kill();
            reap(&init.init);
        }
        match &mut self.parent {
            // Without namespaces the helper is the init. Killing it takes its children too: it has none before it is ready.
            Parent::Helper(helper) => match helper.kill().and_then(|()| helper.wait()) {
                // Ended by itself, which is what was wanted.
                Ok(_) | Err(_) => {}
            },
            // The container goes with its first process.
            Parent::Container(first) | Parent::Gvisor(first, ..) => {
                match rustix::process::pidfd_send_signal(first, Signal::KILL) {
                    // It ended by itself, or is another user's: then it reads the end of the channel.
                    Ok(()) | Err(_) => {}
                }
            }
        }
    }
}
