//! What an apply intends, written before it touches anything, so that any later process can finish or undo it.
//! It never acts; the acting is in `apply`.

use super::change::Stamp;
use super::door::Time;
use super::error::Result;
use super::node::{Content, Digest, Node};
use super::path::{RelPath, decode_bytes, encode_bytes};
use super::state;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// One side of what is wanted: an entry that is there before, or is to be there after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) node: Node,
    /// Owner and group to set; `None` leaves them to the kernel.
    pub(super) owner: Option<(u32, u32)>,
    /// Attributes with their values. Of a directory always; of a file they are read where its content is.
    pub(super) values: Vec<(Vec<u8>, Vec<u8>)>,
    /// The host's entry, for `old`.
    pub(super) stamp: Option<Stamp>,
}

/// Where the content of `new` comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Source {
    /// The layer, at the same path.
    Layer,
    /// What apply number `apply` kept of its entry `entry`.
    Kept { apply: u32, entry: usize },
}

/// One entry that is to become something else.
#[derive(Debug, Clone)]
pub(super) struct Want {
    pub(super) path: RelPath,
    pub(super) old: Option<Known>,
    pub(super) new: Option<Known>,
    pub(super) source: Source,
    /// Inode in the layer, when it has more than one name there.
    pub(super) group: Option<(u64, u64)>,
    /// A host entry that is the same file, to be linked to.
    pub(super) anchor: Option<RelPath>,
    /// The layer's entry.
    pub(super) layer: Option<Stamp>,
}

impl Want {
    pub(super) fn old_dir(&self) -> Option<&Known> {
        self.old.as_ref().filter(|known| known.node.is_dir())
    }
    pub(super) fn new_dir(&self) -> Option<&Known> {
        self.new.as_ref().filter(|known| known.node.is_dir())
    }
    pub(super) fn old_leaf(&self) -> Option<&Known> {
        self.old.as_ref().filter(|known| !known.node.is_dir())
    }
    pub(super) fn new_leaf(&self) -> Option<&Known> {
        self.new.as_ref().filter(|known| !known.node.is_dir())
    }
}

