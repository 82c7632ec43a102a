//! Compares the derived tiles and entry bundles with the leaves.
//! It never takes anything from them.

use super::Findings;
use super::log::LogKind;
use super::stream::Checked;
use crate::disk::{Disk, read_file};
use crate::error::{AuditError, Result};
use crate::frame::LEAF_BYTES_MAX;
use crate::merkle::Hash;
use crate::tiles::{TILE_WIDTH, tile_path, tile_root};
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Bytes of a full bundle at most.
const BUNDLE_BYTES_MAX: usize = TILE_WIDTH * (LEAF_BYTES_MAX + 2);

/// The right edge of the tree in tiles, as [`crate::tiles`] writes it.
pub(super) struct TileCheck<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    kind: LogKind,
    /// Whether there are tiles at all.
    present: bool,
    /// Per level: number of the tile in progress, and its hashes.
    levels: Vec<(u64, Vec<Hash>)>,
    bundle: Vec<u8>,
    /// Where each entry of the bundle ends.
    ends: Vec<usize>,
    bundles: u64,
    missing: u64,
}

/// Whether `bytes` is the bundle of these leaves.
fn is_bundle<'a>(bytes: &[u8], leaves: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut rest = bytes;
    for leaf in leaves {
        let Some((len, tail)) = rest.split_first_chunk::<2>() else { return false };
        if usize::from(u16::from_be_bytes(*len)) != leaf.len() {
            return false;
        }
        let Some(tail) = tail.strip_prefix(leaf) else { return false };
        rest = tail;
    }
    rest.is_empty()
}

/// A full bundle and the tile of its hashes, compared with the leaves.
#[derive(Debug)]
pub(super) struct FullTile {
    /// Number of both.
    number: u64,
    /// Root over the hashes.
    root: Hash,
    /// How each of [`LEVELS_OF_LEAVES`] compares.
    seen: [Seen; 2],
    /// Whether either is there in part as well: an earlier end of the log was there, and those parts are to be compared.
    in_part: bool,
}

/// The directories of what is made of leaves alone.
const LEVELS_OF_LEAVES: [&str; 2] = ["entries", "0"];

/// How a file compares with the leaves.
#[derive(Debug)]
enum Seen {
    Right,
    Wrong,
    Missing,
    Unread(AuditError),
}

/// One thread's way to the full tiles of a log.
pub(super) struct TileReader<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    /// What was read last, kept for its room.
    bytes: Vec<u8>,
    /// Of the directory that was listed last, per level: its path, and the names in it of tiles that are there in part.
    listed: [(PathBuf, Vec<OsString>); 2],
}

impl<'a> TileReader<'a> {
    pub(super) fn new(disk: &'a dyn Disk, dir: &'a Path) -> Self {
        Self { disk, dir, bytes: Vec::new(), listed: Default::default() }
    }

