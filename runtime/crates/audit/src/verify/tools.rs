//! Completeness of what tools did: each instance has one call, a beginning and an end; its uses are as many as it ends with,
//! and none is beyond what it was given. Its requests are those that the outlet has from it.
//! It never looks at what a process did, and is as strict without a recorder: no recorder writes these.

use super::Findings;
use super::log::LogKind;
use crate::record::{Cause, NetOpen, Outcome, ToolEnd, ToolFiles, ToolNet, ToolOp, ToolStart, ToolUse, ToolUseOf, Via};
use std::collections::{BTreeMap, HashMap};

const LOG: LogKind = LogKind::Session;

/// One run of a component.
#[derive(Debug)]
struct Instance {
    /// Leaf of its call, if that was permitted.
    call: Option<u64>,
    /// Leaf of its beginning.
    leaf: u64,
    files: ToolFiles,
    net: ToolNet,
    /// For how many uses its records stand.
    uses: u64,
    /// Leaf of its end, and how.
    ended: Option<(u64, Cause, i32)>,
}

/// What a tool asks the outlet for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    /// Requests: several can go over one connection.
    Requests,
    /// Connections of sockets: each is one.
    Sockets,
}

/// What was asked of one host and port.
#[derive(Debug, Default)]
struct Asked {
    /// How many uses, and the leaf of the first.
    asks: u64,
    first: u64,
    /// How many connections, and the leaf of the last.
    opens: u64,
    last: u64,
}

/// What one call asked the outlet for.
#[derive(Debug, Default)]
struct Asks {
    to: BTreeMap<(Sort, String, u16), Asked>,
    refused: u64,
}

/// What was seen so far. Memory grows with the number of tools; what a call asked the outlet for is kept until its result.
#[derive(Debug, Default)]
pub(super) struct Tools {
    instances: HashMap<u64, Instance>,
    /// By leaf of the call, its instance.
    calls: HashMap<u64, u64>,
    /// By leaf of the call, while it runs.
    asks: HashMap<u64, Asks>,
}

impl Tools {
    /// Whether a tool has begun in this call.
    pub(super) fn ran_in(&self, call: u64) -> bool {
        self.calls.contains_key(&call)
    }

    /// `named` is the tool that the call asked for.
    pub(super) fn started(
        &mut self,
        n: u64,
        call: Option<u64>,
        named: Option<&str>,
        start: &ToolStart,
        findings: &mut Findings,
    ) {
        let t = start.t;
        if named.is_some_and(|named| named != start.tool) {
            findings.incomplete(LOG, n, format!("tool {t} is another than its call asked for"));
        }
        let instance = Instance { call, leaf: n, files: start.files, net: start.net, uses: 0, ended: None };
        if let Some(before) = self.instances.insert(t, instance) {
            findings.incomplete(LOG, n, format!("tool {t} began before, at leaf {}", before.leaf));
        }
        if let Some(first) = call.and_then(|call| self.calls.insert(call, t)) {
            findings.incomplete(LOG, n, format!("tool {t} runs in a call that has tool {first}"));
        }
    }

    pub(super) fn used(&mut self, n: u64, call: Option<u64>, used: &ToolUse, findings: &mut Findings) {
        let Some(instance) = self.living(n, call, used.t, findings) else { return };
        instance.uses = instance.uses.saturating_add(used.uses());
        let (t, files, net) = (used.t, instance.files, instance.net);
        if used.errno.is_some() {
            return;
        }
        let beyond = match used.op.of() {
            ToolUseOf::Reading => files == ToolFiles::None,
            ToolUseOf::Writing | ToolUseOf::Change => files != ToolFiles::Write,
            ToolUseOf::Net | ToolUseOf::Aside => !net.allows(used.op),
            // The rest is given by what no record says, but for what nobody is given.
            ToolUseOf::Other => used.op == ToolOp::Socket,
        };
        if beyond {
            findings.incomplete(LOG, n, format!("tool {t} was not given what it used here"));
        }
        if used.op.of() == ToolUseOf::Net
            && let (Some(call), Some(host), Some(port)) = (call, &used.host, used.port)
        {
            let sort = if used.op == ToolOp::Request { Sort::Requests } else { Sort::Sockets };
            let asked = self.asked(call, sort, host, port);
            if asked.asks == 0 {
                asked.first = n;
            }
            asked.asks = asked.asks.saturating_add(used.uses());
        }
    }

    pub(super) fn ended(&mut self, n: u64, call: Option<u64>, end: &ToolEnd, findings: &mut Findings) {
        let Some(instance) = self.living(n, call, end.t, findings) else { return };
        instance.ended = Some((n, end.cause, end.status));
        if instance.uses != end.uses {
            let text = format!("tool {} used {} things, and its records are of {}", end.t, end.uses, instance.uses);
            findings.incomplete(LOG, n, text);
        }
    }

