//! Turns events into records, each belonging to its call: what it takes to know processes, programs and repeats.
//! It never writes, and never waits for anything.

use super::words::{self, Name};
use crate::secrets::scrub::{Hit, Patterns};
use crate::session::{names, records};
use std::collections::HashMap;
use std::sync::Arc;
use stockade_audit::disclose::Disclosed;
use stockade_audit::record::{
    self as log, CallId, Digest, Evidence, FsChange, FsOpen, LogPath, NetAsk, ProcCall, ProcExec, ProcStart, Record,
    Was,
};
use stockade_jail::recorder::{Bounded, CallNumber, Event, Executable, Happened, How, Origin, Peer, ProcessId};
use stockade_jail::{ProcessExit, Status};

/// Repeats that are counted instead of written, at most: beyond, all counts are written and counting begins anew.
const FOLDED_MAX: usize = 16_384;
/// Programs whose hash is remembered.
const HASHED_MAX: usize = 4096;

/// What an event became.
#[derive(Debug)]
pub(super) enum Entry {
    /// A record, and when it happened, by the clock of events.
    Record(Box<Record>, u64),
    /// So many events are lost, or cannot be placed: why.
    Gap(u64, &'static str),
    /// Secrets that were taken out of a record of this call.
    Scrubbed(CallId, Vec<Hit>, &'static str),
}

/// What is repeated: everything of it is the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Repeat {
    Open(FsOpen),
    Change(FsChange),
    Call(ProcCall),
    Ask(NetAsk),
}

/// A process that has begun and whose end is not written.
#[derive(Debug)]
struct Process {
    call: CallNumber,
    parent: Option<u64>,
    pid: u32,
    exe: Option<LogPath>,
    /// How often each thing was done again since it was written last.
    again: HashMap<(Evidence, Repeat), u64>,
    /// For the main process of a call: its end waits for what the call used.
    ended: Option<End>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, Default)]
struct End {
    status: Option<Status>,
    failed_execs: u64,
    /// When, where that was seen.
    at_ns: Option<u64>,
}

/// A call that was begun.
#[derive(Debug)]
struct Call {
    id: CallId,
    main: Option<ProcessId>,
    processes: u64,
}

/// All that is known of a session's processes.
#[derive(Debug)]
pub(super) struct Entries {
    /// The workspace, as the guest knows it.
    workspace: Vec<u8>,
    patterns: Option<Arc<Patterns>>,
    calls: HashMap<CallNumber, Call>,
    processes: HashMap<ProcessId, Process>,
    /// Processes that have ended, and whose call has not: a child may be told of after the end of who made it.
    past: HashMap<ProcessId, CallNumber>,
    hashes: HashMap<Executable, Digest>,
    folded: usize,
    /// When that happened which is written down now; `None` for now.
    at_ns: Option<u64>,
    out: Vec<Entry>,
}

impl Entries {
    pub(super) fn new(workspace: Vec<u8>) -> Self {
        Self {
            workspace,
            patterns: None,
            calls: HashMap::new(),
            processes: HashMap::new(),
            past: HashMap::new(),
            hashes: HashMap::new(),
            folded: 0,
            at_ns: None,
            out: Vec::new(),
        }
    }

    /// From now on, secrets that these find are taken out of what is recorded.
    pub(super) fn hide(&mut self, patterns: Option<Arc<Patterns>>) {
        self.patterns = patterns;
    }

    /// A call is about to start.
    pub(super) fn begin(&mut self, number: CallNumber, id: CallId) {
        self.calls.insert(number, Call { id, main: None, processes: 0 });
    }

