//! Finds what a layer changed by walking the layer (not the workspace) and comparing with the host.
//! It never writes to the workspace, never follows a symlink, and never holds more than one file's chunk in memory.

use super::change::{Change, Changes, Conflict, Delta, Newer, Stamp};
use super::door::{self, Dir, Kind, Stat, Time};
use super::error::{Named, Result, WorkspaceError};
use super::lent::Lent;
use super::node::{self, Content, Digest, Lend, Node};
use super::path::RelPath;
use super::state::{Memory, Seen};
use rustix::io::Errno;
use std::collections::HashSet;

/// Most changes of one layer.
pub(super) const CHANGES_MAX: usize = 1_000_000;
const _: () = assert!(CHANGES_MAX <= super::state::LINES_MAX);

/// Whether digests of an earlier scan may be believed for files whose stat did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Yes: for the records after each call. A program that keeps a file mapped can write to it without the stat
    /// changing for some seconds, so this is not what is applied.
    Reuse,
    /// No: every changed file is read again.
    Rehash,
}

/// How entries of the layer speak of the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Whiteouts delete, opaque directories hide, the rest shows through.
    Overlay,
    /// What is absent from the copy was deleted.
    Copy,
}

/// Compares the layer's tree with the host's.
pub(super) fn scan(
    layer: &Dir,
    host: &Dir,
    dialect: Dialect,
    memory: &Memory,
    started: Time,
    freshness: Freshness,
) -> Result<Changes> {
    let mut scan = Scan {
        layer,
        host,
        dialect,
        memory,
        started,
        freshness,
        found: Changes::default(),
        present: HashSet::new(),
        lent: Lent::new(layer),
        todo: Vec::new(),
    };
    scan.todo.push(Todo { path: None, opaque: Opaque::No });
    while let Some(todo) = scan.todo.pop() {
        scan.directory(&todo)?;
    }
    if dialect == Dialect::Copy {
        scan.missing_from_copy()?;
    }
    let mut found = std::mem::take(&mut scan.found);
    found.list.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opaque {
    No,
    Yes,
}

struct Todo {
    path: Option<RelPath>,
    opaque: Opaque,
}

struct Scan<'a> {
    layer: &'a Dir,
    host: &'a Dir,
    dialect: Dialect,
    memory: &'a Memory,
    started: Time,
    freshness: Freshness,
    found: Changes,
    /// Copy only: entries of the baseline that are accounted for.
    present: HashSet<RelPath>,
    lent: Lent<'a>,
    todo: Vec<Todo>,
}

/// One entry under comparison.
struct Entry<'a> {
    path: RelPath,
    dir: &'a Dir,
    stat: Stat,
}

