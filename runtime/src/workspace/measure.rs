//! Measures a change: what git calls each side, and how many lines lie between them.
//! It never trusts a second look: what it measured has the digest that the change names, or is not reported.

use super::change::Change;
use super::door::{self, Dir};
use super::error::{Named, Result};
use super::layer::{Layer, Mode};
use super::node::{self, Content, Digest, Lend, Node};
use super::path::RelPath;
use super::text;
use rustix::io::Errno;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use std::io::Read as _;

/// Of a file with a side larger than this no lines are counted, bytes.
const TEXT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How much of a larger file is in memory at one time, bytes.
const CHUNK_BYTES: usize = 256 * 1024;

/// SHA-1 over `blob LENGTH\0CONTENT`: what git calls a content, in a repository of the usual kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GitId(pub [u8; 20]);

/// What was measured of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Measures {
    /// What git calls the content, or a link's target, before.
    pub before: Option<GitId>,
    /// The same after.
    pub after: Option<GitId>,
    /// Lines added and removed, where both sides are text (an absent one is an empty text).
    pub lines: Option<(u32, u32)>,
}

/// One side.
enum Side {
    /// There is nothing, or nothing that has lines.
    Absent,
    /// A text, and what git calls it.
    Text(GitId, Vec<u8>),
    /// No text, or too large.
    Opaque(GitId),
    /// It is not what the change names any more.
    Lost,
}

impl Layer {
    /// Measures a change. What changed again since it was found is left out, not guessed.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn measure(&self, change: &Change) -> Result<Measures> {
        let (host, path) = (&self.host, &change.path);
        let read = |root: &Dir, node: Option<&Node>, lend| {
            node.map_or(Ok(Side::Absent), |node| side(root, path, node, lend)).named("read", || path)
        };
        // Used directly, the workspace is what comes after; what was before is nowhere any more.
        let (before, after) = match self.mode {
            Mode::Review | Mode::Discard => {
                (read(host, change.before(), Lend::Never)?, read(&self.tree()?, change.after(), Lend::Allowed)?)
            }
            Mode::Direct => {
                let before = if change.before().is_some() { Side::Lost } else { Side::Absent };
                (before, read(host, change.after(), Lend::Never)?)
            }
        };
        let lines = match (before.text(), after.text()) {
            (Some(before), Some(after)) if !(before.is_empty() && after.is_empty()) => {
                Some(text::counts(before, after))
            }
            _ => None,
        };
        Ok(Measures { before: before.id(), after: after.id(), lines })
    }
}

impl Side {
    fn id(&self) -> Option<GitId> {
        match self {
            Self::Text(id, _) | Self::Opaque(id) => Some(*id),
            Self::Absent | Self::Lost => None,
        }
    }

    fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Absent => Some(&[]),
            Self::Text(_, bytes) => Some(bytes),
            Self::Opaque(_) | Self::Lost => None,
        }
    }
}

fn side(root: &Dir, path: &RelPath, node: &Node, lend: Lend) -> std::result::Result<Side, Errno> {
    match &node.content {
        // A link's target is no text: it has no lines.
        Content::Symlink { target } => {
            let mut hasher = begun(target.len() as u64);
            hasher.update(target);
            Ok(Side::Opaque(GitId(hasher.finalize().into())))
        }
        Content::File { sha256: None, .. } => Ok(Side::Lost),
        Content::File { size, sha256: Some(digest) } => {
            let dir = match root.walk_to_parent(path) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Side::Lost),
                other => other?,
            };
            let Some(stat) = dir.stat(path.name())? else { return Ok(Side::Lost) };
            match node::open_lending(&dir, path.name(), &stat, lend) {
                Err(Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::LOOP) => Ok(Side::Lost),
                handle => file(handle?, *size, *digest),
            }
        }
        Content::Directory | Content::Fifo | Content::Socket | Content::Device => Ok(Side::Absent),
    }
}

fn file(handle: door::Handle, size: u64, digest: Digest) -> std::result::Result<Side, Errno> {
    let mut file = door::file(handle);
    let (mut git, mut sha256) = (begun(size), Sha256::new());
    let (mut kept, mut chunk, mut left) = (Vec::new(), vec![0; CHUNK_BYTES], size);
    loop {
        let read = match file.read(&mut chunk) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?,
        };
        let Some(read @ [_, ..]) = chunk.get(..read) else { break };
        let Some(rest) = left.checked_sub(read.len() as u64) else { return Ok(Side::Lost) };
        left = rest;
        git.update(read);
        sha256.update(read);
        if size <= TEXT_BYTES_MAX {
            kept.extend_from_slice(read);
        }
    }
    if left > 0 || Digest(sha256.finalize().into()) != digest {
        return Ok(Side::Lost);
    }
    let id = GitId(git.finalize().into());
    let is_text = size <= TEXT_BYTES_MAX && text::is_text(&kept);
    Ok(if is_text { Side::Text(id, kept) } else { Side::Opaque(id) })
}

/// A hasher that has had git's header.
fn begun(length: u64) -> Sha1 {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {length}\0"));
    hasher
}
