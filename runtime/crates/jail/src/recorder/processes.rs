//! The processes of a sandbox from birth to end, under numbers that are never used again, and the pen that writes down
//! what they do.
//! It never waits for a guest: whoever holds it makes no system call of which the recorder is told.

use super::event::{Bounded, CallNumber, Event, Happened, How, Origin, ProcessId};
use super::frame;
use super::look;
use super::ring::Writer;
use crate::sys;
use crate::wire::Status;
use rustix::event::epoll;
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::{AsFd as _, OwnedFd};

/// Processes that are remembered after their end, for the sake of children that come to light later.
const PAST_MAX: usize = 64;

/// A process that runs, or waits to be reaped.
#[derive(Debug)]
struct Process {
    pid: i32,
    call: ProcessId,
    /// Cannot come to mean another process; `None` without a recorder, or where the init has no descriptor left.
    handle: Option<OwnedFd>,
    /// What it executes, see [`look::image`].
    image: Option<u64>,
    /// What it asked to execute and was not seen to execute yet.
    asked: Option<Bounded>,
    failed_execs: u64,
    umask: Umask,
    opens: Opens,
    /// How it ended, where that was seen before it was reaped.
    zombie: Option<Status>,
}

/// The permission bits that a process' new files do not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Umask {
    Unknown,
    /// Looked up, and not set since: so its children were born with it.
    Found(u32),
    /// Set by itself. Its children may have been born before: nobody is told of fork(2).
    Set(u32),
    /// Not for a process to say: others set it too, or a thread has one of its own. So it is for its children.
    Shared,
}

/// Who opens the files of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opens {
    /// The recorder, which may what the session may.
    OnBehalf,
    /// The process itself, which has confined itself further (landlock_restrict_self(2)): the recorder may more.
    Itself,
}

/// A process that ended.
#[derive(Debug, Clone, Copy)]
struct Past {
    id: ProcessId,
    call: ProcessId,
    image: Option<u64>,
}

/// The main process that is being made.
#[derive(Debug, Clone, Copy)]
struct Expected {
    id: ProcessId,
    number: CallNumber,
}

/// Every process.
#[derive(Debug)]
pub(crate) struct Processes {
    next: u64,
    live: BTreeMap<ProcessId, Process>,
    by_pid: HashMap<i32, ProcessId>,
    expected: Option<Expected>,
    /// The last ones that ended.
    past: VecDeque<Past>,
    pen: Option<Pen>,
    /// What the init itself executes, and so each child of its own until exec.
    own_image: Option<u64>,
    /// Who opens files of processes whose maker is not known any more.
    of_unknown_origin: Opens,
}

/// What a recorder adds: the ring, and the set of handles.
#[derive(Debug)]
struct Pen {
    ring: Writer,
    frame: Vec<u8>,
    exits: OwnedFd,
    interest: epoll::EventFlags,
}

impl Umask {
    /// Of a child that was born unseen.
    const fn of_a_child(self) -> Self {
        match self {
            Self::Found(_) | Self::Shared => self,
            Self::Unknown | Self::Set(_) => Self::Unknown,
        }
    }
}

impl Processes {
    /// Without a recorder: numbers alone.
    pub(crate) fn unrecorded() -> Self {
        Self {
            next: 1,
            live: BTreeMap::new(),
            by_pid: HashMap::new(),
            expected: None,
            past: VecDeque::with_capacity(PAST_MAX),
            pen: None,
            own_image: None,
            of_unknown_origin: Opens::OnBehalf,
        }
    }

    /// With a recorder; also a descriptor that is readable when [`Processes::reaped`] has something to say.
    pub(crate) fn recorded(ring: Writer) -> Result<(Self, OwnedFd), Errno> {
        let exits = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // Once: when a process was reaped, which is when the kernel tells how it ended. Older kernels do not tell, and
        // there it is looked at before.
        let once = epoll::EventFlags::ET;
        let interest = if look::keeps_exits() { once } else { once | epoll::EventFlags::IN };
        let watched = rustix::io::fcntl_dupfd_cloexec(&exits, 3)?;
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let pen = Pen { ring, frame: Vec::with_capacity(4096), exits, interest };
        Ok((Self { pen: Some(pen), own_image: look::image(own), ..Self::unrecorded() }, watched))
    }

    fn new_id(&mut self) -> ProcessId {
        let id = ProcessId(self.next);
        self.next += 1;
        id
    }

