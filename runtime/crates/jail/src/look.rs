//! What is at a path, asked wherever the plan will be carried out: on the host, or among the files of an image.
//! It never opens a file for reading and never changes anything.

use std::fs;
use std::path::{Path, PathBuf};

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing, or nothing that we may look at.
    Missing,
    /// A directory.
    Directory,
    /// A file of any other type than directory or link.
    File,
    /// A symbolic link, and where it leads in the end; `None` when that does not exist.
    Link {
        /// The link's own text.
        text: PathBuf,
        /// The path without links.
        resolved: Option<PathBuf>,
    },
}

/// Looks, without following the last component.
pub fn look(path: &Path) -> Seen {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Seen::Missing };
    if metadata.is_dir() {
        return Seen::Directory;
    }
    if !metadata.is_symlink() {
        return Seen::File;
    }
    match fs::read_link(path) {
        Ok(text) => Seen::Link { text, resolved: fs::canonicalize(path).ok() },
        Err(_) => Seen::Missing,
    }
}
