//! Directories of the layer that the guest locked, opened for us for a while and locked again at the end.
//! It never touches the workspace, and never anything that is not ours.

use super::door::{self, Dir, Stat};
use super::path::RelPath;
use rustix::io::Errno;
use std::collections::HashSet;

/// What was opened, to be locked again in `drop`.
pub(super) struct Lent<'a> {
    layer: &'a Dir,
    bits: Vec<(RelPath, u32)>,
}

impl<'a> Lent<'a> {
    pub(super) fn new(layer: &'a Dir) -> Self {
        Self { layer, bits: Vec::new() }
    }

    /// Opens the directories among and above `paths`, outermost first. Root needs none of it.
    pub(super) fn along<'p>(layer: &'a Dir, paths: impl Iterator<Item = &'p RelPath>) -> Result<Self, Errno> {
        let mut lent = Self::new(layer);
        if door::is_root() {
            return Ok(lent);
        }
        let mut done = HashSet::new();
        for path in paths {
            let mut way: Vec<RelPath> = std::iter::once(path.clone()).chain(path.ancestors()).collect();
            while let Some(path) = way.pop() {
                if !done.insert(path.clone()) {
                    continue;
                }
                let Ok(parent) = layer.walk_to_parent(&path) else { break };
                match parent.stat(path.name())? {
                    Some(stat) if stat.is_dir() => lent.open(&parent, &path, &stat)?,
                    Some(_) | None => break,
                }
            }
        }
        Ok(lent)
    }

    /// Opens one directory, if it is locked and ours.
    pub(super) fn open(&mut self, parent: &Dir, path: &RelPath, stat: &Stat) -> Result<(), Errno> {
        if !door::is_root() && stat.bits() & 0o700 != 0o700 && stat.uid == door::own_uid() {
            parent.set_bits(path.name(), stat.bits() | 0o700)?;
            self.bits.push((path.clone(), stat.bits()));
        }
        Ok(())
    }

    /// The bits that the guest gave a directory that is open now.
    pub(super) fn original(&self, path: &RelPath) -> Option<u32> {
        self.bits.iter().rev().find(|(lent, _)| lent == path).map(|(_, bits)| *bits)
    }
}

impl Drop for Lent<'_> {
    /// Innermost first, since an outer one that is locked bars the way.
    fn drop(&mut self) {
        while let Some((path, bits)) = self.bits.pop() {
            if let Ok(parent) = self.layer.walk_to_parent(&path) {
                // Best effort on a way out: the layer is ours alone, and a mode too wide there grants nobody anything.
                let _best_effort = parent.set_bits(path.name(), bits);
            }
        }
    }
}
