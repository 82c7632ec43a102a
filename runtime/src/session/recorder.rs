//! The recorder's side of a session: a thread that takes events as they come, and what ties them to calls.
//! It never stands between a process and the kernel's answer: an event is here only when that was given, or is about to be.
//!
//! What is written is what was drained, in the order of the ring. Three things drain: the thread, whenever there is
//! something; the end of a call, so that its result has everything before it; and the outlet before a connection, so that
//! who asked for it is in the log first. They take turns under one lock.

mod entries;
#[cfg(test)]
mod tests;
mod words;

use crate::backend::process::{ProcessWall, failed};
use crate::error::{Error, Result, plain};
use crate::journal::{Before, Scribe};
use crate::secrets::vault::Vault;
use entries::{Entries, Entry};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use stockade_audit::record::{CallId, Digest, Record};
use stockade_jail::ProcessExit;
use stockade_jail::recorder::{CallNumber, Event, Events, now_ns};

/// Once something came, more is let gather for so long: one write for many events, and a short call's end finds all that
/// there is to write.
const GATHER: Duration = Duration::from_millis(3);
/// Records that go to the log with one write at most.
const BATCH: usize = 256;
/// The largest program that is hashed: beyond, the record has no hash.
const HASHED_BYTES_MAX: u64 = 1 << 30;
/// How much of a program is in memory at one time.
const CHUNK_BYTES: usize = 128 * 1024;
/// It converts events and writes records.
const STACK_BYTES: usize = 512 * 1024;

/// The recorder of one session. Dropped, it ends its thread.
#[derive(Debug)]
pub(super) struct Recorder {
    shared: Arc<Shared>,
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    /// Closed, it ends the thread.
    stop: PipeWriter,
    handle: JoinHandle<()>,
}

/// What those who drain share.
#[derive(Debug)]
struct Shared {
    started: Started,
    events: Events,
    wall: Arc<ProcessWall>,
    vault: Option<Arc<Vault>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    entries: Entries,
    /// `None` when the session is over.
    scribe: Option<Scribe>,
    /// What ended it before its time.
    broken: Option<Error>,
}

/// What is known of a call whose end is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    /// How many processes it had.
    pub(super) processes: u64,
    /// The one that it began with.
    pub(super) main: Option<u64>,
}

impl Recorder {
    /// Begins to take events. `workspace` is its path as the guest knows it.
    ///
    /// # Errors
    /// Host: there is no thread for it.
    pub(super) fn start(
        events: Events,
        wall: Arc<ProcessWall>,
        scribe: Scribe,
        workspace: Vec<u8>,
        vault: Option<Arc<Vault>>,
    ) -> Result<Self> {
        let failed = |e: std::io::Error| Error::host(format!("start the recorder: {}", plain(&e)));
        let (stopped, stop) = std::io::pipe().map_err(failed)?;
        let state = State { entries: Entries::new(workspace), scribe: Some(scribe), broken: None };
        let started = Started { at: Instant::now(), at_ns: now_ns() };
        let shared = Arc::new(Shared { started, events, wall, vault, state: Mutex::new(state) });
        let taking = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("recorder".to_owned()).stack_size(STACK_BYTES);
        let handle = thread.spawn(move || taking.run(&stopped)).map_err(failed)?;
        Ok(Self { shared, thread: Some(Thread { stop, handle }) })
    }

    /// A call is about to start: what comes of it belongs to this one.
    pub(super) fn begin(&self, number: CallNumber, id: CallId) {
        self.shared.lock().entries.begin(number, id);
    }

    /// A call has ended, with this report of its main process: everything of it is in the log when this returns.
    ///
    /// # Errors
    /// The log takes no more records, or the recorder broke: the call's effects are not trusted.
    pub(super) fn settle(&self, number: CallNumber, exit: Option<&ProcessExit>) -> Result<Told> {
        let mut state = self.shared.lock();
        self.shared.take(&mut state)?;
        let (processes, main) = state.entries.settle(number, exit);
        self.shared.write(&mut state)?;
        Ok(Told { processes, main })
    }

    /// What ended it, and the sandbox with it, before its time.
    pub(super) fn broken(&self) -> Option<Error> {
        self.shared.lock().broken.clone()
    }

    /// For the outlet: what was asked of the kernel until now is in the log when this returns.
    pub(super) fn before(&self) -> Before {
        let shared = Arc::clone(&self.shared);
        Before::new(move || shared.take(&mut shared.lock()))
    }

