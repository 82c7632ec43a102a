//! Frames: how entries, commits and seals lie in a segment file.
//! It never allocates by a length it has not checked, and never interprets an entry.

use crate::merkle::Hash;

/// Bytes of a leaf at most. Larger content goes to a blob, its hash into the leaf.
pub const LEAF_BYTES_MAX: usize = 8192;
/// Bytes of a segment file at most.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// Bytes before a payload: length (u32), type (u8), CRC-32C (u32), little-endian.
pub const HEADER_BYTES: usize = 9;

const COMMIT_BYTES: usize = 56;
const SEAL_BYTES: usize = 41;

const _: () = assert!(LEAF_BYTES_MAX < u16::MAX as usize, "an entry bundle has 16-bit lengths");
const _: () = assert!(SEGMENT_BYTES_MAX < u32::MAX as u64, "an offset in a segment fits 32 bits");

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first frame of each segment: format, version, origin, position.
    Header,
    /// One leaf.
    Entry,
    /// Size and root of the tree so far.
    Commit,
    /// The last frame of a segment.
    Seal,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Header => b'H',
            Self::Entry => b'E',
            Self::Commit => b'C',
            Self::Seal => b'S',
        }
    }

    fn payload_fits(self, bytes: usize) -> bool {
        match self {
            Self::Header | Self::Entry => (1..=LEAF_BYTES_MAX).contains(&bytes),
            Self::Commit => bytes == COMMIT_BYTES,
            Self::Seal => bytes == SEAL_BYTES,
        }
    }
}

/// A frame whose length, type and checksum are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it holds.
    pub kind: Kind,
    /// The content.
    pub payload: &'a [u8],
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// The bytes end inside the frame.
    Torn,
    /// A length that its type does not allow.
    Length,
    /// A type that does not exist.
    Type,
    /// The checksum does not match.
    Checksum,
    /// The checksum matches, and there is no such type, or not of this length: no crash makes such a frame.
    Foreign,
}

impl FrameError {
    /// The error as words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Torn => "the file ends inside a frame",
            Self::Length => "a frame has an impossible length",
            Self::Type => "a frame has an unknown type",
            Self::Checksum => "a frame does not match its checksum",
            Self::Foreign => "a frame with a right checksum has a type or length that does not exist",
        }
    }
}

/// Type and payload length of the frame at the start of `bytes`; looks at the checksum only of what is no frame.
///
/// # Errors
/// When the bytes cannot be the start of a frame, or end too early.
pub fn peek(bytes: &[u8]) -> Result<(Kind, usize), FrameError> {
    let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(FrameError::Torn)?;
    let [l0, l1, l2, l3, kind, ..] = *header;
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if len > LEAF_BYTES_MAX {
        return Err(FrameError::Length);
    }
    if bytes.len() - HEADER_BYTES < len {
        return Err(FrameError::Torn);
    }
    let wrong = match kind {
        b'H' if Kind::Header.payload_fits(len) => return Ok((Kind::Header, len)),
        b'E' if Kind::Entry.payload_fits(len) => return Ok((Kind::Entry, len)),
        b'C' if Kind::Commit.payload_fits(len) => return Ok((Kind::Commit, len)),
        b'S' if Kind::Seal.payload_fits(len) => return Ok((Kind::Seal, len)),
        b'H' | b'E' | b'C' | b'S' => FrameError::Length,
        _ => FrameError::Type,
    };
    Err(if is_intact(header, &bytes[HEADER_BYTES..HEADER_BYTES + len]) { FrameError::Foreign } else { wrong })
}

fn is_intact(header: &[u8; HEADER_BYTES], payload: &[u8]) -> bool {
    let [head @ .., c0, c1, c2, c3] = header;
    checksum(head, payload) == u32::from_le_bytes([*c0, *c1, *c2, *c3])
}

/// The frame at the start of `bytes`, checked.
///
/// # Errors
/// When the bytes are not a whole, intact frame.
pub fn parse(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    let (kind, len) = peek(bytes)?;
    let payload = &bytes[HEADER_BYTES..HEADER_BYTES + len];
    let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(FrameError::Torn)?;
    if !is_intact(header, payload) {
        return Err(FrameError::Checksum);
    }
    Ok(Frame { kind, payload })
}

