//! What a log says of a tool that ran as a component: what it was given, looked at, changed and asked for, how it ended.
//! It never adds a file to what a record counts by its directory.

use super::process::{Mark, Names};
use super::subject::change_of;
use crate::record::{Body, CallId, FsOp, Leaf, LogPath, ToolEnd, ToolOp, ToolStart, ToolUse, ToolUseOf};

/// One run of a component.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tool {
    /// Stable id.
    pub t: u64,
    /// Call that it belongs to.
    pub call: Option<CallId>,
    /// Its start: what it is, and what it was given.
    pub started: Option<(Mark, ToolStart)>,
    /// Its end.
    pub ended: Option<(Mark, ToolEnd)>,
    /// What it looked at: how, the path, and how many times below it where that stands for several names.
    pub looked: Names<(ToolOp, LogPath, Option<u64>)>,
    /// Paths that it opened so that it can change them.
    pub opened: Names<LogPath>,
    /// Names and properties that it changed: the word of the operation, path and other path.
    pub changed: Names<(FsOp, LogPath, Option<LogPath>)>,
    /// Hosts and ports to which it sent requests or connected sockets.
    pub asked: Names<(String, u16)>,
    /// What it was refused: the operation, what it was of, and the error.
    pub refused: Names<(ToolOp, String, i32)>,
    /// Bytes that it read from files and sockets, and wrote to them.
    pub bytes: [u64; 2],
}

impl Tool {
    /// A tool of which nothing is known yet.
    #[must_use]
    pub fn new(t: u64) -> Self {
        Self { t, ..Self::default() }
    }

    /// Its name, where its start is in the log.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.started.as_ref().map(|(_, start)| start.tool.as_str())
    }

    /// The first thing known of it.
    #[must_use]
    pub fn since(&self) -> Option<Mark> {
        let started = self.started.as_ref().map(|(mark, _)| *mark);
        started.or_else(|| self.ended.as_ref().map(|(mark, _)| *mark))
    }

    /// Takes over what a leaf says of it. Leaves of other tools are the caller's mistake.
    pub fn take(&mut self, leaf: &Leaf) {
        if self.call.is_none() {
            self.call.clone_from(&leaf.call);
        }
        if let Body::ToolStart(start) = &leaf.body {
            self.started = Some((Mark::of(leaf), start.clone()));
        } else if let Body::ToolEnd(end) = &leaf.body {
            self.ended = Some((Mark::of(leaf), end.clone()));
        } else if let Body::ToolUse(used) = &leaf.body {
            self.used(&leaf.body, used);
        }
    }

    fn used(&mut self, body: &Body, used: &ToolUse) {
        for (sum, count) in self.bytes.iter_mut().zip([used.r, used.w]) {
            *sum = sum.saturating_add(count.unwrap_or(0));
        }
        if let Some(errno) = used.errno {
            let host = used.host.as_ref().zip(used.port).map(|(host, port)| format!("{host}:{port}"));
            let of = used.path.as_ref().map(LogPath::printable).or(host).unwrap_or_default();
            self.refused.add((used.op, of, errno));
            return;
        }
        match (used.op.of(), &used.path, &used.host) {
            (ToolUseOf::Reading, Some(path), _) => self.looked.add((used.op, path.clone(), used.below)),
            (ToolUseOf::Change, Some(path), _) => match change_of(body) {
                Some((op, path, to)) => self.changed.add((op, path.clone(), to.cloned())),
                None => self.opened.add(path.clone()),
            },
            (ToolUseOf::Net, _, Some(host)) => self.asked.add((host.clone(), used.port.unwrap_or_default())),
            (ToolUseOf::Reading | ToolUseOf::Change | ToolUseOf::Net, _, _)
            | (ToolUseOf::Writing | ToolUseOf::Aside | ToolUseOf::Other, _, _) => {}
        }
    }
}
