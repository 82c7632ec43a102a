//! The desk: one thread that has the session and does one call after the other, in the order in which they came.
//! It never keeps the protocol waiting: who asked waits for an answer elsewhere, watches, and may lose interest.

use crate::backend::process::{Event, Input, Io, Outside};
use crate::error::{Error, Result};
use crate::gateway::mcp::bash::{self, Output};
use crate::gateway::mcp::components;
use crate::gateway::mcp::pages::{Pages, Stream};
use crate::gateway::mcp::review::{self, Kept, Review};
use crate::gateway::mcp::words::{self, Answer, Stamp};
use crate::journal::After;
use crate::session::own::Own;
use crate::session::{Outcome, Sealed, Session};
use std::collections::VecDeque;
use std::io::{PipeReader, PipeWriter, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use stockade_audit::Receipt;
use stockade_audit::record::{Cause, SessionId};
use stockade_policy::Call;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

/// Calls that may wait. A client that asks for more is told to wait for answers.
pub(super) const WAITING_MAX: usize = 64;
/// Receipts that are remembered for `audit_receipt`.
const RECEIPTS_MAX: usize = 100;

/// Where sessions come from, and what becomes of them.
pub trait House: Send {
    /// Opens a session like the first one.
    ///
    /// # Errors
    /// As opening any.
    fn open(&mut self) -> Result<Session>;

    /// A session that has ended, for its changes to be taken over, and the log of that.
    ///
    /// # Errors
    /// Operator: there is no such session. Host: its changes cannot be read, or the log not be written.
    fn review(&mut self, id: &SessionId) -> Result<(crate::session::review::Review, After)>;
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Work {
    /// A command, and what it reads.
    Command(Call, Option<Vec<u8>>),
    /// A tool that is a component.
    Tool(Call),
    /// Something that the session answers itself.
    Review(Call, Review),
}

impl Work {
    fn call(&self) -> &Call {
        match self {
            Self::Command(call, _) | Self::Tool(call) | Self::Review(call, _) => call,
        }
    }
}

/// One thing to do, and who waits for it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) progress: Progress,
    pub(super) stop: Stopped,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// Tells who watches how far a call is.
#[derive(Debug)]
pub(super) struct Progress(pub(super) Option<watch::Sender<String>>);

impl Progress {
    /// Takes note of something; nothing is made up for nobody.
    pub(super) fn note(&self, what: impl FnOnce() -> String) {
        if let Some(watched) = &self.0 {
            watched.send_replace(what());
        }
    }
}

/// Ends a call whose asker has gone: pulled once, by whoever is dropped.
#[derive(Debug)]
pub(super) struct Stop(PipeWriter);

/// The call's end of a [`Stop`].
#[derive(Debug)]
pub(super) struct Stopped {
    pulled: PipeReader,
    told: bool,
}

/// A way to end one call.
///
/// # Errors
/// Host: there is no descriptor left.
pub(super) fn stop() -> Result<(Stop, Stopped)> {
    let failed = |e: std::io::Error| Error::host(format!("make a pipe for a call: {}", crate::error::plain(&e)));
    let (pulled, stop) = std::io::pipe().map_err(failed)?;
    rustix::io::ioctl_fionbio(&pulled, true).map_err(|e| failed(e.into()))?;
    Ok((Stop(stop), Stopped { pulled, told: false }))
}

impl Drop for Stop {
    fn drop(&mut self) {
        // A call that has ended has closed its end: there is nothing to stop.
        drop(self.0.write_all(b"."));
    }
}

impl Outside for Stopped {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        // Told once: the byte is never read, and must not wake anybody again.
        (!self.told).then(|| self.pulled.as_fd())
    }

    fn next_event(&mut self) -> Option<Event> {
        (!self.told && self.is_pulled()).then(|| {
            self.told = true;
            Event::Cancelled
        })
    }
}

impl Stopped {
    fn is_pulled(&self) -> bool {
        let mut byte = [0];
        matches!(rustix::io::read(&self.pulled, &mut byte), Ok(1..))
    }
}

/// The door to the desk, for those who ask.
#[derive(Debug, Clone)]
pub(super) struct Door {
    jobs: mpsc::Sender<Job>,
    pub(super) pages: Arc<Mutex<Pages>>,
}

impl Door {
    /// Puts something on the desk, unless too much lies there, or nobody works there any more.
    pub(super) fn put(&self, job: Job) -> std::result::Result<(), NotTaken> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => NotTaken::Busy,
            TrySendError::Closed(_) => NotTaken::Gone,
        })
    }
}

/// Why something could not be put on the desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// Too much lies there.
    Busy,
    /// Nobody works there any more.
    Gone,
}

