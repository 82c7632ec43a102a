//! Why a path is as it is: each change with the opens and changes of names that explain it, who made them, and for which call.
//! It never claims a cause that no record shows: what explains a change is what the log has between it and the one before.

use super::process::Process;
use super::subject::{can_change, change_of, paths_of, process_of, tool_of};
use super::{Found, Glob, Index, LogReader};
use crate::error::Result;
use crate::record::{Body, CallId, FsOp, LogPath};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Names that are followed back, for a path that was renamed, linked or moved with its directory.
const NAMES_MAX: usize = 16;
/// Ancestors of a process that are looked up.
const ANCESTORS_MAX: usize = 64;

/// Why a path is as it is: one change, and the records that explain it.
#[derive(Debug, Clone, PartialEq)]
pub struct Why {
    /// The path that was asked for.
    pub path: LogPath,
    /// What became of it. `None`: what was done to the path, and nothing of that was left at the end of a call.
    pub change: Option<Found>,
    /// Opens for writing, and changes of names and properties, by processes and tools, since the change before: of this path, or of a name that
    /// the file had before.
    pub events: Vec<Found>,
    /// Who did those: each process, then whoever made it, up to the main process of the call.
    pub who: Vec<Vec<Process>>,
    /// Call, decision, limits and result, in the order of the log.
    pub because: Vec<Found>,
}

impl LogReader {
    /// The changes of the paths that a glob names, each with what explains it, in the order of the log.
    ///
    /// # Errors
    /// As [`LogReader::each`].
    pub fn why(&self, glob: &Glob) -> Result<Vec<Why>> {
        let index = Index::open(self)?;
        let mut by_path: BTreeMap<LogPath, Vec<Found>> = BTreeMap::new();
        for found in index.find(self, glob)? {
            let paths: BTreeSet<LogPath> =
                paths_of(&found.leaf.body).filter(|path| glob.matches(&path.0)).cloned().collect();
            for path in paths {
                by_path.entry(path).or_default().push(found.clone());
            }
        }
        let mut asker = Asker { log: self, index, calls: HashMap::new(), processes: HashMap::new() };
        let mut whys = Vec::new();
        for (path, found) in by_path {
            whys.extend(asker.of_path(&path, found)?);
        }
        whys.sort_by_key(|why| {
            let first = why.change.as_ref().or(why.events.first());
            first.map(|found| found.leaf.n)
        });
        Ok(whys)
    }
}

/// Looks things up, each once.
struct Asker<'a> {
    log: &'a LogReader,
    index: Index,
    calls: HashMap<CallId, Vec<Found>>,
    processes: HashMap<u64, Option<Process>>,
}

