//! The primary form of a log: frames in numbered segment files, and the tree over them, growing at the end.
//! It never writes after a failed write, never goes back in time, and signs nothing.

use crate::disk::{Disk, DiskFile, Owed, write_all};
use crate::error::{At as _, AuditError, Result};
use crate::frame::{self, Commit, Kind, LEAF_BYTES_MAX, SEGMENT_BYTES_MAX, Seal, SealKind};
use crate::merkle::{Hash, Range, leaf_hash};
use crate::record::Record;
use crate::record::{Place, write_leaf};
use crate::system::Clock;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Room kept at the end of a segment for a commit and a seal.
const SEGMENT_RESERVE_BYTES: u64 = 256;
/// Most that waits in memory before it is written to the file.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Content of the first frame of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentHeader {
    /// Always `stockade-log`.
    pub format: String,
    /// Version of the format.
    pub v: u64,
    /// Origin of the log.
    pub origin: String,
    /// Number of the segment.
    pub seg: u32,
    /// Index of its first leaf.
    pub first: u64,
}

/// Word in a segment header.
pub(crate) const FORMAT: &str = "stockade-log";

/// What `append` answers: the record is in the log, at this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Index of the leaf.
    pub n: u64,
    /// Its hash.
    pub leaf_hash: Hash,
    /// Whether it was on disk when the call returned; else it is in the file, and on disk within 50 ms.
    pub durable: bool,
}

/// Where a log's segments are.
pub(crate) fn segment_path(dir: &Path, number: u32) -> PathBuf {
    dir.join("seg").join(format!("{number:06}.seg"))
}

/// A log that can be appended to.
#[derive(Debug)]
pub(crate) struct Chain {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    origin: String,
    file: Arc<dyn DiskFile>,
    /// Frames not yet written to the file.
    buffer: Vec<u8>,
    position: Position,
    /// Where in the buffer the last leaf starts.
    last_leaf: usize,
    failed: Option<String>,
}

/// Everything about a log's end that appending needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Position {
    pub(crate) segment: u32,
    /// Bytes in the segment, the buffer not counted.
    pub(crate) bytes: u64,
    pub(crate) range: Range,
    /// Leaves covered by the last commit.
    pub(crate) committed: u64,
    /// Where the last commit is, as in [`Commit::prev`].
    pub(crate) last_commit: u64,
    pub(crate) wall_ns: u64,
    pub(crate) mono_ns: u64,
}

impl Chain {
    /// Starts a log in an existing, empty directory. Nothing is on disk for sure until [`Chain::sync_all`].
    pub(crate) fn create(disk: Arc<dyn Disk>, dir: &Path, origin: &str) -> Result<Self> {
        let segments = dir.join("seg");
        match disk.create_dir(&segments) {
            // Left by a start that was cut short; the file below must still be new.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.check_dir(&segments)?,
            other => other.at("create directory", &segments)?,
        }
        let path = segment_path(dir, 0);
        let file = disk.create(&path).at("create", &path)?;
        let position = Position { last_commit: Commit::FIRST, ..Position::default() };
        let (dir, origin) = (dir.to_owned(), origin.to_owned());
        let mut chain = Self { disk, dir, origin, file, buffer: Vec::new(), position, last_leaf: 0, failed: None };
        chain.push_header();
        chain.flush()?;
        Ok(chain)
    }

    /// Goes on where a scan found the end.
    pub(crate) fn resume(disk: Arc<dyn Disk>, dir: &Path, origin: &str, position: Position) -> Result<Self> {
        let path = segment_path(dir, position.segment);
        let file = match disk.append(&path) {
            // The writer before us died between the seal of a segment and the start of this one.
            Err(error) if error.kind() == io::ErrorKind::NotFound && position.bytes == 0 => {
                let file = disk.create(&path).at("create", &path)?;
                let segments = dir.join("seg");
                disk.sync_dir(&segments).at("sync directory", &segments)?;
                file
            }
            other => other.at("open", &path)?,
        };
        let (dir, origin) = (dir.to_owned(), origin.to_owned());
        let mut chain = Self { disk, dir, origin, file, buffer: Vec::new(), position, last_leaf: 0, failed: None };
        if chain.position.bytes == 0 {
            chain.push_header();
        }
        Ok(chain)
    }

    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    pub(crate) fn size(&self) -> u64 {
        self.position.range.size()
    }

    /// The leaf that was staged last, until it is flushed.
    pub(crate) fn last_leaf(&self) -> &[u8] {
        self.buffer.get(self.last_leaf..).unwrap_or_default()
    }

    /// Makes every later append fail, with this as the reason.
    pub(crate) fn poison(&mut self, why: &AuditError) {
        self.failed.get_or_insert_with(|| why.to_string());
    }

    pub(crate) fn alive(&self) -> Result<()> {
        match &self.failed {
            Some(first) => Err(AuditError::Poisoned { first: first.clone() }),
            None => Ok(()),
        }
    }