    /// Compares a full bundle, and the tile of its hashes, with these leaves; `root` is the root over them.
    pub(super) fn full<'l>(
        &mut self,
        number: u64,
        leaves: impl Iterator<Item = &'l [u8]> + Clone,
        hashes: &[Hash],
        root: Hash,
    ) -> FullTile {
        let [entries, tile] = LEVELS_OF_LEAVES.map(|level| tile_path(level, number, TILE_WIDTH));
        let in_part = self.in_part(0, &entries) || self.in_part(1, &tile);
        let len = leaves.clone().map(|leaf| leaf.len() + 2).sum();
        let entries = self.compare(&entries, len, |bytes| is_bundle(bytes, leaves));
        let hashes = hashes.as_flattened();
        let tile = self.compare(&tile, hashes.len(), |bytes| bytes == hashes);
        FullTile { number, root, seen: [entries, tile], in_part }
    }

    /// Whether the tile at `path` is there in part.
    fn in_part(&mut self, level: usize, path: &Path) -> bool {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return false };
        let (listed, partial) = &mut self.listed[level];
        if listed != parent {
            *partial = self.disk.list(&self.dir.join(parent)).unwrap_or_default();
            partial.retain(|name| name.as_encoded_bytes().ends_with(b".p"));
            *listed = parent.to_owned();
        }
        partial.iter().any(|part| part.as_encoded_bytes().strip_suffix(b".p") == Some(name.as_encoded_bytes()))
    }

    /// Compares a file that should have `len` bytes without making its right content first.
    fn compare(&mut self, path: &Path, len: usize, right: impl FnOnce(&[u8]) -> bool) -> Seen {
        let path = self.dir.join(path);
        let reader = match self.disk.read(&path, 0) {
            Ok(reader) => reader,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Seen::Missing,
            Err(source) => return Seen::Unread(AuditError::Io { act: "open", path, source }),
        };
        self.bytes.clear();
        // One more than it may have, and room to see the end of the file without growing.
        self.bytes.reserve(len + 2);
        match reader.take(len as u64 + 1).read_to_end(&mut self.bytes) {
            Ok(_) if right(&self.bytes) => Seen::Right,
            Ok(_) => Seen::Wrong,
            Err(source) => Seen::Unread(AuditError::Io { act: "read", path, source }),
        }
    }
}

impl<'a> TileCheck<'a> {
    pub(super) fn new(disk: &'a dyn Disk, dir: &'a Path, kind: LogKind) -> Self {
        let present = disk.list(&dir.join("tile")).is_ok_and(|names| !names.is_empty());
        let (levels, bundle, ends) = (Vec::new(), Vec::new(), Vec::new());
        Self { disk, dir, kind, present, levels, bundle, ends, bundles: 0, missing: 0 }
    }

    /// Whether there are tiles at all.
    pub(super) fn present(&self) -> bool {
        self.present
    }

    /// Takes over what the worker saw of the tiles that are in this block, and compares the others that it completes.
    pub(super) fn block(&mut self, checked: &Checked, findings: &mut Findings) -> Result<()> {
        if !self.present {
            return Ok(());
        }
        let mut at = self.leaves(checked, 0..checked.tiles_at, findings)?;
        for tile in &checked.tiles {
            if self.ends.is_empty() && self.bundles == tile.number && !tile.in_part {
                self.full(tile, findings)?;
                at += TILE_WIDTH;
            } else {
                at = self.leaves(checked, at..at + TILE_WIDTH, findings)?;
            }
        }
        self.leaves(checked, at..checked.hashes.len(), findings)?;
        Ok(())
    }

    /// Adds leaves of a block one by one; the index after the last.
    fn leaves(&mut self, checked: &Checked, range: Range<usize>, findings: &mut Findings) -> Result<usize> {
        let end = range.end;
        for i in range {
            let Some(hash) = checked.hashes.get(i) else { break };
            self.leaf(checked.leaf(i), hash, findings)?;
        }
        Ok(end)
    }

    /// Adds a full tile that a worker has compared.
    fn full(&mut self, tile: &FullTile, findings: &mut Findings) -> Result<()> {
        for (level, seen) in LEVELS_OF_LEAVES.iter().zip(&tile.seen) {
            match seen {
                Seen::Right => {}
                Seen::Wrong => {
                    let path = tile_path(level, tile.number, TILE_WIDTH);
                    findings.broken(self.kind, None, format!("{} does not match the leaves", path.display()));
                }
                Seen::Missing => self.missing += 1,
                Seen::Unread(error) => findings.error(self.kind, error),
            }
        }
        if self.levels.is_empty() {
            self.levels.push((0, Vec::new()));
        }
        (self.bundles, self.levels[0].0) = (tile.number + 1, tile.number + 1);
        self.hash(1, tile.root, findings)
    }