impl Asker<'_> {
    fn of_path(&mut self, path: &LogPath, found: Vec<Found>) -> Result<Vec<Why>> {
        let (changes, mut events): (Vec<Found>, Vec<Found>) =
            found.into_iter().partition(|found| !is_event(&found.leaf.body));
        events.extend(self.of_earlier_names(path, &events)?);
        events.retain(|found| may_change(&found.leaf.body));
        events.sort_by_key(|found| found.leaf.n);
        events.dedup_by_key(|found| found.leaf.n);
        let mut events = VecDeque::from(events);
        let mut whys = Vec::new();
        for change in changes.into_iter().map(Some).chain([None]) {
            let until = change.as_ref().map_or(u64::MAX, |change| change.leaf.n);
            let mut before = Vec::new();
            while let Some(event) = events.pop_front_if(|event| event.leaf.n < until) {
                before.push(event);
            }
            if change.is_none() && before.is_empty() {
                continue;
            }
            whys.push(self.why(path, change, before)?);
        }
        Ok(whys)
    }

    fn why(&mut self, path: &LogPath, change: Option<Found>, events: Vec<Found>) -> Result<Why> {
        let call = change.iter().chain(&events).find_map(|found| found.leaf.call.clone());
        let because = call.map_or_else(|| Ok(Vec::new()), |call| self.call(&call))?;
        let actors: BTreeSet<u64> = events.iter().filter_map(|event| process_of(&event.leaf.body)).collect();
        let who = actors.into_iter().map(|p| self.ancestry(p)).collect::<Result<Vec<_>>>()?;
        let who = who.into_iter().filter(|line| !line.is_empty()).collect();
        Ok(Why { path: path.clone(), change, events, who, because })
    }

    /// Events under the names that the file had before: what was renamed or linked to this path, or moved with a
    /// directory above it.
    fn of_earlier_names(&self, path: &LogPath, events: &[Found]) -> Result<Vec<Found>> {
        let mut names = vec![path.clone()];
        let mut more = Vec::new();
        let mut at = 0;
        while let Some(name) = names.get(at).cloned() {
            let of_name = if at == 0 { events.to_vec() } else { self.events_of(&name)? };
            let mut earlier: Vec<LogPath> = of_name.iter().filter_map(|found| other_name(found, &name)).collect();
            for directory in directories(&name) {
                let moved = self.events_of(&directory)?;
                earlier.extend(moved.iter().filter_map(|found| moved_from(found, &directory, &name)));
                more.extend(moved.into_iter().filter(|found| moved_from(found, &directory, &name).is_some()));
            }
            if at > 0 {
                more.extend(of_name);
            }
            for name in earlier {
                if names.len() < NAMES_MAX && !names.contains(&name) {
                    names.push(name);
                }
            }
            at += 1;
        }
        Ok(more)
    }

    fn events_of(&self, path: &LogPath) -> Result<Vec<Found>> {
        let found = self.index.find(self.log, &Glob::exactly(&path.0))?;
        Ok(found.into_iter().filter(|found| is_event(&found.leaf.body)).collect())
    }

    fn call(&mut self, call: &CallId) -> Result<Vec<Found>> {
        if let Some(known) = self.calls.get(call) {
            return Ok(known.clone());
        }
        let found = self.index.of_call(self.log, call.as_str())?;
        self.calls.insert(call.clone(), found.clone());
        Ok(found)
    }

    /// A process, who made it, who made that…
    fn ancestry(&mut self, p: u64) -> Result<Vec<Process>> {
        let mut line = Vec::new();
        let mut next = Some(p);
        while let Some(p) = next.filter(|_| line.len() < ANCESTORS_MAX) {
            let Some(process) = self.process(p)? else { break };
            // Whoever makes a process has a smaller number: a log that says otherwise cannot make us run in circles.
            next = process.pp.filter(|pp| *pp < p);
            line.push(process);
        }
        Ok(line)
    }

    fn process(&mut self, p: u64) -> Result<Option<Process>> {
        if let Some(known) = self.processes.get(&p) {
            return Ok(known.clone());
        }
        let found = self.index.of_process(self.log, p)?;
        let process = (!found.is_empty()).then(|| {
            let mut process = Process::new(p);
            found.iter().for_each(|found| process.take(&found.leaf));
            process
        });
        self.processes.insert(p, process.clone());
        Ok(process)
    }
}

/// Whether a record says what a process or a tool did, rather than what came of it.
fn is_event(body: &Body) -> bool {
    process_of(body).is_some() || tool_of(body).is_some()
}

/// Whether what a record tells of can have changed a file: what only looked explains nothing.
fn may_change(body: &Body) -> bool {
    if let Body::FsOpen(open) = body {
        return can_change(open);
    }
    if let Body::ToolUse(used) = body { used.can_change() } else { true }
}

/// The other name of the same file, where a record gives it one: what it was called before, or is called too.
fn other_name(found: &Found, name: &LogPath) -> Option<LogPath> {
    let (op, path, to) = change_of(&found.leaf.body)?;
    let to = to?;
    match op {
        FsOp::Rename => (to == name).then(|| path.clone()),
        FsOp::Exchange | FsOp::Link => Some(if to == name { path.clone() } else { to.clone() }),
        FsOp::Unlink
        | FsOp::Rmdir
        | FsOp::Symlink
        | FsOp::Mkdir
        | FsOp::Mknod
        | FsOp::Chmod
        | FsOp::Chown
        | FsOp::Utimes
        | FsOp::Truncate
        | FsOp::Setxattr
        | FsOp::Removexattr => None,
    }
}

/// The directories above a path, nearest first.
fn directories(path: &LogPath) -> Vec<LogPath> {
    let ends = path.0.iter().enumerate().rev().filter(|(at, byte)| **byte == b'/' && *at > 0);
    ends.map(|(at, _)| LogPath(path.0[..at].to_vec())).collect()
}

/// What `name` was called before a record moved the directory above it to where it is.
fn moved_from(found: &Found, directory: &LogPath, name: &LogPath) -> Option<LogPath> {
    let (op, path, to) = change_of(&found.leaf.body)?;
    let moved = matches!(op, FsOp::Rename | FsOp::Exchange) && to == Some(directory);
    let below = name.0.strip_prefix(directory.0.as_slice()).filter(|_| moved)?;
    Some(LogPath([path.0.as_slice(), below].concat()))
}
