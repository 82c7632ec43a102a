//! After a call: what changed in the workspace, and what of it is held or protected.
//! It never writes to the workspace, except to take held files out of one that is used directly.

use crate::error::{Error, Report, Result};
use crate::session::records;
use crate::workspace::{
    Change, ChangeKind, Changes, Content, GitId, Layer, Measures, Mode, Node, RelPath, Snapshot, Treatment,
    WorkspaceError,
};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use stockade_audit::record as log;
use stockade_policy::{AbsolutePath, Access, Place, Profile};

/// What is remembered of the workspace before a call.
#[derive(Debug)]
pub enum Before {
    /// Nothing: the layer knows.
    Layered,
    /// How everything stood, since nothing else keeps the host's files apart.
    Direct(Snapshot),
}

/// What a call changed.
#[derive(Debug, Default)]
pub struct Settled {
    /// Each file's way from before the call to after it.
    pub outcomes: Vec<log::FsOutcome>,
    /// Directories with entries that are too deep to be named: what changed there is not known.
    pub unnameable: usize,
    /// Everything that waits to be applied: how many changes, and how many of them need more than ordinary consent.
    pub waiting: Waiting,
    /// Held or protected files that were taken out of a workspace that is used directly; they wait for review.
    pub quarantined: Vec<RelPath>,
}

/// What waits to be applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Changes.
    pub changes: usize,
    /// Of these, held ones and protected ones.
    pub marked: usize,
}

/// Looks at the workspace before a call, where that is needed.
///
/// # Errors
/// Host: the workspace cannot be read.
pub fn before(layer: &Layer) -> Result<Before> {
    match layer.mode() {
        Mode::Review | Mode::Discard => Ok(Before::Layered),
        Mode::Direct => Ok(Before::Direct(layer.snapshot().map_err(failed)?)),
    }
}

/// Compares the workspace with what it was. `known` is what earlier calls of the session left.
///
/// # Errors
/// Host: the workspace cannot be read, or a held file not be taken out of it.
pub fn after(layer: &Layer, profile: &Profile<AbsolutePath>, before: Before, known: &mut Known) -> Result<Settled> {
    match before {
        Before::Layered => {
            let changes = layer.record().map_err(failed)?;
            let guards = Guards::new(profile, layer, &changes);
            let marked = changes.list().iter().filter(|change| guards.mark(&change.path).is_some()).count();
            let waiting = Waiting { changes: changes.list().len(), marked };
            let mut outcomes = known.advance(layer, &changes, &guards)?;
            name_inodes(&mut outcomes, changes.list());
            let unnameable = changes.unnameable().len();
            Ok(Settled { outcomes, unnameable, waiting, quarantined: Vec::new() })
        }
        Before::Direct(before) => {
            let none = Changes::default();
            let guards = Guards::new(profile, layer, &none);
            let report = layer.after_direct_call(&before, &|path| guards.treatment(path)).map_err(failed)?;
            let mut outcomes = known.advance_direct(layer, &report.changes, &guards)?;
            name_inodes(&mut outcomes, &report.changes);
            let quarantined: Vec<RelPath> = report.quarantined.into_iter().map(|(path, _)| path).collect();
            let waiting = Waiting { changes: quarantined.len(), marked: quarantined.len() };
            let unnameable = report.unnameable;
            Ok(Settled { outcomes, unnameable, waiting, quarantined })
        }
    }
}

/// Says of a file with several names which file it is: what changed it may have used another of them.
fn name_inodes(outcomes: &mut [log::FsOutcome], changes: &[Change]) {
    let shared = changes.iter().filter_map(|change| Some((change.path.as_bytes(), change.shared_inode()?)));
    let shared: HashMap<&[u8], (u64, u64)> = shared.collect();
    for outcome in outcomes {
        outcome.ino = shared.get(outcome.path.0.as_slice()).map(|(device, inode)| [*device, *inode]);
    }
}

/// How the log has last seen each changed file, so that each call's records begin where the last one's ended.
#[derive(Debug, Default)]
pub struct Known(HashMap<RelPath, Sides>);

/// A file on the host, and as the log has last seen it.
#[derive(Debug, Clone, Default)]
struct Sides {
    host: Seen,
    last: Seen,
}

/// A file, if there is one, and what git calls it, if that was measured.
#[derive(Debug, Clone, Default)]
struct Seen {
    node: Option<Node>,
    git: Option<GitId>,
}

