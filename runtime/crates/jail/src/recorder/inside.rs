//! The recorder's thread in the init: it takes the kernel's notifications one after the other, writes each down, answers.
//! It never decides: the answer to a call stands in the list of system calls, next to its number.
//!
//! It is a thread of the init because nobody inside can end, stop or trace the init. It came to be before the init gave up
//! its capabilities and keeps one of them, to read what a guest that is not dumpable points at; it has directories and a
//! umask of its own; it is in the sandbox's Landlock domain; and a short list of calls of its own holds it, since the
//! session's list would make it wait for itself. When it ends, for whatever reason, the init ends, and so the sandbox.
//!
//! It is one thread: several take turns, each cold and on another processor, and a call then takes twice as long.

use super::calls::{self, Meaning, Open};
use super::event::{Bounded, Happened, How, ProcessId};
use super::listener::{Listener, Notification, Reply};
use super::look;
use super::memory::{End, Memory};
use super::name::{self, Last};
use super::open::{self, Opener, Outcome, PATH_BYTES_MAX, Why};
use super::outside::Grade;
use super::shared::{Shared, Unchanged};
use super::trace;
use crate::error::JailError;
use crate::plan::Wall;
use crate::seccomp::{self, Answer, Filter};
use crate::{capabilities, sys};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Stack of the thread: a dozen frames, and buffers of a few KiB.
const STACK_BYTES: usize = 128 * 1024;
/// Exit code of an init whose recorder is no more.
const NO_RECORDER: i32 = 124;

/// A recorder that has what it needs, and waits for the list to be installed. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Waiting(SyncSender<Way>);

/// How a recorder works.
#[derive(Debug)]
enum Way {
    Listens(Work),
    Traces(trace::Work),
}

/// What a recorder works with.
#[derive(Debug)]
struct Work {
    listener: Listener,
    filter: Filter,
    shared: Arc<Shared>,
    grade: Grade,
}

impl Waiting {
    /// Starts the thread and lets it prepare itself.
    pub(crate) fn begin(wall: Wall) -> Result<Self, JailError> {
        let (give, work) = sync_channel(1);
        let (say, prepared) = sync_channel(1);
        std::thread::Builder::new()
            .name("recorder".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || live(wall, &say, &work))
            .map_err(|error| JailError::io("start", "the recorder's thread", &error))?;
        prepared.recv().map_err(|_| JailError::bug("prepare", "the recorder's thread"))??;
        Ok(Self(give))
    }

    /// Begins to take notifications. Until this, whoever makes a call that is told of waits: the caller, too.
    pub(crate) fn go(
        self,
        listener: OwnedFd,
        filter: Filter,
        shared: Arc<Shared>,
        grade: Grade,
    ) -> Result<(), JailError> {
        let work = Work { listener: Listener::new(listener), filter, shared, grade };
        self.give(Way::Listens(work))
    }

    /// Begins to trace, instead.
    pub(super) fn trace(self, work: trace::Work) -> Result<(), JailError> {
        self.give(Way::Traces(work))
    }

    fn give(self, way: Way) -> Result<(), JailError> {
        self.0.send(way).map_err(|_| JailError::bug("reach", "the recorder's thread"))
    }
}

/// Ends the process when it is dropped: a recorder that panics takes the sandbox with it.
#[derive(Default)]
struct EndsTheInit {
    /// Nobody needs a recorder.
    dismissed: bool,
}

impl Drop for EndsTheInit {
    fn drop(&mut self) {
        if !self.dismissed {
            sys::exit_now(NO_RECORDER);
        }
    }
}

fn live(wall: Wall, say: &SyncSender<Result<(), JailError>>, work: &Receiver<Way>) {
    let (opener, prepared) = match prepare(wall) {
        Ok(opener) => (Some(opener), Ok(())),
        Err(error) => (None, Err(error)),
    };
    let heard = say.send(prepared).is_ok();
    let Some(opener) = opener.filter(|_| heard) else { return };
    // Not given any work where the machine refuses a listener.
    let Ok(work) = work.recv() else { return };
    let mut ends = EndsTheInit::default();
    match work {
        Way::Listens(work) => match run(&work, opener) {
            Ok(()) | Err(_) => {}
        },
        // Without an error, there is nobody to trace.
        Way::Traces(work) => ends.dismissed = trace::run(&work, opener.proc()).is_ok(),
    }
}

