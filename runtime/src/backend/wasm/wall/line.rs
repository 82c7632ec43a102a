//! The channel to one worker, shared by the threads whose calls it runs: one of them reads for all while it waits.
//! It never calls anybody while it holds a lock, and never reads faster than the calls take what is theirs.

use crate::backend::process::{Event, Outside};
use crate::backend::wasm::channel::{self, Inbox, Incoming, Outgoing, plain};
use crate::backend::wasm::wire::FromWorker;
use crate::error::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a thread that does not read looks whether its caller wants something.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a worker may take no message: it does nothing that waits, beside one tick for each guest that computes.
const DEAF_LIMIT: Duration = Duration::from_secs(30);
/// Messages that wait for one call: its thread is slow, and then the worker waits.
const WAITING_MAX: usize = 64;

/// About what a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum About {
    /// The code that was compiled.
    Code,
    /// A component that is loaded.
    Component(u32),
    /// A call.
    Call(u64),
}

/// What a thread that waits gets.
#[derive(Debug)]
pub(super) enum Next {
    /// A message about what it waits for.
    Message(FromWorker, Option<OwnedFd>),
    /// Its caller wants something.
    Woken,
    /// It is too late.
    Late,
    /// There is no worker any more, and why.
    Lost(String),
}

/// The supervisor's end of a channel.
#[derive(Debug)]
pub(super) struct Line {
    channel: OwnedFd,
    /// Held while a message is said that comes in parts.
    long: Mutex<()>,
    board: Mutex<Board>,
    /// Something on the board has changed.
    changed: Condvar,
    /// How long an answer is looked for: most calls are over sooner than a sleeper is woken.
    look_for: Duration,
}

#[derive(Debug, Default)]
struct Board {
    boxes: HashMap<About, VecDeque<(FromWorker, Option<OwnedFd>)>>,
    /// A thread reads for all.
    reading: bool,
    /// Where it reads to.
    inbox: Inbox,
    /// Threads that wait for a change: to wake them is a system call, so not for nobody.
    paused: usize,
    lost: Option<String>,
}

/// A place on the board for messages about something; dropped, they are thrown away.
pub(super) struct Place<'a> {
    line: &'a Line,
    about: About,
    /// Its messages wait for somebody else.
    kept: bool,
}

impl Line {
    pub(super) fn new(channel: OwnedFd) -> Self {
        Self {
            channel,
            long: Mutex::default(),
            board: Mutex::default(),
            changed: Condvar::new(),
            look_for: channel::look_for(),
        }
    }

    /// From now on messages about this are kept.
    pub(super) fn expect(&self, about: About) -> Place<'_> {
        self.board().boxes.insert(about, VecDeque::new());
        Place { line: self, about, kept: false }
    }

    /// The same for what is expected already, by a place that was left.
    pub(super) fn expect_still(&self, about: About) -> Place<'_> {
        self.board().boxes.entry(about).or_default();
        Place { line: self, about, kept: false }
    }

    /// Whether the worker is known to be gone.
    pub(super) fn is_lost(&self) -> bool {
        self.board().lost.is_some()
    }

    /// Nobody gets anything from this worker any more.
    pub(super) fn give_up(&self, why: &str) {
        let mut board = self.board();
        board.lost.get_or_insert_with(|| why.to_owned());
        self.announce(&board);
    }

    /// Says something; `false`: nobody listens any more.
    pub(super) fn say(&self, mut message: Outgoing) -> bool {
        let _alone = message.is_long().then(|| self.long.lock().unwrap_or_else(PoisonError::into_inner));
        let until = Instant::now() + DEAF_LIMIT;
        loop {
            match message.try_send(&self.channel) {
                Ok(()) => return true,
                Err(Errno::AGAIN) if Instant::now() < until => {
                    wait(&[(self.channel.as_fd(), PollFlags::OUT)], LOOK_EVERY)
                }
                Err(Errno::AGAIN) => self.give_up("it takes no messages"),
                Err(errno) => self.give_up(&plain(errno)),
            }
            if self.is_lost() {
                return false;
            }
        }
    }

    /// A panic of another thread leaves the board whole.
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes who waits for the board.
    fn announce(&self, board: &Board) {
        if board.paused > 0 {
            self.changed.notify_all();
        }
    }

    /// Reads what has come, for whom it is; `false`: nothing has.
    fn read(&self, inbox: &mut Inbox) -> bool {
        match channel::try_receive::<FromWorker>(&self.channel, inbox) {
            Ok(None) => return false,
            Ok(Some(Incoming::Closed)) => self.give_up("it ended"),
            Ok(Some(Incoming::Message(message, descriptor))) => self.deliver(message, descriptor),
            Err(error) => {
                let why: Vec<String> = error.reports.into_iter().map(|report| report.what).collect();
                self.give_up(&why.join("; "));
            }
        }
        true
    }

    /// The same for what comes at once; nobody sleeps.
    fn read_soon(&self, inbox: &mut Inbox) -> bool {
        let asked = Instant::now();
        while asked.elapsed() < self.look_for {
            if self.read(inbox) {
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    fn deliver(&self, message: FromWorker, descriptor: Option<OwnedFd>) {
        let about = match &message {
            FromWorker::Compiled | FromWorker::NotCompiled { .. } => About::Code,
            FromWorker::Loaded { component } | FromWorker::NotLoaded { component, .. } => About::Component(*component),
            FromWorker::Used { call, .. }
            | FromWorker::Progress { call, .. }
            | FromWorker::Connect { call, .. }
            | FromWorker::Ended { call, .. } => About::Call(*call),
        };
        let mut board = self.board();
        // What nobody expects is of a call whose thread is gone.
        while let Some(waiting) = board.boxes.get_mut(&about) {
            if waiting.back().is_some_and(|(last, _)| matches!(last, FromWorker::Ended { .. })) {
                // Ends may be long, and a worker of ours says one.
                drop(board);
                return self.give_up("it goes on about a call that has ended");
            }
            if waiting.len() < WAITING_MAX {
                waiting.push_back((message, descriptor));
                break;
            }
            board = self.pause(board, LOOK_EVERY);
        }
        self.announce(&board);
    }

    fn pause<'a>(&self, mut board: MutexGuard<'a, Board>, time: Duration) -> MutexGuard<'a, Board> {
        board.paused += 1;
        let mut board = self.changed.wait_timeout(board, time).unwrap_or_else(PoisonError::into_inner).0;
        board.paused -= 1;
        board
    }
}