impl Known {
    /// What happened since the last look at a layer.
    fn advance(&mut self, layer: &Layer, changes: &Changes, guards: &Guards<'_>) -> Result<Vec<log::FsOutcome>> {
        let mut outcomes = Vec::new();
        let mut then = std::mem::take(&mut self.0);
        for change in changes.list() {
            let first = || Seen { node: change.before().cloned(), git: None };
            let mut sides = then.remove(&change.path).unwrap_or_else(|| Sides { host: first(), last: first() });
            if !unchanged(sides.host.node.as_ref(), change.before()) {
                sides.host = first();
            }
            if !unchanged(sides.last.node.as_ref(), change.after()) {
                let measured = layer.measure(change).map_err(failed)?;
                sides.host.git = measured.before;
                // Lines lie between the host's file and this one, and so from the last look only where that was the host's.
                let from_host = same_content(sides.last.node.as_ref(), change.before());
                let last = if from_host { sides.host.git } else { sides.last.git };
                let lines = measured.lines.filter(|_| from_host);
                let measures = Measures { before: last, after: measured.after, lines };
                let mark = guards.mark(&change.path);
                let before = sides.last.node.as_ref();
                outcomes.extend(
                    records::file_outcome(&change.path, before, change.after(), mark)
                        .map(|outcome| records::measured(outcome, measures)),
                );
                sides.last = Seen { node: change.after().cloned(), git: measured.after };
            }
            self.0.insert(change.path.clone(), sides);
        }
        // What is no change any more is as the host has it again.
        for (path, Sides { host, last }) in then {
            let measures = Measures { before: last.git, after: host.git, lines: None };
            let (before, after) = (last.node.as_ref(), host.node.as_ref());
            outcomes.extend(
                records::file_outcome(&path, before, after, guards.mark(&path))
                    .map(|outcome| records::measured(outcome, measures)),
            );
        }
        outcomes.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(outcomes)
    }

    /// What a call did to a workspace that is used directly. What a file was before is known where an earlier call of the
    /// session left it, and the host has not touched it since.
    fn advance_direct(&mut self, layer: &Layer, list: &[Change], guards: &Guards<'_>) -> Result<Vec<log::FsOutcome>> {
        let mut outcomes = Vec::new();
        for change in list {
            let known = self.0.remove(&change.path).map(|sides| sides.last).unwrap_or_default();
            let is_known = known.node.as_ref().zip(change.before()).is_some_and(|(then, now)| stands(then, now));
            let last = if is_known { known } else { Seen { node: change.before().cloned(), git: None } };
            let measured = layer.measure(change).map_err(failed)?;
            let measures = Measures { before: last.git, ..measured };
            let mark = guards.mark(&change.path);
            outcomes.extend(
                records::file_outcome(&change.path, last.node.as_ref(), change.after(), mark)
                    .map(|outcome| records::measured(outcome, measures)),
            );
            let last = Seen { node: change.after().cloned(), git: measured.after };
            self.0.insert(change.path.clone(), Sides { host: Seen::default(), last });
        }
        Ok(outcomes)
    }
}

fn unchanged(before: Option<&Node>, after: Option<&Node>) -> bool {
    before.zip(after).map_or(before.is_none() && after.is_none(), |(before, after)| before.same(after))
}

fn same_content(before: Option<&Node>, after: Option<&Node>) -> bool {
    before.zip(after).map_or(before.is_none() && after.is_none(), |(before, after)| before.same_content(after))
}

/// Whether the host still has the file that a call left: `now` is known by its stat alone.
fn stands(then: &Node, now: &Node) -> bool {
    let length = |node: &Node| if let Content::File { size, .. } = node.content { Some(size) } else { None };
    length(then).is_some() && length(then) == length(now) && (then.mtime, then.mode) == (now.mtime, now.mode)
}

/// The policy's word on paths of the workspace, with what the policy cannot know: what exists.
pub struct Guards<'a> {
    profile: &'a Profile<AbsolutePath>,
    layer: &'a Layer,
    changes: &'a Changes,
    created: HashSet<&'a RelPath>,
    bare: RefCell<HashMap<Option<RelPath>, bool>>,
}

impl std::fmt::Debug for Guards<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guards").field("profile", &self.profile.name()).finish_non_exhaustive()
    }
}