fn prepare(wall: Wall) -> Result<Opener, JailError> {
    // A signal for the init that came here would be nobody's.
    sys::block_signals().map_err(|errno| JailError::os("keep signals from", "the recorder", errno.raw_os_error()))?;
    match sys::run_in_short_turns() {
        // Without, guests wait longer on a busy machine, and signals interrupt more of what waits.
        Ok(()) | Err(_) => {}
    }
    let opener = Opener::irrevocably_begin()
        .map_err(|errno| JailError::os("separate", "the recorder's directories", errno.raw_os_error()))?;
    match wall {
        // Of the sandbox's own user namespace: it reaches nobody outside.
        Wall::Namespaces => capabilities::drop_all_but_reading()?,
        // It would be one of the host's; the guest is the same user anyway.
        Wall::Landlock => drop(capabilities::drop_all()?),
    }
    Ok(opener)
}

fn run(work: &Work, opener: Opener) -> Result<(), JailError> {
    seccomp::of_the_recorder()?.install()?;
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let mut recorder = Recorder { work, opener, own };
    let failed = |errno: Errno| JailError::os("talk to the kernel about", "a call", errno.raw_os_error());
    loop {
        if let Some(told) = work.listener.receive().map_err(failed)? {
            let reply = recorder.handle(&told);
            work.listener.reply(told.id, reply).map_err(failed)?;
        }
    }
}

struct Recorder<'a> {
    work: &'a Work,
    opener: Opener,
    own: i32,
}

/// Who makes a call.
#[derive(Debug, Clone, Copy)]
struct Who {
    id: ProcessId,
    pid: i32,
}