/// All intact frames at the start of `bytes`, and what stopped the scan, if not the end. For fuzzing and tools.
#[must_use]
pub fn scan(bytes: &[u8]) -> (Vec<Frame<'_>>, Option<FrameError>) {
    let (mut frames, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        match parse(rest) {
            Ok(frame) => {
                rest = &rest[HEADER_BYTES + frame.payload.len()..];
                frames.push(frame);
            }
            Err(error) => return (frames, Some(error)),
        }
    }
    (frames, None)
}

/// CRC-32C (Castagnoli) over length, type and payload: so a flip anywhere in the frame shows.
fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), payload)
}

/// Appends a frame whose payload `fill` writes straight into `out`. When `fill` fails, or writes what the type does not
/// allow, `out` is as before.
pub(crate) fn push_with<E>(
    out: &mut Vec<u8>,
    kind: Kind,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<Result<(), usize>, E> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    if let Err(error) = fill(out) {
        out.truncate(start);
        return Err(error);
    }
    let len = out.len() - start - HEADER_BYTES;
    if !kind.payload_fits(len) {
        out.truncate(start);
        return Ok(Err(len));
    }
    let len_bytes = u32::try_from(len).expect("payload_fits bounds it").to_le_bytes();
    let (header, payload) = out[start..].split_at_mut(HEADER_BYTES);
    header[..4].copy_from_slice(&len_bytes);
    header[4] = kind.byte();
    let crc = checksum(&header[..5], payload);
    header[5..].copy_from_slice(&crc.to_le_bytes());
    Ok(Ok(()))
}

/// Appends a frame with this payload.
pub(crate) fn push(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    let filled = push_with(out, kind, |out| {
        out.extend_from_slice(payload);
        Ok::<(), std::convert::Infallible>(())
    });
    assert!(matches!(filled, Ok(Ok(()))), "the caller gives a payload that its type allows");
}

/// Payload of a commit: the tree at this point. Everything before it was written before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Leaves in the tree.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// Where the previous commit is: segment number in the upper 32 bits, offset in the lower; all ones for the first.
    pub prev: u64,
    /// Wall clock, ns since 1970.
    pub wall_ns: u64,
}

impl Commit {
    /// `prev` of the first commit of a log.
    pub const FIRST: u64 = u64::MAX;

    pub(crate) fn to_bytes(self) -> [u8; COMMIT_BYTES] {
        let mut out = [0; COMMIT_BYTES];
        out[..8].copy_from_slice(&self.size.to_le_bytes());
        out[8..40].copy_from_slice(&self.root);
        out[40..48].copy_from_slice(&self.prev.to_le_bytes());
        out[48..].copy_from_slice(&self.wall_ns.to_le_bytes());
        out
    }

    /// The commit in a payload; `None` when it has another length.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let payload: &[u8; COMMIT_BYTES] = payload.try_into().ok()?;
        let u64_at = |at: usize| u64::from_le_bytes(*payload[at..].first_chunk().expect("offsets lie in the array"));
        Some(Self {
            size: u64_at(0),
            root: *payload[8..].first_chunk().expect("40 <= 56"),
            prev: u64_at(40),
            wall_ns: u64_at(48),
        })
    }
}

/// Why a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealKind {
    /// The next segment follows.
    Rolled,
    /// The log is closed: nothing follows, ever.
    Closed,
}

/// Payload of a seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// Leaves in the tree.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// Why the segment ends.
    pub kind: SealKind,
}

impl Seal {
    pub(crate) fn to_bytes(self) -> [u8; SEAL_BYTES] {
        let mut out = [0; SEAL_BYTES];
        out[..8].copy_from_slice(&self.size.to_le_bytes());
        out[8..40].copy_from_slice(&self.root);
        out[40] = match self.kind {
            SealKind::Rolled => 0,
            SealKind::Closed => 1,
        };
        out
    }

    /// The seal in a payload; `None` when it is none.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let payload: &[u8; SEAL_BYTES] = payload.try_into().ok()?;
        let kind = match payload[40] {
            0 => SealKind::Rolled,
            1 => SealKind::Closed,
            _ => return None,
        };
        let size = u64::from_le_bytes(*payload.first_chunk().expect("8 <= 41"));
        Some(Self { size, root: *payload[8..].first_chunk().expect("40 <= 41"), kind })
    }
}
