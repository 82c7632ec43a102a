//! The workspace itself as the place of work: what a call changed there, and what must not stay there.
//! It never changes anything but entries that are held or protected and were not there before: those are taken out.

use super::change::{Change, Delta, Stamp};
use super::copy::{self, Dress, Hashing};
use super::door::{Kind, Stat};
use super::error::{Named, Result, WorkspaceError};
use super::layer::Layer;
use super::node::{self, Content, Lend, Node};
use super::path::RelPath;
use super::plan::Treatment;
use super::scan::CHANGES_MAX;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};

/// Most entries of a workspace that is used directly.
const ENTRIES_MAX: usize = 10 * CHANGES_MAX;

/// The stat of every entry of a workspace at one time, and how many directories have entries too deep to be named.
#[derive(Debug, Clone)]
pub struct Snapshot(BTreeMap<RelPath, Stat>, usize);

/// An existing entry that the policy holds or protects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Where. If it is a directory, everything below it is meant.
    pub path: RelPath,
    /// Why. Never [`Treatment::Free`].
    pub treatment: Treatment,
}

/// What the caller makes read-only, and what it keeps from being moved away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matches {
    /// To be mounted read-only.
    pub found: Vec<Match>,
    /// Directories above them: were one renamed, another could take its place.
    pub pins: BTreeSet<RelPath>,
}

/// What a call did to the workspace.
#[derive(Debug)]
pub struct DirectReport {
    /// What changed, sorted by path. The digest of what was there before is not known.
    pub changes: Vec<Change>,
    /// Held or protected entries that were taken out, and now wait in the layer.
    pub quarantined: Vec<(RelPath, Treatment)>,
    /// Directories with entries too deep to be named: what changed there is not known.
    pub unnameable: usize,
    /// The workspace afterwards: the `before` of the next call.
    pub after: Snapshot,
}

impl Snapshot {
    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True for an empty workspace.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Layer {
    /// Looks at every entry of the workspace, without reading any.
    ///
    /// # Errors
    /// A directory cannot be read, or there are too many entries.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let mut entries = BTreeMap::new();
        let unnameable = self.walk_host(|path, stat| {
            entries.insert(path.clone(), *stat);
            Descend::Yes
        })?;
        Ok(Snapshot(entries, unnameable))
    }

    /// Compares the workspace with `before`, and takes out what is new and not free: it waits in the layer, where
    /// `diff` shows it and `apply` asks for consent.
    ///
    /// # Errors
    /// The workspace cannot be read, or an entry not be taken out.
    pub fn after_direct_call(
        &self,
        before: &Snapshot,
        treatment: &dyn Fn(&RelPath) -> Treatment,
    ) -> Result<DirectReport> {
        let mut after = self.snapshot()?;
        let mut changes = Vec::new();
        let mut quarantined = Vec::new();
        for (path, stat) in &after.0 {
            let old = before.0.get(path);
            if old.is_some_and(|old| is_untouched(old, stat)) {
                continue;
            }
            let treatment = treatment(path);
            if treatment != Treatment::Free && matches!(stat.kind, Kind::File | Kind::Symlink) {
                quarantined.push((path.clone(), treatment));
            }
            let found = node::describe_at(&self.host, path, Lend::Never).named("read in the workspace", || path)?;
            let Some((now, after)) = found else { continue };
            let delta = match old {
                Some(old) => Delta::Changed { before: undigested(old), after },
                None => Delta::Created(after),
            };
            changes.push(change(path, delta, Some(&now)));
        }
        for (path, old) in before.0.iter().filter(|(path, _)| !after.0.contains_key(*path)) {
            changes.push(change(path, Delta::Deleted(undigested(old)), None));
        }
        changes.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        for (path, _) in &quarantined {
            self.quarantine(path).named("take out of the workspace", || path)?;
            after.0.remove(path);
        }
        let unnameable = after.1;
        Ok(DirectReport { changes, quarantined, unnameable, after })
    }