/// Everything that one apply intends.
#[derive(Debug, Clone)]
pub(super) struct Intent {
    /// In the names of temporary entries, so that nobody can have made them before.
    pub(super) nonce: String,
    /// The apply that this one takes back.
    pub(super) undoes: Option<u32>,
    /// Sorted by path.
    pub(super) wants: Vec<Want>,
    /// Host directories that have to be writable for a while, and their bits; `None` is the root.
    pub(super) unlocked: Vec<(Option<RelPath>, u32)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    nonce: String,
    undoes: Option<u32>,
    unlocked: Vec<(Option<String>, u32)>,
    wants: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownRec {
    kind: String,
    mode: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    xattrs: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<(String, String)>,
    mtime: (i64, u32),
    owner: Option<(u32, u32)>,
    stamp: Option<state::StampRec>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WantRec {
    path: String,
    old: Option<KnownRec>,
    new: Option<KnownRec>,
    source: Source,
    group: Option<(u64, u64)>,
    anchor: Option<String>,
    layer: Option<state::StampRec>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Header(Header),
    Want(Box<WantRec>),
}

pub(super) fn write(file: &Path, intent: &Intent) -> Result<()> {
    let header = Header {
        version: state::VERSION,
        nonce: intent.nonce.clone(),
        undoes: intent.undoes,
        unlocked: intent.unlocked.iter().map(|(path, bits)| (path.as_ref().map(RelPath::encode), *bits)).collect(),
        wants: intent.wants.len(),
    };
    state::replace(file, |out| {
        state::write_line(out, &header)?;
        intent.wants.iter().try_for_each(|want| state::write_line(out, &want_rec(want)))
    })
}

pub(super) fn read(file: &Path) -> Result<Intent> {
    let mut header: Option<Header> = None;
    let mut wants = Vec::new();
    state::read_lines(file, |line: Line| {
        match line {
            Line::Header(read) if header.is_none() && read.version == state::VERSION => header = Some(read),
            Line::Header(_) => return Err("header"),
            Line::Want(want) => wants.push(want_of(*want).ok_or("entry")?),
        }
        Ok(())
    })?;
    let header = header.ok_or_else(|| state::corrupt(file, "it has no header"))?;
    if header.wants != wants.len() {
        return Err(state::corrupt(file, "entries are missing"));
    }
    // It becomes part of names in the workspace.
    if header.nonce.len() != 16 || !header.nonce.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(state::corrupt(file, "bad nonce in the header"));
    }
    let decode = |(path, bits): (Option<String>, u32)| match path {
        None => Some((None, bits)),
        Some(path) => RelPath::decode(&path).map(|path| (Some(path), bits)),
    };
    let unlocked = header.unlocked.into_iter().map(decode).collect::<Option<_>>();
    let unlocked = unlocked.ok_or_else(|| state::corrupt(file, "bad path in the header"))?;
    Ok(Intent { nonce: header.nonce, undoes: header.undoes, wants, unlocked })
}

fn want_rec(want: &Want) -> WantRec {
    WantRec {
        path: want.path.encode(),
        old: want.old.as_ref().map(known_rec),
        new: want.new.as_ref().map(known_rec),
        source: want.source,
        group: want.group,
        anchor: want.anchor.as_ref().map(RelPath::encode),
        layer: want.layer.as_ref().map(state::stamp_rec),
    }
}

fn want_of(rec: WantRec) -> Option<Want> {
    let anchor = match rec.anchor {
        None => None,
        Some(path) => Some(RelPath::decode(&path)?),
    };
    Some(Want {
        path: RelPath::decode(&rec.path)?,
        old: rec.old.map(known_of).transpose().ok()?,
        new: rec.new.map(known_of).transpose().ok()?,
        source: rec.source,
        group: rec.group,
        anchor,
        layer: rec.layer.map(state::stamp_of),
    })
}

fn known_rec(known: &Known) -> KnownRec {
    let (kind, size, sha256, target) = match &known.node.content {
        Content::File { size, sha256 } => ("file", Some(*size), sha256.map(|digest| digest.to_string()), None),
        Content::Directory => ("directory", None, None, None),
        Content::Symlink { target } => ("symlink", None, None, Some(encode_bytes(target))),
        Content::Fifo => ("fifo", None, None, None),
        Content::Socket => ("socket", None, None, None),
        Content::Device => ("device", None, None, None),
    };
    KnownRec {
        kind: kind.to_owned(),
        mode: known.node.mode,
        size,
        sha256,
        target,
        xattrs: known.node.xattrs.iter().map(|(name, value)| (encode_bytes(name), value.to_string())).collect(),
        values: known.values.iter().map(|(name, value)| (encode_bytes(name), encode_bytes(value))).collect(),
        mtime: (known.node.mtime.s, known.node.mtime.ns),
        owner: known.owner,
        stamp: known.stamp.as_ref().map(state::stamp_rec),
    }
}

/// `Err` rather than `Option` so that `Option<KnownRec>` can be transposed.
fn known_of(rec: KnownRec) -> std::result::Result<Known, ()> {
    let sha256 = rec.sha256.map(|text| Digest::parse(&text).ok_or(())).transpose()?;
    let content = match (rec.kind.as_str(), rec.size, rec.target) {
        ("file", Some(size), None) => Content::File { size, sha256 },
        ("directory", None, None) => Content::Directory,
        ("symlink", None, Some(target)) => Content::Symlink { target: decode_bytes(&target).ok_or(())? },
        _ => return Err(()),
    };
    let pair = |(name, value): (String, String)| Some((decode_bytes(&name)?, Digest::parse(&value)?));
    let xattrs = rec.xattrs.into_iter().map(pair).collect::<Option<_>>().ok_or(())?;
    let pair = |(name, value): (String, String)| Some((decode_bytes(&name)?, decode_bytes(&value)?));
    let values = rec.values.into_iter().map(pair).collect::<Option<_>>().ok_or(())?;
    let mtime = Time { s: rec.mtime.0, ns: rec.mtime.1 };
    let node = Node { content, mode: rec.mode, xattrs, mtime };
    Ok(Known { node, owner: rec.owner, values, stamp: rec.stamp.map(state::stamp_of) })
}

/// Where each wanted entry is staged: new directories are built whole beside their place and appear with one rename.
#[derive(Debug)]
pub(super) struct Staging {
    /// Outermost new directories, and the names under which they are built.
    tops: HashMap<RelPath, Vec<u8>>,
}

/// Where one entry is staged.
#[derive(Debug)]
pub(super) enum Spot {
    /// Beside its place, under this name; renamed at the end.
    Beside(Vec<u8>),
    /// At this path inside a directory that is itself being built.
    Inside(RelPath),
}

impl Staging {
    pub(super) fn of(intent: &Intent) -> Self {
        let mut tops: HashMap<RelPath, Vec<u8>> = HashMap::new();
        for (at, want) in intent.wants.iter().enumerate() {
            let is_new = want.new_dir().is_some() && want.old_dir().is_none();
            if is_new && !want.path.ancestors().any(|above| tops.contains_key(&above)) {
                tops.insert(want.path.clone(), temporary(intent, at));
            }
        }
        Self { tops }
    }

    pub(super) fn spot(&self, intent: &Intent, at: usize, path: &RelPath) -> Spot {
        for top in path.ancestors() {
            if let (Some(name), Some(rest)) = (self.tops.get(&top), path.rest_below(&top)) {
                let built = RelPath::child(top.parent().as_ref(), name).ok();
                let inside = built.and_then(|built| RelPath::parse(&[built.as_bytes(), rest].join(&b'/')).ok());
                // Too long under the temporary name: it fails when it is staged, and all is taken back.
                return inside.map_or_else(|| Spot::Beside(temporary(intent, at)), Spot::Inside);
            }
        }
        Spot::Beside(temporary(intent, at))
    }
}

/// The name under which entry `at` is staged, or set aside.
pub(super) fn temporary(intent: &Intent, at: usize) -> Vec<u8> {
    format!(".stockade-{}-{at}", intent.nonce).into_bytes()
}
