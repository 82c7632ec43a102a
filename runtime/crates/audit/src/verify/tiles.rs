//! Compares the derived tiles and entry bundles with the leaves.
//! It never takes anything from them.

use super::Findings;
use super::log::LogKind;
use super::stream::Checked;
use crate::disk::{Disk, read_file};
use crate::error::Result;
use crate::frame::LEAF_BYTES_MAX;
use crate::merkle::Hash;
use crate::tiles::{TILE_WIDTH, tile_path, tile_root};
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

impl<'a> TileCheck<'a> {
    pub(super) fn new(disk: &'a dyn Disk, dir: &'a Path, kind: LogKind) -> Self {
        let present = disk.list(&dir.join("tile")).is_ok_and(|names| !names.is_empty());
        let (levels, bundle, ends) = (Vec::new(), Vec::new(), Vec::new());
        Self { disk, dir, kind, present, levels, bundle, ends, bundles: 0, missing: 0 }
    }

    /// Compares the tiles that the leaves of this block complete.
    pub(super) fn block(&mut self, checked: &Checked, findings: &mut Findings) -> Result<()> {
        if !self.present {
            return Ok(());
        }
        let (groups, _) = checked.hashes.as_chunks::<TILE_WIDTH>();
        let mut at = 0;
        for (group, root) in groups.iter().zip(&checked.tiles) {
            let number = self.bundles;
            if !self.ends.is_empty() || self.in_part(number) {
                break;
            }
            let leaves = (at..at + TILE_WIDTH).map(|i| checked.leaf(i));
            self.full(&tile_path("entries", number, TILE_WIDTH), |bytes| is_bundle(bytes, leaves), findings);
            let hashes = group.as_flattened();
            self.full(&tile_path("0", number, TILE_WIDTH), |bytes| bytes == hashes, findings);
            if self.levels.is_empty() {
                self.levels.push((0, Vec::new()));
            }
            (self.bundles, self.levels[0].0) = (number + 1, number + 1);
            self.hash(1, *root, findings)?;
            at += TILE_WIDTH;
        }
        for (i, hash) in checked.hashes.iter().enumerate().skip(at) {
            self.leaf(checked.leaf(i), hash, findings)?;
        }
        Ok(())
    }

    /// Whether this bundle, or its tile, is there in part: an earlier end of the log was there.
    fn in_part(&self, number: u64) -> bool {
        ["entries", "0"].into_iter().any(|level| {
            let path = self.dir.join(tile_path(level, number, 1));
            self.disk.list(path.parent().expect("…/<N>.p/1")).is_ok()
        })
    }

    /// Compares one full tile without making its right content first.
    fn full(&mut self, path: &Path, right: impl FnOnce(&[u8]) -> bool, findings: &mut Findings) {
        match read_file(self.disk, &self.dir.join(path), BUNDLE_BYTES_MAX) {
            Ok(Some(bytes)) if right(&bytes) => {}
            Ok(Some(_)) => findings.broken(self.kind, None, format!("{} does not match the leaves", path.display())),
            Ok(None) => self.missing += 1,
            Err(error) => findings.error(self.kind, &error),
        }
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
