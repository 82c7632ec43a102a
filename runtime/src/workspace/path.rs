//! Paths inside a workspace: bytes, relative, without `..`, as the kernel knows them.
//! It never touches a file and never compares a path with what is on disk.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Longest path that any program can name in one system call, bytes (`PATH_MAX` without its NUL).
pub(super) const PATH_BYTES_MAX: usize = 4095;
/// Longest name of one entry, bytes (`NAME_MAX`).
pub(super) const NAME_BYTES_MAX: usize = 255;
const _: () = assert!(NAME_BYTES_MAX < PATH_BYTES_MAX);

/// A path below the workspace's root. Never empty, absolute, or with a component that is empty, `.` or `..`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelPath(Box<[u8]>);

/// Why bytes are not a path inside a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathFault {
    /// It names the workspace itself.
    Empty,
    /// It starts with a slash.
    Absolute,
    /// It has a `..`.
    Climbs,
    /// It has a NUL byte.
    Nul,
    /// It, or a component, is longer than the kernel takes.
    TooLong,
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it names the workspace itself",
            Self::Absolute => "it is absolute",
            Self::Climbs => "it contains `..`",
            Self::Nul => "it contains a NUL byte",
            Self::TooLong => "it is longer than the kernel takes",
        })
    }
}

impl RelPath {
    /// Parses bytes as typed by a person: `./a//b/` is `a/b`.
    ///
    /// # Errors
    /// See [`PathFault`].
    pub fn parse(bytes: &[u8]) -> Result<Self, PathFault> {
        if bytes.first() == Some(&b'/') {
            return Err(PathFault::Absolute);
        }
        if bytes.contains(&0) {
            return Err(PathFault::Nul);
        }
        let mut clean = Vec::with_capacity(bytes.len());
        for part in bytes.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".") {
            if part == b".." {
                return Err(PathFault::Climbs);
            }
            if part.len() > NAME_BYTES_MAX {
                return Err(PathFault::TooLong);
            }
            if !clean.is_empty() {
                clean.push(b'/');
            }
            clean.extend_from_slice(part);
        }
        match clean.len() {
            0 => Err(PathFault::Empty),
            1..=PATH_BYTES_MAX => Ok(Self(clean.into())),
            _ => Err(PathFault::TooLong),
        }
    }

    /// The entry `name` of the directory `parent` (`None`: of the root), as read from a directory.
    ///
    /// # Errors
    /// As [`Self::parse`]; a name from the kernel can only be refused for the length of the whole.
    pub fn child(parent: Option<&Self>, name: &[u8]) -> Result<Self, PathFault> {
        if name == b"." || name.contains(&b'/') {
            return Err(PathFault::Climbs);
        }
        match parent {
            None => Self::parse(name),
            Some(parent) => Self::parse(&[&parent.0, name].join(&b'/')),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a path of the standard library, relative.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// Below `root`, for messages and for callers that mount; never for opening.
    #[must_use]
    pub fn below(&self, root: &Path) -> PathBuf {
        root.join(self.as_path())
    }

    /// Its components, outermost first.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/')
    }

    /// How many components it has.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// Its last component.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.components().next_back().expect("a split has at least one part")
    }

    /// The directory that holds it; `None` is the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let cut = self.0.iter().rposition(|b| *b == b'/')?;
        self.0.get(..cut).map(|bytes| Self(bytes.into()))
    }

    /// The directories above it, nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// True if it is `other` or lies below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        match self.0.strip_prefix(&*other.0) {
            Some([]) | Some([b'/', ..]) => true,
            Some(_) | None => false,
        }
    }

    /// What remains of it below `other`; `None` if it is not strictly below.
    #[must_use]
    pub fn rest_below(&self, other: &Self) -> Option<&[u8]> {
        self.0.strip_prefix(&*other.0)?.strip_prefix(b"/")
    }

    /// As one JSON string without loss: `%` and every byte that is not printable UTF-8 becomes `%XX`.
    #[must_use]
    pub fn encode(&self) -> String {
        encode_bytes(&self.0)
    }

    /// The inverse of [`Self::encode`]; `None` for anything that it cannot have written.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let path = Self::parse(&decode_bytes(text)?).ok()?;
        (path.encode() == text).then_some(path)
    }

    /// As git writes it: plain, or in C quotes when it holds anything unusual.
    #[must_use]
    pub fn quoted(&self) -> String {
        quote(b"", &self.0)
    }
}

/// `prefix` and `bytes`, in git's C quotes if needed (quotes, backslashes, controls, everything beyond ASCII).
#[must_use]
pub(super) fn quote(prefix: &[u8], bytes: &[u8]) -> String {
    let all = prefix.iter().chain(bytes);
    let plain = |b: &u8| (0x20..0x7f).contains(b) && *b != b'"' && *b != b'\\';
    if all.clone().all(plain) {
        return all.map(|b| char::from(*b)).collect();
    }
    let mut text = String::from('"');
    for byte in all {
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b'\r' => text.push_str("\\r"),
            0x07 => text.push_str("\\a"),
            0x08 => text.push_str("\\b"),
            0x0b => text.push_str("\\v"),
            0x0c => text.push_str("\\f"),
            0x20..0x7f => text.push(char::from(*byte)),
            other => write!(text, "\\{other:03o}").expect("a String takes everything"),
        }
    }
    text.push('"');
    text
}

/// See [`RelPath::encode`].
pub(super) fn encode_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter == '%' || letter.is_control() {
                push_hex(&mut text, letter.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(letter);
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "%{byte:02X}").expect("a String takes everything");
    }
}

/// See [`RelPath::decode`].
pub(super) fn decode_bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            let (digits, tail) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    Some(bytes)
}

/// Children directly follow their directory, whatever bytes their siblings' names have.
impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.components().cmp(other.components())
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.quoted())
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelPath({})", self.quoted())
    }
}
