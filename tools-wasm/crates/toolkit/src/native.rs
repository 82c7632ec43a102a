//! Files of the machine itself, for the tests: a directory stands for the workspace. It never leaves the tests.

use super::files::{Changeable, Entry, Files, Kind, Listing, Meta, Source, Trouble};
use std::cell::{Cell, RefCell};
use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use tempfile::TempDir;

/// A workspace that is gone after the test.
pub(crate) struct Workspace {
    directory: TempDir,
    path: String,
}

impl Workspace {
    /// With these files in it.
    pub(crate) fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Workspace {
        let directory = tempfile::tempdir().expect("there is room for a test");
        let path = directory.path().to_str().expect("its name is Unicode").to_owned();
        let workspace = Workspace { directory, path };
        for (path, bytes) in files {
            workspace.put(path, bytes);
        }
        workspace
    }

    /// The file, its directories included.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("it lies in the workspace")).expect("directories can be made");
        fs::write(path, bytes).expect("a file can be written");
    }

    /// What is in the file.
    pub(crate) fn get(&self, path: &str) -> Vec<u8> {
        fs::read(self.at(path)).expect("the file can be read")
    }

    /// Where it really is.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// All regular files and links, by name.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut open = vec![self.directory.path().to_owned()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).expect("it can be listed") {
                let entry = entry.expect("it can be listed");
                if entry.file_type().expect("it has a type").is_dir() {
                    open.push(entry.path());
                } else {
                    let below = entry.path().strip_prefix(self.directory.path()).expect("it is below").to_owned();
                    names.push(below.to_string_lossy().into_owned());
                }
            }
        }
        names.sort();
        names
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's enumeration, which may grow")]
fn trouble(error: Error) -> Trouble {
    match error.kind() {
        ErrorKind::NotFound => Trouble::NotFound,
        ErrorKind::PermissionDenied => Trouble::Denied,
        ErrorKind::AlreadyExists => Trouble::Exists,
        ErrorKind::NotADirectory => Trouble::NotADirectory,
        ErrorKind::IsADirectory => Trouble::IsADirectory,
        ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly,
        ErrorKind::InvalidFilename => Trouble::NameTooLong,
        _ if error.raw_os_error() == Some(40) => Trouble::Loop,
        _ => Trouble::Other("io"),
    }
}

fn kind(of: FileType) -> Kind {
    if of.is_dir() {
        Kind::Directory
    } else if of.is_file() {
        Kind::File
    } else if of.is_symlink() {
        Kind::Link
    } else {
        Kind::Other
    }
}

fn meta(data: &Metadata) -> Meta {
    let modified = data.modified().expect("times are kept").duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Meta { kind: kind(data.file_type()), size: data.len(), links: data.nlink(), modified_ns: modified.as_nanos() }
}

impl Source for File {
    fn read_at(&mut self, offset: u64, bytes_max: usize) -> Result<Vec<u8>, Trouble> {
        // In small pieces, as a host gives them.
        let mut buffer = vec![0; bytes_max.min(4096)];
        let read = FileExt::read_at(self, &mut buffer, offset).map_err(trouble)?;
        buffer.truncate(read);
        Ok(buffer)
    }
}

impl Files for Workspace {
    fn workspace(&self) -> Option<&str> {
        Some(&self.path)
    }

    fn meta(&self, path: &str) -> Result<Meta, Trouble> {
        fs::metadata(self.at(path)).map(|data| meta(&data)).map_err(trouble)
    }

    fn link_meta(&self, path: &str) -> Result<Meta, Trouble> {
        fs::symlink_metadata(self.at(path)).map(|data| meta(&data)).map_err(trouble)
    }

    fn read_link(&self, path: &str) -> Result<String, Trouble> {
        fs::read_link(self.at(path)).map(|to| to.to_string_lossy().into_owned()).map_err(trouble)
    }

    fn list(&self, path: &str) -> Result<Listing, Trouble> {
        let mut listing = Listing::default();
        for entry in fs::read_dir(self.at(path)).map_err(trouble)? {
            let entry = entry.map_err(trouble)?;
            let kind = kind(entry.file_type().map_err(trouble)?);
            match entry.file_name().into_string() {
                Ok(name) => listing.entries.push(Entry { name, kind }),
                Err(_) => listing.unspeakable += 1,
            }
        }
        listing.entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    fn open(&self, path: &str) -> Result<Box<dyn Source + '_>, Trouble> {
        Ok(Box::new(File::open(self.at(path)).map_err(trouble)?))
    }
}

