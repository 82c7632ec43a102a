//! Double entry of one call's files: what was changed against what processes did, in both directions.
//! It never resolves a path: two spellings of one name are two names.

use super::super::Findings;
use super::LOG;
use crate::record::{Evidence, FileType, FsChange, FsOp, FsOpen, FsOutcome, LogPath, NetAsk, SocketOp};
use std::collections::{HashMap, HashSet};

/// What processes of one call did to files, and what of that is still to be found in its outcomes.
#[derive(Debug)]
pub(super) struct Files {
    /// Leaf of the call.
    call: u64,
    /// How many records there are, and the first and last of them.
    events: u64,
    first: u64,
    last: u64,
    /// Names that were opened to be written, or changed.
    touched: HashSet<LogPath>,
    /// Names that were removed.
    removed: HashSet<LogPath>,
    /// Names from and to which something was renamed. What lies below them went along.
    moved: HashSet<LogPath>,
    /// Files that were opened to be written, where the recorder saw which they are.
    inodes: HashSet<[u64; 2]>,
    /// Last names of sockets that were bound to a path.
    bound: HashSet<Vec<u8>>,
    /// Files that were made, and where that is said. What has an outcome is taken out.
    made: HashMap<LogPath, u64>,
    /// Outcomes that another name of the same file may explain.
    pending: Vec<(u64, [u64; 2])>,
}

impl Files {
    pub(super) fn new(call: u64) -> Self {
        Self {
            call,
            events: 0,
            first: 0,
            last: 0,
            touched: HashSet::new(),
            removed: HashSet::new(),
            moved: HashSet::new(),
            inodes: HashSet::new(),
            bound: HashSet::new(),
            made: HashMap::new(),
            pending: Vec::new(),
        }
    }

    pub(super) fn opened(&mut self, n: u64, evidence: Evidence, open: FsOpen) {
        self.count(n);
        let writes = open.fl.split('|').any(|word| matches!(word, "W" | "RW" | "TRUNC"));
        if !writes || open.errno.is_some_and(|errno| errno != 0) {
            return;
        }
        self.inodes.extend(open.ino);
        let inside = !open.path.0.starts_with(b"/");
        if evidence >= Evidence::Performed && open.was.is_some() && inside && open.cut.is_none() {
            self.made.insert(open.path.clone(), n);
        }
        if open.cut.is_none() {
            self.touched.insert(open.path);
        }
    }

    pub(super) fn changed(&mut self, n: u64, change: FsChange) {
        self.count(n);
        if change.cut.is_some() {
            return;
        }
        let FsChange { op, path, to, .. } = change;
        match op {
            FsOp::Rename | FsOp::Exchange => {
                let both = [Some(path), to].into_iter().flatten();
                both.for_each(|name| {
                    self.moved.insert(name.clone());
                    self.touched.insert(name);
                });
            }
            FsOp::Unlink | FsOp::Rmdir => {
                self.removed.insert(path.clone());
                self.touched.insert(path);
            }
            FsOp::Link
            | FsOp::Symlink
            | FsOp::Mkdir
            | FsOp::Mknod
            | FsOp::Chmod
            | FsOp::Chown
            | FsOp::Utimes
            | FsOp::Truncate
            | FsOp::Setxattr
            | FsOp::Removexattr => {
                self.touched.insert(path);
            }
        }
    }

    pub(super) fn asked(&mut self, n: u64, ask: &NetAsk) {
        if ask.op == SocketOp::Bind
            && let Some(path) = unix_path(&ask.addr)
        {
            self.count(n);
            self.bound.insert(last_name(&path).to_vec());
        }
    }

    pub(super) fn outcome(&mut self, n: u64, outcome: FsOutcome, findings: &mut Findings) {
        self.made.remove(&outcome.path);
        let socket = outcome.a.as_ref().is_some_and(|state| state.ty == FileType::Socket);
        let known = self.touched.contains(&outcome.path)
            || self.moves_along(&outcome.path)
            || socket && self.bound.contains(last_name(&outcome.path.0))
            || outcome.ino.is_some_and(|ino| self.inodes.contains(&ino));
        match outcome.ino {
            Some(ino) if known => {
                self.inodes.insert(ino);
            }
            Some(ino) => self.pending.push((n, ino)),
            None if known => {}
            None => self.unexplained(n, findings),
        }
    }

    /// The result of the call: there are no more outcomes.
    pub(super) fn end(self, n: u64, findings: &mut Findings) {
        for (outcome, ino) in &self.pending {
            if !self.inodes.contains(ino) {
                self.unexplained(*outcome, findings);
            }
        }
        let gone = |path: &LogPath| self.removed.contains(path) || self.moved.contains(path) || self.moves_along(path);
        let mut lost: Vec<u64> = self.made.iter().filter(|(path, _)| !gone(path)).map(|(_, leaf)| *leaf).collect();
        lost.sort_unstable();
        for leaf in lost {
            let text = format!("it made a file that is in no outcome of its call, which ends at leaf {n}");
            findings.incomplete(LOG, leaf, text);
        }
    }

    /// Whether a directory above a name was renamed.
    fn moves_along(&self, path: &LogPath) -> bool {
        let slashes = path.0.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        slashes
            .into_iter()
            .any(|at| path.0.get(..at).is_some_and(|above| self.moved.contains(&LogPath(above.to_vec()))))
    }

    fn unexplained(&self, n: u64, findings: &mut Findings) {
        let Self { call, events, first, last, .. } = self;
        let text = match events {
            0 => format!("no process of its call, leaf {call}, did anything to files, and this one changed"),
            1 => format!(
                "its call, leaf {call}, did one thing to files, leaf {first}, and it does not explain this change"
            ),
            _ => format!(
                "its call, leaf {call}, did {events} things to files, leaves {first} to {last}, and none explains this \
                 change"
            ),
        };
        findings.incomplete(LOG, n, text);
    }

    fn count(&mut self, n: u64) {
        if self.events == 0 {
            self.first = n;
        }
        (self.events, self.last) = (self.events + 1, n);
    }
}

/// The path of a unix socket's address.
fn unix_path(addr: &str) -> Option<Vec<u8>> {
    match addr.strip_prefix("unix-b64:") {
        Some(encoded) => crate::text::unbase64url(encoded),
        None => addr.strip_prefix("unix:").map(|path| path.as_bytes().to_vec()),
    }
}

fn last_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}
