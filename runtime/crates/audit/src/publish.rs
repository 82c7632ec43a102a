//! Signed checkpoints on disk: every one appended to `checkpoints`, the latest in `checkpoint`.
//! It never signs: it is given what was signed after the data was on disk.

use crate::disk::{Disk, DiskFile, Settle, replace, write_all};
use crate::error::{At as _, Result};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Checkpoints {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file: Arc<dyn DiskFile>,
}

impl Checkpoints {
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self> {
        let path = dir.join("checkpoints");
        let file = match disk.append(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(&path).at("create", &path)?,
            Err(error) => return Err(error).at("open", &path),
        };
        Ok(Self { disk, dir: dir.to_owned(), file })
    }

    pub(crate) fn publish(&self, note: &str, settle: Settle) -> Result<()> {
        let path = self.dir.join("checkpoints");
        write_all(&*self.file, note.as_bytes()).at("write", &path)?;
        if settle != Settle::Later {
            self.file.sync().at("sync", &path)?;
        }
        replace(&*self.disk, &self.dir.join("checkpoint"), note.as_bytes(), settle)
    }
}