    /// An event. `hash` is asked for each program once.
    pub(super) fn take(&mut self, event: Event, hash: &mut dyn FnMut(&Executable) -> Option<Digest>) {
        let Event { process: id, how, what, at_ns, .. } = event;
        self.at_ns = Some(at_ns);
        match what {
            Happened::Started { origin, pid } => self.started(id, origin, pid),
            Happened::Lost(lost) => self.out.push(Entry::Gap(lost, "the recorder had no room for them")),
            _ if !self.processes.contains_key(&id) => {
                self.out.push(Entry::Gap(1, "something was done by a process that nobody saw begin"));
            }
            Happened::Executed { running, asked, argv, cwd } => {
                let hashed = running.as_ref().and_then(|(_, executable)| self.hashed(executable, hash));
                self.executed(id, how, running.map(|(path, _)| path), hashed, [asked, argv, cwd]);
            }
            Happened::Ended { status, failed_execs } => {
                self.ended(id, End { status, failed_execs, at_ns: Some(at_ns) })
            }
            Happened::Opened { path, flags, mode, errno, file, made } => {
                let name = self.name(id, &path);
                let open = FsOpen {
                    p: id.0,
                    cut: words::cut([&name]),
                    path: name.path,
                    path_h: name.hash,
                    fl: words::flags(flags),
                    mode: words::makes(flags).then_some(mode & 0o7777),
                    errno,
                    ino: file.map(|file| [file.device, file.inode]),
                    was: made.then_some(Was::Absent),
                    times: None,
                };
                self.folded(id, how, Repeat::Open(open));
            }
            Happened::Read { path } => {
                let name = self.name(id, &path);
                let (p, cut, fl, path_h) = (id.0, words::cut([&name]), words::flags(0), name.hash);
                let (mode, errno, ino, was, times) = (None, None, None, None, None);
                let open = FsOpen { p, path: name.path, path_h, fl, mode, errno, ino, was, cut, times };
                self.folded(id, how, Repeat::Open(open));
            }
            Happened::Name { change, path, to } => {
                let op = words::change(change);
                let to = to.map(|to| {
                    if op == log::FsOp::Symlink { words::name(&self.clean(id, to)) } else { self.name(id, &to) }
                });
                self.changed(id, how, op, &path, to, None);
            }
            Happened::Property { property, path, value } => {
                self.changed(id, how, words::property(property), &path, None, value);
            }
            Happened::Socket { asked, peer } => {
                let peer = match peer {
                    Peer::Unix(said) => Peer::Unix(self.clean(id, said)),
                    Peer::Internet(_) | Peer::Other(_) | Peer::Unknown => peer,
                };
                let ask = NetAsk { p: id.0, op: words::asked(asked), addr: words::peer(&peer), times: None };
                self.folded(id, how, Repeat::Ask(ask));
            }
            Happened::Call { name, arguments, errno } => {
                let call = ProcCall { p: id.0, call: name.to_owned(), args: arguments.to_vec(), errno, times: None };
                self.folded(id, how, Repeat::Call(call));
            }
        }
    }

    /// The call has ended: what is left to say of it. Its number of processes, and that of the one it began with; without
    /// a main process in the log, nothing is known of it.
    pub(super) fn settle(&mut self, number: CallNumber, exit: Option<&ProcessExit>) -> (u64, Option<u64>) {
        let Some(Call { main, processes, .. }) = self.calls.get(&number) else { return (0, None) };
        let (main, processes) = (*main, *processes);
        // Nobody was left to say how they ended, but that they did: the kernel ends all of them with the init.
        if exit.is_some_and(|exit| exit.process == ProcessId(0)) {
            self.end_all(|process| process.call == number, main);
        }
        if let Some(id) = main {
            let seen = self.processes.get(&id).and_then(|process| process.ended);
            let end = seen.unwrap_or(End { status: exit.map(|exit| exit.status), ..End::default() });
            self.write_end(id, end, exit);
        }
        self.forget();
        (processes, main.map(|main| main.0))
    }

    /// The sandbox has ended, and all that was in it: what is left has no end that anybody saw.
    pub(super) fn close(&mut self) {
        self.end_all(|_| true, None);
    }

