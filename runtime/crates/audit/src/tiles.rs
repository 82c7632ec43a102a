//! C2SP tiles and entry bundles: the log in the form that other tools read, derived from the segments.
//! Nothing here is ever trusted: the verifier compares it with the segments.

use crate::chain::Position;
use crate::disk::{Disk, Settle, replace};
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
    let from = Position { last_commit: Commit::FIRST, ..Position::default() };
    let new = disk.list(&dir.join("tile")).is_err() && disk.list(&dir.join(UNFINISHED)).is_err();
    let at_once = new && size >= LEAVES_AT_ONCE_MIN;
    let (top, settle) = if at_once { (UNFINISHED, Settle::Later) } else { ("tile", Settle::Now) };
    let mut writer = Writer { disk, dir, top, settle, levels: Vec::new(), bundle: Vec::new(), entries: 0 };
    walk(disk, dir, vkey.name(), from, &mut |_, leaf| writer.push(leaf))?;
    writer.finish()?;
    if at_once {
        let (unfinished, whole) = (dir.join(UNFINISHED), dir.join("tile"));
        disk.sync_tree(&unfinished).at("sync", &unfinished)?;
        disk.rename(&unfinished, &whole).at("rename", &unfinished)?;
        disk.sync_dir(dir).at("sync directory", dir)?;
    }
    Ok(())
}

/// The right edge of the tree, tile by tile.
struct Writer<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    /// Name of the directory that stands for `tile`.
    top: &'static str,
    settle: Settle,
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

    fn finish(self) -> Result<()> {
        let partial = usize::try_from(self.entries % TILE_WIDTH as u64).expect("below 256");
        if partial > 0 {
            self.write(&tile_path("entries", self.entries / TILE_WIDTH as u64, partial), &self.bundle)?;
        }
        for (level, (number, tile)) in self.levels.iter().enumerate() {
            if !tile.is_empty() {
                self.write(&tile_path(&level.to_string(), *number, tile.len()), &tile.concat())?;
            }
        }
        Ok(())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut parent = self.dir.to_owned();
        let path = Path::new(self.top).join(path.strip_prefix("tile").expect("paths of tiles start so"));
        for part in path.parent().expect("below the top").components() {
            parent.push(part);
            match self.disk.create_dir(&parent) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error).at("create directory", &parent);
                }
                Ok(()) | Err(_) => {}
            }
        }
        replace(self.disk, &self.dir.join(path), bytes, self.settle)
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
