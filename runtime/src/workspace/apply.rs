//! Takes changes over into the workspace, takes them back, and settles what a crash left half done.
//! It never decides what to take (that is the plan) and never touches an entry outside the plan.
//!
//! Which way an interrupted apply goes: back, if the mark `staged` is missing; forward, if it is there.

use super::change::{Change, Stamp};
use super::copy;
use super::door::{self, Dir};
use super::error::{Fault, Named, Result, WorkspaceError};
use super::intent::{self, Intent, Known, Source, Staging, Want};
use super::layer::Layer;
use super::lent::Lent;
use super::node::{self, Lend, Node};
use super::path::RelPath;
use super::plan::Plan;
use super::state::{self, Memory, Settle, Settled};
use super::transaction::{DONE, STAGED, Transaction, UNDONE};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::time::Duration;

/// Setuid and setgid: taken over only where the host's entry had them.
const SET_ID: u32 = 0o6000;

/// How long a lock is waited for that nobody may really hold: a process that died can have left it for a moment to a
/// child between fork and exec.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// An entry that was taken over, or taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedFile {
    /// Where.
    pub path: RelPath,
    /// What the host had.
    pub before: Option<Node>,
    /// What it has now.
    pub after: Option<Node>,
}

/// What an apply or an undo did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its number in this session; `undo` takes it. 0 if there was nothing to do.
    pub number: u32,
    /// What was done, sorted by path.
    pub files: Vec<AppliedFile>,
    /// What the host changed in the very last moment, and was therefore left as the host has it.
    pub skipped: Vec<(RelPath, String)>,
}

/// What became of an interrupted apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// It had not finished preparing: the workspace is as before.
    TakenBack {
        /// Its number.
        number: u32,
    },
    /// It had prepared everything: the workspace is as intended.
    Finished {
        /// Its number.
        number: u32,
    },
}

impl Layer {
    /// Does what the plan says. If it fails, the workspace is as before; if the process dies, the next
    /// [`Layer::open`] settles it.
    ///
    /// # Errors
    /// The plan is blocked, the host or the layer changed since it was made, or the disk refuses.
    pub fn execute(&self, plan: &Plan) -> Result<Applied> {
        self.execute_watched(plan, &mut |_| {})
    }

    /// Takes back apply (or undo) number `number`: content, permissions, attributes, times and hard links.
    ///
    /// # Errors
    /// There is no such apply, it was taken back already, or the host's entries were changed since.
    pub fn undo(&self, number: u32) -> Result<Applied> {
        self.undo_watched(number, &mut |_| {})
    }

    /// What apply number `number` did: what [`Layer::undo`] would take back, before it does.
    ///
    /// # Errors
    /// There is no such apply, or the state cannot be read.
    pub fn applied(&self, number: u32) -> Result<Vec<AppliedFile>> {
        let node = |known: Option<Known>| known.map(|known| known.node);
        let wants = intent::read(&self.intent_file(number))?.wants.into_iter();
        Ok(wants.map(|want| AppliedFile { path: want.path, before: node(want.old), after: node(want.new) }).collect())
    }