    /// A connection of a component's; of any other, none.
    pub(super) fn connected(&mut self, n: u64, call: Option<u64>, open: &NetOpen, findings: &mut Findings) {
        let sort = match open.via {
            Via::Wasi => Sort::Requests,
            Via::WasiTcp => Sort::Sockets,
            Via::Direct | Via::Http | Via::Socks | Via::Port | Via::Exchange => return,
        };
        let Some(call) = call.filter(|call| self.ran_in(*call)) else {
            findings.incomplete(LOG, n, "a connection by a tool, in no call of one");
            return;
        };
        let asked = self.asked(call, sort, &open.host, open.port);
        (asked.opens, asked.last) = (asked.opens + 1, n);
    }

    /// The outlet refused something in this call.
    pub(super) fn refused(&mut self, call: Option<u64>) {
        if let Some(call) = call.filter(|call| self.ran_in(*call)) {
            self.asks.entry(call).or_default().refused += 1;
        }
    }

    /// A file differs, in this call.
    pub(super) fn outcome(&self, n: u64, call: Option<u64>, findings: &mut Findings) {
        let Some(t) = call.and_then(|call| self.calls.get(&call)) else { return };
        if self.instances.get(t).is_some_and(|instance| instance.files != ToolFiles::Write) {
            findings.incomplete(LOG, n, format!("a change in the call of tool {t}, which may change nothing"));
        }
    }

    /// The call is over.
    pub(super) fn result(&mut self, n: u64, call: u64, outcome: &Outcome, findings: &mut Findings) {
        let t = self.calls.get(&call).copied();
        if outcome.t != t {
            let text = match (outcome.t, t) {
                (Some(named), _) => format!("tool {named} is not the one of its call, leaf {call}"),
                (None, Some(t)) => format!("it does not name tool {t}, which ran in its call, leaf {call}"),
                (None, None) => unreachable!("two that are none are the same"),
            };
            findings.incomplete(LOG, n, text);
        }
        let Some(t) = t else { return };
        match self.instances.get(&t).and_then(|instance| instance.ended) {
            None => findings.incomplete(LOG, n, format!("tool {t} has no end before the result of its call")),
            Some((leaf, cause, status)) => {
                let ours = matches!(outcome.cause, Cause::Limit | Cause::Stop | Cause::Error);
                if !ours && (outcome.cause, outcome.status) != (cause, status) {
                    let text = format!("the result says something else than the end of tool {t}, leaf {leaf}");
                    findings.incomplete(LOG, n, text);
                }
            }
        }
        if let Some(asks) = self.asks.remove(&call) {
            asks.end(t, findings);
        }
    }

    /// What began and has no end.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = (u64, String)> {
        let running = self.instances.iter().filter(|(_, instance)| instance.ended.is_none());
        running.map(|(t, instance)| (instance.leaf, format!("tool {t} has no end")))
    }

    fn asked(&mut self, call: u64, sort: Sort, host: &str, port: u16) -> &mut Asked {
        self.asks.entry(call).or_default().to.entry((sort, host.to_owned(), port)).or_default()
    }

    /// The instance that a record is of, which must run and belong to the record's call.
    fn living(&mut self, n: u64, call: Option<u64>, t: u64, findings: &mut Findings) -> Option<&mut Instance> {
        let Some(instance) = self.instances.get_mut(&t) else {
            findings.incomplete(LOG, n, format!("tool {t} did not begin before"));
            return None;
        };
        if let Some((leaf, ..)) = instance.ended {
            findings.incomplete(LOG, n, format!("tool {t} ended before, at leaf {leaf}"));
        } else if call.is_some() && call != instance.call {
            findings.incomplete(LOG, n, format!("tool {t} began in another call, at leaf {}", instance.leaf));
        }
        Some(instance)
    }
}

impl Asks {
    /// Holds the tool's account against the outlet's.
    fn end(self, t: u64, findings: &mut Findings) {
        let mut unheard: Option<(u64, u64)> = None;
        for ((sort, host, port), Asked { asks, first, opens, last }) in self.to {
            if opens > asks {
                let text = format!("{opens} connections to {host}:{port} by tool {t}, which asked {asks} times");
                findings.incomplete(LOG, last, text);
            }
            let unmet = match sort {
                Sort::Requests if opens > 0 => 0,
                Sort::Requests => asks,
                Sort::Sockets => asks.saturating_sub(opens),
            };
            if unmet > 0 {
                let (count, leaf) = unheard.unwrap_or((0, first));
                unheard = Some((count.saturating_add(unmet), leaf.min(first)));
            }
        }
        if let Some((unmet, leaf)) = unheard.filter(|(unmet, _)| *unmet > self.refused) {
            let text = format!(
                "{unmet} requests and sockets of tool {t} for which it has no connection, and {} refusals",
                self.refused
            );
            findings.incomplete(LOG, leaf, text);
        }
    }
}
