//! The supervisor's half of the recorder: the events as they come.
//! It never parses a guest's memory, and takes what the init wrote for bytes until every one of them has been checked.

use super::event::{Event, Executable};
use super::executables::Receiver;
use super::frame;
use super::ring::{Ends, Reader, broken};
use crate::enforced::{Layer, LayerState};
use crate::error::JailError;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long events gather before somebody who waits is told of more of them: a wake-up for each would cost a busy guest
/// more than the rest of the recorder.
const GATHER: Duration = Duration::from_millis(3);

/// How much the recorder learns. Ordered: a profile's demand is compared with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// Nothing: what changed is found out by comparing files.
    OutcomeOnly,
    /// Processes are stopped at each call before the kernel does it; names are what the guest said.
    Trace,
    /// Each call is told of before the kernel does it; names are what the guest said.
    Notify,
    /// The same, and files are opened for writing on behalf of the guest: names are what was opened.
    NotifyAndOpen,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OutcomeOnly => "outcome-only",
            Self::Trace => "trace",
            Self::Notify => "notify",
            Self::NotifyAndOpen => "notify+addfd",
        })
    }
}

impl Grade {
    /// The layer of this grade; `why` it is no better.
    pub(crate) fn layer(self, why: &str) -> LayerState {
        match self {
            Self::NotifyAndOpen => LayerState::active(Layer::Recorder).detail(self.to_string()),
            Self::Trace | Self::Notify => LayerState::degraded(Layer::Recorder, format!("{self}: {why}")),
            Self::OutcomeOnly => LayerState::absent(Layer::Recorder, format!("{self}: {why}")),
        }
    }
}

/// What a sandbox with a recorder hands out when it is ready.
#[derive(Debug)]
pub(crate) struct Handed {
    /// The ring.
    pub(crate) ends: Ends,
    /// The side channel.
    pub(crate) executables: OwnedFd,
    /// How much is learnt.
    pub(crate) grade: Grade,
}

/// The events of a sandbox. While this lives, a guest whose events nobody drains waits in the end: drain it, or drop it.
#[derive(Debug)]
pub struct Events {
    inner: Mutex<Inner>,
    wake: OwnedFd,
    grade: Grade,
}

#[derive(Debug)]
struct Inner {
    reader: Reader,
    executables: Receiver,
    frame: Vec<u8>,
    /// When the last events came.
    last: Option<Instant>,
}

impl Events {
    pub(crate) fn attach(handed: Handed) -> Result<Self, JailError> {
        let Handed { ends, executables, grade } = handed;
        let failed = |error| JailError::io("wait for", "events", &error);
        let wake = ends.wake.try_clone().map_err(failed)?;
        let (reader, executables) = (Reader::attach(ends)?, Receiver::new(executables));
        let inner = Inner { reader, executables, frame: Vec::with_capacity(4096), last: None };
        Ok(Self { inner: Mutex::new(inner), wake, grade })
    }

    /// How much is learnt.
    pub fn grade(&self) -> Grade {
        self.grade
    }

    /// Takes every event that is there, oldest first; how many there were. When a call has ended, everything of it is
    /// there.
    ///
    /// # Errors
    /// Bug: what the init wrote is no event. The sandbox is not to be trusted any more.
    pub fn drain(&self, mut each: impl FnMut(Event)) -> Result<usize, JailError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { reader, frame, last, .. } = &mut *inner;
        let mut count = 0;
        while reader.next(frame)? {
            // Room is given back as it comes, so that the guest goes on meanwhile.
            reader.release();
            each(frame::decode(frame).ok_or_else(broken)?);
            count += 1;
        }
        if count > 0 {
            *last = Some(Instant::now());
        }
        Ok(count)
    }

    /// Waits until there are events, or the time is over: which of both. Soon after the last ones it lets some gather.
    ///
    /// # Errors
    /// The kernel's answer of poll(2).
    pub fn wait(&self, limit: Duration) -> Result<bool, JailError> {
        let deadline = Instant::now() + limit;
        if let Some(last) = self.inner.lock().unwrap_or_else(PoisonError::into_inner).last {
            let gathered = last + GATHER;
            self.poll(gathered.min(deadline))?;
        }
        loop {
            if !self.sleeps() {
                return Ok(true);
            }
            if self.poll(deadline)? {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
        }
    }

    /// For callers that wait for many things at once: makes the descriptor readable with the next event. `false`: there
    /// are events already.
    pub fn sleeps(&self) -> bool {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.reader.awake();
        inner.reader.is_empty_and_sleeps()
    }

    /// The file of an executable, to be read, at most once for each: `None` also where its permissions keep the sandbox
    /// itself from reading it.
    pub fn executable(&self, executable: &Executable) -> Option<OwnedFd> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).executables.take(executable)
    }

    /// Whether the descriptor was readable before this time.
    fn poll(&self, deadline: Instant) -> Result<bool, JailError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let limit = Timespec::try_from(left).map_err(|_| JailError::bug("wait", "a time that is none"))?;
            let mut fds = [PollFd::new(&self.wake, PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&limit)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(JailError::os("wait for", "events", errno.raw_os_error())),
            }
        }
    }
}

/// Readable with the next event, after [`Events::sleeps`] said that there is none.
impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
