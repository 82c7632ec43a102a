//! Decides what an apply would take and what it leaves out, and why, before anything is touched.
//! It never writes; the treatment of each path is an argument, and every doubt is on the side of leaving out.

use super::change::{Change, ChangeKind, Changes, Conflict};
use super::door::Dir;
use super::error::{Fault, Result, WorkspaceError};
use super::layer::Layer;
use super::node::{Content, Node};
use super::path::RelPath;
use super::scan::Freshness;
use super::state::{self, Memory};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};

/// Most entries that are looked through behind one symlink to a directory.
const ALIAS_ENTRIES_MAX: usize = 4096;

/// What the policy says of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treatment {
    /// Anybody may change it.
    Free,
    /// It would run later on the host: only with consent to exactly this path.
    Hold {
        /// The rule, for messages and the log.
        rule: String,
    },
    /// Never.
    Protect {
        /// The rule.
        rule: String,
    },
}

/// Which changes to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All of them: blocked by any conflict.
    All,
    /// These and what lies below them: blocked if any of that cannot be taken.
    Paths(Vec<RelPath>),
}

/// Why a change is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It waits for consent.
    Held {
        /// The rule that holds it.
        rule: String,
    },
    /// It is never taken.
    Protected {
        /// The rule that protects it.
        rule: String,
    },
    /// The host's entry was changed meanwhile.
    Conflict(Box<Conflict>),
    /// Fifos, sockets, devices, and names too long for the kernel.
    NeverApplied {
        /// What it is.
        what: &'static str,
    },
    /// It makes no sense without this one, which is not taken.
    Needs(RelPath),
}

/// A change that is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Where.
    pub path: RelPath,
    /// Why not.
    pub why: Why,
}

/// What an apply would do. Nothing is decided after it.
#[derive(Debug)]
pub struct Plan {
    pub(super) takes: Vec<Change>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) consented: Vec<(RelPath, String)>,
    pub(super) blocked: Vec<RelPath>,
    pub(super) anchors: HashMap<(u64, u64), RelPath>,
}

impl Plan {
    /// What would be taken, sorted by path.
    #[must_use]
    pub fn takes(&self) -> &[Change] {
        &self.takes
    }

    /// What would stay pending, sorted by path.
    #[must_use]
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Held paths that are taken because of a consent, with the rule.
    #[must_use]
    pub fn consented(&self) -> &[(RelPath, String)] {
        &self.consented
    }

    /// Paths because of which nothing at all would be done.
    #[must_use]
    pub fn blocked(&self) -> &[RelPath] {
        &self.blocked
    }
}

impl Layer {
    /// Plans to take `selection`. Every changed file is read afresh. `consents` are held paths, each named exactly.
    ///
    /// # Errors
    /// Something cannot be read, or a selected path has no changes.
    pub fn plan(
        &self,
        selection: &Selection,
        treatment: &dyn Fn(&RelPath) -> Treatment,
        consents: &[RelPath],
    ) -> Result<Plan> {
        self.plan_of(&self.changes(Freshness::Rehash)?, selection, treatment, consents)
    }

    /// The same for changes that were read just now, with [`Freshness::Rehash`].
    ///
    /// # Errors
    /// As [`Self::plan`].
    pub fn plan_of(
        &self,
        changes: &Changes,
        selection: &Selection,
        treatment: &dyn Fn(&RelPath) -> Treatment,
        consents: &[RelPath],
    ) -> Result<Plan> {
        // What the host has now is remembered by content, so that an apply that fails does not look like a change.
        state::write_seen(&self.state, changes, &Memory::load(&self.state)?)?;
        self.planned(changes, selection, treatment, consents)
    }

    /// What such a plan would be without consents, and nothing is remembered of it: for a session that goes on.
    ///
    /// # Errors
    /// As [`Self::plan`].
    pub fn plan_ahead(
        &self,
        changes: &Changes,
        selection: &Selection,
        treatment: &dyn Fn(&RelPath) -> Treatment,
    ) -> Result<Plan> {
        self.planned(changes, selection, treatment, &[])
    }