    /// The entries that exist now and are not free, outermost first, and the directories above them.
    ///
    /// # Errors
    /// A directory cannot be read, or there are too many entries.
    pub fn existing_matches(&self, treatment: &dyn Fn(&RelPath) -> Treatment) -> Result<Matches> {
        let mut matches = Matches::default();
        self.walk_host(|path, _| match treatment(path) {
            Treatment::Free => Descend::Yes,
            treatment @ (Treatment::Hold { .. } | Treatment::Protect { .. }) => {
                matches.pins.extend(path.ancestors());
                matches.found.push(Match { path: path.clone(), treatment });
                Descend::No
            }
        })?;
        matches.found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(matches)
    }

    /// How many directories have entries that are too deep to be named is what comes back.
    fn walk_host(&self, mut visit: impl FnMut(&RelPath, &Stat) -> Descend) -> Result<usize> {
        let mut todo: Vec<Option<RelPath>> = vec![None];
        let (mut count, mut unnameable) = (0, 0);
        while let Some(path) = todo.pop() {
            let shown = || path.as_ref().map_or_else(|| ".".to_owned(), ToString::to_string);
            let dir = match self.host.walk(path.as_ref()) {
                // Gone meanwhile, or closed to us, and then to a guest with our rights as well.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => continue,
                other => other.named("open in the workspace", shown)?,
            };
            for name in dir.names().named("list in the workspace", shown)? {
                let Ok(child) = RelPath::child(path.as_ref(), &name) else {
                    unnameable += 1;
                    break;
                };
                let Some(stat) = dir.stat(&name).named("look at", || &child)? else { continue };
                count += 1;
                if count > ENTRIES_MAX {
                    let limit = format!("{ENTRIES_MAX} entries");
                    return Err(WorkspaceError::Limit { act: "look at", object: shown(), limit });
                }
                if visit(&child, &stat) == Descend::Yes && stat.is_dir() {
                    todo.push(Some(child));
                }
            }
        }
        Ok(unnameable)
    }

    /// Moves an entry to the same path in the layer. What waited there before gives way to what is newer.
    fn quarantine(&self, path: &RelPath) -> std::result::Result<(), Errno> {
        let upper = self.home.child(b"layer")?.child(b"upper")?;
        for above in path.ancestors().collect::<Vec<_>>().iter().rev() {
            let parent = upper.walk_to_parent(above)?;
            let bits = self.host.stat_at(above)?.map_or(0o700, |stat| stat.bits());
            match parent.make_dir(above.name(), bits | 0o700) {
                Ok(()) => parent.set_bits(above.name(), bits | 0o700)?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        let from = self.host.walk_to_parent(path)?;
        let to = upper.walk_to_parent(path)?;
        copy::remove_tree(&to, path.name())?;
        match from.rename_new(path.name(), &to, path.name()) {
            Err(Errno::XDEV) => {}
            other => return other,
        }
        let Some(stat) = from.stat(path.name())? else { return Ok(()) };
        let dress = Dress::of(&from, path.name(), &stat)?;
        copy::copy_entry((&from, path.name(), &stat), (&to, path.name()), &dress, Lend::Never, Hashing::No)?;
        from.unlink(path.name())
    }
}

#[derive(PartialEq, Eq)]
enum Descend {
    Yes,
    No,
}

/// A directory's size and times change with its entries; only its permissions are its own.
fn is_untouched(old: &Stat, new: &Stat) -> bool {
    if old.is_dir() && new.is_dir() {
        return old.bits() == new.bits();
    }
    old.kind == new.kind && Stamp::from(old) == Stamp::from(new)
}

/// A node from a stat alone.
fn undigested(stat: &Stat) -> Node {
    let content = match stat.kind {
        Kind::File => Content::File { size: stat.size, sha256: None },
        Kind::Directory => Content::Directory,
        Kind::Symlink => Content::Symlink { target: Vec::new() },
        Kind::Fifo => Content::Fifo,
        Kind::Socket => Content::Socket,
        Kind::Device | Kind::Whiteout => Content::Device,
    };
    Node { content, mode: stat.bits(), xattrs: Vec::new(), mtime: stat.mtime }
}

fn change(path: &RelPath, delta: Delta, stat: Option<&Stat>) -> Change {
    let group = stat.filter(|stat| stat.nlink > 1 && !stat.is_dir()).map(Stat::inode);
    Change { path: path.clone(), delta, conflict: None, group, host: stat.map(Stamp::from), layer: None }
}
