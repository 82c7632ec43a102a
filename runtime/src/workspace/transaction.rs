//! Carries out one intent: prepare everything beside its place, make that durable, then rename it into place.
//! It never decides what to take, and never removes a host entry that it has not kept a copy of.
//!
//! Until the mark `staged` exists, nothing in the workspace has changed but temporary entries, and an interruption is
//! answered by removing those. From then on all content is in place and durable, and an interruption is answered by
//! finishing: each step looks whether it was done already. A host entry that changed in between is skipped and said so.

use super::copy::{self, Dress, Hashing};
use super::door::{self, Dir, Kind, Stat};
use super::error::{Fault, Named, Result, WorkspaceError};
use super::intent::{Intent, Known, Source, Spot, Staging, Want, temporary};
use super::layer::Layer;
use super::node::{Content, Lend};
use super::path::RelPath;
use rustix::io::Errno;
use std::collections::HashMap;

type Sys<T> = std::result::Result<T, Errno>;

/// Mark: everything is prepared and durable.
pub(super) const STAGED: &[u8] = b"staged";
/// Mark and record: everything is in place; holds the entries that were skipped.
pub(super) const DONE: &[u8] = b"done";
/// Mark: taken back by a later one.
pub(super) const UNDONE: &[u8] = b"undone";

/// Above this many entries the whole file system is synced rather than each directory.
const SYNCS_MAX: usize = 64;

/// An intent in the course of being carried out.
pub(super) struct Transaction<'a> {
    pub(super) layer: &'a Layer,
    /// Its own directory, `apply/<n>`, with `old/` in it.
    pub(super) home: Dir,
    pub(super) intent: Intent,
    pub(super) staging: Staging,
    /// Called before each step that changes something; tests interrupt here.
    pub(super) watch: &'a mut dyn FnMut(&'static str),
}

/// Names already staged for an inode of several names.
type Linked = HashMap<(u64, u64), (Option<RelPath>, Vec<u8>)>;

