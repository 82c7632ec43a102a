//! What a report shows, gathered in one walk through the log.
//! It never keeps more of a kind than it shows; of the rest it knows how many there were.

use super::super::say::{Beside, Said, say};
use super::super::why::actor;
use crate::cli::style::Tone;
use std::collections::{BTreeMap, HashMap};
use stockade_audit::query::{Mark, Tree};
use stockade_audit::record::{
    Body, CallId, FsOutcome, Leaf, LogPath, NetClose, NetOpen, NetReply, NetRequest, SecretUse, SessionClose,
    SessionOpen, ToolUseOf,
};

/// Columns of the strip of activity.
pub(super) const COLUMNS: usize = 100;
/// Of each kind, so many are shown.
const KEPT_MAX: usize = 2000;
/// Files of which the changes are shown.
const FILES_MAX: usize = 1000;

/// Some of a list, and how many there were.
#[derive(Debug)]
pub(super) struct Kept<T> {
    pub(super) list: Vec<T>,
    pub(super) all: usize,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { list: Vec::new(), all: 0 }
    }
}

impl<T> Kept<T> {
    fn add(&mut self, limit: usize, item: T) {
        self.all += 1;
        if self.list.len() < limit {
            self.list.push(item);
        }
    }
}

/// A record as the report shows it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) at: Mark,
    pub(super) call: Option<CallId>,
    /// The process or tool that did it.
    pub(super) by: Option<String>,
    pub(super) said: Said,
}

/// What a record is about, for the strip of activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Theme {
    Process,
    File,
    Net,
    Refused,
    Other,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) at: Mark,
    /// The process that asked the kernel for it last, where one did.
    pub(super) by: Option<u64>,
    pub(super) open: NetOpen,
    pub(super) close: Option<NetClose>,
}

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) at: Mark,
    pub(super) request: NetRequest,
    pub(super) reply: Option<NetReply>,
    pub(super) secrets: Vec<SecretUse>,
}

/// Everything that is shown.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) open: Option<(Mark, SessionOpen)>,
    pub(super) close: Option<(Mark, SessionClose)>,
    pub(super) last: Option<Mark>,
    pub(super) tree: Tree,
    /// Changes of each path, in order.
    pub(super) files: BTreeMap<LogPath, Vec<(Mark, Option<CallId>, FsOutcome)>>,
    /// Paths whose changes were not kept.
    pub(super) files_more: usize,
    pub(super) refusals: Kept<Line>,
    pub(super) connections: Kept<Connection>,
    pub(super) requests: Kept<Request>,
    pub(super) secrets: usize,
    /// What became of the changes: the follow-up log.
    pub(super) followed: Kept<Line>,
    pub(super) records: Kept<Line>,
    /// Who asked for a connection to an address last.
    asked: HashMap<String, u64>,
    /// Time and theme of every record, for the strip.
    pub(super) activity: Vec<(u64, Theme)>,
}

impl Facts {
    /// Takes over what a record says; of the timeline, so many records.
    pub(super) fn take(&mut self, leaf: &Leaf, beside: &mut Beside, records_max: usize) {
        beside.learn(leaf);
        self.tree.take(leaf);
        let mark = Mark::of(leaf);
        self.last = Some(mark);
        self.activity.push((leaf.happened_ns(), theme(&leaf.body)));
        let line = || Line { at: mark, call: leaf.call.clone(), by: actor(&leaf.body), said: say(leaf, beside) };
        if refuses(&leaf.body) {
            self.refusals.add(KEPT_MAX, line());
        }
        self.records.all += 1;
        if self.records.list.len() < records_max {
            self.records.list.push(line());
        }
        self.take_files(leaf, mark);
        self.take_network(leaf, mark);
    }

    fn take_files(&mut self, leaf: &Leaf, mark: Mark) {
        if let Body::SessionOpen(open) = &leaf.body {
            self.open = Some((mark, open.clone()));
        } else if let Body::SessionClose(close) = &leaf.body {
            self.close = Some((mark, close.clone()));
        } else if let Body::FsOutcome(outcome) = &leaf.body {
            if self.files.len() >= FILES_MAX && !self.files.contains_key(&outcome.path) {
                self.files_more += 1;
                return;
            }
            let changes = self.files.entry(outcome.path.clone()).or_default();
            changes.push((mark, leaf.call.clone(), outcome.clone()));
        }
    }

    fn take_network(&mut self, leaf: &Leaf, mark: Mark) {
        if let Body::NetAsk(ask) = &leaf.body {
            self.asked.insert(ask.addr.clone(), ask.p);
        } else if let Body::NetOpen(open) = &leaf.body {
            let by = open.addr.as_ref().and_then(|addr| self.asked.get(addr)).copied();
            self.connections.add(KEPT_MAX, Connection { at: mark, by, open: open.clone(), close: None });
        } else if let Body::NetClose(close) = &leaf.body {
            let found = self.connections.list.iter_mut().rev().find(|connection| connection.open.c == close.c);
            if let Some(connection) = found {
                connection.close = Some(close.clone());
            }
        } else if let Body::NetRequest(request) = &leaf.body {
            let request = Request { at: mark, request: request.clone(), reply: None, secrets: Vec::new() };
            self.requests.add(KEPT_MAX, request);
        } else if let Body::NetReply(reply) = &leaf.body {
            if let Some(request) = self.requests.list.iter_mut().rev().find(|request| request.request.r == reply.r) {
                request.reply = Some(reply.clone());
            }
        } else if let Body::SecretUse(used) = &leaf.body {
            self.secrets += 1;
            if let Some(request) = self.requests.list.iter_mut().rev().find(|request| request.request.r == used.r) {
                request.secrets.push(used.clone());
            }
        }
    }

    /// Takes over what a record of the follow-up log says.
    pub(super) fn follow(&mut self, leaf: &Leaf, beside: &Beside) {
        let line = Line { at: Mark::of(leaf), call: None, by: None, said: say(leaf, beside) };
        self.followed.add(KEPT_MAX, line);
    }

    /// How long the session took, ns; never 0.
    pub(super) fn span_ns(&self) -> u64 {
        self.last.map_or(1, |mark| mark.mono_ns.max(1))
    }
}

/// Whether a record says that something was refused, hit a limit, or is missing.
fn refuses(body: &Body) -> bool {
    super::super::say::tone(body) == Tone::Bad
}

fn theme(body: &Body) -> Theme {
    let kind = body.kind();
    if refuses(body) {
        Theme::Refused
    } else if let Body::ToolUse(used) = body {
        match used.op.of() {
            ToolUseOf::Reading | ToolUseOf::Writing | ToolUseOf::Change => Theme::File,
            ToolUseOf::Net | ToolUseOf::Aside => Theme::Net,
            ToolUseOf::Other => Theme::Other,
        }
    } else if kind.starts_with("proc.") || kind.starts_with("tool.") {
        Theme::Process
    } else if kind.starts_with("fs.") {
        Theme::File
    } else if kind.starts_with("net.") || kind.starts_with("secret.") {
        Theme::Net
    } else {
        Theme::Other
    }
}
