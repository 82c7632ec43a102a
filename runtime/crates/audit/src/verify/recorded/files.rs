//! Double entry of one call's files: what was changed against what processes and tools did, in both directions.
//! It never resolves a path: two spellings of one name are two names.

use super::super::Findings;
use super::LOG;
use crate::record::{
    Digest, Evidence, FileType, FsChange, FsOp, FsOpen, FsOutcome, LogPath, NetAsk, SocketOp, ToolOp, ToolUse,
    ToolUseOf,
};
use std::collections::{HashMap, HashSet};

/// A name as records have it: what they keep of it and, where that is not all, a hash of the whole.
type Name = (LogPath, Option<Digest>);

/// What processes of one call, or its tool, did to files, and what of that is still to be found in its outcomes.
#[derive(Debug)]
pub(super) struct Files {
    /// Leaf of the call.
    call: u64,
    /// How many records there are, and the first and last of them.
    events: u64,
    first: u64,
    last: u64,
    /// Names that were opened to be written, or changed.
    touched: HashSet<Name>,
    /// Names that were removed.
    removed: HashSet<Name>,
    /// Names from and to which something was renamed. What lies below them went along.
    moved: HashSet<Name>,
    /// Files that were opened to be written, where the recorder saw which they are.
    inodes: HashSet<[u64; 2]>,
    /// Last names of sockets that were bound to a path.
    bound: HashSet<Vec<u8>>,
    /// Files that were made, and where that is said. What has an outcome is taken out.
    made: HashMap<Name, u64>,
    /// Names that a tool removed, and where. What has an outcome, or another change in the call, is taken out.
    ended: HashMap<Name, u64>,
    /// Outcomes that another name of the same file may explain.
    pending: Vec<(u64, Name, [u64; 2])>,
    /// The first record that could explain a change, and does not have its name, or not all of it.
    vague: Option<u64>,
    /// Renames whose names are longer than a record keeps: which names lie below is not to be seen.
    far: Vec<(u64, LogPath)>,
    /// How many names, longer than a record keeps, those may explain, and the first leaves of both.
    doubts: Option<(u64, u64, u64)>,
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
            ended: HashMap::new(),
            pending: Vec::new(),
            vague: None,
            far: Vec::new(),
            doubts: None,
        }
    }

    pub(super) fn opened(&mut self, n: u64, evidence: Evidence, open: FsOpen) {
        self.count(n);
        if !open.can_change() || open.errno.is_some_and(|errno| errno != 0) {
            return;
        }
        self.inodes.extend(open.ino);
        if !are_known(open.cut, [open.path_h, None]) {
            self.vague.get_or_insert(n);
            return;
        }
        let inside = !open.path.0.starts_with(b"/");
        let name = (open.path, open.path_h);
        if evidence >= Evidence::Performed && open.was.is_some() && inside {
            self.made.insert(name.clone(), n);
        }
        self.touch(name);
    }

    pub(super) fn changed(&mut self, n: u64, change: FsChange) {
        self.count(n);
        let FsChange { op, path, path_h, to, to_h, cut, .. } = change;
        if !are_known(cut, [path_h, to_h]) {
            self.vague.get_or_insert(n);
            return;
        }
        let name = (path, path_h);
        match op {
            FsOp::Rename | FsOp::Exchange => {
                let both = [Some(name), to.map(|to| (to, to_h))].into_iter().flatten();
                both.for_each(|name| {
                    if name.1.is_some() {
                        self.far.push((n, name.0.clone()));
                    }
                    self.moved.insert(name.clone());
                    self.touch(name);
                });
            }
            FsOp::Unlink | FsOp::Rmdir => {
                self.removed.insert(name.clone());
                self.touch(name);
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
            | FsOp::Removexattr => self.touch(name),
        }
    }

    /// What a tool did: a use that was refused, or only looked, did nothing.
    pub(super) fn used(&mut self, n: u64, used: ToolUse) {
        let changes = used.can_change();
        let ToolUse { op, path, path_h, to, to_h, ino, was, .. } = used;
        if matches!(op.of(), ToolUseOf::Net | ToolUseOf::Aside | ToolUseOf::Other) {
            return;
        }
        self.count(n);
        let Some(path) = path.filter(|_| changes) else { return };
        self.inodes.extend(ino);
        let inside = !path.0.starts_with(b"/");
        let name = (path, path_h);
        let other = to.map(|to| (to, to_h));
        match op {
            ToolOp::Rename => {
                for name in [Some(&name), other.as_ref()].into_iter().flatten() {
                    if name.1.is_some() {
                        self.far.push((n, name.0.clone()));
                    }
                    self.moved.insert(name.clone());
                }
                other.into_iter().for_each(|name| self.touch(name));
                self.touch(name);
            }
            ToolOp::Unlink | ToolOp::Rmdir => {
                let only = !self.touched.contains(&name);
                self.removed.insert(name.clone());
                self.touch(name.clone());
                if inside && only {
                    self.ended.insert(name, n);
                }
            }
            ToolOp::Open | ToolOp::Link | ToolOp::Symlink | ToolOp::Mkdir => {
                if inside && (op != ToolOp::Open || was.is_some()) {
                    self.made.insert(name.clone(), n);
                }
                // Both names of a link are of one file from here on.
                other.into_iter().filter(|_| op == ToolOp::Link).for_each(|name| self.touch(name));
                self.touch(name);
            }
            ToolOp::Chmod | ToolOp::Utimes | ToolOp::Truncate => self.touch(name),
            ToolOp::Read
            | ToolOp::List
            | ToolOp::Stat
            | ToolOp::Readlink
            | ToolOp::Write
            | ToolOp::Request
            | ToolOp::Connect
            | ToolOp::Moved
            | ToolOp::Lookup
            | ToolOp::Clock
            | ToolOp::Random
            | ToolOp::Env
            | ToolOp::Stdin
            | ToolOp::Args
            | ToolOp::Socket => {}
        }
    }

    /// Something changed a name, or may have.
    fn touch(&mut self, name: Name) {
        self.ended.remove(&name);
        self.touched.insert(name);
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
        let socket = outcome.a.as_ref().is_some_and(|state| state.ty == FileType::Socket);
        let name = (outcome.path, outcome.path_h);
        self.made.remove(&name);
        self.ended.remove(&name);
        let known = self.touched.contains(&name)
            || self.moves_along(&name)
            || socket && self.bound.contains(last_name(&name.0.0))
            || outcome.ino.is_some_and(|ino| self.inodes.contains(&ino));
        match outcome.ino {
            Some(ino) if known => {
                self.inodes.insert(ino);
            }
            Some(ino) => self.pending.push((n, name, ino)),
            None if known => {}
            None => self.unexplained(n, &name, findings),
        }
    }

    /// The result of the call: there are no more outcomes.
    pub(super) fn end(mut self, n: u64, findings: &mut Findings) {
        for (outcome, name, ino) in std::mem::take(&mut self.pending) {
            if !self.inodes.contains(&ino) {
                self.unexplained(outcome, &name, findings);
            }
        }
        for (leaf, name) in self.lost() {
            if !self.is_in_doubt(leaf, &name) {
                let did = if self.ended.contains_key(&name) { "removed a name" } else { "made a file" };
                let text = format!("it {did} that is in no outcome of its call, which ends at leaf {n}");
                findings.incomplete(LOG, leaf, text);
            }
        }
        if let Some((names, first, perhaps)) = self.doubts {
            let text = format!(
                "call at leaf {}: {names} names, first at leaf {first}, are longer than a record keeps; whether what was \
                 done to others of this kind, first at leaf {perhaps}, explains them is not to be seen",
                self.call
            );
            findings.note(LOG, text);
        }
    }

    /// What was made and is not gone, and what is gone without a trace, in the order of the log.
    fn lost(&self) -> Vec<(u64, Name)> {
        let gone = |name: &Name| self.removed.contains(name) || self.moved.contains(name) || self.moves_along(name);
        let made = self.made.iter().filter(|(name, _)| !gone(name));
        let ended = self.ended.iter().filter(|(name, _)| !self.moves_along(name));
        let mut lost: Vec<(u64, Name)> = made.chain(ended).map(|(name, leaf)| (*leaf, name.clone())).collect();
        lost.sort_unstable();
        lost
    }

    /// Whether a directory above a name was renamed.
    fn moves_along(&self, (path, _): &Name) -> bool {
        let slashes = path.0.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        slashes
            .into_iter()
            .any(|at| path.0.get(..at).is_some_and(|above| self.moved.contains(&(LogPath(above.to_vec()), None))))
    }

    /// Whether a name is too long to say that nothing explains it, where something may: then it is counted.
    fn is_in_doubt(&mut self, n: u64, (path, hash): &Name) -> bool {
        let along = |(_, moved): &&(u64, LogPath)| path.0.starts_with(&moved.0) || moved.0.starts_with(&path.0);
        let perhaps = || self.vague.or_else(|| self.far.iter().find(along).map(|(leaf, _)| *leaf));
        let Some(perhaps) = hash.and_then(|_| perhaps()) else { return false };
        self.doubts.get_or_insert((0, n, perhaps)).0 += 1;
        true
    }

    fn unexplained(&mut self, n: u64, name: &Name, findings: &mut Findings) {
        if self.is_in_doubt(n, name) {
            return;
        }
        let Self { call, events, first, last, .. } = self;
        let text = match events {
            0 => format!("nothing in its call, leaf {call}, did anything to files, and this one changed"),
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

/// Whether a record has all its names, or a hash of each that it has not.
fn are_known(cut: Option<u64>, hashes: [Option<Digest>; 2]) -> bool {
    cut.unwrap_or(0) == hashes.iter().flatten().count() as u64
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
