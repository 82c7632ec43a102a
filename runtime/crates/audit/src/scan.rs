//! Reads the segments of a log in blocks of whole frames, and walks them in order.
//! It never holds more than a block, and never trusts a length.

use crate::chain::{FORMAT, Position, SegmentHeader, segment_path};
use crate::disk::Disk;
use crate::error::{At as _, AuditError, Result, corrupt};
use crate::frame::{self, Commit, Frame, FrameError, HEADER_BYTES, Kind, LEAF_BYTES_MAX, Seal, SealKind};
use crate::merkle::leaf_hash;
use crate::record::{LeafError, parse_head};
use std::io::{self, Read};
use std::path::Path;

/// Leaves of a block at most; blocks end at multiples of it, so that a block is one subtree.
pub(crate) const BLOCK_LEAVES: u64 = 4096;
/// Room for a block of leaves of 500 bytes: a block that is cut shorter costs the verifier its shared subtrees.
const READ_BYTES: usize = 2 << 20;

/// Whole frames that follow each other in one segment.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) segment: u32,
    /// Offset in the segment of the first byte.
    pub(crate) offset: u64,
    /// Index of the first leaf, if every frame so far was whole.
    pub(crate) first: u64,
    pub(crate) bytes: Vec<u8>,
    /// Start in `bytes` and type of each frame, checksums not yet looked at.
    pub(crate) frames: Vec<(usize, Kind)>,
    /// Set on the last block of a segment: what follows it.
    pub(crate) end: Option<SegmentEnd>,
}

/// How a segment file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentEnd {
    /// After a whole frame.
    Whole,
    /// With bytes that are not a frame.
    Broken(FrameError),
}

/// A log's frames, block by block.
pub(crate) struct Blocks<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    reader: Option<Box<dyn Read + Send>>,
    segment: u32,
    offset: u64,
    leaves: u64,
    /// What was read and belongs to the next block.
    carry: Vec<u8>,
    /// Room of blocks that are done with: fresh memory costs the kernel more than reading into it.
    spare: Vec<Vec<u8>>,
}

impl<'a> Blocks<'a> {
    /// From the start, or from where an earlier walk ended.
    pub(crate) fn new(disk: &'a dyn Disk, dir: &'a Path, from: &Position) -> Self {
        let (segment, offset, leaves) = (from.segment, from.bytes, from.range.size());
        Self { disk, dir, reader: None, segment, offset, leaves, carry: Vec::new(), spare: Vec::new() }
    }

    /// Takes back the bytes of a block, to read another one into them.
    pub(crate) fn recycle(&mut self, bytes: Vec<u8>) {
        self.spare.push(bytes);
    }

    /// The next block; `None` after the last segment.
    pub(crate) fn next(&mut self) -> Result<Option<Block>> {
        let path = segment_path(self.dir, self.segment);
        if self.reader.is_none() {
            match self.disk.read(&path, self.offset) {
                Ok(reader) => self.reader = Some(reader),
                // A log without its first segment has no leaves: what was signed or is in the ledger says that it had.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error).at("open", &path),
            }
        }
        let mut bytes = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(READ_BYTES + 1));
        bytes.clear();
        bytes.append(&mut self.carry);
        let (segment, offset, first) = (self.segment, self.offset, self.leaves);
        let mut block = Block { segment, offset, first, bytes, ..Block::default() };
        let reader = self.reader.as_mut().expect("opened above");
        let missing = READ_BYTES.saturating_sub(block.bytes.len()) as u64;
        let read = reader.take(missing).read_to_end(&mut block.bytes).at("read", &path)? as u64;
        self.cut(&mut block, if read < missing { Rest::Nothing } else { Rest::More });
        Ok(Some(block))
    }

    /// Splits the bytes of a block into frames, and keeps what belongs to the next block.
    fn cut(&mut self, block: &mut Block, rest: Rest) {
        let mut at = 0;
        let leaves_max = BLOCK_LEAVES - block.first % BLOCK_LEAVES;
        let mut leaves = 0;
        let stopped = loop {
            let tail = &block.bytes[at..];
            if tail.is_empty() {
                break (rest == Rest::Nothing).then_some(SegmentEnd::Whole);
            }
            match frame::peek(tail) {
                Ok((Kind::Entry, _)) if leaves == leaves_max => break None,
                Ok((kind, len)) => {
                    leaves += u64::from(kind == Kind::Entry);
                    block.frames.push((at, kind));
                    at += HEADER_BYTES + len;
                }
                Err(FrameError::Torn) if rest == Rest::More => break None,
                Err(error) => break Some(SegmentEnd::Broken(error)),
            }
        };
        self.carry.extend_from_slice(&block.bytes[at..]);
        block.bytes.truncate(at);
        block.end = stopped;
        self.leaves += leaves;
        self.offset += at as u64;
        if stopped.is_some() {
            self.reader = None;
            self.segment += 1;
            self.offset = 0;
            self.carry.clear();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// The file has more bytes.
    More,
    /// All of the file is in the block.
    Nothing,
}

/// Where a walk ended, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Walked {
    /// After the last good frame.
    pub(crate) position: Position,
    /// How the log goes on after that.
    pub(crate) end: WalkEnd,
}

/// What follows the last good frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WalkEnd {
    /// Nothing: the log can grow here.
    Open,
    /// The segment is sealed, and the next one was not made.
    Rolled,
    /// Nothing: the log is sealed.
    Sealed,
    /// Bytes that are no frame.
    Torn(FrameError),
}