impl<'a> Guards<'a> {
    /// Judges paths of this layer, whose changes are these.
    pub fn new(profile: &'a Profile<AbsolutePath>, layer: &'a Layer, changes: &'a Changes) -> Self {
        let is_created = |change: &&Change| change.kind() == ChangeKind::Created;
        let created = changes.list().iter().filter(is_created).map(|change| &change.path).collect();
        Self { profile, layer, changes, created, bare: RefCell::default() }
    }

    /// What taking over a change of this path needs.
    ///
    /// A protected path that did not exist before is held instead: `git init` and `git clone` make such files, and a
    /// person who consents to them makes a repository whose hooks are their own decision.
    pub fn treatment(&self, path: &RelPath) -> Treatment {
        match self.strict(path) {
            stockade_policy::Treatment::Free => Treatment::Free,
            stockade_policy::Treatment::Hold { rule } => Treatment::Hold { rule: rule.to_string() },
            stockade_policy::Treatment::Protect { rule } if self.created.contains(path) => {
                Treatment::Hold { rule: rule.to_string() }
            }
            stockade_policy::Treatment::Protect { rule } => Treatment::Protect { rule: rule.to_string() },
        }
    }

    /// How the log marks a change of this path.
    pub fn mark(&self, path: &RelPath) -> Option<log::Mark> {
        match self.treatment(path) {
            Treatment::Free => None,
            Treatment::Hold { .. } => Some(log::Mark::Held),
            Treatment::Protect { .. } => Some(log::Mark::Protected),
        }
    }

    fn strict(&self, path: &RelPath) -> stockade_policy::Treatment {
        let bytes = path.as_bytes();
        if let Some(rule) = self.closed(bytes) {
            return stockade_policy::Treatment::Protect { rule };
        }
        let directory = self.changes.get(path).and_then(Change::after).is_some_and(|node| node.is_dir());
        let own = if directory { self.profile.treatment(bytes) } else { self.profile.treatment_as_leaf(bytes) };
        match own {
            stockade_policy::Treatment::Free => self.in_bare_repository(path),
            stockade_policy::Treatment::Hold { .. } | stockade_policy::Treatment::Protect { .. } => own,
        }
    }

    /// A rule that forbids writing there by pattern; what existed at the start was also mounted read-only.
    fn closed(&self, path: &[u8]) -> Option<stockade_policy::RuleId> {
        let mut places = self.profile.closed_places().filter(|(access, ..)| *access == Access::Write);
        places.find_map(|(_, place, rule)| match place {
            Place::Workspace(pattern) if pattern.matches(path) => Some(rule.clone()),
            Place::Workspace(_) | Place::Subtree(_) => None,
        })
    }

    /// Hooks and configuration also run from a bare repository, which no name gives away.
    fn in_bare_repository(&self, path: &RelPath) -> stockade_policy::Treatment {
        // What exists is asked first: it is remembered for each directory, while a path's patterns are read anew for
        // each of its ancestors, which in a deep tree is a cube.
        let directories = path.ancestors().map(Some).chain([None]);
        for directory in directories.filter(|directory| self.is_bare_repository(directory)) {
            let (above, inside): (&[u8], &[u8]) = match &directory {
                Some(above) => (above.as_bytes(), path.rest_below(above).unwrap_or_default()),
                None => (b".", path.as_bytes()),
            };
            let treatment = self.profile.treatment_in_bare_repository(above, inside);
            if treatment != stockade_policy::Treatment::Free {
                return treatment;
            }
        }
        stockade_policy::Treatment::Free
    }

    fn is_bare_repository(&self, directory: &Option<RelPath>) -> bool {
        if let Some(known) = self.bare.borrow().get(directory) {
            return *known;
        }
        let has = |name: &[u8]| RelPath::child(directory.as_ref(), name).is_ok_and(|child| self.exists(&child));
        let is_bare = [b"HEAD".as_slice(), b"objects", b"refs"].into_iter().all(has);
        self.bare.borrow_mut().insert(directory.clone(), is_bare);
        is_bare
    }

    /// Whether the guest has something at this path; what cannot be looked at counts as there.
    fn exists(&self, path: &RelPath) -> bool {
        match self.changes.get(path) {
            Some(change) => change.after().is_some(),
            None => self.layer.host_node(path).map_or(true, |node| node.is_some()),
        }
    }
}

/// An error of the workspace as one of ours.
pub fn failed(error: WorkspaceError) -> Error {
    let report = Report { what: error.to_string(), hint: error.hint().map(str::to_owned) };
    Error { fault: error.fault(), reports: vec![report] }
}