    /// A call is about to be started: the number of its main process.
    pub(crate) fn expect(&mut self, number: CallNumber) -> ProcessId {
        let id = self.new_id();
        self.expected = Some(Expected { id, number });
        id
    }

    /// The main process of the expected call has this number. Called by whoever sees it first.
    pub(crate) fn main_is(&mut self, pid: i32) {
        let Some(Expected { id, number }) = self.expected.take() else { return };
        let image = self.own_image;
        self.add(id, pid, id, Origin::Call(number), None, image, Umask::Unknown, Opens::OnBehalf);
    }

    /// The expected call has no process.
    pub(crate) fn expect_no_more(&mut self) {
        self.expected = None;
    }

    /// The process of this number. A number that became another process' is taken from the one that had it.
    pub(super) fn find(&mut self, pid: i32) -> Option<ProcessId> {
        let id = *self.by_pid.get(&pid)?;
        let there = self.live.get(&id)?.handle.as_ref().is_none_or(|handle| look::is_there(handle.as_fd()));
        if there {
            return Some(id);
        }
        self.end(id, None);
        None
    }

    /// The process of this number, without a look at whether it is still the same: for one that is our zombie.
    pub(crate) fn of_zombie(&self, pid: i32) -> Option<ProcessId> {
        self.by_pid.get(&pid).copied()
    }

    /// Whether a process is there: it runs, or waits to be reaped.
    pub(super) fn is_there(&self, id: ProcessId) -> bool {
        let Some(process) = self.live.get(&id) else { return false };
        match &process.handle {
            Some(handle) => look::is_there(handle.as_fd()),
            None => sys::kill(process.pid, 0) != Err(Errno::SRCH),
        }
    }

    /// Whether a process of a call has ended, and that was not written down yet.
    pub(crate) fn ends(&self, call: ProcessId) -> bool {
        let ended = |process: &Process| process.handle.as_ref().is_some_and(|handle| look::has_ended(handle.as_fd()));
        self.live.values().any(|process| process.call == call && ended(process))
    }

    /// The main process of the call of a process.
    pub(crate) fn call_of(&self, id: ProcessId) -> Option<ProcessId> {
        self.live.get(&id).map(|process| process.call)
    }

    /// Writes down that a process came to be: `parent` is the number of its parent as the kernel has it now, which is not
    /// who made it where that one has ended.
    pub(super) fn born(&mut self, pid: i32, parent: i32, handle: Option<OwnedFd>) -> Option<ProcessId> {
        if let Some(known) = self.find(pid) {
            return Some(known);
        }
        let (made_by, image) = match self.by_pid.get(&parent) {
            Some(known) => (Some(*known), None),
            None => self.maker(look::image(pid)),
        };
        let (call, image, umask, opens) = match made_by.and_then(|made_by| self.live.get(&made_by)) {
            Some(parent) => (parent.call, parent.image, parent.umask.of_a_child(), parent.opens),
            None => {
                let past = self.past.iter().find(|past| Some(past.id) == made_by).map(|past| past.call);
                let oldest = || self.live.values().map(|process| process.call).min();
                (past.or_else(oldest)?, image, Umask::Unknown, self.of_unknown_origin)
            }
        };
        let id = self.new_id();
        self.add(id, pid, call, Origin::Process(made_by.unwrap_or(call)), handle, image, umask, opens);
        Some(id)
    }

    /// Who made a process whose parent has ended: then the kernel says that it is the init's. It executes what its maker
    /// executed when it was made, so that one is the last that executed the same and has ended, or is about to.
    fn maker(&self, image: Option<u64>) -> (Option<ProcessId>, Option<u64>) {
        let same = |of: Option<u64>| of.is_some() && of == image;
        let ending = self.live.iter().rev().find(|(_, process)| {
            same(process.image) && process.handle.as_ref().is_some_and(|handle| look::has_ended(handle.as_fd()))
        });
        let past = || self.past.iter().rev().find(|past| same(past.image)).map(|past| past.id);
        let living = || self.live.iter().find(|(_, process)| same(process.image)).map(|(id, _)| *id);
        (ending.map(|(id, _)| *id).or_else(past).or_else(living), image)
    }