    /// What came of all that, in order.
    pub(super) fn drain(&mut self) -> std::vec::Drain<'_, Entry> {
        self.out.drain(..)
    }

    fn started(&mut self, id: ProcessId, origin: Origin, pid: u32) {
        let (number, parent) = match origin {
            Origin::Call(number) => (number, None),
            Origin::Process(parent) => {
                let alive = self.processes.get(&parent).map(|process| process.call);
                let Some(call) = alive.or_else(|| self.past.get(&parent).copied()) else {
                    self.out.push(Entry::Gap(1, "a process was made by one that nobody saw begin"));
                    return;
                };
                (call, Some(parent.0))
            }
        };
        if let Some(call) = self.calls.get_mut(&number) {
            call.processes += 1;
            if parent.is_none() {
                call.main = Some(id);
            }
        }
        let process = Process { call: number, parent, pid, exe: None, again: HashMap::new(), ended: None };
        self.processes.insert(id, process);
        self.write(id, Record::new(ProcStart { p: id.0, pp: parent, pid }));
    }

    fn executed(
        &mut self,
        id: ProcessId,
        how: How,
        running: Option<Bounded>,
        h: Option<Digest>,
        [asked, argv, cwd]: [Bounded; 3],
    ) {
        let exe = running.map(|running| self.name(id, &running));
        let asked =
            (!asked.bytes.is_empty()).then(|| self.name(id, &asked)).filter(|asked| Some(asked) != exe.as_ref());
        let (argv, cwd) = (self.clean(id, argv), self.clean(id, cwd));
        let short = [&argv, &cwd].iter().filter(|value| value.cut).count() as u64;
        let cut = short + words::cut(exe.iter().chain(&asked)).unwrap_or(0);
        let exec = ProcExec {
            p: id.0,
            exe: exe.map(|exe| exe.path),
            h,
            asked: asked.map(|asked| asked.path),
            cut: (cut > 0).then_some(cut),
        };
        if let (Some(process), Some(exe)) = (self.processes.get_mut(&id), &exec.exe) {
            process.exe = Some(exe.clone());
        }
        let mut record = Record { evidence: words::evidence(how), ..Record::new(exec) };
        if !argv.bytes.is_empty() {
            let list = argv.bytes.strip_suffix(b"\0").unwrap_or(&argv.bytes);
            record = record.disclosing(Disclosed::argv(list.split(|byte| *byte == 0)));
        }
        if !cwd.bytes.is_empty() {
            record = record.disclosing(Disclosed::cwd(LogPath(cwd.bytes)));
        }
        self.write(id, record);
    }

    fn ended(&mut self, id: ProcessId, end: End) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let main = self.calls.get(&process.call).is_some_and(|call| call.main == Some(id));
        if main && process.ended.is_none() {
            process.ended = Some(end);
        } else {
            self.write_end(id, end, None);
        }
    }

    /// Ends what `pick` wants, `but` one.
    fn end_all(&mut self, pick: impl Fn(&Process) -> bool, but: Option<ProcessId>) {
        let mut left: Vec<(ProcessId, Option<End>)> = Vec::new();
        for (id, process) in &self.processes {
            if Some(*id) != but && pick(process) {
                left.push((*id, process.ended));
            }
        }
        left.sort_unstable_by_key(|(id, _)| *id);
        for (id, end) in left {
            self.write_end(id, end.unwrap_or_default(), None);
        }
    }

    /// Calls whose processes have all ended.
    fn forget(&mut self) {
        let processes = &self.processes;
        let over = |call: &Call| call.main.is_some_and(|main| !processes.contains_key(&main));
        let alive: Vec<CallNumber> = processes.values().map(|process| process.call).collect();
        self.calls.retain(|number, call| !over(call) || alive.contains(number));
        let calls = &self.calls;
        self.past.retain(|_, call| calls.contains_key(call));
    }

    fn write_end(&mut self, id: ProcessId, end: End, used: Option<&ProcessExit>) {
        self.at_ns = end.at_ns;
        self.write_repeats(id);
        let Some(process) = self.processes.get(&id) else { return };
        let (cause, status) = end.status.map_or((log::Cause::Error, 0), records::cause);
        // A report of another process says nothing of this one.
        let used = used.filter(|used| used.process == id);
        let exit = log::ProcExit {
            p: id.0,
            pp: process.parent,
            pid: process.pid,
            exe: process.exe.clone(),
            failed: Some(end.failed_execs).filter(|failed| *failed > 0),
            cause,
            status,
            cpu_us: used.map(|used| used.cpu_us),
            rss_kib: used.map(|used| used.max_rss_kib),
        };
        let mut record = Record::new(exit);
        if end.status.is_none() {
            record.evidence = Evidence::Observed;
        }
        self.write(id, record);
        if let Some(process) = self.processes.remove(&id) {
            self.past.insert(id, process.call);
        }
    }

    fn changed(
        &mut self,
        id: ProcessId,
        how: How,
        op: log::FsOp,
        path: &Bounded,
        to: Option<Name>,
        value: Option<u64>,
    ) {
        let name = self.name(id, path);
        let cut = words::cut([Some(&name), to.as_ref()].into_iter().flatten());
        let to_h = to.as_ref().and_then(|to| to.hash);
        let (path, path_h, to) = (name.path, name.hash, to.map(|to| to.path));
        let change = FsChange { p: id.0, op, path, path_h, to, to_h, value, cut, times: None };
        self.folded(id, how, Repeat::Change(change));
    }

    /// Writes what is done for the first time, and counts what is done again.
    fn folded(&mut self, id: ProcessId, how: How, what: Repeat) {
        let evidence = words::evidence(how);
        let Some(process) = self.processes.get_mut(&id) else { return };
        if let Some(again) = process.again.get_mut(&(evidence, what.clone())) {
            *again += 1;
            return;
        }
        process.again.insert((evidence, what.clone()), 0);
        self.folded += 1;
        self.write(id, Record { evidence, ..what.record(0) });
        if self.folded > FOLDED_MAX {
            let all: Vec<ProcessId> = self.processes.keys().copied().collect();
            all.into_iter().for_each(|id| self.write_repeats(id));
        }
    }

    /// Writes how often a process did things again, and counts from nothing.
    fn write_repeats(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let again = std::mem::take(&mut process.again);
        self.folded -= again.len();
        let mut records: Vec<Record> = Vec::new();
        for ((evidence, what), times) in again {
            if times > 0 {
                records.push(Record { evidence, ..what.record(times) });
            }
        }
        records.into_iter().for_each(|record| self.write(id, record));
    }

    /// A record of the call that a process belongs to.
    fn write(&mut self, id: ProcessId, record: Record) {
        let call = self.processes.get(&id).and_then(|process| self.calls.get(&process.call));
        match call {
            Some(call) => {
                let record = Box::new(record.of_call(&call.id));
                self.out.push(Entry::Record(record, self.at_ns.unwrap_or(u64::MAX)));
            }
            None => self.out.push(Entry::Gap(1, "it is of a call that nobody started")),
        }
    }

    fn hashed(
        &mut self,
        executable: &Executable,
        hash: &mut dyn FnMut(&Executable) -> Option<Digest>,
    ) -> Option<Digest> {
        if let Some(known) = self.hashes.get(executable) {
            return Some(*known);
        }
        // What cannot be read now is asked for again with the next process that executes it.
        let hashed = hash(executable)?;
        if self.hashes.len() >= HASHED_MAX {
            self.hashes.clear();
        }
        self.hashes.insert(*executable, hashed);
        Some(hashed)
    }

    fn name(&mut self, id: ProcessId, said: &Bounded) -> Name {
        // What is written is what must have no secret in it, and what the outcomes of the call are told by.
        let place = words::place(said, &self.workspace);
        words::name(&self.clean(id, place))
    }

    /// The same without the secrets that the session knows.
    fn clean(&mut self, id: ProcessId, said: Bounded) -> Bounded {
        let Some(patterns) = &self.patterns else { return said };
        let (bytes, hits) = names::without(patterns, &said.bytes);
        let call = self.processes.get(&id).and_then(|process| self.calls.get(&process.call));
        if let Some(call) = call.filter(|_| !hits.is_empty()) {
            self.out.push(Entry::Scrubbed(call.id.clone(), hits, "a record of the recorder"));
        }
        Bounded { bytes, cut: said.cut }
    }
}

impl Repeat {
    /// The record of this, `times` over; 0 is the first time.
    fn record(self, times: u64) -> Record {
        let times = Some(times).filter(|times| *times > 1);
        match self {
            Self::Open(open) => Record::new(FsOpen { times, ..open }),
            Self::Change(change) => Record::new(FsChange { times, ..change }),
            Self::Call(call) => Record::new(ProcCall { times, ..call }),
            Self::Ask(ask) => Record::new(NetAsk { times, ..ask }),
        }
    }
}
