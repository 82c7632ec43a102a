//! Reaping: how each process ended that is the init's to wait for, booked on the call that it belongs to.
//! It never waits for a process that runs.

use super::{Init, Phase};
use crate::error::JailError;
use crate::recorder::{Done, ProcessId, Processes, status};
use crate::wire::{EXITS_MAX, ProcessExit};
use crate::{sys, tree};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::MutexGuard;

/// What is known of whose a process was.
struct Owner {
    call: Option<ProcessId>,
    session: Option<i32>,
}

/// Takes what a descriptor of child signals holds.
pub(super) fn drain(children: &OwnedFd) -> Result<(), JailError> {
    let mut buffer = [0_u8; size_of::<libc::signalfd_siginfo>() * 4];
    loop {
        match rustix::io::read(children, &mut buffer) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(errno) => return Err(JailError::os("read", "child signals", errno.raw_os_error())),
        }
    }
}

impl Init {
    pub(super) fn drain_child_signals(&self) -> Result<(), JailError> {
        drain(&self.children)
    }

    /// The processes, to say that some of them ended. Who is traced has nothing opened on its behalf.
    pub(super) fn processes_that_ended(&self) -> MutexGuard<'_, Processes> {
        if self.desk.is_some() { self.shared.processes() } else { self.shared.processes_after_opens() }
    }

    /// Reaps everything that has ended. `true`: there is no child left.
    pub(super) fn reap(&mut self) -> Result<bool, JailError> {
        if let Some(desk) = self.desk.clone() {
            let (ended, none_left) = desk.take();
            ended.into_iter().for_each(|done| self.heard(done));
            return Ok(none_left);
        }
        loop {
            match self.reap_one() {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(Errno::CHILD) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(JailError::os("wait for", "children", errno.raw_os_error())),
            }
        }
    }

    /// `false`: no child has ended. Who a child was is asked before it is reaped, while its number is still its own: its
    /// process, and beside other calls its session.
    fn reap_one(&mut self) -> Result<bool, Errno> {
        let Some(pid) = sys::ended_child()? else { return Ok(false) };
        let session = if self.calls.len() > 1 { tree::session_of(pid) } else { None };
        let mut processes = self.shared.processes();
        let process = processes.of_zombie(pid).unwrap_or_else(|| processes.found(pid));
        let call = processes.call_of(process);
        drop(processes);
        let Some(reaped) = sys::reap(Some(pid), libc::WNOHANG)? else { return Ok(false) };
        self.processes_that_ended().end(process, Some(status(reaped.status)));
        self.account(&reaped, process, Owner { call, session });
        Ok(true)
    }

    /// What the tracer reaped, and wrote down.
    fn heard(&mut self, done: Done) {
        let Done { reaped, process, call } = done;
        // A process that could not become its call: whoever asked for it has been told why.
        let is_none = process == call && self.calls.iter().all(|known| known.process != call);
        if !is_none {
            self.account(&reaped, process, Owner { call: Some(call), session: None });
        }
    }

    /// Whether ends of a call were not heard of yet that a tracer will tell of.
    pub(super) fn is_behind(&self, call: ProcessId) -> bool {
        self.desk.is_some() && self.shared.processes().ends(call)
    }

    /// Books an ended process on its call: that of which it is known to be, that of its session, else the oldest one.
    fn account(&mut self, reaped: &sys::Reaped, process: ProcessId, owner: Owner) {
        let by_process = self.calls.iter().position(|call| Some(call.process) == owner.call);
        let by_session = || self.calls.iter().position(|call| Some(call.main) == owner.session);
        let Some(call) = by_process.or_else(by_session).or(Some(0)).and_then(|position| self.calls.get_mut(position))
        else {
            return;
        };
        let exit = ProcessExit {
            process,
            pid: reaped.pid.unsigned_abs(),
            status: status(reaped.status),
            cpu_us: reaped.cpu_us,
            max_rss_kib: reaped.max_rss_kib,
        };
        call.cpu_us = call.cpu_us.saturating_add(exit.cpu_us);
        call.max_rss_kib = call.max_rss_kib.max(exit.max_rss_kib);
        if process == call.process && matches!(call.phase, Phase::Running) {
            call.phase = Phase::Ending(exit);
        } else if call.exits.len() < EXITS_MAX {
            call.exits.push(exit);
        } else {
            call.exits_unlisted = call.exits_unlisted.saturating_add(1);
        }
    }
}