impl Recorder<'_> {
    fn handle(&mut self, told: &Notification) -> Reply {
        let reply = match self.work.filter.answer(told.number, &told.arguments) {
            Some(Answer::Allow) => Reply::Continue,
            Some(Answer::Errno(errno)) => Reply::Errno(errno),
            // The kernel tells of nothing else.
            None => Reply::Errno(libc::ENOSYS),
        };
        // The init itself is under the list too. No guest can have its number.
        if told.tid == self.own {
            return reply;
        }
        let Some(who) = self.identify(told) else { return reply };
        self.settle_before(told, who);
        match reply {
            Reply::Errno(errno) => {
                let [first, second, third, ..] = told.arguments;
                let name = seccomp::name(told.number).unwrap_or("unknown");
                let arguments = [first, second, third];
                self.write(who, How::Confirmed, Happened::Call { name, arguments, errno: Some(errno) });
                reply
            }
            Reply::Continue | Reply::Answered => self.tell(told, who),
        }
    }

    /// The process that makes a call; `None` when it has ended meanwhile.
    fn identify(&self, told: &Notification) -> Option<Who> {
        let shared = &self.work.shared;
        let mut processes = shared.processes();
        if let Some(id) = processes.find(told.tid) {
            return Some(Who { id, pid: told.tid });
        }
        if shared.is_child(told.tid) {
            processes.main_is(told.tid);
            return processes.find(told.tid).map(|id| Who { id, pid: told.tid });
        }
        drop(processes);
        let kin = look::kin(told.tid)?;
        // A thread of one that is known: while a thread waits, the number of its process is its own.
        if let Some(id) = shared.processes().find(kin.process) {
            return self.work.listener.is_waiting(told.id).then_some(Who { id, pid: kin.process });
        }
        let handle = look::handle(kin.process);
        // Only now is it certain that all this was said of the thread that waits.
        if !self.work.listener.is_waiting(told.id) {
            return None;
        }
        let id = shared.processes().born(kin.process, kin.parent, handle)?;
        Some(Who { id, pid: kin.process })
    }

    /// What a process did before, as far as its going on decides it: the program that it asked for is executed, or was
    /// refused.
    fn settle_before(&self, told: &Notification, who: Who) {
        let shared = &self.work.shared;
        if shared.processes().is_undecided(who.id) {
            let begins = calls::begins(told);
            shared.confirm(who.id, who.pid, if begins { Unchanged::Executes } else { Unchanged::Failed });
        }
    }

    /// Writes a call down, and answers it.
    fn tell(&mut self, told: &Notification, who: Who) -> Reply {
        let shared = &self.work.shared;
        match calls::meaning(told, self.opener.proc()) {
            Meaning::Open(open) => return self.open(told, who, open),
            Meaning::Exec(asked) => {
                let known = shared.processes().image(who.id);
                let image = known.or_else(|| look::image(who.pid));
                if self.work.listener.is_waiting(told.id) {
                    shared.processes().asks_for_program(who.id, asked, image);
                }
            }
            Meaning::Begins | Meaning::Waits => {}
            Meaning::Shares => shared.processes().shares_umask(who.id),
            Meaning::Confines => {
                shared.processes().confines_itself(who.id);
                let [first, second, third, ..] = told.arguments;
                let arguments = [first, second, third];
                let what = Happened::Call { name: "landlock_restrict_self", arguments, errno: None };
                self.write(who, How::Confirmed, what);
            }
            Meaning::Umask(umask) => shared.processes().sets_umask(who.id, umask),
            Meaning::Other(how, what) => {
                if self.work.listener.is_waiting(told.id) {
                    self.write(who, how, what);
                }
            }
        }
        Reply::Continue
    }

    /// An open: performed where that is the same to the guest, else observed.
    fn open(&mut self, told: &Notification, who: Who, open: Open) -> Reply {
        let mut bytes = [0; PATH_BYTES_MAX];
        let text = Memory::of(told.thread()).text(open.name, &mut bytes);
        let (length, whole) = (text.bytes.len(), text.end == End::Whole);
        let performs = whole
            && open.writes()
            && self.work.grade == Grade::NotifyAndOpen
            && self.work.shared.processes().opens_on_behalf_of(who.id);
        // The NUL was read along.
        let said = bytes.get(..=length).and_then(|said| CStr::from_bytes_with_nul(said).ok());
        if let Some(path) = said.filter(|_| performs) {
            return self.perform(told, who, open, path);
        }
        let said = Bounded { bytes: bytes.get(..length).unwrap_or_default().to_vec(), cut: !whole };
        // What is opened is told by what it leads to; what is made, or refused, by the directory that it is in.
        let last = if open.flags & libc::O_NOFOLLOW.cast_unsigned() == 0 { Last::Followed } else { Last::Kept };
        let path = if open.writes() {
            name::resolved(self.opener.proc(), told.thread(), open.directory, said, last)
        } else {
            name::joined(self.opener.proc(), told.thread(), open.directory, said)
        };
        if self.work.listener.is_waiting(told.id) {
            let what = if open.writes() { open.happened(path) } else { Happened::Read { path } };
            self.write(who, How::Observed, what);
        }
        Reply::Continue
    }

    fn perform(&mut self, told: &Notification, who: Who, open: Open, path: &CStr) -> Reply {
        let Open { directory, flags, mode, .. } = open;
        let umask = if open::creates(flags) { self.umask(told, who) } else { None };
        let asked = open::Asked { thread: told.thread(), directory, path, flags, mode, umask };
        let listener = &self.work.listener;
        // Until the file is closed here.
        let _passing = self.work.shared.gate().pass();
        let outcome = self.opener.open(&asked, || listener.is_waiting(told.id));
        let name = self.opener.name();
        let mut what = open.happened(Bounded { bytes: name.bytes.to_vec(), cut: name.cut });
        let Happened::Opened { errno, file, made, .. } = &mut what else { return Reply::Continue };
        match outcome {
            Outcome::Opened(opened) => {
                (*errno, *file, *made) = (Some(0), Some(opened.id), opened.made);
                self.write(who, How::Performed, what);
                match listener.reply_with(told.id, opened.file.as_fd(), opened.descriptor_flags) {
                    Ok(()) => Reply::Answered,
                    // Its table of descriptors filled up this moment.
                    Err(refused) => Reply::Errno(refused.raw_os_error()),
                }
            }
            Outcome::Refused(refused) => {
                *errno = Some(refused.raw_os_error());
                self.write(who, How::Performed, what);
                Reply::Errno(refused.raw_os_error())
            }
            // Nothing can be changed through such a descriptor.
            Outcome::LetThrough(Why::PathOnly) => Reply::Continue,
            Outcome::LetThrough(_) => {
                self.write(who, How::Observed, what);
                Reply::Continue
            }
            Outcome::Gone => Reply::Answered,
        }
    }

    /// The umask of a process, looked up where it is not known.
    fn umask(&self, told: &Notification, who: Who) -> Option<u32> {
        let known = self.work.shared.processes().umask(who.id);
        known.or_else(|| {
            let umask = self.opener.proc().umask(told.thread()).ok()?;
            self.work.shared.processes().learns_umask(who.id, umask);
            Some(umask)
        })
    }

    fn write(&self, who: Who, how: How, what: Happened) {
        self.work.shared.processes().write(who.id, how, what);
    }
}