    /// A zombie of ours that nobody saw before.
    pub(crate) fn found(&mut self, pid: i32) -> ProcessId {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        match self.born(pid, own, None) {
            Some(id) => id,
            None => self.new_id(),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a process, each of another type")]
    fn add(
        &mut self,
        id: ProcessId,
        pid: i32,
        call: ProcessId,
        origin: Origin,
        handle: Option<OwnedFd>,
        image: Option<u64>,
        umask: Umask,
        opens: Opens,
    ) {
        let handle = self.pen.as_ref().and_then(|pen| {
            let handle = handle.or_else(|| look::handle(pid))?;
            let data = epoll::EventData::new_u64(id.0);
            epoll::add(&pen.exits, &handle, data, pen.interest).ok().map(|()| handle)
        });
        let process = Process { pid, call, handle, image, asked: None, failed_execs: 0, umask, opens, zombie: None };
        self.live.insert(id, process);
        self.by_pid.insert(pid, id);
        let pid = pid.unsigned_abs();
        self.write(id, How::Confirmed, Happened::Started { origin, pid });
    }

    /// Whether a process asked for a program, and may be executing it.
    pub(super) fn is_undecided(&self, id: ProcessId) -> bool {
        self.live.get(&id).is_some_and(|process| process.asked.is_some())
    }

    /// Whether a number is known.
    pub(super) fn knows(&self, pid: i32) -> bool {
        self.by_pid.contains_key(&pid)
    }

    /// A process asks for a program. `image`: what it executes now, where that was not known.
    pub(super) fn asks_for_program(&mut self, id: ProcessId, asked: Bounded, image: Option<u64>) {
        if let Some(process) = self.live.get_mut(&id) {
            process.image = process.image.or(image);
            process.asked = Some(asked);
        }
    }

    /// What a process executes, as far as that is known.
    pub(super) fn image(&self, id: ProcessId) -> Option<u64> {
        self.live.get(&id).and_then(|process| process.image)
    }

    /// Processes that asked for a program and were not seen to execute it.
    pub(super) fn undecided(&self) -> Vec<(ProcessId, i32)> {
        let asked = |(id, process): (&ProcessId, &Process)| process.asked.as_ref().map(|_| (*id, process.pid));
        self.live.iter().filter_map(asked).collect()
    }

    /// The program that a process asked for did not come to be executed.
    pub(super) fn exec_failed(&mut self, id: ProcessId) {
        if let Some(process) = self.live.get_mut(&id)
            && process.asked.take().is_some()
        {
            process.failed_execs = process.failed_execs.saturating_add(1);
        }
    }

    /// A process executes what it asked for.
    pub(super) fn executes(&mut self, id: ProcessId, image: Option<u64>, now: Image) {
        let Some(process) = self.live.get_mut(&id) else { return };
        let Some(asked) = process.asked.take() else { return };
        process.image = image;
        let Image { running, argv, cwd } = now;
        let how = if running.is_some() { How::Confirmed } else { How::Observed };
        self.write(id, how, Happened::Executed { running, asked, argv, cwd });
    }

    /// A process sets its umask.
    pub(super) fn sets_umask(&mut self, id: ProcessId, umask: u32) {
        if let Some(process) = self.live.get_mut(&id)
            && process.umask != Umask::Shared
        {
            process.umask = Umask::Set(umask & 0o777);
        }
    }

    /// The umask of a process was looked up.
    pub(super) fn learns_umask(&mut self, id: ProcessId, umask: u32) {
        if let Some(process) = self.live.get_mut(&id)
            && process.umask == Umask::Unknown
        {
            process.umask = Umask::Found(umask & 0o777);
        }
    }

    /// The umask of a process is from now on to be looked up.
    pub(super) fn shares_umask(&mut self, id: ProcessId) {
        if let Some(process) = self.live.get_mut(&id) {
            process.umask = Umask::Shared;
        }
    }

    /// The umask of a process; `None` where it has to be looked up.
    pub(super) fn umask(&self, id: ProcessId) -> Option<u32> {
        match self.live.get(&id)?.umask {
            Umask::Found(umask) | Umask::Set(umask) => Some(umask),
            Umask::Unknown | Umask::Shared => None,
        }
    }

    /// A process confines itself further. Its threads are not told apart.
    pub(super) fn confines_itself(&mut self, id: ProcessId) {
        if let Some(process) = self.live.get_mut(&id) {
            process.opens = Opens::Itself;
            // It may have ended before its children are seen.
            self.of_unknown_origin = Opens::Itself;
        }
    }

    /// Whether the recorder may open files on behalf of a process.
    pub(super) fn opens_on_behalf_of(&self, id: ProcessId) -> bool {
        self.live.get(&id).is_some_and(|process| process.opens == Opens::OnBehalf)
    }

    /// Writes down what a process did, if it is still there.
    pub(super) fn write(&mut self, id: ProcessId, how: How, what: Happened) {
        let Some(call) = self.live.get(&id).map(|process| process.call) else { return };
        let Some(pen) = &mut self.pen else { return };
        pen.write(&Event { at_ns: sys::monotonic_ns(), process: id, call, how, what });
    }

    /// Writes down that a process ended, and forgets it. `status`: as the kernel told whoever reaped it.
    pub(crate) fn end(&mut self, id: ProcessId, status: Option<Status>) {
        let Some(process) = self.live.get_mut(&id) else { return };
        if let Some(asked) = process.asked.take() {
            let (argv, cwd) = (Bounded::default(), Bounded::default());
            self.write(id, How::Observed, Happened::Executed { running: None, asked, argv, cwd });
        }
        let Some(process) = self.live.get(&id) else { return };
        let told = || {
            let word = process.handle.as_ref().and_then(|handle| look::exit(handle.as_fd()));
            word.map(look::status).or(process.zombie)
        };
        let (status, failed_execs) = (status.or_else(told), process.failed_execs);
        self.write(id, How::Confirmed, Happened::Ended { status, failed_execs });
        let Some(process) = self.live.remove(&id) else { return };
        if self.by_pid.get(&process.pid) == Some(&id) {
            self.by_pid.remove(&process.pid);
        }
        if self.past.len() == PAST_MAX {
            self.past.pop_front();
        }
        self.past.push_back(Past { id, call: process.call, image: process.image });
    }

    /// Processes that ended and that somebody else reaped: written down. How many of them there may be more is what the
    /// descriptor says.
    pub(crate) fn reaped(&mut self) {
        let Some(pen) = &self.pen else { return };
        let mut events = Vec::with_capacity(64);
        let none = rustix::event::Timespec::default();
        match epoll::wait(&pen.exits, rustix::buffer::spare_capacity(&mut events), Some(&none)) {
            // Interrupted, it is asked again.
            Ok(_) | Err(_) => {}
        }
        for event in events {
            let id = ProcessId(event.data.u64());
            let Some(process) = self.live.get(&id) else { continue };
            let (pid, handle) = (process.pid, process.handle.as_ref().map(OwnedFd::as_fd));
            if handle.is_some_and(look::is_there) {
                // An older kernel: it waits to be reaped, and tells nobody afterwards.
                let status = look::exit_by_text(pid).map(look::status);
                if let Some(process) = self.live.get_mut(&id) {
                    process.zombie = status.or(process.zombie);
                }
            } else {
                self.end(id, None);
            }
        }
    }

    /// A call has ended, and everything of it that can be found: what is gone is written down as ended.
    pub(crate) fn settle(&mut self, call: ProcessId) {
        let gone = |(id, process): (&ProcessId, &Process)| {
            let there = process.handle.as_ref().is_some_and(|handle| look::is_there(handle.as_fd()));
            (process.call == call && !there).then_some(*id)
        };
        for id in self.live.iter().filter_map(gone).collect::<Vec<_>>() {
            self.end(id, None);
        }
    }
}

/// What a process was seen to execute.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) running: Option<(Bounded, super::event::Executable)>,
    pub(super) argv: Bounded,
    pub(super) cwd: Bounded,
}

impl Image {
    /// Of a process, now.
    pub(super) fn of(pid: i32) -> Self {
        Self {
            running: look::executable(pid),
            argv: look::arguments(pid),
            cwd: look::working_directory(pid).unwrap_or_default(),
        }
    }
}

impl Pen {
    fn write(&mut self, event: &Event) {
        let lost = self.ring.take_lost();
        if lost > 0 {
            let nobody = ProcessId(0);
            let what = Happened::Lost(lost);
            let event = Event { at_ns: event.at_ns, process: nobody, call: nobody, how: How::Confirmed, what };
            self.push(&event, lost);
        }
        self.push(event, 1);
    }

    fn push(&mut self, event: &Event, stands_for: u64) {
        frame::encode(event, &mut self.frame);
        if !self.ring.push(&self.frame) {
            self.ring.lose(stands_for);
        }
    }
}
