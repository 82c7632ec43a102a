//! Changes of a workspace, as data: what was, what is, and whether the host moved on meanwhile.
//! It never looks at a file.

use super::door::{Stat, Time};
use super::node::{Content, Digest, Node};
use super::path::RelPath;
use std::collections::{BTreeMap, HashMap, HashSet};

/// One entry that differs from the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub path: RelPath,
    /// Before and after.
    pub delta: Delta,
    /// Set when the host's entry is not the one that the guest started from.
    pub conflict: Option<Conflict>,
    /// Inode in the layer, or in a workspace that is used directly, when it has more than one name.
    pub(super) group: Option<(u64, u64)>,
    /// The host's entry when it was compared.
    pub(super) host: Option<Stamp>,
    /// The layer's entry when it was read; `None` for a deletion.
    pub(super) layer: Option<Stamp>,
}

/// Before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// The host has no such entry.
    Created(Node),
    /// The host has one that the guest removed.
    Deleted(Node),
    /// Both have one, and they differ.
    Changed {
        /// The host's.
        before: Node,
        /// The guest's.
        after: Node,
    },
}

/// The kind of a change, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChangeKind {
    /// New.
    Created,
    /// Other content.
    Modified,
    /// Gone.
    Deleted,
    /// Same content; other permissions or attributes.
    MetadataOnly,
    /// Another type of entry altogether.
    TypeChanged,
}

impl ChangeKind {
    /// As reports and the log write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
            Self::MetadataOnly => "metadata",
            Self::TypeChanged => "type-changed",
        }
    }
}

/// Why a change cannot simply be taken: the host's entry was changed after the session began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What the host has now.
    pub host: Option<Node>,
    /// Digest of what it had when the session first looked; `None` if it had no file or we had not looked.
    pub expected: Option<Digest>,
    /// Which side was changed last.
    pub newer: Newer,
}

/// Which side was changed last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newer {
    /// The host's file.
    Host,
    /// The guest's.
    Layer,
    /// One of the two is gone, and nobody wrote down when.
    Unknown,
}

/// Enough of a stat to notice any later change, as far as the kernel's clock can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) size: u64,
    pub(super) mtime: Time,
    pub(super) ctime: Time,
}

impl Stamp {
    /// True if it is the same inode with the same content, as far as a stat can tell. The ctime is left out: a further
    /// link and a change of permissions move it as well.
    pub(super) fn is(&self, stat: &Stat) -> bool {
        Self { ctime: stat.ctime, ..*self } == Self::from(stat)
    }
}

impl From<&Stat> for Stamp {
    fn from(stat: &Stat) -> Self {
        Self { dev: stat.dev, ino: stat.ino, size: stat.size, mtime: stat.mtime, ctime: stat.ctime }
    }
}

impl Change {
    /// Device and inode of what is there now, when it has more than one name.
    #[must_use]
    pub fn shared_inode(&self) -> Option<(u64, u64)> {
        self.group
    }

    /// The host's side, if it has one.
    #[must_use]
    pub fn before(&self) -> Option<&Node> {
        match &self.delta {
            Delta::Created(_) => None,
            Delta::Deleted(before) | Delta::Changed { before, .. } => Some(before),
        }
    }

    /// The guest's side, if it has one.
    #[must_use]
    pub fn after(&self) -> Option<&Node> {
        match &self.delta {
            Delta::Deleted(_) => None,
            Delta::Created(after) | Delta::Changed { after, .. } => Some(after),
        }
    }

    /// The kind, in one word.
    #[must_use]
    pub fn kind(&self) -> ChangeKind {
        match &self.delta {
            Delta::Created(_) => ChangeKind::Created,
            Delta::Deleted(_) => ChangeKind::Deleted,
            Delta::Changed { before, after } if type_of(before) != type_of(after) => ChangeKind::TypeChanged,
            Delta::Changed { before, after } if before.same_content(after) => ChangeKind::MetadataOnly,
            Delta::Changed { .. } => ChangeKind::Modified,
        }
    }
}

fn type_of(node: &Node) -> std::mem::Discriminant<Content> {
    std::mem::discriminant(&node.content)
}

/// All changes of a layer, sorted by path, a directory before its entries.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    pub(super) list: Vec<Change>,
    /// Entries of the layer that equal the host's but share their inode with a change.
    pub(super) anchors: HashMap<(u64, u64), RelPath>,
    /// Directories whose entries cannot be named with a path that the kernel takes.
    pub(super) unnameable: Vec<RelPath>,
}

impl Changes {
    /// The changes.
    #[must_use]
    pub fn list(&self) -> &[Change] {
        &self.list
    }

    /// Directories that hold entries too deep to be named; what lies there is never applied.
    #[must_use]
    pub fn unnameable(&self) -> &[RelPath] {
        &self.unnameable
    }

    /// True when nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.unnameable.is_empty()
    }

    /// The change of exactly this path.
    #[must_use]
    pub fn get(&self, path: &RelPath) -> Option<&Change> {
        self.list.binary_search_by(|change| change.path.cmp(path)).ok().and_then(|at| self.list.get(at))
    }

    /// The change of `path` and those below it.
    pub fn within<'a>(&'a self, path: &'a RelPath) -> impl Iterator<Item = &'a Change> {
        let start = self.list.partition_point(|change| change.path < *path);
        self.list.get(start..).unwrap_or_default().iter().take_while(|change| change.path.is_within(path))
    }

    /// Deleted and created files of the same content, as pairs (from, to). Each path is in one pair at most; a
    /// match by name is preferred, then the first by path. Empty files are no evidence of anything.
    #[must_use]
    pub fn renames(&self) -> BTreeMap<RelPath, RelPath> {
        let mut gone: HashMap<Digest, Vec<&Change>> = HashMap::new();
        for change in &self.list {
            if let (ChangeKind::Deleted, Some(digest)) = (change.kind(), change.before().and_then(renamable)) {
                gone.entry(digest).or_default().push(change);
            }
        }
        let mut pairs = BTreeMap::new();
        let mut taken = HashSet::new();
        for change in self.list.iter().filter(|change| change.kind() == ChangeKind::Created) {
            let Some(sources) = change.after().and_then(renamable).and_then(|digest| gone.get_mut(&digest)) else {
                continue;
            };
            let same_name = sources.iter().position(|source| source.path.name() == change.path.name());
            if !sources.is_empty() {
                let source = sources.remove(same_name.unwrap_or(0));
                if taken.insert(&source.path) {
                    pairs.insert(source.path.clone(), change.path.clone());
                }
            }
        }
        pairs
    }
}

/// The digest by which a rename is recognised.
fn renamable(node: &Node) -> Option<Digest> {
    match &node.content {
        Content::File { size: 1.., sha256 } => *sha256,
        Content::File { .. }
        | Content::Directory
        | Content::Symlink { .. }
        | Content::Fifo
        | Content::Socket
        | Content::Device => None,
    }
}