    fn planned(
        &self,
        changes: &Changes,
        selection: &Selection,
        treatment: &dyn Fn(&RelPath) -> Treatment,
        consents: &[RelPath],
    ) -> Result<Plan> {
        let chosen = choose(changes, selection)?;
        let judge = Judge { changes, host: &self.host, treatment, consents };
        Ok(judge.plan(&chosen, selection))
    }
}

fn choose(changes: &Changes, selection: &Selection) -> Result<HashSet<RelPath>> {
    match selection {
        Selection::All => Ok(changes.list.iter().map(|change| change.path.clone()).collect()),
        Selection::Paths(paths) => {
            let mut chosen = HashSet::new();
            for path in paths {
                let before = chosen.len();
                chosen.extend(changes.within(path).map(|change| change.path.clone()));
                if chosen.len() == before && !chosen.contains(path) {
                    return Err(WorkspaceError::Refused {
                        act: "apply",
                        object: path.to_string(),
                        why: "nothing changed there".to_owned(),
                        fault: Fault::Operator,
                        hint: "see the changes with `stockade diff --stat`",
                    });
                }
            }
            Ok(chosen)
        }
    }
}

struct Judge<'a> {
    changes: &'a Changes,
    host: &'a Dir,
    treatment: &'a dyn Fn(&RelPath) -> Treatment,
    consents: &'a [RelPath],
}