    fn leaf(&mut self, leaf: &[u8], hash: &Hash, findings: &mut Findings) -> Result<()> {
        let len = u16::try_from(leaf.len()).expect("a leaf has at most 8 KiB");
        self.bundle.extend_from_slice(&len.to_be_bytes());
        self.bundle.extend_from_slice(leaf);
        self.ends.push(self.bundle.len());
        if self.ends.len() == TILE_WIDTH {
            self.compare("entries", self.bundles, Unit::Entries, findings)?;
            (self.bundles, self.bundle, self.ends) = (self.bundles + 1, Vec::new(), Vec::new());
        }
        self.hash(0, *hash, findings)
    }

    /// Adds a hash at this level of tiles, and the root of each tile that it completes at the level above.
    fn hash(&mut self, from: usize, hash: Hash, findings: &mut Findings) -> Result<()> {
        let mut hash = hash;
        for level in from.. {
            if self.levels.len() == level {
                self.levels.push((0, Vec::with_capacity(TILE_WIDTH)));
            }
            let (number, tile) = &mut self.levels[level];
            tile.push(hash);
            if tile.len() < TILE_WIDTH {
                break;
            }
            let number = *number;
            hash = tile_root(tile);
            self.compare(&level.to_string(), number, Unit::Hashes(level), findings)?;
            self.levels[level] = (number + 1, Vec::with_capacity(TILE_WIDTH));
        }
        Ok(())
    }

    /// Compares one tile, in every width in which it is there.
    fn compare(&mut self, level: &str, number: u64, unit: Unit, findings: &mut Findings) -> Result<()> {
        let tile = match unit {
            Unit::Entries => self.bundle.clone(),
            Unit::Hashes(level) => self.levels[level].1.concat(),
        };
        let count = match unit {
            Unit::Entries => self.ends.len(),
            Unit::Hashes(level) => self.levels[level].1.len(),
        };
        if !self.one(&tile_path(level, number, count), &tile, findings)? {
            self.missing += 1;
        }
        let partial = tile_path(level, number, 1);
        let partials = partial.parent().expect("…/<N>.p/1");
        for name in self.disk.list(&self.dir.join(partials)).unwrap_or_default() {
            let width = name.to_str().and_then(|name| name.parse::<usize>().ok()).filter(|width| *width < count);
            let end = width.and_then(|width| match unit {
                Unit::Entries => width.checked_sub(1).and_then(|last| self.ends.get(last).copied()),
                Unit::Hashes(_) => Some(width * 32),
            });
            if let Some(prefix) = end.and_then(|end| tile.get(..end)) {
                self.one(&partials.join(name), prefix, findings)?;
            }
        }
        Ok(())
    }

    /// Whether the tile is there; a wrong one is a finding.
    fn one(&self, path: &Path, right: &[u8], findings: &mut Findings) -> Result<bool> {
        let path: PathBuf = self.dir.join(path);
        match read_file(self.disk, &path, BUNDLE_BYTES_MAX) {
            Ok(Some(bytes)) => {
                if bytes != right {
                    let name = path.strip_prefix(self.dir).unwrap_or(&path).display().to_string();
                    findings.broken(self.kind, None, format!("{name} does not match the leaves"));
                }
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => {
                findings.error(self.kind, &error);
                Ok(true)
            }
        }
    }

    pub(super) fn end(&mut self, sealed: bool, findings: &mut Findings) -> Result<()> {
        if !self.present {
            findings.note(self.kind, "there are no tiles; they can be derived again");
            return Ok(());
        }
        let before = self.missing;
        if !self.ends.is_empty() {
            self.compare("entries", self.bundles, Unit::Entries, findings)?;
        }
        for level in 0..self.levels.len() {
            if !self.levels[level].1.is_empty() {
                let number = self.levels[level].0;
                self.compare(&level.to_string(), number, Unit::Hashes(level), findings)?;
            }
        }
        let missing = if sealed { self.missing } else { before };
        if missing > 0 {
            findings.note(self.kind, format!("{missing} tiles are missing; they can be derived again"));
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Unit {
    /// Entries, in a bundle.
    Entries,
    /// Hashes, in a tile of this level.
    Hashes(usize),
}