impl Place<'_> {
    /// Goes away; what comes is kept for who expects it still.
    pub(super) fn leave(mut self) {
        self.kept = true;
    }

    /// Waits for a message, for the caller, or until it is too late.
    pub(super) fn next(&self, caller: Option<BorrowedFd<'_>>, until: Option<Instant>) -> Next {
        let mut board = self.line.board();
        loop {
            if let Some((message, descriptor)) = board.boxes.get_mut(&self.about).and_then(VecDeque::pop_front) {
                self.line.announce(&board);
                return Next::Message(message, descriptor);
            }
            if let Some(why) = &board.lost {
                return Next::Lost(why.clone());
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Next::Late;
            }
            if caller.is_some_and(readable) {
                return Next::Woken;
            }
            let left = left.unwrap_or(DEAF_LIMIT);
            if board.reading {
                board = self.line.pause(board, left.min(LOOK_EVERY));
                continue;
            }
            board.reading = true;
            let mut inbox = std::mem::take(&mut board.inbox);
            drop(board);
            if !self.line.read_soon(&mut inbox) {
                let ours = (self.line.channel.as_fd(), PollFlags::IN);
                match caller {
                    Some(caller) => wait(&[ours, (caller, PollFlags::IN)], left),
                    None => wait(&[ours], left),
                }
                self.line.read(&mut inbox);
            }
            board = self.line.board();
            (board.reading, board.inbox) = (false, inbox);
            // Whoever has its message now, or shall read next, is among those that wait.
            self.line.announce(&board);
        }
    }
}

impl Place<'_> {
    /// The same for what is done before a call begins. [`Next::Woken`]: its caller does not want it any more.
    pub(super) fn next_if_wanted(&self, outside: &mut dyn Outside, until: Instant) -> Next {
        loop {
            let next = self.next(outside.descriptor(), Some(until));
            if !matches!(next, Next::Woken) || is_over(outside) {
                return next;
            }
        }
    }
}

/// The same for who waits for something else than messages: now, without waiting.
pub(super) fn is_over_by_now(outside: &mut dyn Outside) -> bool {
    outside.descriptor().is_some_and(readable) && is_over(outside)
}

/// Whether a caller does not want its call any more: whatever it says says so, but that its window has another size.
pub(super) fn is_over(outside: &mut dyn Outside) -> bool {
    let mut over = false;
    while let Some(event) = outside.next_event() {
        over |= match event {
            Event::Signal(_) | Event::Cancelled => true,
            Event::Resized { .. } => false,
        };
    }
    over
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut board = self.line.board();
        if !self.kept {
            board.boxes.remove(&self.about);
        }
        self.line.announce(&board);
    }
}

/// Waits until one of them is ready, or for this long; a signal ends it as well.
fn wait(ends: &[(BorrowedFd<'_>, PollFlags)], time: Duration) {
    let mut ends: Vec<PollFd<'_>> = ends.iter().map(|(end, flags)| PollFd::from_borrowed_fd(*end, *flags)).collect();
    // Every caller looks again.
    match poll(&mut ends, Timespec::try_from(time).ok().as_ref()) {
        Ok(_) | Err(_) => {}
    }
}

fn readable(end: BorrowedFd<'_>) -> bool {
    let mut ends = [PollFd::from_borrowed_fd(end, PollFlags::IN)];
    poll(&mut ends, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// A message that is ready, with what comes along.
pub(super) fn message(message: &crate::backend::wasm::wire::ToWorker, descriptor: Option<OwnedFd>) -> Result<Outgoing> {
    Outgoing::new(message, descriptor)
}
