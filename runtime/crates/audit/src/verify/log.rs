//! Integrity of one log: leaves, commits, seals, every signed checkpoint, tiles, and what others say about its tree.
//! It never interprets a record; it hands leaves to a rule set that does.

use super::stream::{Checked, Depth, Fault, FaultKind, Go, Mark, Task, stream};
use super::tiles::TileCheck;
use super::{Findings, Level, VerifyOptions};
use crate::chain::Position;
use crate::disk::{Disk, read_file};
use crate::error::{AuditError, Result};
use crate::frame::{Commit, FrameError, SealKind};
use crate::merkle::{Hash, Range};
use crate::note::{SignedCheckpoint, Vkey, is_foreign, split_notes};
use crate::record::Leaf;
use crate::recover::CHECKPOINTS_BYTES_MAX;
use crate::scan::{Blocks, SegmentEnd, parse_segment_header};
use std::path::Path;

/// Which of the three kinds of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogKind {
    Session,
    After,
    Ledger,
}

impl LogKind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::After => "after",
            Self::Ledger => "ledger",
        }
    }
}

/// A tree size whose root somebody vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) size: u64,
    pub(super) root: Hash,
    /// Who: `a signed checkpoint`, `the ledger`.
    pub(super) what: &'static str,
}

/// What is known about a log after all of it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogFacts {
    pub(super) size: u64,
    pub(super) root: Hash,
    pub(super) sealed: bool,
    /// Whether the last segment says that another follows.
    pub(super) rolled: bool,
    /// Largest tree that the log's own key has signed.
    pub(super) signed: u64,
}

/// What a log is checked for, and where findings go.
pub(super) type OnLeaf<'a> = dyn FnMut(Leaf, &mut Findings) + 'a;

/// Checks a log from its first byte to its last.
#[expect(clippy::too_many_arguments, reason = "one log, its key, what vouches for it, and two places for results")]
pub(super) fn check_log(
    disk: &dyn Disk,
    dir: &Path,
    vkey: &Vkey,
    kind: LogKind,
    mut points: Vec<Point>,
    options: &VerifyOptions,
    on_leaf: &mut OnLeaf<'_>,
    findings: &mut Findings,
) -> Result<LogFacts> {
    let notes = read_notes(disk, dir, vkey, kind, &mut points, findings)?;
    points.sort_by_key(|point| point.size);
    let mut sizes: Vec<u64> = points.iter().map(|point| point.size).collect();
    sizes.dedup();
    let from = Position { last_commit: Commit::FIRST, ..Position::default() };
    let blocks = Blocks::new(disk, dir, &from);
    let depth = if options.level >= Level::Completeness { Depth::Whole } else { Depth::Head };
    let tiles = TileCheck::new(disk, dir, kind);
    let task = Task { sizes: &sizes, depth, tiles: tiles.present().then_some((disk, dir)) };
    let mut walk = Walk {
        dir,
        origin: vkey.name(),
        kind,
        points: &points,
        next_point: 0,
        range: Range::default(),
        segment: None,
        last_commit: Commit::FIRST,
        committed: None,
        times: None,
        sealed: None,
        broken: None,
        tiles,
        on_leaf,
        findings,
    };
    walk.empty_points();
    stream(blocks, task, options.threads.get(), &mut |checked| walk.block(checked))?;
    let facts = walk.end(notes.signed)?;
    check_ends(&notes, &facts, kind, findings);
    Ok(facts)
}

struct Notes {
    /// Largest signed size.
    signed: u64,
    /// Whether `checkpoints` ends in the middle of a note.
    torn: bool,
    /// Whether `checkpoint` is the last of `checkpoints`.
    latest: bool,
}

/// Reads every signed checkpoint; each must be whole, of this log, and signed by its key.
fn read_notes(
    disk: &dyn Disk,
    dir: &Path,
    vkey: &Vkey,
    kind: LogKind,
    points: &mut Vec<Point>,
    findings: &mut Findings,
) -> Result<Notes> {
    let bytes = read_file(disk, &dir.join("checkpoints"), CHECKPOINTS_BYTES_MAX)?.unwrap_or_default();
    let (notes, torn) = split_notes(&bytes);
    let mut signed = 0;
    for note in &notes {
        match SignedCheckpoint::parse(note).as_ref().and_then(|signed| signed.verify(vkey)) {
            Some(checkpoint) => {
                if checkpoint.size < signed {
                    findings.broken(kind, None, "a signed checkpoint is smaller than the one before it");
                }
                signed = signed.max(checkpoint.size);
                points.push(Point { size: checkpoint.size, root: checkpoint.root, what: "a signed checkpoint" });
            }
            None => findings.broken(kind, None, "a checkpoint is not signed by the key of this log"),
        }
    }
    if is_foreign(torn) {
        findings.broken(kind, None, "a checkpoint is not UTF-8");
    }
    let latest = read_file(disk, &dir.join("checkpoint"), crate::note::NOTE_BYTES_MAX)?.unwrap_or_default();
    let is_last = notes.last().is_some_and(|last| last.as_bytes() == latest);
    if latest.is_empty() && !notes.is_empty() {
        // A copy of what is in `checkpoints`, so nothing is lost with it; but only a power cut takes it away.
        findings.incomplete(kind, None, "the latest checkpoint is missing");
    }
    let is_one = latest.is_empty() || notes.iter().any(|note| note.as_bytes() == latest);
    if !is_one {
        let parsed = std::str::from_utf8(&latest).ok().and_then(SignedCheckpoint::parse);
        match parsed.as_ref().map(|signed| signed.verify(vkey)) {
            // Signed and published, and its copy in `checkpoints` lost with the power.
            Some(Some(checkpoint)) => {
                signed = signed.max(checkpoint.size);
                points.push(Point { size: checkpoint.size, root: checkpoint.root, what: "the latest checkpoint" });
                findings.incomplete(kind, None, "the latest checkpoint is not among the stored ones");
            }
            Some(None) => findings.broken(kind, None, "the latest checkpoint is not signed by the key of this log"),
            // What a power cut can leave; in a sealed log it is damage, see `check_ends`.
            None => findings.incomplete(kind, None, "the latest checkpoint is no checkpoint"),
        }
    }
    Ok(Notes { signed, torn: !torn.is_empty(), latest: is_last })
}