impl Judge<'_> {
    fn plan(&self, chosen: &HashSet<RelPath>, selection: &Selection) -> Plan {
        let mut wanted = chosen.clone();
        // A new file needs the new directories around it, selected or not.
        for path in chosen {
            wanted.extend(path.ancestors().filter(|above| self.changes.get(above).is_some_and(becomes_dir)));
        }
        let mut out: HashMap<RelPath, Why> = HashMap::new();
        let mut consented = Vec::new();
        for change in self.changes.list.iter().filter(|change| wanted.contains(&change.path)) {
            match self.verdict(change) {
                Verdict::Take => {}
                Verdict::TakeWithConsent { rule } => consented.push((change.path.clone(), rule)),
                Verdict::LeaveOut(why) => {
                    out.insert(change.path.clone(), why);
                }
            }
        }
        self.close_over_dependencies(&wanted, &mut out);
        let takes: Vec<Change> = self
            .changes
            .list
            .iter()
            .filter(|change| wanted.contains(&change.path) && !out.contains_key(&change.path))
            .cloned()
            .collect();
        let deep = self.changes.unnameable.iter().cloned();
        let deep = deep.map(|path| LeftOut { path, why: Why::NeverApplied { what: "entries too deep to be named" } });
        let mut left_out: Vec<LeftOut> = out.into_iter().map(|(path, why)| LeftOut { path, why }).chain(deep).collect();
        left_out.sort_by(|a, b| a.path.cmp(&b.path));
        let blocks = |left: &&LeftOut| match selection {
            Selection::All => matches!(left.why, Why::Conflict(_)),
            Selection::Paths(_) => chosen.contains(&left.path),
        };
        let blocked = left_out.iter().filter(blocks).map(|left| left.path.clone()).collect();
        consented.retain(|(path, _)| takes.iter().any(|change| change.path == *path));
        Plan { takes, left_out, consented, blocked, anchors: self.changes.anchors.clone() }
    }

    /// A removed directory needs all its entries removed; an entry needs what becomes its directory. The first can
    /// only leave out removals and the second only additions, so one pass of each is enough.
    fn close_over_dependencies(&self, wanted: &HashSet<RelPath>, out: &mut HashMap<RelPath, Why>) {
        for change in self.changes.list.iter().rev().filter(|change| wanted.contains(&change.path)) {
            let below = || self.changes.within(&change.path).skip(1);
            if loses_dir(change) && !out.contains_key(&change.path) {
                let blocker = below().find(|inner| {
                    inner.before().is_some() && (out.contains_key(&inner.path) || !wanted.contains(&inner.path))
                });
                if let Some(blocker) = blocker {
                    out.insert(change.path.clone(), Why::Needs(blocker.path.clone()));
                }
            }
        }
        for change in self.changes.list.iter().filter(|change| wanted.contains(&change.path)) {
            let missing = change.path.ancestors().find(|above| {
                self.changes.get(above).is_some_and(|change| {
                    (becomes_dir(change) || change.kind() == ChangeKind::TypeChanged)
                        && (out.contains_key(above) || !wanted.contains(above))
                })
            });
            if let Some(missing) = missing {
                out.entry(change.path.clone()).or_insert(Why::Needs(missing));
            }
        }
    }

    fn verdict(&self, change: &Change) -> Verdict {
        for node in [change.before(), change.after()].into_iter().flatten() {
            if let Some(what) = never_applied(node) {
                return Verdict::LeaveOut(Why::NeverApplied { what });
            }
        }
        let treatment = stricter(self.treatment_of(&change.path), self.planted(change));
        match (treatment, &change.conflict) {
            (Treatment::Protect { rule }, _) => Verdict::LeaveOut(Why::Protected { rule }),
            (Treatment::Hold { .. } | Treatment::Free, Some(conflict)) => {
                Verdict::LeaveOut(Why::Conflict(Box::new(conflict.clone())))
            }
            (Treatment::Hold { rule }, None) if self.consents.contains(&change.path) => {
                Verdict::TakeWithConsent { rule }
            }
            (Treatment::Hold { rule }, None) => Verdict::LeaveOut(Why::Held { rule }),
            (Treatment::Free, None) => Verdict::Take,
        }
    }

    /// The stricter treatment of the path as written and as a file system that folds case would read it.
    fn treatment_of(&self, path: &RelPath) -> Treatment {
        let asis = (self.treatment)(path);
        match fold(path) {
            Some(folded) if folded == *path => asis,
            Some(folded) => stricter(asis, (self.treatment)(&folded)),
            None => stricter(asis, hold("unreadable-name")),
        }
    }

    /// What no single path shows: links that lead elsewhere, directories that make up a bare repository.
    fn planted(&self, change: &Change) -> Treatment {
        let link = match change.after().map(|node| &node.content) {
            Some(Content::Symlink { target }) => match destination(&change.path, target) {
                Some(destination) => self.behind(&change.path, &destination),
                None => hold("symlink-outside"),
            },
            Some(Content::File { .. } | Content::Directory | Content::Fifo | Content::Socket | Content::Device)
            | None => Treatment::Free,
        };
        if self.is_in_bare_repository(&change.path) { stricter(link, hold("bare-repository")) } else { link }
    }

    /// The strictest treatment that any entry gets when it is reached through the new link.
    fn behind(&self, link: &RelPath, destination: &RelPath) -> Treatment {
        let mut strictest = self.treatment_of(link);
        let mut via = |rest: &[u8]| match RelPath::parse(&[link.as_bytes(), rest].join(&b'/')) {
            Ok(path) => {
                strictest = stricter(std::mem::replace(&mut strictest, Treatment::Free), self.treatment_of(&path))
            }
            Err(_) => strictest = hold("symlink-to-directory"),
        };
        for change in self.changes.within(destination) {
            if let (Some(rest), Some(_)) = (change.path.rest_below(destination), change.after()) {
                via(rest);
            }
        }
        let mut todo = vec![destination.clone()];
        let mut looked_at = 0;
        while let Some(path) = todo.pop() {
            let Ok(dir) = self.host.walk(Some(&path)) else { continue };
            for name in dir.names().unwrap_or_default() {
                looked_at += 1;
                let Ok(child) = RelPath::child(Some(&path), &name) else { continue };
                if looked_at > ALIAS_ENTRIES_MAX {
                    return stricter(strictest, hold("symlink-to-directory"));
                }
                if let Some(rest) = child.rest_below(destination) {
                    via(rest);
                }
                todo.push(child);
            }
        }
        strictest
    }

    /// A directory with `HEAD`, `objects` and `refs` is a repository to git, under any name; what is configured in it
    /// runs (CVE-2026-26268 and its like). Directories named `.git` are left to the policy's own rules.
    fn is_in_bare_repository(&self, path: &RelPath) -> bool {
        let dangerous = |part: &[u8]| {
            let part = part.to_ascii_lowercase();
            [b"HEAD".as_slice(), b"config", b"config.worktree", b"hooks", b"info", b"commondir", b"objects", b"refs"]
                .iter()
                .any(|name| name.eq_ignore_ascii_case(&part))
        };
        path.ancestors().filter(|above| !above.name().eq_ignore_ascii_case(b".git")).any(|above| {
            let first = path.rest_below(&above).and_then(|rest| rest.split(|b| *b == b'/').next());
            first.is_some_and(dangerous)
                && [b"HEAD".as_slice(), b"objects", b"refs"].iter().all(|name| self.will_exist(&above, name))
        })
    }

    fn will_exist(&self, dir: &RelPath, name: &[u8]) -> bool {
        let Ok(path) = RelPath::child(Some(dir), name) else { return false };
        match self.changes.get(&path) {
            Some(change) => change.after().is_some(),
            None => matches!(self.host.stat_at(&path), Ok(Some(_)) | Err(Errno::ACCESS)),
        }
    }
}

