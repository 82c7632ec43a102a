//! Signed checkpoints on disk: every one appended to `checkpoints`, the latest in `checkpoint`.
//! It never signs: it is given what was signed after the data was on disk.

use crate::disk::{Disk, DiskFile, Owed, Replacement, Settle, replace, write_all};
use crate::error::{At as _, Result};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const ALL: &str = "checkpoints";
const LATEST: &str = "checkpoint";

#[derive(Debug)]
pub(crate) struct Checkpoints {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file: Arc<dyn DiskFile>,
}

impl Checkpoints {
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self> {
        let path = dir.join(ALL);
        let file = match disk.append(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(&path).at("create", &path)?,
            Err(error) => return Err(error).at("open", &path),
        };
        Ok(Self { disk, dir: dir.to_owned(), file })
    }

    /// Appends a note to those before; it is the latest once [`Checkpoints::latest`] took its place.
    pub(crate) fn add(&self, note: &str) -> Result<()> {
        write_all(&*self.file, note.as_bytes()).at("write", &self.dir.join(ALL))
    }

    /// The copy of the latest note, which is to take the place of the one before.
    pub(crate) fn latest(&self, note: &str) -> Result<Replacement> {
        Replacement::write(&*self.disk, &self.dir.join(LATEST), note.as_bytes())
    }

    /// The file with all notes.
    pub(crate) fn owe(&self, owed: &mut Owed) {
        owed.file(&self.dir.join(ALL), Arc::clone(&self.file));
    }

    /// Adds a note and makes it the latest.
    pub(crate) fn publish(&self, note: &str, settle: Settle) -> Result<()> {
        self.add(note)?;
        if settle == Settle::Now {
            let mut owed = Owed::default();
            self.owe(&mut owed);
            owed.settle(&*self.disk)?;
        }
        replace(&*self.disk, &self.dir.join(LATEST), note.as_bytes(), settle)
    }
}
