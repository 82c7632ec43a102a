//! What a log says of a session's calls, processes and tools: who came from whom, ran what, wrote what, asked for what, ended how.
//! It never fills in what no record says: a process without a record of its start has none here either.

use super::subject::{can_change, tool_of};
use super::tool::Tool;
use crate::record::{
    Body, Call, CallId, Deny, Digest, Evidence, FsChange, Leaf, Limit, LogPath, NetAsk, Outcome, ProcCall, ProcExec,
    ProcExit, ProcStart,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Names of one kind that are kept for a process; of more, only how many there were.
const NAMES_MAX: usize = 1000;

/// When something happened, where that is recorded, and how well it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Leaf.
    pub n: u64,
    /// Wall clock, ns since 1970.
    pub wall_ns: u64,
    /// Since the log was opened, ns.
    pub mono_ns: u64,
    /// How well it is known.
    pub evidence: Evidence,
}

impl Mark {
    /// Of a leaf.
    #[must_use]
    pub fn of(leaf: &Leaf) -> Self {
        Self { n: leaf.n, wall_ns: leaf.happened_wall_ns(), mono_ns: leaf.happened_ns(), evidence: leaf.evidence }
    }
}

/// One execution of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// When.
    pub at: Mark,
    /// What.
    pub exec: ProcExec,
    /// Digests of arguments and directory.
    pub disclosed: Vec<Digest>,
}

/// Different names, up to a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names<T> {
    /// Those that were kept.
    pub kept: BTreeSet<T>,
    /// Events whose name was not kept.
    pub more: u64,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { kept: BTreeSet::new(), more: 0 }
    }
}

impl<T: Ord> Names<T> {
    pub(super) fn add(&mut self, name: T) {
        if self.kept.len() < NAMES_MAX || self.kept.contains(&name) {
            self.kept.insert(name);
        } else {
            self.more += 1;
        }
    }

    /// Whether there were none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

/// A process of a session.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Process {
    /// Stable id.
    pub p: u64,
    /// Stable id of the process that made it, where a record says so.
    pub pp: Option<u64>,
    /// Process id that the guest saw.
    pub pid: Option<u32>,
    /// Call that it belongs to.
    pub call: Option<CallId>,
    /// Its start.
    pub started: Option<Mark>,
    /// What it executed, in order.
    pub execs: Vec<Exec>,
    /// Its end.
    pub ended: Option<(Mark, ProcExit)>,
    /// Paths that it opened so that it can change them.
    pub opened: Names<LogPath>,
    /// Paths that it only read, where all opens are recorded.
    pub read: Names<LogPath>,
    /// Names and properties that it asked to change: the word of the operation, path and other path.
    pub changed: Names<(crate::record::FsOp, LogPath, Option<LogPath>)>,
    /// What it asked of sockets: operation and address.
    pub asked: Names<(crate::record::SocketOp, String)>,
    /// System calls that are refused or concern others: name, and the error.
    pub calls: Names<(String, Option<i32>)>,
}

impl Process {
    /// A process of which nothing is known yet.
    #[must_use]
    pub fn new(p: u64) -> Self {
        Self { p, ..Self::default() }
    }

    /// The program that it ran last, as the kernel says, else as it was asked for.
    #[must_use]
    pub fn program(&self) -> Option<&LogPath> {
        let last = self.execs.last().and_then(|exec| exec.exec.exe.as_ref().or(exec.exec.asked.as_ref()));
        last.or_else(|| self.ended.as_ref().and_then(|(_, exit)| exit.exe.as_ref()))
    }

    /// The first thing known of it.
    #[must_use]
    pub fn since(&self) -> Option<Mark> {
        let exec = self.execs.first().map(|exec| exec.at);
        self.started.or(exec).or_else(|| self.ended.as_ref().map(|(mark, _)| *mark))
    }

    /// Takes over what a leaf says of it. Leaves of other processes are the caller's mistake.
    pub fn take(&mut self, leaf: &Leaf) {
        if self.call.is_none() {
            self.call.clone_from(&leaf.call);
        }
        if let Body::ProcStart(ProcStart { pp, pid, .. }) = &leaf.body {
            self.started = Some(Mark::of(leaf));
            self.pp = self.pp.or(*pp);
            self.pid = Some(*pid);
        } else if let Body::ProcExec(exec) = &leaf.body {
            self.execs.push(Exec { at: Mark::of(leaf), exec: exec.clone(), disclosed: leaf.disclosed.clone() });
        } else if let Body::ProcExit(exit) = &leaf.body {
            self.pp = self.pp.or(exit.pp);
            self.pid = Some(exit.pid);
            self.ended = Some((Mark::of(leaf), exit.clone()));
        } else if let Body::FsOpen(open) = &leaf.body {
            let names = if can_change(open) { &mut self.opened } else { &mut self.read };
            if open.errno.is_none_or(|errno| errno == 0) {
                names.add(open.path.clone());
            }
        } else if let Body::FsChange(FsChange { op, path, to, .. }) = &leaf.body {
            self.changed.add((*op, path.clone(), to.clone()));
        } else if let Body::NetAsk(NetAsk { op, addr, .. }) = &leaf.body {
            self.asked.add((*op, addr.clone()));
        } else if let Body::ProcCall(ProcCall { call, errno, .. }) = &leaf.body {
            self.calls.add((call.clone(), *errno));
        }
    }
}