enum Verdict {
    Take,
    TakeWithConsent { rule: String },
    LeaveOut(Why),
}

fn hold(rule: &str) -> Treatment {
    Treatment::Hold { rule: rule.to_owned() }
}

fn stricter(a: Treatment, b: Treatment) -> Treatment {
    match (&a, &b) {
        (Treatment::Protect { .. }, _) | (_, Treatment::Free) => a,
        (_, Treatment::Protect { .. }) | (Treatment::Free, _) => b,
        (Treatment::Hold { .. }, Treatment::Hold { .. }) => a,
    }
}

fn becomes_dir(change: &Change) -> bool {
    change.after().is_some_and(Node::is_dir) && !change.before().is_some_and(Node::is_dir)
}

fn loses_dir(change: &Change) -> bool {
    change.before().is_some_and(Node::is_dir) && !change.after().is_some_and(Node::is_dir)
}

fn never_applied(node: &Node) -> Option<&'static str> {
    match node.content {
        Content::Fifo => Some("a fifo"),
        Content::Socket => Some("a socket"),
        Content::Device => Some("a device"),
        Content::File { .. } | Content::Directory | Content::Symlink { .. } => None,
    }
}

/// The path as a file system that ignores case, and the characters that some ignore, would read it.
fn fold(path: &RelPath) -> Option<RelPath> {
    let Ok(text) = std::str::from_utf8(path.as_bytes()) else {
        return RelPath::parse(&path.as_bytes().to_ascii_lowercase()).ok();
    };
    let ignored = |c: &char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let folded: String = text.chars().filter(|c| !ignored(c)).flat_map(char::to_lowercase).collect();
    RelPath::parse(folded.as_bytes()).ok()
}

/// Where a link leads inside the workspace; `None` if outside, to its root, or if only the disk could tell.
///
/// `..` is only understood at the front: after a name it means the parent of whatever that name links to.
fn destination(link: &RelPath, target: &[u8]) -> Option<RelPath> {
    if target.first() == Some(&b'/') {
        return None;
    }
    let mut at: Vec<&[u8]> = link.components().collect();
    at.pop();
    let mut climbing = true;
    for part in target.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".") {
        if part != b".." {
            climbing = false;
            at.push(part);
        } else if climbing {
            at.pop()?;
        } else {
            return None;
        }
    }
    RelPath::parse(&at.join(&b'/')).ok()
}
