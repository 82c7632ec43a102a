//! What a tool asks of files, and the troubles there can be. It never resolves a path: the host does, and judges what
//! it resolved to.

use super::Failure;

/// What something at a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, a socket, a pipe.
    Other,
}

/// What is known about something at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// What it is.
    pub kind: Kind,
    /// Bytes of a file.
    pub size: u64,
    /// Names that lead to it.
    pub links: u64,
    /// When it was changed: nanoseconds since 1970.
    pub modified_ns: u128,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Without a slash.
    pub name: String,
    /// A link is not followed.
    pub kind: Kind,
}

/// A directory's names, as far as they can be said.
#[derive(Debug, Default)]
pub struct Listing {
    /// In the order of the names.
    pub entries: Vec<Entry>,
    /// Names that are not Unicode; a tool cannot name them.
    pub unspeakable: usize,
}

/// Why something could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// There is nothing at that path.
    NotFound,
    /// The profile, the permissions or the borders of what is granted.
    Denied,
    /// The file system, or the grant, is for reading.
    ReadOnly,
    /// Something is there already.
    Exists,
    /// A part of the path is not a directory.
    NotADirectory,
    /// It is a directory.
    IsADirectory,
    /// Symbolic links that lead to each other.
    Loop,
    /// No room or no quota.
    NoSpace,
    /// In use, or a mount point.
    Busy,
    /// The two paths are on different file systems.
    CrossDevice,
    /// A name that is too long.
    NameTooLong,
    /// Anything else, by the name that WASI gives it.
    Other(&'static str),
}

/// An open file, for reading.
pub trait Source {
    /// Bytes from an offset, at most so many; fewer only at the end. None are the end.
    fn read_at(&mut self, offset: u64, bytes_max: usize) -> Result<Vec<u8>, Trouble>;
}

/// Files as a tool reaches them. Relative paths are below the workspace.
pub trait Files {
    /// The absolute path of the workspace, where it is known.
    fn workspace(&self) -> Option<&str>;
    /// What is there; a link is followed.
    fn meta(&self, path: &str) -> Result<Meta, Trouble>;
    /// What is there; a link is what it is.
    fn link_meta(&self, path: &str) -> Result<Meta, Trouble>;
    /// Where a link leads to.
    fn read_link(&self, path: &str) -> Result<String, Trouble>;
    /// The names in a directory.
    fn list(&self, path: &str) -> Result<Listing, Trouble>;
    /// Opens for reading.
    fn open(&self, path: &str) -> Result<Box<dyn Source + '_>, Trouble>;
}

/// Files that may be changed as well. A trait of its own, so that a component that only reads has no function in it that
/// writes, and imports none.
pub trait Changeable: Files {
    /// Makes a file that was not there, and gives it these bytes.
    fn create_new(&self, path: &str, bytes: &[u8]) -> Result<(), Trouble>;
    /// Gives a file that is there these bytes, in place.
    fn overwrite(&self, path: &str, bytes: &[u8]) -> Result<(), Trouble>;
    /// Puts what is at one path in the place of what is at the other.
    fn rename(&self, from: &str, to: &str) -> Result<(), Trouble>;
    /// Takes a file's or link's name away.
    fn remove(&self, path: &str) -> Result<(), Trouble>;
    /// Makes one directory.
    fn make_directory(&self, path: &str) -> Result<(), Trouble>;
    /// Takes an empty directory away.
    fn remove_directory(&self, path: &str) -> Result<(), Trouble>;
}

/// The whole file, when it is not too large.
pub fn read_whole(files: &dyn Files, path: &str, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let mut source = files.open(path).map_err(|trouble| explain("read", path, trouble))?;
    let mut bytes = Vec::new();
    loop {
        let part = source.read_at(bytes.len() as u64, 1024 * 1024).map_err(|trouble| explain("read", path, trouble))?;
        if part.is_empty() {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&part);
        if bytes.len() as u64 > bytes_max {
            let text =
                format!("\"{path}\" has more than {bytes_max} bytes, which is more than this tool takes at once");
            return Err(Failure::refused(text));
        }
    }
}

/// A trouble as a refusal that says what to do next.
pub fn explain(act: &str, path: &str, trouble: Trouble) -> Failure {
    let why = match trouble {
        Trouble::NotFound => "it does not exist; glob or list show what does",
        Trouble::Denied => {
            "that is not allowed here, or the path leads out of what this session may reach; use paths of the workspace"
        }
        Trouble::ReadOnly => "it can only be read; the profile or its file system does not let this tool change it",
        Trouble::Exists => "something is there already",
        Trouble::NotADirectory => "a part of the path is not a directory; list shows what it is",
        Trouble::IsADirectory => "it is a directory; list shows what is in it",
        Trouble::Loop => "its symbolic links lead to each other",
        Trouble::NoSpace => "there is no space left for it",
        Trouble::Busy => "it is in use; try again, or write another file",
        Trouble::CrossDevice => "the two paths are on different file systems; write the one and delete the other",
        Trouble::NameTooLong => "the name is too long",
        Trouble::Other(name) => return Failure::refused(format!("cannot {act} \"{path}\": {name}")),
    };
    Failure::refused(format!("cannot {act} \"{path}\": {why}"))
}