impl Changeable for Workspace {
    fn create_new(&self, path: &str, bytes: &[u8]) -> Result<(), Trouble> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(self.at(path)).map_err(trouble)?;
        file.write_all(bytes).map_err(trouble)
    }

    fn overwrite(&self, path: &str, bytes: &[u8]) -> Result<(), Trouble> {
        let mut file = OpenOptions::new().write(true).truncate(true).open(self.at(path)).map_err(trouble)?;
        file.write_all(bytes).map_err(trouble)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Trouble> {
        fs::rename(self.at(from), self.at(to)).map_err(trouble)
    }

    fn remove(&self, path: &str) -> Result<(), Trouble> {
        fs::remove_file(self.at(path)).map_err(trouble)
    }

    fn make_directory(&self, path: &str) -> Result<(), Trouble> {
        fs::create_dir(self.at(path)).map_err(trouble)
    }

    fn remove_directory(&self, path: &str) -> Result<(), Trouble> {
        fs::remove_dir(self.at(path)).map_err(trouble)
    }
}

/// An act that fails, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing of it is done.
    Rename(usize),
    /// Half of the bytes are written.
    Overwrite(usize),
    /// Nothing of it is done.
    Remove(usize),
}

/// A workspace in which some acts fail.
pub(crate) struct Failing<'w> {
    workspace: &'w Workspace,
    faults: Vec<Fault>,
    overwrites: Cell<usize>,
    removes: Cell<usize>,
    /// What was renamed to what.
    pub(crate) renamed: RefCell<Vec<String>>,
}

impl<'w> Failing<'w> {
    pub(crate) fn new(workspace: &'w Workspace, faults: impl IntoIterator<Item = Fault>) -> Failing<'w> {
        let faults = faults.into_iter().collect();
        let (overwrites, removes) = (Cell::new(0), Cell::new(0));
        Failing { workspace, faults, overwrites, removes, renamed: RefCell::default() }
    }

    fn fails(&self, act: Fault) -> bool {
        self.faults.contains(&act)
    }
}

impl Files for Failing<'_> {
    fn workspace(&self) -> Option<&str> {
        self.workspace.workspace()
    }
    fn meta(&self, path: &str) -> Result<Meta, Trouble> {
        self.workspace.meta(path)
    }
    fn link_meta(&self, path: &str) -> Result<Meta, Trouble> {
        self.workspace.link_meta(path)
    }
    fn read_link(&self, path: &str) -> Result<String, Trouble> {
        self.workspace.read_link(path)
    }
    fn list(&self, path: &str) -> Result<Listing, Trouble> {
        self.workspace.list(path)
    }
    fn open(&self, path: &str) -> Result<Box<dyn Source + '_>, Trouble> {
        self.workspace.open(path)
    }
}

impl Changeable for Failing<'_> {
    fn create_new(&self, path: &str, bytes: &[u8]) -> Result<(), Trouble> {
        self.workspace.create_new(path, bytes)
    }

    fn overwrite(&self, path: &str, bytes: &[u8]) -> Result<(), Trouble> {
        if !self.fails(Fault::Overwrite(self.overwrites.replace(self.overwrites.get() + 1))) {
            return self.workspace.overwrite(path, bytes);
        }
        // As the host does it: what is there is not cut before all is written.
        let file = OpenOptions::new().write(true).open(self.workspace.at(path)).map_err(trouble)?;
        file.write_all_at(&bytes[..bytes.len() / 2], 0).map_err(trouble)?;
        Err(Trouble::NoSpace)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Trouble> {
        let number = self.renamed.borrow().len();
        self.renamed.borrow_mut().push(format!("{from} {to}"));
        if self.fails(Fault::Rename(number)) { Err(Trouble::NoSpace) } else { self.workspace.rename(from, to) }
    }

    fn remove(&self, path: &str) -> Result<(), Trouble> {
        if self.fails(Fault::Remove(self.removes.replace(self.removes.get() + 1))) {
            return Err(Trouble::Denied);
        }
        self.workspace.remove(path)
    }

    fn make_directory(&self, path: &str) -> Result<(), Trouble> {
        self.workspace.make_directory(path)
    }

    fn remove_directory(&self, path: &str) -> Result<(), Trouble> {
        self.workspace.remove_directory(path)
    }
}