impl Scan<'_> {
    fn directory(&mut self, todo: &Todo) -> Result<()> {
        let shown = || todo.path.as_ref().map_or_else(|| ".".to_owned(), ToString::to_string);
        let dir = self.layer.walk(todo.path.as_ref()).named("open in the layer", shown)?;
        let host = host_dir(self.host, todo.path.as_ref()).named("open in the workspace", shown)?;
        let names = dir.names().named("list in the layer", shown)?;
        for name in &names {
            let Ok(path) = RelPath::child(todo.path.as_ref(), name) else {
                self.found.unnameable.extend(todo.path.clone());
                break;
            };
            let Some(stat) = dir.stat(name).named("look at", || &path)? else { continue };
            self.entry(Entry { path, dir: &dir, stat }, host.as_ref())?;
        }
        if let (Opaque::Yes, Some(host)) = (todo.opaque, &host) {
            for name in host.names().named("list in the workspace", shown)? {
                if names.binary_search(&name).is_err() {
                    let path = RelPath::child(todo.path.as_ref(), &name);
                    let path = path.map_err(|fault| too_long(&shown(), fault))?;
                    self.deleted(path, host)?;
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: Entry<'_>, host: Option<&Dir>) -> Result<()> {
        let Entry { path, dir, stat } = &entry;
        if self.is_whiteout(&entry)? {
            let settled = self.memory.settled.get(path).is_some_and(|settled| settled.layer.is_none());
            return match host {
                Some(host) if !settled => self.deleted(path.clone(), host),
                Some(_) | None => Ok(()),
            };
        }
        if stat.is_dir() {
            self.descend(&entry)?;
        }
        if self.is_untouched(path, stat) {
            if stat.nlink > 1 && !stat.is_dir() {
                self.found.anchors.insert(stat.inode(), path.clone());
            }
            return Ok(());
        }
        let mut host_stat = match host {
            Some(host) => host.stat(path.name()).named("look at", || path)?,
            None => None,
        };
        let after = self.describe_layer(&entry)?;
        let before = match (host, &host_stat) {
            (Some(host), Some(stat)) => self.describe_host(host, path, stat)?,
            _ => None,
        };
        if before.is_none() {
            host_stat = None;
        }
        if let (Some(before), Some(stat)) = (&before, &host_stat) {
            if stat.is_dir()
                && !after.is_dir()
                && let Some(host) = host
            {
                self.deleted_below(path.clone(), host)?;
            }
            if before.same(&after) {
                if entry.stat.nlink > 1 && !after.is_dir() {
                    self.found.anchors.insert(entry.stat.inode(), path.clone());
                }
                return Ok(());
            }
        }
        let group = (stat.nlink > 1 && !stat.is_dir()).then(|| stat.inode());
        // Looked at again: reading a file that the guest made unreadable changes its ctime.
        let stamp = dir.stat(path.name()).named("look at", || path)?.as_ref().map(Stamp::from);
        let path = path.clone();
        self.push(path, before, Some(after), host_stat, group, stamp)
    }

    /// Queues a directory, making it readable for us first if the guest locked it.
    fn descend(&mut self, entry: &Entry<'_>) -> Result<()> {
        let Entry { path, dir, stat } = entry;
        if self.dialect == Dialect::Copy {
            self.present.insert(path.clone());
        }
        self.lent.open(dir, path, stat).named("open up in the layer", || path)?;
        let opaque = match self.dialect {
            Dialect::Overlay => dir.xattr(path.name(), door::OPAQUE).named("look at", || path)?,
            Dialect::Copy => None,
        };
        let opaque = if opaque.as_deref() == Some(b"y") { Opaque::Yes } else { Opaque::No };
        self.todo.push(Todo { path: Some(path.clone()), opaque });
        Ok(())
    }

    fn is_whiteout(&self, entry: &Entry<'_>) -> Result<bool> {
        match (self.dialect, entry.stat.kind) {
            (Dialect::Overlay, Kind::Whiteout) => Ok(true),
            // What overlayfs writes where the file system has no device nodes.
            (Dialect::Overlay, Kind::File) if entry.stat.size == 0 => {
                let mark = entry.dir.xattr(entry.path.name(), b"user.overlay.whiteout");
                Ok(mark.named("look at", || &entry.path)?.is_some())
            }
            _ => Ok(false),
        }
    }

    /// True when the layer's entry is as it was when it was copied, or when it was last applied.
    fn is_untouched(&mut self, path: &RelPath, stat: &Stat) -> bool {
        let stamp = Some(Stamp::from(stat));
        if self.dialect == Dialect::Copy && !stat.is_dir() && self.memory.baseline.contains_key(path) {
            self.present.insert(path.clone());
        }
        match (self.memory.settled.get(path), self.memory.baseline.get(path)) {
            (Some(settled), _) => settled.layer == stamp,
            (None, Some(baseline)) => *baseline == stamp,
            (None, None) => false,
        }
    }

    fn describe_layer(&self, entry: &Entry<'_>) -> Result<Node> {
        let Entry { path, dir, stat } = entry;
        let known = self.remembered(path, |seen| (seen.layer, seen.after), stat);
        let mut stat = *stat;
        if let Some(bits) = self.lent.original(path) {
            stat.mode = (stat.mode & !0o7777) | bits;
        }
        node::describe(dir, path.name(), &stat, known, Lend::Allowed).named("read in the layer", || path)
    }

    /// `None` when somebody took it away, or put something else there, since it was looked at.
    fn describe_host(&self, host: &Dir, path: &RelPath, stat: &Stat) -> Result<Option<Node>> {
        let known = self.remembered(path, |seen| (seen.host, seen.before), stat);
        match node::describe(host, path.name(), stat, known, Lend::Never) {
            Err(errno) if node::is_another(errno) => Ok(None),
            described => described.named("read in the workspace", || path).map(Some),
        }
    }

    fn remembered(
        &self,
        path: &RelPath,
        side: impl Fn(&Seen) -> (Option<Stamp>, Option<Digest>),
        stat: &Stat,
    ) -> Option<Digest> {
        match self.freshness {
            Freshness::Rehash => None,
            Freshness::Reuse => {
                let (stamp, digest) = side(self.memory.seen.get(path)?);
                if stamp == Some(Stamp::from(stat)) { digest } else { None }
            }
        }
    }

    /// The host's entry `path` and everything below it is gone in the layer.
    fn deleted(&mut self, path: RelPath, host: &Dir) -> Result<()> {
        let Some(stat) = host.stat(path.name()).named("look at", || &path)? else { return Ok(()) };
        if stat.is_dir() {
            self.deleted_below(path.clone(), host)?;
        }
        let Some(before) = self.describe_host(host, &path, &stat)? else { return Ok(()) };
        self.push(path, Some(before), None, Some(stat), None, None)
    }

    fn deleted_below(&mut self, path: RelPath, parent: &Dir) -> Result<()> {
        let Ok(_) = parent.child(path.name()) else { return Ok(()) };
        let mut todo = vec![path];
        while let Some(path) = todo.pop() {
            let Some(dir) = host_dir(self.host, Some(&path)).named("open in the workspace", || &path)? else {
                continue;
            };
            for name in dir.names().named("list in the workspace", || &path)? {
                let child = RelPath::child(Some(&path), &name).map_err(|fault| too_long(&path.to_string(), fault))?;
                let Some(stat) = dir.stat(&name).named("look at", || &child)? else { continue };
                let Some(before) = self.describe_host(&dir, &child, &stat)? else { continue };
                if stat.is_dir() {
                    todo.push(child.clone());
                }
                if self.dialect == Dialect::Copy {
                    self.present.insert(child.clone());
                }
                self.push(child, Some(before), None, Some(stat), None, None)?;
            }
        }
        Ok(())
    }

    /// Copy method: what the baseline has and the copy has not.
    fn missing_from_copy(&mut self) -> Result<()> {
        let settled = |path: &RelPath| self.memory.settled.get(path).is_some_and(|settled| settled.layer.is_none());
        let gone: Vec<RelPath> = self
            .memory
            .baseline
            .keys()
            .chain(self.memory.settled.iter().filter(|(_, settled)| settled.layer.is_some()).map(|(path, _)| path))
            .filter(|path| !self.present.contains(*path) && !settled(path))
            .cloned()
            .collect::<HashSet<_>>()
            .into_iter()
            .collect();
        for path in gone {
            // An entry that an apply created in the workspace is not in the baseline, but may be in the copy.
            if self.layer.stat_at(&path).named("look at", || &path)?.is_some() {
                continue;
            }
            let Some(stat) = self.host.stat_at(&path).named("look at", || &path)? else { continue };
            let host = self.host.walk_to_parent(&path).named("open in the workspace", || &path)?;
            let Some(before) = self.describe_host(&host, &path, &stat)? else { continue };
            self.push(path, Some(before), None, Some(stat), None, None)?;
        }
        Ok(())
    }

    fn push(
        &mut self,
        path: RelPath,
        before: Option<Node>,
        after: Option<Node>,
        host: Option<Stat>,
        group: Option<(u64, u64)>,
        layer: Option<Stamp>,
    ) -> Result<()> {
        if self.found.list.len() >= CHANGES_MAX {
            let limit = format!("{CHANGES_MAX} changes");
            return Err(WorkspaceError::Limit { act: "compare", object: path.to_string(), limit });
        }
        let conflict = self.conflict(&path, before.as_ref(), after.as_ref(), host.as_ref());
        let delta = match (before, after) {
            (None, None) => return Ok(()),
            (None, Some(after)) => Delta::Created(after),
            (Some(before), None) => Delta::Deleted(before),
            (Some(before), Some(after)) => Delta::Changed { before, after },
        };
        let host = host.as_ref().map(Stamp::from);
        self.found.list.push(Change { path, delta, conflict, group, host, layer });
        Ok(())
    }

    /// The host's entry is in conflict when it is not what the guest started from.
    fn conflict(
        &self,
        path: &RelPath,
        before: Option<&Node>,
        after: Option<&Node>,
        host: Option<&Stat>,
    ) -> Option<Conflict> {
        // A directory's times change with its entries, which are compared on their own.
        if host.is_some_and(Stat::is_dir) && before.is_some_and(Node::is_dir) {
            return None;
        }
        let stamp = host.map(Stamp::from);
        let late = host.is_some_and(|host| host.ctime > self.started);
        let (moved, expected) = if let Some(settled) = self.memory.settled.get(path) {
            (settled.host != stamp, None)
        } else if let Some(restored) = self.memory.restored.get(path) {
            (*restored != stamp, None)
        } else if let Some(seen) = self.memory.seen.get(path) {
            // Keeping a file by a further link changes its ctime and nothing else; a link cannot change but by name.
            let unchanged_link = before.is_some_and(|node| matches!(node.content, Content::Symlink { .. }))
                && seen.host.zip(stamp).is_some_and(|(then, now)| Stamp { ctime: now.ctime, ..then } == now);
            let same_bytes = seen.before.is_some() && seen.before == before.and_then(Node::sha256);
            let same = seen.host == stamp || same_bytes || unchanged_link;
            (seen.conflicting || !same, seen.before)
        } else {
            (late, None)
        };
        moved.then(|| Conflict { host: before.cloned(), expected, newer: newer(host, after) })
    }
}

fn newer(host: Option<&Stat>, after: Option<&Node>) -> Newer {
    match (host, after) {
        (Some(host), Some(after)) if host.mtime > after.mtime => Newer::Host,
        (Some(_), Some(Node { content: Content::File { .. }, .. })) => Newer::Layer,
        _ => Newer::Unknown,
    }
}

fn too_long(shown: &str, fault: super::path::PathFault) -> WorkspaceError {
    WorkspaceError::Limit { act: "list in the workspace", object: shown.to_owned(), limit: fault.to_string() }
}

/// The host's directory at `path`, if there is one that we may read.
fn host_dir(host: &Dir, path: Option<&RelPath>) -> std::result::Result<Option<Dir>, Errno> {
    match host.walk(path) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => Ok(None),
        Err(errno) => Err(errno),
    }
}