fn check_ends(notes: &Notes, facts: &LogFacts, kind: LogKind, findings: &mut Findings) {
    // A power cut between seal and signature leaves both, so neither is proof of an alteration.
    if notes.torn {
        findings.incomplete(kind, None, "the list of checkpoints ends inside a note");
    }
    if facts.sealed && !notes.latest {
        findings.incomplete(kind, None, "the latest checkpoint is not the last of the stored ones");
    }
    if facts.size > notes.signed {
        let text = format!("the leaves from {} on are not signed", notes.signed);
        findings.incomplete(kind, notes.signed, text);
    }
}

/// The state of a walk through the blocks, in order.
struct Walk<'a, 'f> {
    dir: &'a Path,
    origin: &'a str,
    kind: LogKind,
    points: &'a [Point],
    next_point: usize,
    range: Range,
    /// Number of the segment, and whether it was sealed.
    segment: Option<(u32, Option<SealKind>)>,
    last_commit: u64,
    committed: Option<u64>,
    times: Option<(u64, u64)>,
    sealed: Option<SealKind>,
    /// What ended the log before its end.
    broken: Option<String>,
    tiles: TileCheck<'a>,
    on_leaf: &'a mut OnLeaf<'f>,
    findings: &'a mut Findings,
}

impl Walk<'_, '_> {
    fn block(&mut self, checked: &mut Checked) -> Result<Go> {
        if checked.block.end == Some(SegmentEnd::Whole) && checked.block.bytes.is_empty() && checked.block.offset > 0 {
            return Ok(Go::On);
        }
        self.enter_segment(checked);
        self.clock(checked);
        if let Some(version) = checked.fault.as_ref().and_then(Fault::newer) {
            return Err(AuditError::Newer { path: self.dir.to_owned(), version });
        }
        self.tiles.block(checked, self.findings)?;
        let mut done = 0;
        let base = self.range.clone();
        for (leaves, offset, mark) in &checked.marks {
            self.leaves(checked, &base, done, *leaves)?;
            done = *leaves;
            self.mark(checked, *offset, mark)?;
        }
        self.leaves(checked, &base, done, checked.hashes.len())?;
        for leaf in checked.parsed.drain(..) {
            (self.on_leaf)(leaf, self.findings);
        }
        if let Some(fault) = &checked.fault {
            let leaf = checked.block.first + fault.leaves as u64;
            let text = format!("leaf {leaf} or what follows it: {}", fault.text);
            if fault.kind == FaultKind::Wrong {
                self.findings.broken(self.kind, leaf, &fault.text);
            }
            self.broken = Some(text);
        } else if let Some(SegmentEnd::Broken(error)) = checked.block.end {
            if error == FrameError::Foreign {
                self.findings.broken(self.kind, self.range.size(), error.text());
            }
            self.broken = Some(error.text().to_owned());
        } else if checked.block.bytes.is_empty() {
            self.broken = Some("a segment is empty".to_owned());
        }
        Ok(if self.broken.is_some() { Go::Stop } else { Go::On })
    }

    fn enter_segment(&mut self, checked: &Checked) {
        let number = checked.block.segment;
        let size = self.range.size();
        match self.segment {
            Some((current, _)) if current == number => return,
            Some((_, Some(SealKind::Rolled))) | None => {}
            Some((_, Some(SealKind::Closed))) => {
                self.findings.broken(self.kind, size, "a segment follows the seal of the log")
            }
            Some((_, None)) => {
                self.findings.broken(self.kind, size, "a segment ends without a seal, and another follows")
            }
        }
        self.segment = Some((number, None));
        let starts_right = matches!(checked.marks.first(), Some((0, 0, Mark::Header { .. })));
        if !starts_right && checked.fault.is_none() && !checked.block.frames.is_empty() {
            self.findings.broken(self.kind, size, "a segment does not start with a header");
        }
    }