    /// Nothing runs any more: writes down what is left.
    ///
    /// # Errors
    /// As [`Recorder::settle`].
    pub(super) fn close(mut self) -> Result<()> {
        let joined = self.thread.take().map_or(Ok(()), Thread::end);
        let mut state = self.shared.lock();
        self.shared.take(&mut state)?;
        state.entries.close();
        let written = self.shared.write(&mut state);
        state.scribe = None;
        joined.and(written)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Without a close the session counts as interrupted, and there is nobody to tell of another error.
        drop(self.thread.take().map(Thread::end));
        self.shared.lock().scribe = None;
    }
}

impl Thread {
    fn end(self) -> Result<()> {
        let Self { stop, handle } = self;
        drop(stop);
        handle.join().map_err(|_| Error::bug("the recorder panicked"))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, stopped: &PipeReader) {
        loop {
            if self.events.sleeps() && self.wait(stopped, PollTimeout::NONE) == Woken::Over {
                return;
            }
            let gather = PollTimeout::try_from(GATHER).unwrap_or(PollTimeout::ZERO);
            let over = nix::poll::poll(&mut [PollFd::new(stopped.as_fd(), PollFlags::POLLIN)], gather);
            if over.is_ok_and(|ready| ready > 0) {
                return;
            }
            // An error is kept for who runs a call, and has ended the sandbox.
            if self.take(&mut self.lock()).is_err() {
                return;
            }
        }
    }

    fn wait(&self, stopped: &PipeReader, limit: PollTimeout) -> Woken {
        let on = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = [on(stopped.as_fd()), on(self.events.as_fd())];
        match nix::poll::poll(&mut fds, limit) {
            Ok(_) if fds[0].any().unwrap_or(true) => Woken::Over,
            // Interrupted, or something came.
            Ok(_) | Err(_) => Woken::Perhaps,
        }
    }

    /// Takes what is there and writes it down.
    fn take(&self, state: &mut State) -> Result<()> {
        if let Some(broken) = &state.broken {
            return Err(broken.clone());
        }
        // Asked each time: a secret may have been replaced since.
        state.entries.hide(self.vault.as_ref().and_then(|vault| vault.all_patterns()));
        // Kept first, since a program's file is asked for where the events come from: at most what the ring holds, and
        // what comes while it is emptied.
        let mut taken: Vec<Event> = Vec::new();
        let drained = self.events.drain(|event| taken.push(event)).map_err(|error| failed(&error));
        for event in taken {
            state.entries.take(event, &mut |executable| hash(self.events.executable(executable)?));
        }
        let written = self.write(state);
        let taken = drained.map(drop).and(written);
        if let Err(error) = &taken {
            // Nothing goes on that is not in the log.
            tracing::debug!(%error, "the recorder ends the sandbox");
            self.wall.end();
            state.broken = Some(error.clone());
        }
        taken
    }

    /// Writes down what came of it.
    fn write(&self, state: &mut State) -> Result<()> {
        let State { entries, scribe, .. } = state;
        let Some(scribe) = scribe else { return Ok(()) };
        let mut batch: Vec<Record> = Vec::with_capacity(BATCH);
        for entry in entries.drain() {
            match entry {
                Entry::Record(mut record, happened_ns) => {
                    record.happened = self.started.moment(happened_ns);
                    batch.push(*record);
                    if batch.len() < BATCH {
                        continue;
                    }
                    scribe.saw(&batch)?;
                    batch.clear();
                }
                Entry::Gap(lost, why) => {
                    scribe.saw(&std::mem::take(&mut batch))?;
                    scribe.gap(lost, why)?;
                }
                Entry::Scrubbed(call, hits, place) => scribe.scrubbed(&call, super::told(hits, place))?,
            }
        }
        scribe.saw(&batch)
    }
}

/// One moment by two clocks, which are the same one in the kernel.
#[derive(Debug, Clone, Copy)]
struct Started {
    at: Instant,
    /// By the clock of events.
    at_ns: u64,
}

impl Started {
    /// When an event happened. `None`: in the future, which is as it is written down.
    fn moment(self, happened_ns: u64) -> Option<Instant> {
        match happened_ns.checked_sub(self.at_ns) {
            Some(later_ns) => self.at.checked_add(Duration::from_nanos(later_ns)),
            None => self.at.checked_sub(Duration::from_nanos(self.at_ns - happened_ns)),
        }
    }
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    Over,
    Perhaps,
}

/// The hash of a program; `None` where it cannot be read, or is too large.
fn hash(file: OwnedFd) -> Option<Digest> {
    let mut file = File::from(file);
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > HASHED_BYTES_MAX {
        return None;
    }
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = HASHED_BYTES_MAX;
    loop {
        let count = file.read(&mut chunk).ok()?;
        left = left.checked_sub(count as u64)?;
        match chunk.get(..count) {
            Some(read) if count > 0 => hasher.update(read),
            Some(_) | None => return Some(Digest(hasher.finalize().into())),
        }
    }
}
