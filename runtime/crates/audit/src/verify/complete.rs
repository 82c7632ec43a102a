//! Completeness of a session: whether everything that must be in its log is there, and fits together.
//! It never looks at a file; it sees each leaf once, in order.

use super::Findings;
use super::anchor::{Closed, Vouched};
use super::host::Opened;
use super::log::{LogFacts, LogKind};
use super::net::Outlet;
use super::recorded::Recorded;
use super::session_of;
use super::tools::Tools;
use crate::record::{Body, CallId, Cause, FsOutcome, Leaf, Outcome, ProcExit, SessionClose, SessionOpen};
use std::collections::{BTreeMap, HashMap};

const LOG: LogKind = LogKind::Session;

/// What is known of one call.
#[derive(Debug, Clone)]
struct CallState {
    leaf: u64,
    /// Name of the tool that was asked for.
    tool: String,
    /// The first change that is said of it.
    changed: Option<u64>,
    decision: Option<Decision>,
    result: Option<u64>,
    limited: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Permit,
    Deny,
}

/// The rules, and what they have seen so far. Memory grows with the number of calls and processes, not of leaves.
pub(super) struct Rules<'a> {
    origin: &'a str,
    vouched: &'a Vouched,
    calls: HashMap<CallId, CallState>,
    exits: HashMap<u64, (Cause, i32)>,
    /// Results whose process has not ended in the log yet: process, leaf, cause, status.
    awaited: BTreeMap<u64, (u64, Cause, i32)>,
    outlet: Outlet,
    recorded: Recorded,
    tools: Tools,
    /// By position of the kind in [`Body::KINDS`].
    counts: [u64; Body::KINDS.len()],
    close: Option<(u64, SessionClose)>,
    lost: u64,
}

impl<'a> Rules<'a> {
    pub(super) fn new(origin: &'a str, vouched: &'a Vouched) -> Self {
        Self {
            origin,
            vouched,
            calls: HashMap::new(),
            exits: HashMap::new(),
            awaited: BTreeMap::new(),
            outlet: Outlet::default(),
            recorded: Recorded::default(),
            tools: Tools::default(),
            counts: [0; Body::KINDS.len()],
            close: None,
            lost: 0,
        }
    }

    pub(super) fn leaf(&mut self, leaf: Leaf, findings: &mut Findings) {
        let n = leaf.n;
        if self.close.is_some() {
            findings.broken(LOG, n, "it follows the close of the session");
        }
        if matches!(leaf.body, Body::SessionOpen(_)) != (n == 0) {
            findings.broken(LOG, n, "a session has one session.open, its first leaf");
        }
        if !matches!(leaf.body, Body::SessionClose(_)) {
            self.counts[leaf.body.index()] += 1;
        }
        let (call, evidence) = (leaf.call, leaf.evidence);
        match leaf.body {
            Body::SessionOpen(open) => self.opened(n, open, findings),
            Body::SessionClose(close) => self.close = Some((n, close)),
            Body::Call(asked) => self.call(n, call, asked.tool, findings),
            Body::Permit(_) => self.decide(n, call, Decision::Permit, findings),
            Body::Deny(_) => self.decide(n, call, Decision::Deny, findings),
            Body::Outcome(outcome) => self.result(n, call, &outcome, findings),
            Body::ProcExit(exit) => self.exit(n, call, &exit, findings),
            Body::Limit(_) => {
                if let Some(state) = self.permitted(n, call.as_ref(), "a limit", findings) {
                    state.limited = true;
                }
            }
            Body::FsOutcome(outcome) => self.changed(n, call.as_ref(), outcome, findings),
            Body::Gap(gap) => {
                self.lost += gap.lost;
                findings.incomplete(LOG, n, format!("{} events are missing: {}", gap.lost, gap.why));
            }
            Body::NetOpen(open) => {
                self.outlet.opened(n, &open, findings);
                self.recorded.connected(n, &open, findings);
                self.tools.connected(n, self.open_call(call.as_ref()), &open, findings);
            }
            Body::NetClose(close) => self.outlet.closed(n, &close, findings),
            Body::NetRequest(request) => self.outlet.requested(n, &request, findings),
            Body::NetReply(reply) => self.outlet.replied(n, &reply, findings),
            Body::SecretUse(used) => self.outlet.used(n, used, findings),
            Body::SecretRotate(rotated) => self.outlet.rotated(n, &rotated, findings),
            Body::SecretScrub(scrubbed) => self.outlet.secret(n, scrubbed.r, findings),
            event @ (Body::ProcStart(_)
            | Body::ProcExec(_)
            | Body::ProcCall(_)
            | Body::FsOpen(_)
            | Body::FsChange(_)
            | Body::NetAsk(_)) => {
                let call = self.running(n, call.as_ref(), "what a process did", findings);
                self.recorded.event(n, call, evidence, event, findings);
            }
            event @ (Body::ToolStart(_) | Body::ToolUse(_) | Body::ToolEnd(_)) => {
                self.tool(n, call.as_ref(), event, findings);
            }
            Body::NetRefuse(_) => self.tools.refused(self.open_call(call.as_ref())),
            Body::Heartbeat(_) | Body::NetName(_) | Body::SecretCanary(_) => {}
            Body::Apply(_)
            | Body::Discard(_)
            | Body::Undo(_)
            | Body::Recovery(_)
            | Body::Redact(_)
            | Body::LedgerInit(_)
            | Body::LedgerOpen(_)
            | Body::LedgerBeat(_)
            | Body::LedgerClose(_)
            | Body::LedgerAfter(_) => {
                findings.broken(LOG, n, "a record of this kind does not belong into a session's log")
            }
        }
    }