impl Transaction<'_> {
    /// Keeps what is there, prepares what is to come, makes both durable.
    pub(super) fn stage(&mut self) -> Result<()> {
        for (path, bits) in &self.intent.unlocked {
            (self.watch)("unlock");
            self.set_dir_bits(path.as_ref(), bits | 0o700).named("make writable", || shown(path.as_ref()))?;
        }
        let kept = self.home.child(b"old").named("open", || "old")?;
        let mut linked = Linked::new();
        let mut copied: HashMap<(u64, u64), usize> = HashMap::new();
        for at in 0..self.intent.wants.len() {
            let want = self.want(at).clone();
            (self.watch)("keep");
            self.keep(at, &want, &kept, &mut copied)?;
            (self.watch)("stage");
            self.stage_new(at, &want, &mut linked)?;
        }
        for at in (0..self.intent.wants.len()).rev() {
            let want = self.want(at).clone();
            if let (Some(new), None) = (want.new_dir(), want.old_dir()) {
                (self.watch)("dress");
                let (dir, name) = self.spot(at, &want.path).named("prepare", || &want.path)?;
                dress(new).put_on(&dir, &name, Kind::Directory).named("prepare", || &want.path)?;
            }
        }
        (self.watch)("sync");
        self.layer.home.sync_file_system().named("sync", || self.layer.state.display())?;
        self.sync_host()?;
        self.mark(STAGED, "")
    }

    /// Puts everything in place. Returns the entries that were skipped, and why.
    pub(super) fn commit(&mut self) -> Result<Vec<(usize, String)>> {
        let mut skipped = Vec::new();
        let count = self.intent.wants.len();
        for at in (0..count).rev() {
            let want = self.want(at).clone();
            let gone = match (want.old_leaf(), want.new_leaf(), want.old_dir(), want.new_dir()) {
                (Some(old), None, _, _) => self.remove_leaf(at, &want, old),
                (_, _, Some(_), None) => self.remove_dir(&want),
                _ => Ok(Outcome::Done),
            };
            note(&mut skipped, at, gone);
        }
        for at in 0..count {
            let want = self.want(at).clone();
            if want.new_leaf().is_some() || (want.new_dir().is_some() && want.old_dir().is_none()) {
                let placed = self.place(at, &want);
                note(&mut skipped, at, placed);
            }
        }
        for at in (0..count).rev() {
            let want = self.want(at).clone();
            if let (Some(_), Some(new)) = (want.old_dir(), want.new_dir()) {
                (self.watch)("dress");
                let dressed = self.redress(&want.path, new).map(|()| Outcome::Done);
                note(&mut skipped, at, dressed);
            }
        }
        self.lock_again()?;
        (self.watch)("sync");
        self.sync_host()?;
        skipped.sort_unstable();
        skipped.dedup_by_key(|(at, _)| *at);
        Ok(skipped)
    }

    /// Removes everything that [`Self::stage`] made in the workspace.
    pub(super) fn roll_back(&mut self) -> Result<()> {
        for at in 0..self.intent.wants.len() {
            let path = self.want(at).path.clone();
            if let Spot::Beside(name) = self.staging.spot(&self.intent, at, &path)
                && let Ok(parent) = self.layer.host.walk_to_parent(&path)
            {
                (self.watch)("roll back");
                copy::remove_tree(&parent, &name).named("remove what was prepared for", || &path)?;
            }
        }
        self.lock_again()
    }

    /// Writes a mark, durably.
    pub(super) fn mark(&mut self, name: &[u8], text: &str) -> Result<()> {
        (self.watch)("mark");
        let path = self.layer.state.join("mark");
        let written = || -> Sys<()> {
            use std::io::Write;
            let mut new = name.to_vec();
            new.extend_from_slice(b".new");
            copy::remove_tree(&self.home, &new)?;
            let mut file = door::file(self.home.create_file(&new)?);
            let io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
            file.write_all(text.as_bytes()).map_err(io)?;
            file.sync_all().map_err(io)?;
            self.home.rename_over(&new, name)?;
            self.home.sync()
        };
        written().named("write a mark in", || path.display())
    }

    fn want(&self, at: usize) -> &Want {
        self.intent.wants.get(at).expect("callers count the wants")
    }

    fn spot(&self, at: usize, path: &RelPath) -> Sys<(Dir, Vec<u8>)> {
        match self.staging.spot(&self.intent, at, path) {
            Spot::Beside(name) => Ok((self.layer.host.walk_to_parent(path)?, name)),
            Spot::Inside(place) => Ok((self.layer.host.walk_to_parent(&place)?, place.name().to_vec())),
        }
    }

    /// Keeps the host's entry: by a further link, so that the very inode comes back if this is undone, else by a copy.
    fn keep(&self, at: usize, want: &Want, kept: &Dir, copied: &mut HashMap<(u64, u64), usize>) -> Result<()> {
        let Some(old) = want.old_leaf() else { return Ok(()) };
        let name = at.to_string();
        let keep = || -> Sys<bool> {
            let parent = self.layer.host.walk_to_parent(&want.path)?;
            let Some(stat) = parent.stat(want.path.name())?.filter(|stat| is_same(old, stat)) else { return Ok(false) };
            match parent.link(want.path.name(), kept, name.as_bytes()) {
                Err(Errno::XDEV | Errno::PERM | Errno::MLINK | Errno::NOTSUP | Errno::ACCESS) => {}
                other => return other.map(|()| true),
            }
            if let Some(first) = copied.get(&stat.inode()) {
                return kept.link(first.to_string().as_bytes(), kept, name.as_bytes()).map(|()| true);
            }
            let dress = Dress::of(&parent, want.path.name(), &stat)?;
            let from = (&parent, want.path.name(), &stat);
            copy::copy_entry(from, (kept, name.as_bytes()), &dress, Lend::Never, Hashing::No)?;
            Ok(true)
        };
        match keep().named("keep the old", || &want.path)? {
            true => {
                if let Some(stamp) = &old.stamp {
                    copied.entry((stamp.dev, stamp.ino)).or_insert(at);
                }
                Ok(())
            }
            false => Err(moved_on(&want.path)),
        }
    }

    fn stage_new(&self, at: usize, want: &Want, linked: &mut Linked) -> Result<()> {
        let Some(new) = &want.new else { return Ok(()) };
        if want.old_dir().is_some() && new.node.is_dir() {
            return Ok(());
        }
        let (dir, name) = self.spot(at, &want.path).named("prepare", || &want.path)?;
        if new.node.is_dir() {
            return dir.make_dir(&name, 0o700).named("prepare", || &want.path);
        }
        if let Some(first) = self.first_link(want, new, linked).named("find the other name of", || &want.path)? {
            let from = self.layer.host.walk(first.0.as_ref()).named("open", || &want.path)?;
            return from.link(&first.1, &dir, &name).named("link", || &want.path);
        }
        if let Some(group) = want.group {
            let parent = match self.staging.spot(&self.intent, at, &want.path) {
                Spot::Beside(_) => want.path.parent(),
                Spot::Inside(place) => place.parent(),
            };
            linked.insert(group, (parent, name.clone()));
        }
        match want.source {
            Source::Layer => self.stage_from_layer(want, new, &dir, &name),
            Source::Kept { apply, entry } => self.stage_kept((apply, entry), want, &dir, &name),
        }
    }

    /// The name to link to: one of this apply's own, or a host file that is unchanged and known to be the same.
    fn first_link(&self, want: &Want, new: &Known, linked: &Linked) -> Sys<Option<(Option<RelPath>, Vec<u8>)>> {
        let Some(group) = want.group else { return Ok(None) };
        if let Some(first) = linked.get(&group) {
            return Ok(Some(first.clone()));
        }
        let Some(anchor) = &want.anchor else { return Ok(None) };
        let found = super::node::describe_at(&self.layer.host, anchor, Lend::Never)?;
        let same = found.is_some_and(|(_, node)| node.same(&new.node));
        Ok(same.then(|| (anchor.parent(), anchor.name().to_vec())))
    }

    fn stage_from_layer(&self, want: &Want, new: &Known, dir: &Dir, name: &[u8]) -> Result<()> {
        let tree = self.layer.tree()?;
        let path = &want.path;
        let stage = || -> Sys<bool> {
            let mut wear = dress(new);
            match &new.node.content {
                Content::Symlink { target } => {
                    dir.make_symlink(name, target)?;
                    wear.put_on(dir, name, Kind::Symlink)?;
                    Ok(true)
                }
                Content::File { sha256, .. } => {
                    let source = tree.walk_to_parent(path)?;
                    let Some(stat) = source.stat(path.name())?.filter(|stat| stat.kind == Kind::File) else {
                        return Ok(false);
                    };
                    let read = || source.xattrs(path.name());
                    wear.xattrs = super::node::lending(&source, path.name(), &stat, Lend::Allowed, read)?;
                    let from = (&source, path.name(), &stat);
                    let copied = copy::copy_entry(from, (dir, name), &wear, Lend::Allowed, Hashing::Wanted)?;
                    Ok(copied == *sha256 && copied.is_some())
                }
                Content::Directory | Content::Fifo | Content::Socket | Content::Device => Ok(false),
            }
        };
        if stage().named("prepare", || path)? {
            return Ok(());
        }
        Err(WorkspaceError::Refused {
            act: "apply",
            object: path.to_string(),
            why: "it changed while it was being copied".to_owned(),
            fault: Fault::Guest,
            hint: "the session is still writing; apply again when it is done",
        })
    }

    fn stage_kept(&self, (apply, entry): (u32, usize), want: &Want, dir: &Dir, name: &[u8]) -> Result<()> {
        let stage = || -> Sys<()> {
            let applies = self.layer.home.child(b"apply")?;
            let kept = applies.child(apply.to_string().as_bytes())?.child(b"old")?;
            let entry = entry.to_string();
            match kept.link(entry.as_bytes(), dir, name) {
                Err(Errno::XDEV | Errno::PERM | Errno::MLINK | Errno::NOTSUP | Errno::ACCESS) => {}
                other => return other,
            }
            let stat = kept.stat(entry.as_bytes())?.ok_or(Errno::NOENT)?;
            let dress = Dress::of(&kept, entry.as_bytes(), &stat)?;
            let from = (&kept, entry.as_bytes(), &stat);
            copy::copy_entry(from, (dir, name), &dress, Lend::Allowed, Hashing::No).map(drop)
        };
        stage().named("bring back", || &want.path)
    }

    /// Sets the entry aside, looks whether it is the one that was kept, and only then removes it.
    fn remove_leaf(&mut self, at: usize, want: &Want, old: &Known) -> Sys<Outcome> {
        let parent = match self.layer.host.walk_to_parent(&want.path) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Outcome::Done),
            other => other?,
        };
        let mut aside = temporary(&self.intent, at);
        aside.extend_from_slice(b"-old");
        if parent.stat(&aside)?.is_none() {
            match parent.stat(want.path.name())? {
                Some(stat) if is_same(old, &stat) => {}
                // Removed already: either nothing is there, or the directory that was put in its place.
                None => return Ok(Outcome::Done),
                Some(stat) if stat.is_dir() && want.new_dir().is_some() => return Ok(Outcome::Done),
                Some(_) => return Ok(Outcome::Skipped(HOST_CHANGED)),
            }
            (self.watch)("set aside");
            parent.rename_new(want.path.name(), &parent, &aside)?;
        }
        (self.watch)("remove");
        match parent.stat(&aside)? {
            Some(stat) if is_same(old, &stat) => parent.unlink(&aside).map(|()| Outcome::Done),
            Some(_) => parent.rename_new(&aside, &parent, want.path.name()).map(|()| Outcome::Skipped(HOST_CHANGED)),
            None => Ok(Outcome::Done),
        }
    }

    fn remove_dir(&mut self, want: &Want) -> Sys<Outcome> {
        (self.watch)("remove directory");
        let removed = self.layer.host.walk_to_parent(&want.path).and_then(|dir| dir.remove_dir(want.path.name()));
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(Outcome::Done),
            // What was put in its place, when finishing after an interruption.
            Err(Errno::NOTDIR) if want.new.is_some() => Ok(Outcome::Done),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => Ok(Outcome::Skipped(HOST_CHANGED)),
            Err(errno) => Err(errno),
        }
    }

    /// Renames what was prepared into place, without ever replacing anything but what was kept.
    fn place(&mut self, at: usize, want: &Want) -> Sys<Outcome> {
        let Spot::Beside(staged) = self.staging.spot(&self.intent, at, &want.path) else { return Ok(Outcome::Done) };
        let parent = self.layer.host.walk_to_parent(&want.path)?;
        let Some(found) = parent.stat(&staged)? else { return Ok(Outcome::Done) };
        let name = want.path.name();
        let outcome = match want.old_leaf().filter(|_| want.new_leaf().is_some()) {
            Some(old) if is_same(old, &found) => Outcome::Done,
            Some(old) => self.swap(&parent, &staged, name, old)?,
            None => {
                (self.watch)("place");
                match parent.rename_new(&staged, &parent, name) {
                    Err(Errno::EXIST | Errno::NOTEMPTY) => Outcome::Skipped(HOST_CHANGED),
                    other => other.map(|()| Outcome::Done)?,
                }
            }
        };
        (self.watch)("clear");
        copy::remove_tree(&parent, &staged)?;
        Ok(outcome)
    }

    fn swap(&mut self, parent: &Dir, staged: &[u8], name: &[u8], old: &Known) -> Sys<Outcome> {
        if !parent.stat(name)?.is_some_and(|stat| is_same(old, &stat)) {
            return Ok(Outcome::Skipped(HOST_CHANGED));
        }
        (self.watch)("swap");
        match parent.exchange(staged, name) {
            Err(Errno::INVAL | Errno::NOSYS) => return parent.rename_over(staged, name).map(|()| Outcome::Done),
            other => other?,
        }
        (self.watch)("look");
        if parent.stat(staged)?.is_some_and(|stat| is_same(old, &stat)) {
            return Ok(Outcome::Done);
        }
        // Somebody replaced the host's file in the instant between: theirs goes back.
        parent.exchange(staged, name)?;
        Ok(Outcome::Skipped(HOST_CHANGED))
    }

    fn redress(&self, path: &RelPath, new: &Known) -> Sys<()> {
        let parent = self.layer.host.walk_to_parent(path)?;
        match parent.stat(path.name())? {
            Some(stat) if stat.is_dir() => {
                parent.set_xattrs(path.name(), &new.values)?;
                parent.set_bits(path.name(), new.node.mode)
            }
            _ => Err(Errno::NOTDIR),
        }
    }

    /// Gives directories that were made writable their bits back, unless they are gone or got new ones.
    fn lock_again(&self) -> Result<()> {
        for (path, bits) in self.intent.unlocked.iter().rev() {
            let dressed =
                self.intent.wants.iter().any(|want| Some(&want.path) == path.as_ref() && want.new_dir().is_some());
            let staged = matches!(self.home.stat(STAGED), Ok(Some(_)));
            if dressed && staged {
                continue;
            }
            match self.set_dir_bits(path.as_ref(), *bits) {
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(errno).named("restore the permissions of", || shown(path.as_ref())),
            }
        }
        Ok(())
    }

    fn set_dir_bits(&self, path: Option<&RelPath>, bits: u32) -> Sys<()> {
        match path {
            Some(path) => {
                let parent = self.layer.host.walk_to_parent(path)?;
                // By the time it is locked again, a file may have taken its place.
                match parent.stat(path.name())? {
                    Some(stat) if stat.is_dir() => parent.set_bits(path.name(), bits),
                    Some(_) | None => Err(Errno::NOTDIR),
                }
            }
            None => self.layer.host.set_bits(b".", bits),
        }
    }

    fn sync_host(&self) -> Result<()> {
        let shown = || self.layer.workspace.display();
        if self.intent.wants.len() > SYNCS_MAX {
            return self.layer.host.sync_file_system().named("sync", shown);
        }
        for (at, want) in self.intent.wants.iter().enumerate() {
            let synced = || -> Sys<()> {
                let (dir, name) = self.spot(at, &want.path)?;
                match want.new_leaf().map(|_| dir.open_file(&name)) {
                    Some(Ok(staged)) => door::sync_handle(&staged)?,
                    Some(Err(Errno::ACCESS)) => return Err(Errno::ACCESS),
                    Some(Err(_)) | None => {}
                }
                dir.sync()
            };
            match synced() {
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                // It has the bits that the guest gave it by now, and they shut us out.
                Err(Errno::ACCESS) => return self.layer.host.sync_file_system().named("sync", shown),
                Err(errno) => return Err(errno).named("sync", || &want.path),
            }
            if let Ok(parent) = self.layer.host.walk_to_parent(&want.path) {
                parent.sync().named("sync", || &want.path)?;
            }
        }
        self.layer.host.sync().named("sync", shown)
    }
}

