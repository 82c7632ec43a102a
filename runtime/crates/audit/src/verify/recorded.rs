//! Completeness of what a recorder saw: each process has a beginning and an end, and each of its records has a process.
//! It never judges what a process did, and finds no fault where there was no recorder: then it says so.

mod asked;
mod files;

use super::Findings;
use super::log::LogKind;
use crate::record::{
    Body, Cause, Evidence, FsChange, FsOpen, FsOutcome, LogPath, NetAsk, NetOpen, Outcome, ProcExec, ProcExit,
    ProcStart, Recorder, RecorderGrade, ToolUse,
};
use asked::Asked;
use files::Files;
use std::collections::HashMap;

const LOG: LogKind = LogKind::Session;

/// What is known of one process.
#[derive(Debug)]
struct Process {
    /// Leaf of its call, if that was permitted.
    call: Option<u64>,
    /// Leaf of its beginning.
    leaf: u64,
    parent: Option<u64>,
    pid: u32,
    /// Leaf of what it executed last.
    executed: Option<u64>,
    /// The program, while it runs, and the leaf that says so.
    exe: Option<(u64, LogPath)>,
    /// Leaf of its end.
    ended: Option<u64>,
}

/// What was seen so far. Memory grows with the number of processes and of addresses that were connected to; what a call
/// did to files is kept until its result.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// `None` without a recorder.
    grade: Option<RecorderGrade>,
    processes: HashMap<u64, Process>,
    /// By leaf of the call, the process that it began with.
    mains: HashMap<u64, u64>,
    /// By leaf of the call, while it runs.
    files: HashMap<u64, Files>,
    asked: Asked,
}

impl Recorded {
    /// Whether there was a recorder.
    pub(super) fn is_on(&self) -> bool {
        self.grade.is_some()
    }

    /// What the session's first record says of it.
    pub(super) fn opened(&mut self, recorder: Option<&Recorder>, findings: &mut Findings) {
        self.grade = recorder.map(|recorder| recorder.grade).filter(|grade| *grade != RecorderGrade::OutcomeOnly);
        if self.grade.is_none() {
            let why = recorder.map_or("", |recorder| recorder.why.as_str());
            let text = "no recorder watched its processes: who made a change is not in the log";
            findings.note(LOG, if why.is_empty() { text.to_owned() } else { format!("{text} ({why})") });
        }
    }

    /// One record of the recorder; others are none of its business.
    pub(super) fn event(
        &mut self,
        n: u64,
        call: Option<u64>,
        evidence: Evidence,
        event: Body,
        findings: &mut Findings,
    ) {
        if let Body::ProcStart(start) = event {
            self.started(n, call, &start, findings);
        } else if let Body::ProcExec(exec) = event {
            self.executed(n, call, exec, findings);
        } else if let Body::ProcCall(made) = event {
            self.living(n, call, made.p, findings);
        } else if let Body::FsOpen(open) = event {
            self.file_opened(n, call, evidence, open, findings);
        } else if let Body::FsChange(change) = event {
            self.file_changed(n, call, change, findings);
        } else if let Body::NetAsk(ask) = event {
            self.asked(n, call, ask, findings);
        }
    }

    fn started(&mut self, n: u64, call: Option<u64>, start: &ProcStart, findings: &mut Findings) {
        let p = start.p;
        if !self.expected(n, findings) {
            return;
        }
        match start.pp {
            Some(pp) if !self.processes.contains_key(&pp) => {
                findings.incomplete(LOG, n, format!("process {p} was made by process {pp}, which did not begin before"))
            }
            Some(_) => {}
            None => {
                if let Some(first) = call.and_then(|call| self.mains.insert(call, p)) {
                    let text = format!("process {p} was made by none, and so was process {first} of the same call");
                    findings.incomplete(LOG, n, text);
                }
            }
        }
        let (parent, pid) = (start.pp, start.pid);
        let process = Process { call, leaf: n, parent, pid, executed: None, exe: None, ended: None };
        if let Some(before) = self.processes.insert(p, process) {
            findings.incomplete(LOG, n, format!("process {p} began before, at leaf {}", before.leaf));
        }
    }

    fn executed(&mut self, n: u64, call: Option<u64>, exec: ProcExec, findings: &mut Findings) {
        if let Some(process) = self.living(n, call, exec.p, findings) {
            process.executed = Some(n);
            process.exe = exec.exe.map(|exe| (n, exe)).or(process.exe.take());
        }
    }

    pub(super) fn ended(&mut self, n: u64, call: Option<u64>, exit: &ProcExit, findings: &mut Findings) {
        if !self.is_on() {
            return;
        }
        let Some(process) = self.living(n, call, exit.p, findings) else { return };
        process.ended = Some(n);
        let (p, leaf) = (exit.p, process.leaf);
        if (process.pid, process.parent) != (exit.pid, exit.pp) {
            let text = format!("process {p} ends with another pid or parent than it began with, at leaf {leaf}");
            findings.incomplete(LOG, n, text);
        }
        match (&exit.exe, process.exe.take()) {
            (Some(exe), Some((leaf, executed))) if *exe != executed => {
                let text = format!("process {p} ends as another program than it executed, at leaf {leaf}");
                findings.incomplete(LOG, n, text);
            }
            (Some(_), None) => {
                findings.incomplete(LOG, n, format!("process {p} ends as a program that it did not execute"))
            }
            (Some(_), Some(_)) | (None, _) => {}
        }
    }