    fn opened(&mut self, n: u64, open: SessionOpen, findings: &mut Findings) {
        self.recorded.opened(open.recorder.as_ref(), findings);
        if session_of(self.origin).is_none_or(|(_, sid)| sid != open.sid) {
            findings.broken(LOG, n, "it opens another session than the one this log is of");
        }
        let SessionOpen { tool, profile_h, plan_h, .. } = open;
        if self.vouched.opened.as_ref().is_some_and(|known| *known != Opened { tool, profile_h, plan_h }) {
            findings.broken(LOG, n, "the ledger knows another tool, profile or plan of this session");
        }
    }

    fn call(&mut self, n: u64, call: Option<CallId>, tool: String, findings: &mut Findings) {
        let Some(call) = call else {
            findings.incomplete(LOG, n, "a call without a name");
            return;
        };
        let state = CallState { leaf: n, tool, changed: None, decision: None, result: None, limited: false };
        if self.calls.insert(call, state).is_some() {
            findings.incomplete(LOG, n, "a second call of this name");
        }
    }

    fn decide(&mut self, n: u64, call: Option<CallId>, decision: Decision, findings: &mut Findings) {
        match call.and_then(|call| self.calls.get_mut(&call)) {
            Some(state) if state.decision.is_none() => state.decision = Some(decision),
            Some(_) => findings.incomplete(LOG, n, "a second decision on the same call"),
            None => findings.incomplete(LOG, n, "a decision without a call"),
        }
    }

    /// The state of the call, which must have been permitted before.
    fn permitted(
        &mut self,
        n: u64,
        call: Option<&CallId>,
        what: &str,
        findings: &mut Findings,
    ) -> Option<&mut CallState> {
        let state = call.and_then(|call| self.calls.get_mut(call));
        let permitted = state.filter(|state| state.decision == Some(Decision::Permit));
        if permitted.is_none() {
            findings.incomplete(LOG, n, format!("{what} without a permitted call"));
        }
        permitted
    }

    /// The leaf of the call, which must have been permitted before; with a recorder, or where a tool ran in it, it must not
    /// have its result either: a result has all that was seen before it.
    fn running(&mut self, n: u64, call: Option<&CallId>, what: &str, findings: &mut Findings) -> Option<u64> {
        let recorded = self.recorded.is_on();
        let state = self.permitted(n, call, what, findings)?;
        let (call, result) = (state.leaf, state.result);
        let watched = recorded || self.tools.ran_in(call);
        if let Some(result) = result.filter(|_| watched) {
            findings.incomplete(LOG, n, format!("{what} behind the result of its call, leaf {result}"));
        }
        Some(call)
    }

    /// The leaf of a call that was permitted and has no result yet.
    fn open_call(&self, call: Option<&CallId>) -> Option<u64> {
        let state = call.and_then(|call| self.calls.get(call))?;
        (state.decision == Some(Decision::Permit) && state.result.is_none()).then_some(state.leaf)
    }

    /// A file differs from what it was before the call.
    fn changed(&mut self, n: u64, id: Option<&CallId>, outcome: FsOutcome, findings: &mut Findings) {
        let call = self.running(n, id, "a changed file", findings);
        if let Some(state) = id.and_then(|id| self.calls.get_mut(id)) {
            state.changed.get_or_insert(n);
        }
        self.tools.outcome(n, call, findings);
        self.recorded.outcome(n, call, outcome, findings);
    }

    /// What a tool did, and what it did to files.
    fn tool(&mut self, n: u64, id: Option<&CallId>, event: Body, findings: &mut Findings) {
        let call = self.running(n, id, "what a tool did", findings);
        if let Body::ToolStart(start) = event {
            let state = id.and_then(|id| self.calls.get(id));
            if let Some(leaf) = state.and_then(|state| state.changed) {
                findings.incomplete(LOG, n, format!("a tool begins behind a change in its call, leaf {leaf}"));
            }
            let named = state.map(|state| state.tool.as_str());
            self.tools.started(n, call, named, &start, findings);
            self.recorded.tool_started(call);
        } else if let Body::ToolUse(used) = event {
            self.tools.used(n, call, &used, findings);
            self.recorded.tool_used(n, call, used);
        } else if let Body::ToolEnd(end) = event {
            self.tools.ended(n, call, &end, findings);
        }
    }