    /// Adds a record to the tree and to the buffer. A record that does not fit the format changes nothing.
    pub(crate) fn stage(&mut self, record: &Record, digests: &[Hash], clock: &dyn Clock) -> Result<Receipt> {
        self.alive()?;
        let pending = self.position.bytes + self.buffer.len() as u64;
        if pending + (LEAF_BYTES_MAX + frame::HEADER_BYTES) as u64 + SEGMENT_RESERVE_BYTES > SEGMENT_BYTES_MAX {
            self.roll(clock)?;
        } else if self.buffer.len() >= BUFFER_BYTES_MAX {
            self.flush()?;
        }
        let n = self.size();
        let wall_ns = clock.wall_ns().max(self.position.wall_ns);
        let mono_ns = clock.mono_ns().max(self.position.mono_ns);
        let start = self.buffer.len();
        let ago_ns = record.happened.map_or(0, |moment| clock.since_ns(moment));
        let place = Place { n, wall_ns, mono_ns, ago_ns };
        frame::push_with(&mut self.buffer, Kind::Entry, |out| write_leaf(out, record, place, digests))
            .map_err(|error| AuditError::Invalid { what: "a record", why: error.to_string() })?
            .map_err(|bytes| AuditError::TooLarge { what: "a record", bytes, bytes_max: LEAF_BYTES_MAX })?;
        let leaf_hash = leaf_hash(&self.buffer[start + frame::HEADER_BYTES..]);
        self.position.range.push(leaf_hash);
        (self.position.wall_ns, self.position.mono_ns) = (wall_ns, mono_ns);
        self.last_leaf = start + frame::HEADER_BYTES;
        Ok(Receipt { n, leaf_hash, durable: false })
    }

    /// Hands the buffer to the kernel: from here on the death of this process loses nothing.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.alive()?;
        if let Err(source) = write_all(&*self.file, &self.buffer) {
            let path = segment_path(&self.dir, self.position.segment);
            let error = AuditError::Io { act: "write", path, source };
            self.poison(&error);
            return Err(error);
        }
        self.position.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes a commit after the last leaf, unless there is one. Returns what it says.
    pub(crate) fn commit(&mut self, clock: &dyn Clock) -> Result<(u64, Hash)> {
        let (size, root) = (self.size(), self.position.range.root());
        if self.position.committed != size || self.position.last_commit == Commit::FIRST {
            let offset = self.position.bytes + self.buffer.len() as u64;
            let wall_ns = clock.wall_ns().max(self.position.wall_ns);
            let commit = Commit { size, root, prev: self.position.last_commit, wall_ns };
            frame::push(&mut self.buffer, Kind::Commit, &commit.to_bytes());
            self.position.last_commit = u64::from(self.position.segment) << 32 | offset;
            self.position.committed = size;
        }
        self.flush()?;
        Ok((size, root))
    }

    /// Ends the log for good.
    pub(crate) fn seal(&mut self, clock: &dyn Clock) -> Result<(u64, Hash)> {
        let (size, root) = self.commit(clock)?;
        self.push_seal(size, root, SealKind::Closed);
        self.flush()?;
        Ok((size, root))
    }

    /// Returns when the segment is on disk. A failure ends the log: the kernel may have dropped the pages (fsync(2)).
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.alive()?;
        let synced = self.file.sync().at("sync", &segment_path(&self.dir, self.position.segment));
        if let Err(error) = &synced {
            self.poison(error);
        }
        synced
    }

    /// The segment.
    pub(crate) fn owe(&self, owed: &mut Owed) {
        owed.file(&segment_path(&self.dir, self.position.segment), Arc::clone(&self.file));
    }

    /// [`Chain::sync`], and the names of the files too.
    pub(crate) fn sync_all(&mut self) -> Result<()> {
        self.sync()?;
        let segments = self.dir.join("seg");
        for dir in [segments.as_path(), self.dir.as_path()] {
            self.disk.sync_dir(dir).at("sync directory", dir)?;
        }
        Ok(())
    }

    fn roll(&mut self, clock: &dyn Clock) -> Result<()> {
        let (size, root) = self.commit(clock)?;
        self.push_seal(size, root, SealKind::Rolled);
        self.flush()?;
        // The old segment is on disk before the new one exists: so only the last segment can ever have a torn end.
        self.sync()?;
        let next = self.position.segment + 1;
        let path = segment_path(&self.dir, next);
        let created = self.disk.create(&path).at("create", &path);
        let segments = self.dir.join("seg");
        let named = created.and_then(|file| {
            self.disk.sync_dir(&segments).at("sync directory", &segments)?;
            Ok(file)
        });
        match named {
            Ok(file) => {
                (self.file, self.position.segment, self.position.bytes) = (file, next, 0);
                self.push_header();
                self.flush()
            }
            Err(error) => {
                self.poison(&error);
                Err(error)
            }
        }
    }

    fn push_header(&mut self) {
        let header = SegmentHeader {
            format: FORMAT.to_owned(),
            v: crate::FORMAT_VERSION,
            origin: self.origin.clone(),
            seg: self.position.segment,
            first: self.size(),
        };
        let json = serde_json::to_vec(&header).expect("strings and numbers are JSON");
        frame::push(&mut self.buffer, Kind::Header, &json);
    }

    fn push_seal(&mut self, size: u64, root: Hash, kind: SealKind) {
        frame::push(&mut self.buffer, Kind::Seal, &Seal { size, root, kind }.to_bytes());
    }
}