    fn file_opened(&mut self, n: u64, call: Option<u64>, evidence: Evidence, open: FsOpen, findings: &mut Findings) {
        self.living(n, call, open.p, findings);
        let performs = self.grade == Some(RecorderGrade::NotifyAddfd);
        if self.is_on() && evidence >= Evidence::Performed && !performs {
            findings.incomplete(LOG, n, "an open that was performed, by a recorder that performs none");
        }
        if let Some(files) = self.files(call) {
            files.opened(n, evidence, open);
        }
    }

    fn file_changed(&mut self, n: u64, call: Option<u64>, change: FsChange, findings: &mut Findings) {
        self.living(n, call, change.p, findings);
        if let Some(files) = self.files(call) {
            files.changed(n, change);
        }
    }

    fn asked(&mut self, n: u64, call: Option<u64>, ask: NetAsk, findings: &mut Findings) {
        self.living(n, call, ask.p, findings);
        if let Some(files) = self.files(call) {
            files.asked(n, &ask);
        }
        if self.is_on() {
            self.asked.asked(n, ask);
        }
    }

    /// A tool begins in a call: what it leaves of files must be explained, with a recorder or without.
    pub(super) fn tool_started(&mut self, call: Option<u64>) {
        if let Some(call) = call {
            self.files.entry(call).or_insert_with(|| Files::new(call));
        }
    }

    /// A tool used something.
    pub(super) fn tool_used(&mut self, n: u64, call: Option<u64>, used: ToolUse) {
        if let Some(files) = self.files(call) {
            files.used(n, used);
        }
    }

    /// What a call left of a file: something that was recorded must have done it.
    pub(super) fn outcome(&mut self, n: u64, call: Option<u64>, outcome: FsOutcome, findings: &mut Findings) {
        if let Some(files) = self.files(call) {
            files.outcome(n, outcome, findings);
        }
    }

    /// The call is over.
    pub(super) fn result(&mut self, n: u64, call: u64, outcome: &Outcome, findings: &mut Findings) {
        if let Some(p) = outcome.p.filter(|_| self.is_on()) {
            if self.mains.get(&call) != Some(&p) {
                let text = format!("process {p} is not the one that its call, leaf {call}, began with");
                findings.incomplete(LOG, n, text);
            } else if outcome.cause == Cause::Exit
                && self.processes.get(&p).is_some_and(|process| process.executed.is_none())
            {
                findings.incomplete(LOG, n, format!("process {p} exits, and executed nothing"));
            }
        }
        if let Some(files) = self.files.remove(&call) {
            files.end(n, findings);
        }
    }

    /// A connection came to the outlet: somebody asked for it.
    pub(super) fn connected(&mut self, n: u64, open: &NetOpen, findings: &mut Findings) {
        if self.is_on() {
            self.asked.connected(n, open, findings);
        }
    }

    /// What began and has no end, and connections beyond those that were asked for.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = (u64, String)> {
        let alive = self.processes.iter().filter(|(_, process)| process.ended.is_none());
        let alive = alive.map(|(p, process)| (process.leaf, format!("process {p} has no end")));
        alive.chain(self.asked.unfinished())
    }

    /// Whether there was a recorder; else its record is one that nobody can have written.
    fn expected(&self, n: u64, findings: &mut Findings) -> bool {
        if !self.is_on() {
            findings.incomplete(LOG, n, "a record of a recorder, and the session had none");
        }
        self.is_on()
    }

    /// The process that a record is of, which must be alive and belong to the record's call.
    fn living(&mut self, n: u64, call: Option<u64>, p: u64, findings: &mut Findings) -> Option<&mut Process> {
        if !self.expected(n, findings) {
            return None;
        }
        let Some(process) = self.processes.get_mut(&p) else {
            findings.incomplete(LOG, n, format!("process {p} did not begin before"));
            return None;
        };
        if let Some(leaf) = process.ended {
            findings.incomplete(LOG, n, format!("process {p} ended before, at leaf {leaf}"));
        } else if call.is_some() && call != process.call {
            findings.incomplete(LOG, n, format!("process {p} began in another call, at leaf {}", process.leaf));
        }
        Some(process)
    }

    /// What a call did to files so far; `None` where no call was permitted, or without a recorder and without a tool.
    fn files(&mut self, call: Option<u64>) -> Option<&mut Files> {
        let call = call?;
        match self.grade {
            Some(_) => Some(self.files.entry(call).or_insert_with(|| Files::new(call))),
            None => self.files.get_mut(&call),
        }
    }
}