    /// The number of the last apply that can be taken back.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn last_apply(&self) -> Result<Option<u32>> {
        let Some(home) = self.applies()? else { return Ok(None) };
        for number in self.numbers(&home)?.into_iter().rev() {
            let one = home.child(number.to_string().as_bytes()).named("open apply", || number)?;
            let marked = |mark: &[u8]| one.stat(mark).named("look at apply", || number).map(|stat| stat.is_some());
            if marked(DONE)? && !marked(UNDONE)? && intent::read(&self.intent_file(number))?.undoes.is_none() {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Settles applies that were interrupted. [`Layer::open`] does this; one that is running right now is left alone.
    ///
    /// # Errors
    /// The state or the workspace cannot be written.
    pub fn recover(&self) -> Result<Vec<Recovered>> {
        self.recover_watched(&mut |_| {})
    }

    pub(super) fn execute_watched(&self, plan: &Plan, watch: &mut dyn FnMut(&'static str)) -> Result<Applied> {
        if let Some(first) = plan.blocked.first() {
            return Err(WorkspaceError::Refused {
                act: "apply",
                object: first.to_string(),
                why: format!("it cannot be taken, and nothing is taken without it ({} such)", plan.blocked.len()),
                fault: Fault::Operator,
                hint: "name the paths that you want, or settle the conflict",
            });
        }
        let tree = self.tree()?;
        let lent = Lent::along(&tree, plan.takes.iter().map(|change| &change.path));
        let _lent = lent.named("open up in the layer", || self.state.display())?;
        let wants = plan.takes.iter().map(|change| self.want(change, plan)).collect::<Result<Vec<_>>>()?;
        self.carry_out(wants, None, watch)
    }

    pub(super) fn undo_watched(&self, number: u32, watch: &mut dyn FnMut(&'static str)) -> Result<Applied> {
        let refuse = |why: &str| WorkspaceError::Refused {
            act: "undo",
            object: format!("apply {number}"),
            why: why.to_owned(),
            fault: Fault::Operator,
            hint: "see what was applied with `stockade log show`",
        };
        let home = self.applies()?.ok_or_else(|| refuse("nothing was applied"))?;
        let one = home.child(number.to_string().as_bytes()).map_err(|_| refuse("there is no such apply"))?;
        if !matches!(one.stat(DONE), Ok(Some(_))) || matches!(one.stat(UNDONE), Ok(Some(_))) {
            return Err(refuse("it was taken back already"));
        }
        let skipped = read_skipped(&one).named("read what was skipped by apply", || number)?;
        let done = intent::read(&self.intent_file(number))?;
        let memory = Memory::load(&self.state)?;
        let mut wants = Vec::new();
        for (entry, want) in done.wants.into_iter().enumerate().filter(|(entry, _)| !skipped.contains(entry)) {
            wants.push(self.reversed(want, Source::Kept { apply: number, entry }, &memory)?);
        }
        self.refuse_if_more_in_dirs(&wants)?;
        self.carry_out(wants, Some(number), watch)
    }

    pub(super) fn recover_watched(&self, watch: &mut dyn FnMut(&'static str)) -> Result<Vec<Recovered>> {
        let Some(home) = self.applies()? else { return Ok(Vec::new()) };
        for _ in 0..LOCK_TRIES {
            if home.try_lock().named("lock", || self.state.display())? {
                return self.recover_locked(&home, watch);
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        Ok(Vec::new())
    }

    fn recover_locked(&self, home: &Dir, watch: &mut dyn FnMut(&'static str)) -> Result<Vec<Recovered>> {
        let mut recovered = Vec::new();
        for number in self.numbers(home)? {
            let name = number.to_string();
            let one = home.child(name.as_bytes()).named("open apply", || number)?;
            let marked = |mark: &[u8]| one.stat(mark).named("look at apply", || number).map(|stat| stat.is_some());
            if marked(DONE)? {
                continue;
            }
            if marked(STAGED)? {
                let mut transaction = self.transaction(one, intent::read(&self.intent_file(number))?, watch);
                self.finish(home, number, &mut transaction)?;
                recovered.push(Recovered::Finished { number });
            } else {
                if one.stat(b"intent.jsonl").named("look at apply", || number)?.is_some() {
                    self.transaction(one, intent::read(&self.intent_file(number))?, watch).roll_back()?;
                }
                copy::remove_tree(home, name.as_bytes()).named("remove apply", || number)?;
                recovered.push(Recovered::TakenBack { number });
            }
        }
        Ok(recovered)
    }

    fn carry_out(
        &self,
        mut wants: Vec<Want>,
        undoes: Option<u32>,
        watch: &mut dyn FnMut(&'static str),
    ) -> Result<Applied> {
        if wants.is_empty() {
            return Ok(Applied { number: 0, files: Vec::new(), skipped: Vec::new() });
        }
        wants.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let shown = || self.state.display();
        match self.home.make_dir(b"apply", 0o700) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).named("make a journal in", shown),
        }
        let home = self.applies()?.expect("it was just made");
        home.lock().named("lock", shown)?;
        // Whoever held the lock may have died over it.
        self.recover_locked(&home, &mut |_| {})?;
        let number = self.numbers(&home)?.last().map_or(1, |last| last + 1);
        let name = number.to_string();
        home.make_dir(name.as_bytes(), 0o700).named("make a journal in", shown)?;
        let one = home.child(name.as_bytes()).named("open apply", || number)?;
        one.make_dir(b"old", 0o700).named("make a journal in", shown)?;
        let unlocked = self.locked_dirs(&wants).named("look at", || self.workspace.display())?;
        let intent = Intent { nonce: nonce()?, undoes, wants, unlocked };
        watch("intent");
        intent::write(&self.intent_file(number), &intent)?;
        for dir in [&one, &home, &self.home] {
            dir.sync().named("sync", shown)?;
        }
        let mut transaction = self.transaction(one, intent, watch);
        if let Err(error) = transaction.stage() {
            transaction.roll_back()?;
            copy::remove_tree(&home, name.as_bytes()).named("remove apply", || number)?;
            return Err(error);
        }
        self.finish(&home, number, &mut transaction)
    }

    /// From the mark `staged` on: everything into place, remembered as settled, marked as done.
    fn finish(&self, home: &Dir, number: u32, transaction: &mut Transaction<'_>) -> Result<Applied> {
        let skipped = transaction.commit()?;
        let left: HashSet<usize> = skipped.iter().map(|(at, _)| *at).collect();
        let mut settled = Vec::new();
        let mut files = Vec::new();
        for (_, want) in transaction.intent.wants.iter().enumerate().filter(|(at, _)| !left.contains(at)) {
            let host = match self.host.stat_at(&want.path) {
                // In a directory that the guest closed even to its owner.
                Err(Errno::ACCESS) => None,
                other => other.named("look at", || &want.path)?,
            };
            let layer = self.layer_stamp(want)?;
            settled.push((want.path.clone(), Settled { layer, host: host.as_ref().map(Stamp::from) }));
            let node = |known: &Option<Known>| known.as_ref().map(|known| known.node.clone());
            files.push(AppliedFile { path: want.path.clone(), before: node(&want.old), after: node(&want.new) });
        }
        let settle = if transaction.intent.undoes.is_some() { Settle::Reopened } else { Settle::Settled };
        state::append_settled(&self.state, settle, settled.into_iter())?;
        if let Some(undone) = transaction.intent.undoes {
            let one = home.child(undone.to_string().as_bytes()).named("open apply", || undone)?;
            match one.create_file(UNDONE) {
                Ok(_) | Err(Errno::EXIST) => one.sync().named("sync apply", || undone)?,
                Err(errno) => return Err(errno).named("mark apply", || undone),
            }
        }
        let lines: String = skipped.iter().map(|(at, _)| format!("{at}\n")).collect();
        transaction.mark(DONE, &lines)?;
        let path_of = |at: usize| transaction.intent.wants.get(at).map(|want| want.path.clone());
        let skipped = skipped.into_iter().filter_map(|(at, why)| path_of(at).map(|path| (path, why))).collect();
        Ok(Applied { number, files, skipped })
    }

    /// The layer's entry as it was compared. Copying one that the guest made unreadable changed its ctime, and
    /// nothing but that may differ.
    fn layer_stamp(&self, want: &Want) -> Result<Option<Stamp>> {
        let Some(then) = want.layer.filter(|_| want.new_leaf().is_some_and(|new| new.node.mode & 0o400 == 0)) else {
            return Ok(want.layer);
        };
        let now = self.tree()?.stat_at(&want.path).named("look at", || &want.path)?.as_ref().map(Stamp::from);
        Ok(now.filter(|now| Stamp { ctime: now.ctime, ..then } == *now).or(want.layer))
    }

    fn transaction<'a>(&'a self, home: Dir, intent: Intent, watch: &'a mut dyn FnMut(&'static str)) -> Transaction<'a> {
        let staging = Staging::of(&intent);
        Transaction { layer: self, home, intent, staging, watch }
    }

    /// What the change asks for, with the owner, the permissions and the attributes that the host's entry is to have.
    fn want(&self, change: &Change, plan: &Plan) -> Result<Want> {
        let path = &change.path;
        let host = self.host.stat_at(path).named("look at", || path)?;
        let old = match (change.before(), &host) {
            (Some(node), Some(stat)) if change.host == Some(Stamp::from(stat)) || stat.is_dir() => {
                let values = if stat.is_dir() { values_at(&self.host, path)? } else { Vec::new() };
                let owner = door::is_root().then_some((stat.uid, stat.gid));
                Some(Known { node: node.clone(), owner, values, stamp: Some(Stamp::from(stat)) })
            }
            (None, None) => None,
            (Some(_), _) | (None, Some(_)) => return Err(changed_since(path, "apply")),
        };
        let new = match change.after() {
            None => None,
            Some(after) => {
                let parent = self.nearest_dir(path).named("look above", || path)?;
                let mut node = after.clone();
                let kept = change.before().map_or(0, |before| before.mode);
                node.mode = (after.mode & !SET_ID) | (after.mode & kept & SET_ID);
                if node.is_dir() && !change.before().is_some_and(Node::is_dir) {
                    // The directory around it says that groups are inherited.
                    node.mode |= parent.mode & 0o2000;
                }
                let inherited = (parent.uid, parent.gid);
                let owner = old.as_ref().and_then(|old| old.owner).unwrap_or(inherited);
                let values = if node.is_dir() { values_at(&self.tree()?, path)? } else { Vec::new() };
                Some(Known { node, owner: door::is_root().then_some(owner), values, stamp: None })
            }
        };
        let anchor = change.group.and_then(|group| plan.anchors.get(&group)).cloned();
        let (group, layer) = (change.group, change.layer);
        Ok(Want { path: path.clone(), old, new, source: Source::Layer, group, anchor, layer })
    }

    /// The same the other way round, if the host still has what the apply put there.
    fn reversed(&self, want: Want, source: Source, memory: &Memory) -> Result<Want> {
        let path = &want.path;
        let placed = memory.settled.get(path).and_then(|settled| settled.host);
        let now = node::describe_at(&self.host, path, Lend::Never).named("read in the workspace", || path)?;
        let old = match (want.new, now) {
            (None, None) => None,
            // A file that even its owner may not read is known by its stat, as it was right after the apply.
            (Some(new), Some((stat, node)))
                if node.same(&new.node)
                    || (node.mode == new.node.mode && placed.is_some_and(|then| then.is(&stat))) =>
            {
                let values = if stat.is_dir() { values_at(&self.host, path)? } else { Vec::new() };
                let owner = door::is_root().then_some((stat.uid, stat.gid));
                Some(Known { node, owner, values, stamp: Some(Stamp::from(&stat)) })
            }
            _ => return Err(changed_since(path, "undo")),
        };
        Ok(Want { path: want.path, old, new: want.old, source, group: None, anchor: None, layer: want.layer })
    }

    fn refuse_if_more_in_dirs(&self, wants: &[Want]) -> Result<()> {
        let known: HashSet<&RelPath> = wants.iter().filter(|want| want.old.is_some()).map(|want| &want.path).collect();
        for want in wants.iter().filter(|want| want.old_dir().is_some() && want.new_dir().is_none()) {
            let dir = self.host.walk(Some(&want.path)).named("open in the workspace", || &want.path)?;
            for name in dir.names().named("list in the workspace", || &want.path)? {
                match RelPath::child(Some(&want.path), &name) {
                    Ok(child) if known.contains(&child) => {}
                    Ok(child) => return Err(changed_since(&child, "undo")),
                    Err(_) => return Err(changed_since(&want.path, "undo")),
                }
            }
        }
        Ok(())
    }

    /// The stat of the nearest directory above that exists on the host.
    fn nearest_dir(&self, path: &RelPath) -> std::result::Result<door::Stat, Errno> {
        for above in path.ancestors() {
            if let Some(stat) = self.host.stat_at(&above)?.filter(door::Stat::is_dir) {
                return Ok(stat);
            }
        }
        self.host.stat_self()
    }

    /// Directories of ours, above wanted entries, whose bits keep even us from changing them.
    fn locked_dirs(&self, wants: &[Want]) -> std::result::Result<Vec<(Option<RelPath>, u32)>, Errno> {
        if door::is_root() {
            return Ok(Vec::new());
        }
        let mut seen: HashMap<Option<RelPath>, u32> = HashMap::new();
        for parent in wants.iter().map(|want| want.path.parent()) {
            if seen.contains_key(&parent) {
                continue;
            }
            let stat = match &parent {
                Some(path) => self.host.stat_at(path)?,
                None => Some(self.host.stat_self()?),
            };
            if let Some(stat) = stat.filter(|stat| stat.is_dir() && stat.uid == door::own_uid()) {
                seen.insert(parent, stat.bits());
            }
        }
        let mut locked: Vec<_> = seen.into_iter().filter(|(_, bits)| bits & 0o700 != 0o700).collect();
        locked.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(locked)
    }

    fn applies(&self) -> Result<Option<Dir>> {
        match self.home.child(b"apply") {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).named("open the journal of", || self.state.display()),
        }
    }

    fn numbers(&self, home: &Dir) -> Result<Vec<u32>> {
        let names = home.names().named("list", || self.state.display())?;
        let number = |name: Box<[u8]>| std::str::from_utf8(&name).ok()?.parse().ok();
        let mut numbers: Vec<u32> = names.into_iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn intent_file(&self, number: u32) -> std::path::PathBuf {
        self.state.join(format!("apply/{number}/intent.jsonl"))
    }
}

fn values_at(root: &Dir, path: &RelPath) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    root.walk_to_parent(path).and_then(|parent| parent.xattrs(path.name())).named("read the attributes of", || path)
}

fn read_skipped(one: &Dir) -> std::result::Result<HashSet<usize>, Errno> {
    let mut text = String::new();
    let mut file = door::file(one.open_file(DONE)?).take(64 * 1024 * 1024);
    file.read_to_string(&mut text).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

fn changed_since(path: &RelPath, act: &'static str) -> WorkspaceError {
    WorkspaceError::Refused {
        act,
        object: path.to_string(),
        why: "the host's entry was changed since".to_owned(),
        fault: Fault::Operator,
        hint: "keep the host's version, or put it aside and try again",
    }
}

/// 64 random bits from the kernel.
fn nonce() -> Result<String> {
    let path = std::path::Path::new("/dev/urandom");
    let mut bytes = [0; 8];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| state::io("read", path, &error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