    fn result(&mut self, n: u64, call: Option<CallId>, outcome: &Outcome, findings: &mut Findings) {
        let Some(state) = self.permitted(n, call.as_ref(), "a result", findings) else { return };
        let (limited, call) = (state.limited, state.leaf);
        if state.result.replace(n).is_some() {
            findings.incomplete(LOG, n, "a second result of the same call");
        }
        self.tools.result(n, call, outcome, findings);
        self.recorded.result(n, call, outcome, findings);
        if outcome.cause == Cause::Limit && !limited {
            findings.incomplete(LOG, n, "it ended at a limit, and no record says which");
        }
        let Some(p) = outcome.p else {
            if matches!(outcome.cause, Cause::Exit | Cause::Signal) && outcome.t.is_none() {
                findings.incomplete(LOG, n, "it says how a process or tool ended, and not which");
            }
            return;
        };
        match self.exits.get(&p) {
            Some(exit) => agree(n, (outcome.cause, outcome.status), *exit, findings),
            None => {
                self.awaited.insert(p, (n, outcome.cause, outcome.status));
            }
        }
    }

    fn exit(&mut self, n: u64, call: Option<CallId>, exit: &ProcExit, findings: &mut Findings) {
        let call = self.running(n, call.as_ref(), "the end of a process", findings);
        self.recorded.ended(n, call, exit, findings);
        if self.exits.insert(exit.p, (exit.cause, exit.status)).is_some() {
            findings.incomplete(LOG, n, format!("process {} ended twice", exit.p));
        }
        if let Some((leaf, cause, status)) = self.awaited.remove(&exit.p) {
            agree(leaf, (cause, status), (exit.cause, exit.status), findings);
        }
    }

    pub(super) fn end(self, facts: &LogFacts, findings: &mut Findings) {
        self.unfinished(findings);
        if facts.size == 0 && self.vouched.opened.is_some() {
            findings.broken(LOG, None, "the ledger knows this session, and its leaves are gone");
        }
        self.end_of_session(facts, findings);
    }

    fn unfinished(&self, findings: &mut Findings) {
        let mut open: Vec<(u64, String)> = Vec::new();
        for state in self.calls.values() {
            match (state.decision, state.result) {
                (None, _) => open.push((state.leaf, "a call without a decision".to_owned())),
                (Some(Decision::Permit), None) => {
                    open.push((state.leaf, "a permitted call without a result".to_owned()));
                }
                (Some(Decision::Permit), Some(_)) | (Some(Decision::Deny), _) => {}
            }
        }
        let endless = "a result whose process does not end in the log";
        open.extend(self.awaited.values().map(|(leaf, _, _)| (*leaf, endless.to_owned())));
        open.extend(self.outlet.unfinished().map(|(leaf, text)| (leaf, text.to_owned())));
        open.extend(self.recorded.unfinished());
        open.extend(self.tools.unfinished());
        open.sort_unstable();
        for (leaf, text) in open {
            findings.incomplete(LOG, leaf, text);
        }
    }

    fn end_of_session(&self, facts: &LogFacts, findings: &mut Findings) {
        let ledger = self.vouched.closed;
        let Some((n, close)) = &self.close else {
            findings.incomplete(LOG, None, "the session was not closed: it was interrupted, or it still runs");
            if matches!(ledger, Closed::Yes { .. }) {
                findings.broken(LOG, None, "the ledger knows its close, and the log does not have it");
            }
            return;
        };
        let n = *n;
        if let Closed::Yes { size, cause, status } = ledger
            && (size, cause, status) != (n + 1, close.cause, close.status)
        {
            findings.broken(LOG, n, "the ledger knows another close of this session");
        }
        if facts.rolled {
            findings.broken(LOG, n, "its segment says that leaves follow its close");
        } else if !facts.sealed {
            findings.incomplete(LOG, n, "the session was closed, and its log was not sealed");
        }
        if ledger == Closed::No {
            findings.incomplete(LOG, n, "the ledger does not know that the session was closed");
        }
        let counted: BTreeMap<&str, u64> = close.counts.iter().map(|(kind, n)| (kind.as_str(), *n)).collect();
        let seen = Body::KINDS.iter().copied().zip(self.counts).filter(|(_, n)| *n > 0).collect();
        if counted != seen {
            findings.incomplete(LOG, n, "the counters at its close are not those of the log");
        }
        if close.lost != self.lost {
            findings.incomplete(LOG, n, format!("{} events were lost, and gaps name {}", close.lost, self.lost));
        }
    }
}

/// A result and the end of its process say the same, unless we ended it.
fn agree(leaf: u64, result: (Cause, i32), exit: (Cause, i32), findings: &mut Findings) {
    let ours = matches!(result.0, Cause::Limit | Cause::Stop | Cause::Error);
    if !ours && result != exit {
        findings.incomplete(LOG, leaf, "the result says something else than the end of its process");
    }
}