    /// Times do not go back between blocks; within a block the worker has looked.
    fn clock(&mut self, checked: &Checked) {
        let Some([first, last]) = checked.times else { return };
        if self.times.is_some_and(|(wall, mono)| first.0 < wall || first.1 < mono) {
            self.findings.broken(self.kind, checked.block.first, "its clock goes backwards");
        }
        self.times = Some(last);
    }

    /// Adds leaves `from..to` of the block to the tree, and compares every root that somebody vouches for on the way.
    fn leaves(&mut self, checked: &Checked, base: &Range, from: usize, to: usize) -> Result<()> {
        if self.sealed.is_some() && from < to {
            self.findings.broken(self.kind, self.range.size(), "leaves follow a seal");
        }
        let mut at = from;
        while at < to {
            let next = self.points.get(self.next_point).map_or(u64::MAX, |point| point.size - checked.block.first);
            let stop = usize::try_from(next).unwrap_or(usize::MAX).min(to);
            match checked.ranges.get(&stop) {
                Some(part) => {
                    self.range = base.clone();
                    self.range.push_range(part);
                }
                None => checked.hashes[at..stop].iter().for_each(|hash| self.range.push(*hash)),
            }
            at = stop;
            self.compare_points();
        }
        Ok(())
    }

    fn empty_points(&mut self) {
        self.compare_points();
    }

    fn compare_points(&mut self) {
        let size = self.range.size();
        while let Some(point) = self.points.get(self.next_point).filter(|point| point.size <= size) {
            if point.size == size && point.root != self.range.root() {
                let text = format!("the leaves are not those for which {} of size {size} vouches", point.what);
                self.findings.broken(self.kind, None, text);
            }
            self.next_point += 1;
        }
    }

    fn mark(&mut self, checked: &Checked, offset: u64, mark: &Mark) -> Result<()> {
        let (size, root) = (self.range.size(), self.range.root());
        let place = u64::from(checked.block.segment) << 32 | offset;
        let segment_sealed = self.segment.is_some_and(|(_, seal)| seal.is_some());
        if segment_sealed {
            self.findings.broken(self.kind, size, "a frame follows a seal");
        }
        match mark {
            Mark::Header { start } => self.header(checked, *start, offset)?,
            Mark::Commit(commit) => {
                if (commit.size, commit.root) != (size, root) {
                    self.findings.broken(self.kind, size, "a commit does not match the leaves before it");
                }
                if commit.prev != self.last_commit {
                    self.findings.broken(self.kind, size, "a commit does not point to the one before it");
                }
                (self.last_commit, self.committed) = (place, Some(commit.size));
            }
            Mark::Seal(seal) => {
                if (seal.size, seal.root) != (size, root) || self.committed != Some(size) {
                    self.findings.broken(self.kind, size, "a seal does not match the leaves before it");
                }
                self.segment = Some((checked.block.segment, Some(seal.kind)));
                self.sealed = (seal.kind == SealKind::Closed).then_some(SealKind::Closed);
            }
        }
        Ok(())
    }

    fn header(&mut self, checked: &Checked, start: usize, offset: u64) -> Result<()> {
        let frame = crate::frame::parse(&checked.block.bytes[start..]);
        let header = frame.map_err(|_| None).and_then(|frame| parse_segment_header(frame.payload));
        match header {
            Ok(header) => {
                let right = header.origin == self.origin
                    && header.seg == checked.block.segment
                    && header.first == self.range.size()
                    && offset == 0;
                if !right {
                    self.findings.broken(self.kind, self.range.size(), "a segment belongs to another log or place");
                }
            }
            Err(Some(version)) => return Err(AuditError::Newer { path: self.dir.to_owned(), version }),
            Err(None) => self.findings.broken(self.kind, self.range.size(), "the header of a segment is none"),
        }
        Ok(())
    }

    fn end(mut self, signed: u64) -> Result<LogFacts> {
        let size = self.range.size();
        let cut = self.points.get(self.next_point..).unwrap_or_default();
        if let Some(point) = cut.last() {
            let text = format!("{} vouches for {} leaves, and {size} are left", point.what, point.size);
            self.findings.broken(self.kind, size, text);
        }
        if let Some(text) = &self.broken {
            // A torn end of a log that nobody has signed further is what a crash leaves; the rest is damage.
            self.findings.incomplete(self.kind, size, text);
        } else if let Some((_, Some(SealKind::Rolled))) = self.segment {
            // What a crash between the seal and the next segment leaves; what was signed in that segment is missed above.
            self.findings.incomplete(self.kind, size, "the segment after the last one is missing");
        }
        let rolled = matches!(self.segment, Some((_, Some(SealKind::Rolled)))) && self.broken.is_none();
        let sealed = self.sealed.is_some() && self.broken.is_none();
        self.tiles.end(sealed, self.findings)?;
        Ok(LogFacts { size, root: self.range.root(), sealed, rolled, signed })
    }
}
