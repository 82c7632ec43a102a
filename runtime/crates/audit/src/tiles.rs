//! C2SP tiles and entry bundles: the log in the form that other tools read, derived from the segments.
//! Nothing here is ever trusted: the verifier compares it with the segments.

use crate::chain::Position;
use crate::disk::{Disk, Owed, Settle, create_with, replace};
use crate::error::{At as _, Result};
use crate::frame::Commit;
use crate::merkle::{Hash, leaf_hash, node_hash};
use crate::note::Vkey;
use crate::scan::walk;
use std::io;
use std::path::{Path, PathBuf};

/// Hashes of a full tile, and entries of a full bundle.
pub const TILE_WIDTH: usize = 256;

/// Path of a tile below the log's directory: `tile/<L>/<N>`, with `.p/<W>` when partial.
#[must_use]
pub fn tile_path(level: &str, number: u64, width: usize) -> PathBuf {
    let mut name = format!("{:03}", number % 1000);
    let mut rest = number / 1000;
    while rest > 0 {
        name = format!("x{:03}/{name}", rest % 1000);
        rest /= 1000;
    }
    if width < TILE_WIDTH {
        name.push_str(&format!(".p/{width}"));
    }
    Path::new("tile").join(level).join(name)
}

/// Leaves from which on the tiles of a new log are synced all at once: waiting for each file takes longer than for the disk.
const LEAVES_AT_ONCE_MIN: u64 = 16 * TILE_WIDTH as u64;
/// Where they are until then. The name says that it means nothing.
const UNFINISHED: &str = "tile.tmp";

/// Writes all tiles and bundles of a log of `size` leaves, partial ones at the right edge included.
pub(crate) fn publish(disk: &dyn Disk, dir: &Path, vkey: &Vkey, size: u64) -> Result<()> {
    let (tiles, owed) = Tiles::write(disk, dir, vkey, size)?;
    owed.settle(disk)?;
    tiles.publish(disk)
}

/// Tiles that were written and are to be seen once they are on disk: a torn tile would be a wrong one.
#[must_use = "tiles that are not published were written for nothing"]
pub(crate) struct Tiles {
    dir: PathBuf,
    place: Place,
}

/// Where a writer puts tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Where they belong, one by one, on disk each: there are older ones.
    Final,
    /// In a directory that takes its name when each of them is on disk.
    Unfinished,
    /// The same for very many: they are not waited for one by one.
    AtOnce,
}

impl Tiles {
    /// Writes them, for [`Tiles::publish`] once the second value is settled.
    pub(crate) fn write(disk: &dyn Disk, dir: &Path, vkey: &Vkey, size: u64) -> Result<(Self, Owed)> {
        let from = Position { last_commit: Commit::FIRST, ..Position::default() };
        let new = disk.list(&dir.join("tile")).is_err() && disk.list(&dir.join(UNFINISHED)).is_err();
        let place = match (new, size) {
            // Without leaves there is no tile, and nothing to give a name.
            (false, _) | (true, 0) => Place::Final,
            (true, ..LEAVES_AT_ONCE_MIN) => Place::Unfinished,
            (true, LEAVES_AT_ONCE_MIN..) => Place::AtOnce,
        };
        let mut writer =
            Writer { disk, dir, place, owed: Owed::default(), levels: Vec::new(), bundle: Vec::new(), entries: 0 };
        walk(disk, dir, vkey.name(), from, &mut |_, leaf| writer.push(leaf))?;
        let owed = writer.finish()?;
        if place == Place::AtOnce {
            let unfinished = dir.join(UNFINISHED);
            disk.sync_tree(&unfinished).at("sync", &unfinished)?;
        }
        Ok((Self { dir: dir.to_owned(), place }, owed))
    }

    /// Gives them their names. That need not wait for the disk: missing tiles are made again.
    pub(crate) fn publish(self, disk: &dyn Disk) -> Result<()> {
        match self.place {
            Place::Final => Ok(()),
            Place::Unfinished | Place::AtOnce => {
                let (unfinished, whole) = (self.dir.join(UNFINISHED), self.dir.join("tile"));
                disk.rename(&unfinished, &whole).at("rename", &unfinished)
            }
        }
    }
}

/// The right edge of the tree, tile by tile.
struct Writer<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    place: Place,
    owed: Owed,
    /// Per tile level: how many full tiles are written, and the hashes of the one in progress.
    levels: Vec<(u64, Vec<Hash>)>,
    bundle: Vec<u8>,
    entries: u64,
}

impl Writer<'_> {
    fn push(&mut self, leaf: &[u8]) -> Result<()> {
        let len = u16::try_from(leaf.len()).expect("a leaf has at most 8 KiB");
        self.bundle.extend_from_slice(&len.to_be_bytes());
        self.bundle.extend_from_slice(leaf);
        self.entries += 1;
        if self.entries.is_multiple_of(TILE_WIDTH as u64) {
            let bundle = std::mem::take(&mut self.bundle);
            self.write(&tile_path("entries", self.entries / TILE_WIDTH as u64 - 1, TILE_WIDTH), &bundle)?;
        }
        self.push_hash(leaf_hash(leaf))
    }

    fn push_hash(&mut self, hash: Hash) -> Result<()> {
        let mut hash = hash;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push((0, Vec::with_capacity(TILE_WIDTH)));
            }
            let (number, tile) = &mut self.levels[level];
            tile.push(hash);
            if tile.len() < TILE_WIDTH {
                break;
            }
            let (full, bytes) = (*number, tile.concat());
            hash = tile_root(tile);
            tile.clear();
            *number += 1;
            self.write(&tile_path(&level.to_string(), full, TILE_WIDTH), &bytes)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Owed> {
        let partial = usize::try_from(self.entries % TILE_WIDTH as u64).expect("below 256");
        if partial > 0 {
            let bundle = std::mem::take(&mut self.bundle);
            self.write(&tile_path("entries", self.entries / TILE_WIDTH as u64, partial), &bundle)?;
        }
        for (level, (number, tile)) in std::mem::take(&mut self.levels).into_iter().enumerate() {
            if !tile.is_empty() {
                self.write(&tile_path(&level.to_string(), number, tile.len()), &tile.concat())?;
            }
        }
        Ok(self.owed)
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<()> {
        let top = match self.place {
            Place::Final => "tile",
            Place::Unfinished | Place::AtOnce => UNFINISHED,
        };
        let path = self.dir.join(top).join(path.strip_prefix("tile").expect("paths of tiles start so"));
        self.make_parents(&path)?;
        match self.place {
            Place::Final => replace(self.disk, &path, bytes, Settle::Now),
            Place::Unfinished => {
                let file = create_with(self.disk, &path, bytes)?;
                self.owed.file(&path, file);
                Ok(())
            }
            Place::AtOnce => create_with(self.disk, &path, bytes).map(drop),
        }
    }

    fn make_parents(&self, path: &Path) -> Result<()> {
        let mut missing = Vec::new();
        for parent in path.ancestors().skip(1).take_while(|parent| *parent != self.dir) {
            match self.disk.create_dir(parent) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(parent),
                Err(error) => return Err(error).at("create directory", parent),
            }
        }
        missing.iter().rev().try_for_each(|parent| self.disk.create_dir(parent).at("create directory", parent))
    }
}

/// Root of the subtree over the hashes of a full tile.
#[must_use]
pub(crate) fn tile_root(tile: &[Hash]) -> Hash {
    assert_eq!(tile.len(), TILE_WIDTH, "only a full tile has one root");
    let mut row = tile.to_vec();
    while row.len() > 1 {
        row = row.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    row[0]
}
