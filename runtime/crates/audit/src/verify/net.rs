//! Completeness of what happened at the outlet: each connection and request has one end, and secrets go with requests.
//! It never judges whether something should have been allowed.

use super::Findings;
use super::log::LogKind;
use crate::record::{Kept, NetClose, NetOpen, NetReply, NetRequest, SecretRotate, SecretUse};
use std::collections::{HashMap, HashSet};

const LOG: LogKind = LogKind::Session;

/// Where something began, and whether it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Began(u64),
    Over,
}

/// What was seen so far. Memory grows with the number of connections, requests and versions of secrets.
#[derive(Debug, Default)]
pub(super) struct Outlet {
    connections: HashMap<u64, Life>,
    requests: HashMap<u64, Life>,
    /// Name and version of every secret that went out.
    used: HashSet<(String, u64)>,
}

impl Outlet {
    pub(super) fn opened(&mut self, n: u64, open: &NetOpen, findings: &mut Findings) {
        begin(&mut self.connections, n, open.c, "connection", findings);
    }

    pub(super) fn closed(&mut self, n: u64, close: &NetClose, findings: &mut Findings) {
        end(&mut self.connections, n, close.c, "connection", findings);
    }

    pub(super) fn requested(&mut self, n: u64, request: &NetRequest, findings: &mut Findings) {
        if !matches!(self.connections.get(&request.c), Some(Life::Began(_))) {
            findings.incomplete(LOG, n, format!("a request of connection {}, which is not open", request.c));
        }
        begin(&mut self.requests, n, request.r, "request", findings);
    }

    pub(super) fn replied(&mut self, n: u64, reply: &NetReply, findings: &mut Findings) {
        end(&mut self.requests, n, reply.r, "request", findings);
    }

    /// A secret went or came with this request; `None` is the output of a command.
    pub(super) fn secret(&self, n: u64, request: Option<u64>, findings: &mut Findings) {
        if let Some(r) = request
            && !matches!(self.requests.get(&r), Some(Life::Began(_)))
        {
            findings.incomplete(LOG, n, format!("a secret of request {r}, which is not under way"));
        }
    }

    /// A secret goes out with a request.
    pub(super) fn used(&mut self, n: u64, used: SecretUse, findings: &mut Findings) {
        self.secret(n, Some(used.r), findings);
        self.used.insert((used.name, used.v));
    }

    /// A secret was replaced. Whoever replaces one gets it first, unless it was replaced where it came from.
    pub(super) fn rotated(&self, n: u64, rotated: &SecretRotate, findings: &mut Findings) {
        let given = match rotated.kept {
            Kept::Store | Kept::Session => self.used.contains(&(rotated.name.clone(), rotated.was)),
            Kept::Source => true,
        };
        if !given {
            let SecretRotate { name, was, .. } = rotated;
            findings.incomplete(LOG, n, format!("version {was} of secret {name:?} was replaced, and never went out"));
        }
    }

    /// What began and has no end, by the leaf where it began.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = (u64, &'static str)> {
        let began = |life: &Life| match life {
            Life::Began(leaf) => Some(*leaf),
            Life::Over => None,
        };
        let connections = self.connections.values().filter_map(began).map(|n| (n, "a connection without an end"));
        let requests = self.requests.values().filter_map(began).map(|n| (n, "a request without an end"));
        connections.chain(requests)
    }
}

fn begin(seen: &mut HashMap<u64, Life>, n: u64, number: u64, what: &str, findings: &mut Findings) {
    if seen.insert(number, Life::Began(n)).is_some() {
        findings.incomplete(LOG, n, format!("a second {what} {number}"));
    }
}

fn end(seen: &mut HashMap<u64, Life>, n: u64, number: u64, what: &str, findings: &mut Findings) {
    if !matches!(seen.insert(number, Life::Over), Some(Life::Began(_))) {
        findings.incomplete(LOG, n, format!("the end of {what} {number}, which is not under way"));
    }
}