/// The desk.
pub(super) struct Desk<'a> {
    jobs: mpsc::Receiver<Job>,
    pages: Arc<Mutex<Pages>>,
    state: State,
    house: &'a mut dyn House,
    receipts: VecDeque<(String, Receipt)>,
    /// Whether the clients have gone: what still lies on the desk is not begun.
    gone: Arc<AtomicBool>,
}

/// What the desk has.
enum State {
    Open(Box<Session>),
    /// It ended before its time, and why.
    Ended(SessionId, Error),
}

/// A desk for a session, and the door to it.
pub(super) fn desk(session: Session, house: &mut dyn House, gone: Arc<AtomicBool>) -> (Desk<'_>, Door) {
    let (put, jobs) = mpsc::channel(WAITING_MAX);
    let pages = Arc::new(Mutex::new(Pages::default()));
    let state = State::Open(Box::new(session));
    let door = Door { jobs: put, pages: Arc::clone(&pages) };
    (Desk { jobs, pages, state, house, receipts: VecDeque::new(), gone }, door)
}

impl Desk<'_> {
    /// Works until all doors are gone, then closes the session.
    ///
    /// # Errors
    /// Host: the session ended before its time, or its log cannot be closed.
    pub(super) fn work(mut self) -> Result<()> {
        while let Some(mut job) = self.jobs.blocking_recv() {
            if self.gone.load(Ordering::Relaxed) || job.stop.is_pulled() {
                continue;
            }
            let answer = self.answer(&mut job);
            // Whoever asked may have gone meanwhile; the log has what happened.
            drop(job.answer.send(answer));
        }
        match self.state {
            State::Open(session) => session.close(Cause::Stop, 0).map(drop),
            State::Ended(_, error) => Err(error),
        }
    }

    fn answer(&mut self, job: &mut Job) -> Answer {
        let began = Instant::now();
        let answer = match self.done(job) {
            Ok(answer) => answer,
            Err(error) => self.end(error),
        };
        tracing::info!(tool = %job.work.call().tool(), took = ?began.elapsed(), "answered");
        answer
    }

    /// Does one thing. Only what makes the session unusable is an error.
    fn done(&mut self, job: &mut Job) -> Result<Answer> {
        let session = match &mut self.state {
            State::Open(session) => session,
            State::Ended(id, error) => return Ok(words::ended(id, error)),
        };
        let Job { work, progress, stop, .. } = job;
        let tool = work.call().tool().to_string();
        match work {
            Work::Command(call, stdin) => {
                let output = Output::new(progress);
                let (mut out, mut err) = (output.of(Stream::Out), output.of(Stream::Err));
                let input = stdin.take().map_or(Input::Empty, Input::Bytes);
                let io = Io { input, stdout: &mut out, stderr: &mut err, outside: stop };
                let outcome = session.call(call.clone(), io)?;
                let text = output.into_text();
                ran(session, &mut self.receipts, tool, outcome, |sealed| {
                    bash::told(sealed, text, &mut self.pages.lock().unwrap_or_else(PoisonError::into_inner))
                })
            }
            Work::Tool(call) => {
                let (mut out, mut err) = (Kept::default(), Kept::default());
                let io = Io { input: Input::Empty, stdout: &mut out, stderr: &mut err, outside: stop };
                let mut heard = |said| components::progress(progress, &said);
                let outcome = session.call_and_hear(call.clone(), io, &mut heard)?;
                called(session, &mut self.receipts, tool, outcome)
            }
            Work::Review(call, Review::Apply(apply)) => {
                let (call, apply) = (call.clone(), apply.clone());
                self.apply(call, &apply)
            }
            Work::Review(call, Review::Diff(diff)) => {
                let mut text = Kept::default();
                let own = session.own(call.clone(), &mut text, |sight, out| review::diff(diff, sight, out))?;
                Ok(owned(session, &mut self.receipts, tool, own, |entries, _, _| {
                    let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
                    review::diff_told(entries, text.into_text(), &mut pages)
                }))
            }
            Work::Review(call, Review::Receipt(asked)) => {
                let own = session.own(call.clone(), &mut Kept::default(), |_, _| Ok(()))?;
                let earlier: Vec<(String, Receipt)> = self.receipts.iter().rev().take(*asked).cloned().collect();
                Ok(owned(session, &mut self.receipts, tool, own, |(), session, receipt| {
                    review::receipt_told(session, receipt, &earlier)
                }))
            }
        }
    }

    /// Takes the session's changes into the workspace. A session's log never says what was done with its changes, since
    /// then it is closed: so this one ends here, and another begins on the workspace as it is now.
    fn apply(&mut self, call: Call, apply: &review::Apply) -> Result<Answer> {
        let State::Open(session) = &mut self.state else {
            return Err(Error::bug("changes are applied without a session"));
        };
        let tool = call.tool().to_string();
        let own = session.own(call, &mut Kept::default(), |sight, _| review::may_apply(apply, sight))?;
        let (waiting, receipt) = match own {
            Own::Answered(waiting, receipt) if waiting > 0 => (waiting, receipt),
            own @ (Own::Answered(..) | Own::Failed(..) | Own::Denied(..) | Own::Unapproved(..)) => {
                return Ok(owned(session, &mut self.receipts, tool, own, |_, _, _| review::nothing_to_apply()));
            }
        };
        tracing::info!(waiting, "the session ends, for its changes to be applied");
        let id = session.id().clone();
        let closing = Error::bug("the session was closed for an apply");
        let State::Open(session) = std::mem::replace(&mut self.state, State::Ended(id.clone(), closing)) else {
            return Err(Error::bug("a session went away between two lines"));
        };
        // Taken now: names of files may have secrets in them, and who knows those goes with the session.
        let clean = session.clean();
        let stamp = Stamp::of_ended(&session.close(Cause::Stop, 0)?, receipt);
        let applied = self.house.review(&id).and_then(|(review, log)| review::apply(apply, &review, log));
        // Whatever becomes of the next session, what was applied is told.
        let opened = self.house.open();
        self.receipts.clear();
        let told = review::applied_told(applied, &id, opened.as_ref().map(Session::id), &clean);
        self.state = match opened {
            Ok(session) => State::Open(Box::new(session)),
            Err(error) => {
                tracing::error!(%error, "no session could be opened after an apply");
                State::Ended(id, error)
            }
        };
        Ok(words::told(told, &stamp))
    }

    /// The session cannot go on: closed as far as it can be, and every later call is told why.
    fn end(&mut self, error: Error) -> Answer {
        tracing::error!(%error, "the session ended before its time");
        let id = match &self.state {
            State::Open(session) => session.id().clone(),
            State::Ended(id, _) => id.clone(),
        };
        let answer = words::ended(&id, &error);
        if let State::Open(session) = std::mem::replace(&mut self.state, State::Ended(id, error))
            && let Err(error) = session.close(Cause::Error, 0)
        {
            tracing::error!(%error, "its log could not be closed");
        }
        answer
    }
}