/// Walks a log from `from` on, checks checksums, positions, headers and commits, and shows each leaf to `visit`.
///
/// # Errors
/// `Corrupt` when whole frames contradict each other, `Newer` for a later version, `Io`.
pub(crate) fn walk(
    disk: &dyn Disk,
    dir: &Path,
    origin: &str,
    from: Position,
    visit: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<Walked> {
    let mut blocks = Blocks::new(disk, dir, &from);
    let mut walked = Walked { position: from, end: WalkEnd::Open };
    while let Some(block) = blocks.next()? {
        let path = segment_path(dir, block.segment);
        let broken_before = matches!(walked.end, WalkEnd::Torn(_) | WalkEnd::Sealed);
        if block.bytes.is_empty() && block.frames.is_empty() && block.end == Some(SegmentEnd::Whole) {
            if block.offset == 0 && !broken_before {
                // A segment that was created and not yet written: the header is what is missing.
                walked.position = Position { segment: block.segment, bytes: 0, ..walked.position };
                walked.end = WalkEnd::Torn(FrameError::Torn);
            }
            continue;
        }
        if broken_before {
            return Err(corrupt(&path, "it follows a segment that is broken or sealed"));
        }
        if walked.position.segment != block.segment {
            walked.position = Position { segment: block.segment, bytes: 0, ..walked.position };
        }
        for (start, _) in &block.frames {
            match frame::parse(&block.bytes[*start..]) {
                Ok(frame) => step(&path, origin, frame, &mut walked, visit)?,
                Err(error) => {
                    walked.end = WalkEnd::Torn(error);
                    return Ok(walked);
                }
            }
        }
        if let Some(SegmentEnd::Broken(error)) = block.end {
            if error == FrameError::Foreign {
                return Err(corrupt(&path, error.text()));
            }
            walked.end = WalkEnd::Torn(error);
        }
    }
    if walked.end == WalkEnd::Rolled {
        // The writer died between the seal and the next segment, which is where the log goes on.
        walked.position = Position { segment: walked.position.segment + 1, bytes: 0, ..walked.position };
    }
    Ok(walked)
}

fn step(
    path: &Path,
    origin: &str,
    frame: Frame<'_>,
    walked: &mut Walked,
    visit: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let position = &mut walked.position;
    if walked.end == WalkEnd::Sealed {
        return Err(corrupt(path, "a frame follows the seal of the log"));
    }
    if (position.bytes == 0) != (frame.kind == Kind::Header) {
        return Err(corrupt(path, "a segment has one header, at its start"));
    }
    if walked.end == WalkEnd::Rolled {
        if frame.kind != Kind::Header {
            return Err(corrupt(path, "a frame follows the seal of its segment"));
        }
        walked.end = WalkEnd::Open;
    }
    match frame.kind {
        Kind::Header => check_header(path, origin, frame.payload, position)?,
        Kind::Entry => {
            let leaf = position.range.size();
            let head = parse_head(frame.payload).map_err(|error| {
                if let LeafError::Version(version) = error {
                    return AuditError::Newer { path: path.to_owned(), version };
                }
                corrupt(path, format!("leaf {leaf}: {error}"))
            })?;
            if head.n != position.range.size() {
                return Err(corrupt(path, format!("leaf {} says that it is leaf {}", position.range.size(), head.n)));
            }
            (position.wall_ns, position.mono_ns) = (head.wall_ns, head.mono_ns);
            visit(head.n, frame.payload)?;
            position.range.push(leaf_hash(frame.payload));
        }
        Kind::Commit => {
            let commit = Commit::parse(frame.payload).ok_or_else(|| corrupt(path, "a commit that is none"))?;
            if (commit.size, commit.root) != (position.range.size(), position.range.root()) {
                return Err(corrupt(path, format!("the commit of size {} does not match the leaves", commit.size)));
            }
            position.last_commit = u64::from(position.segment) << 32 | position.bytes;
            position.committed = commit.size;
        }
        Kind::Seal => {
            let seal = Seal::parse(frame.payload).ok_or_else(|| corrupt(path, "a seal that is none"))?;
            if (seal.size, seal.root) != (position.range.size(), position.range.root()) {
                return Err(corrupt(path, "the seal does not match the leaves"));
            }
            walked.end = match seal.kind {
                SealKind::Rolled => WalkEnd::Rolled,
                SealKind::Closed => WalkEnd::Sealed,
            };
        }
    }
    walked.position.bytes += (HEADER_BYTES + frame.payload.len()) as u64;
    Ok(())
}

fn check_header(path: &Path, origin: &str, payload: &[u8], position: &Position) -> Result<()> {
    let header = parse_segment_header(payload).map_err(|version| match version {
        Some(version) => AuditError::Newer { path: path.to_owned(), version },
        None => corrupt(path, "its header is none of a log"),
    })?;
    if header.origin != origin || header.seg != position.segment || header.first != position.range.size() {
        return Err(corrupt(path, "its header belongs to another log or place"));
    }
    Ok(())
}

/// The header of a segment.
///
/// # Errors
/// `Some(version)` when a later version wrote it, `None` when it is no header.
pub fn parse_segment_header(payload: &[u8]) -> std::result::Result<SegmentHeader, Option<u64>> {
    /// Only the version: later ones may have other members.
    #[derive(serde::Deserialize)]
    struct Version {
        format: String,
        v: u64,
    }
    if payload.len() > LEAF_BYTES_MAX {
        return Err(None);
    }
    let version: Version = serde_json::from_slice(payload).map_err(|_| None)?;
    if version.format != FORMAT || version.v == 0 {
        return Err(None);
    }
    if version.v > crate::FORMAT_VERSION {
        return Err(Some(version.v));
    }
    let header: SegmentHeader = serde_json::from_slice(payload).map_err(|_| None)?;
    let again = serde_json::to_vec(&header).expect("strings and numbers are JSON");
    if again == payload { Ok(header) } else { Err(None) }
}