/// What was decided about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// It may run, by these rules.
    Permitted(Mark, Vec<String>),
    /// It may not.
    Denied(Mark, Deny),
}

/// A call of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct Called {
    /// Its name.
    pub id: CallId,
    /// When it was asked for.
    pub at: Mark,
    /// What was asked for.
    pub call: Call,
    /// Digests of its arguments, environment and directory.
    pub disclosed: Vec<Digest>,
    /// The decision.
    pub decided: Option<Decided>,
    /// Limits that were reached.
    pub limits: Vec<Limit>,
    /// How it went.
    pub ended: Option<(Mark, Outcome)>,
}

/// A session's calls, processes and tools.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tree {
    /// Calls, in order.
    pub calls: Vec<Called>,
    /// Processes by stable id.
    pub processes: BTreeMap<u64, Process>,
    /// Tools by stable id.
    pub tools: BTreeMap<u64, Tool>,
    /// Names by the synthetic address that was answered for them.
    pub names: HashMap<String, String>,
    by_call: HashMap<CallId, usize>,
}

impl Tree {
    /// Takes over what a leaf says.
    pub fn take(&mut self, leaf: &Leaf) {
        if let Some(p) = super::process_of(&leaf.body)
            && !matches!(leaf.body, Body::Outcome(_))
        {
            self.processes.entry(p).or_insert_with(|| Process::new(p)).take(leaf);
        } else if let Some(t) = tool_of(&leaf.body)
            && !matches!(leaf.body, Body::Outcome(_))
        {
            self.tools.entry(t).or_insert_with(|| Tool::new(t)).take(leaf);
        } else if let Body::NetName(name) = &leaf.body
            && let Some(addr) = &name.addr
        {
            self.names.insert(addr.clone(), name.name.clone());
        } else if let Some(id) = &leaf.call {
            self.take_of_call(id, leaf);
        }
    }

    fn take_of_call(&mut self, id: &CallId, leaf: &Leaf) {
        let mark = Mark::of(leaf);
        if let Body::Call(call) = &leaf.body {
            self.by_call.insert(id.clone(), self.calls.len());
            let (id, call, disclosed) = (id.clone(), call.clone(), leaf.disclosed.clone());
            self.calls.push(Called { id, at: mark, call, disclosed, decided: None, limits: Vec::new(), ended: None });
            return;
        }
        let Some(called) = self.by_call.get(id).and_then(|at| self.calls.get_mut(*at)) else { return };
        if let Body::Permit(permit) = &leaf.body {
            called.decided = Some(Decided::Permitted(mark, permit.rules.clone()));
        } else if let Body::Deny(deny) = &leaf.body {
            called.decided = Some(Decided::Denied(mark, deny.clone()));
        } else if let Body::Limit(limit) = &leaf.body {
            called.limits.push(limit.clone());
        } else if let Body::Outcome(outcome) = &leaf.body {
            called.ended = Some((mark, outcome.clone()));
        }
    }

    /// The tools of a call (of none, those without one), in the order in which they began.
    pub fn tools_of(&self, call: Option<&CallId>) -> impl Iterator<Item = &Tool> {
        self.tools.values().filter(move |tool| tool.call.as_ref() == call)
    }

    /// The processes of a call (of none, those without one), each below the one that made it, with its depth. One whose
    /// maker is unknown, or of another call, is at the top.
    #[must_use]
    pub fn below(&self, call: Option<&CallId>) -> Vec<(usize, &Process)> {
        let of_call = |process: &&Process| process.call.as_ref() == call;
        let mut children: HashMap<u64, Vec<&Process>> = HashMap::new();
        let mut open: Vec<(usize, &Process)> = Vec::new();
        for process in self.processes.values().filter(of_call) {
            // Whoever makes a process has a smaller number: a log that says otherwise cannot make us run in circles.
            let maker = process.pp.filter(|pp| *pp < process.p).and_then(|pp| self.processes.get(&pp));
            match maker.filter(of_call) {
                Some(maker) => children.entry(maker.p).or_default().push(process),
                None => open.push((0, process)),
            }
        }
        open.reverse();
        let mut flat = Vec::new();
        // A list, not recursion: a chain of a million processes is a log that can be written.
        while let Some((depth, process)) = open.pop() {
            flat.push((depth, process));
            let below = children.remove(&process.p).unwrap_or_default();
            open.extend(below.into_iter().rev().map(|child| (depth + 1, child)));
        }
        flat
    }

    /// The name behind an address of the kind `198.18.0.7:443`, with the port, where the resolver made it for one.
    #[must_use]
    pub fn named(&self, addr: &str) -> Option<String> {
        let (address, port) = addr.rsplit_once(':')?;
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        self.names.get(bare).map(|name| format!("{name}:{port}"))
    }
}