fn remember(receipts: &mut VecDeque<(String, Receipt)>, tool: String, receipt: Receipt) {
    if receipts.len() == RECEIPTS_MAX {
        receipts.pop_front();
    }
    receipts.push_back((tool, receipt));
}

/// The answer to a command.
fn ran(
    session: &Session,
    receipts: &mut VecDeque<(String, Receipt)>,
    tool: String,
    outcome: Outcome,
    tell: impl FnOnce(&Sealed) -> bash::Told,
) -> Result<Answer> {
    match outcome {
        Outcome::Denied(refusal, at) => Ok(words::denied(&refusal, session.id(), &Stamp::of(session, at))),
        Outcome::Unapproved(ask, at) => Ok(words::unapproved(&ask, session.id(), &Stamp::of(session, at))),
        Outcome::Called(_) => Err(Error::bug("a command came to a component")),
        Outcome::Ran(sealed) => {
            remember(receipts, tool, sealed.receipt);
            Ok(words::told(tell(&sealed), &Stamp::of(session, sealed.receipt)))
        }
    }
}

/// The answer to a call of a component.
fn called(
    session: &Session,
    receipts: &mut VecDeque<(String, Receipt)>,
    tool: String,
    outcome: Outcome,
) -> Result<Answer> {
    match outcome {
        Outcome::Denied(refusal, at) => Ok(words::denied(&refusal, session.id(), &Stamp::of(session, at))),
        Outcome::Unapproved(ask, at) => Ok(words::unapproved(&ask, session.id(), &Stamp::of(session, at))),
        Outcome::Ran(_) => Err(Error::bug("a tool ran as a command")),
        Outcome::Called(called) => {
            remember(receipts, tool, called.receipt);
            let stamp = Stamp::of(session, called.receipt);
            Ok(components::told(*called, &stamp))
        }
    }
}

/// The answer to a call that the session answered itself.
fn owned<T>(
    session: &Session,
    receipts: &mut VecDeque<(String, Receipt)>,
    tool: String,
    own: Own<T>,
    tell: impl FnOnce(T, &Session, Receipt) -> bash::Told,
) -> Answer {
    match own {
        Own::Answered(value, receipt) => {
            remember(receipts, tool, receipt);
            words::told(tell(value, session, receipt), &Stamp::of(session, receipt))
        }
        Own::Failed(error, receipt) => words::failed(&error, &Stamp::of(session, receipt)),
        Own::Denied(refusal, at) => words::denied(&refusal, session.id(), &Stamp::of(session, at)),
        Own::Unapproved(ask, at) => words::unapproved(&ask, session.id(), &Stamp::of(session, at)),
    }
}
