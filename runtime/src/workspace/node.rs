//! What an entry is: type, permissions, content by digest, attributes; and reading that from a directory.
//! It never writes, except that it lends itself read permission on files of the layer and gives it back.

use super::door::{self, Dir, Kind, Stat, Time};
use super::path::RelPath;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io::{Read, Write};

/// How much of a file is in memory at one time, bytes.
const CHUNK_BYTES: usize = 256 * 1024;

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of bytes in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// From 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// Of its content; `None` where the host does not let us read it.
        sha256: Option<Digest>,
    },
    /// A directory; its entries are changes of their own.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it points, as stored.
        target: Vec<u8>,
    },
    /// A fifo: reported, never applied.
    Fifo,
    /// A socket: reported, never applied.
    Socket,
    /// A device node: reported, never applied.
    Device,
}

/// One side of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Type and content.
    pub content: Content,
    /// Permission bits with setuid, setgid and sticky; of no meaning for a symlink.
    pub mode: u32,
    /// `user.*` attributes: name and digest of the value.
    pub xattrs: Vec<(Vec<u8>, Digest)>,
    /// Last change of the content.
    pub mtime: Time,
}

impl Node {
    /// Same type and content (for a file of unknown content: never).
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        match (&self.content, &other.content) {
            (Content::File { sha256: None, .. }, _) | (_, Content::File { sha256: None, .. }) => false,
            (mine, theirs) => mine == theirs,
        }
    }

    /// Same permissions and attributes. Links have none that count.
    #[must_use]
    pub fn same_metadata(&self, other: &Self) -> bool {
        matches!(self.content, Content::Symlink { .. }) || (self.mode == other.mode && self.xattrs == other.xattrs)
    }

    /// Same to every program that looks, times and owner aside.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.same_content(other) && self.same_metadata(other)
    }

    /// True for a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        matches!(self.content, Content::Directory)
    }

    /// True if the owner may execute it.
    #[must_use]
    pub fn is_executable(&self) -> bool {
        matches!(self.content, Content::File { .. }) && self.mode & 0o100 != 0
    }

    /// Digest of a file's content, where there is one.
    #[must_use]
    pub fn sha256(&self) -> Option<Digest> {
        match &self.content {
            Content::File { sha256, .. } => *sha256,
            Content::Directory | Content::Symlink { .. } | Content::Fifo | Content::Socket | Content::Device => None,
        }
    }
}

/// Whether unreadable entries may be made readable for the moment of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lend {
    /// Ours: the layer.
    Allowed,
    /// The host's: unreadable stays unreadable.
    Never,
}

/// Reads the entry `name`, whose stat is known; `sha256` if the digest is known too.
pub(super) fn describe(dir: &Dir, name: &[u8], stat: &Stat, known: Option<Digest>, lend: Lend) -> Result<Node, Errno> {
    let content = match stat.kind {
        Kind::File => Content::File {
            size: stat.size,
            sha256: match known {
                Some(digest) => Some(digest),
                None => hash(dir, name, stat, lend)?,
            },
        },
        Kind::Directory => Content::Directory,
        Kind::Symlink => Content::Symlink { target: dir.read_link(name)? },
        Kind::Fifo => Content::Fifo,
        Kind::Socket => Content::Socket,
        Kind::Device | Kind::Whiteout => Content::Device,
    };
    let xattrs = match stat.kind {
        Kind::File | Kind::Directory => {
            let read = lending(dir, name, stat, lend, || dir.xattrs(name))?;
            read.into_iter().map(|(name, value)| (name, Digest::of(&value))).collect()
        }
        Kind::Symlink | Kind::Fifo | Kind::Socket | Kind::Device | Kind::Whiteout => Vec::new(),
    };
    Ok(Node { content, mode: stat.bits(), xattrs, mtime: stat.mtime })
}

/// How often an entry is looked at that somebody changes meanwhile.
const LOOKS_MAX: u32 = 16;

/// The entry at `path` below `root`, if there is one.
pub(super) fn describe_at(root: &Dir, path: &RelPath, lend: Lend) -> Result<Option<(Stat, Node)>, Errno> {
    let parent = match root.walk_to_parent(path) {
        Ok(parent) => parent,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    // It may go, or become another, between two looks.
    let mut looks = 0;
    loop {
        let Some(stat) = parent.stat(path.name())? else { return Ok(None) };
        looks += 1;
        match describe(&parent, path.name(), &stat, None, lend) {
            Err(errno) if is_another(errno) && looks < LOOKS_MAX => {}
            described => return described.map(|node| Some((stat, node))),
        }
    }
}

/// Whether an entry is not what it was when it was looked at: gone, a link where none was, or none where one was.
pub(super) fn is_another(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::LOOP | Errno::INVAL | Errno::NOTDIR)
}

/// Runs `read` while a file of ours that the guest made unreadable is readable. Attributes need that as well as content.
pub(super) fn lending<T>(
    dir: &Dir,
    name: &[u8],
    stat: &Stat,
    lend: Lend,
    read: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let locked = stat.kind == Kind::File && stat.bits() & 0o400 == 0 && stat.uid == door::own_uid();
    if !locked || lend == Lend::Never || door::is_root() {
        return read();
    }
    dir.set_bits(name, stat.bits() | 0o400)?;
    let done = read();
    dir.set_bits(name, stat.bits())?;
    done
}

/// Opens a file for reading, see [`lending`].
pub(super) fn open_lending(dir: &Dir, name: &[u8], stat: &Stat, lend: Lend) -> Result<door::Handle, Errno> {
    lending(dir, name, stat, lend, || dir.open_file(name))
}

fn hash(dir: &Dir, name: &[u8], stat: &Stat, lend: Lend) -> Result<Option<Digest>, Errno> {
    match open_lending(dir, name, stat, lend) {
        Ok(handle) => copy_hashed(handle, std::io::sink()).map(|(digest, _)| Some(digest)),
        Err(Errno::ACCESS | Errno::PERM) if lend == Lend::Never => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Copies a file to `to` and returns the digest and length of what was copied.
pub(super) fn copy_hashed(from: door::Handle, mut to: impl Write) -> Result<(Digest, u64), Errno> {
    let mut from = door::file(from);
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut total = 0_u64;
    loop {
        let length = match from.read(&mut chunk) {
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        };
        let Some(read @ [_, ..]) = chunk.get(..length) else {
            return Ok((Digest(hasher.finalize().into()), total));
        };
        hasher.update(read);
        total += read.len() as u64;
        to.write_all(read).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    }
}
