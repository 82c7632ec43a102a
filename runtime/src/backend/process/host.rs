//! What the host has at a path: the facts that the plan builder asks for, so that building a plan is pure.
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

/// Looks at the host, or at a picture of one in tests.
pub trait Host {
    /// What is at this path, its last component not followed.
    fn look(&self, path: &Path) -> Seen;
}

/// The machine that we run on.
#[derive(Debug, Clone, Copy)]
pub struct ThisHost;

impl Host for ThisHost {
    fn look(&self, path: &Path) -> Seen {
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
}