const HOST_CHANGED: &str = "the host's entry changed at the last moment";

enum Outcome {
    Done,
    Skipped(&'static str),
}

fn note(skipped: &mut Vec<(usize, String)>, at: usize, outcome: Sys<Outcome>) {
    match outcome {
        Ok(Outcome::Done) => {}
        Ok(Outcome::Skipped(why)) => skipped.push((at, why.to_owned())),
        Err(errno) => skipped.push((at, errno.to_string())),
    }
}

fn dress(known: &Known) -> Dress {
    let times = (known.node.mtime, known.node.mtime);
    Dress { owner: known.owner, bits: known.node.mode, xattrs: known.values.clone(), times }
}

/// True if it is the inode that was kept, unchanged.
fn is_same(old: &Known, stat: &Stat) -> bool {
    old.stamp.is_some_and(|then| then.is(stat))
}

fn moved_on(path: &RelPath) -> WorkspaceError {
    WorkspaceError::Refused {
        act: "apply",
        object: path.to_string(),
        why: "the host's entry changed after the plan was made".to_owned(),
        fault: Fault::Operator,
        hint: "look at `stockade diff` again",
    }
}

fn shown(path: Option<&RelPath>) -> String {
    path.map_or_else(|| ".".to_owned(), ToString::to_string)
}
