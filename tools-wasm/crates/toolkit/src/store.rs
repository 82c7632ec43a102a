//! Replaces files as wholes: the new content is written beside the old and takes its name in one step. It never leaves
//! half a file where the file system can do better, and says where it cannot.
//!
//! What WASI allows: no permissions can be read or set. A name that is taken over keeps the replaced file's permissions
//! because the host carries them over (a file that this call made, renamed over another). Owner, extended attributes and
//! other names (hard links) belong to the old file: a file with several names is therefore written in place.

use super::Failure;
use super::files::{Changeable, Kind, Meta, Trouble, explain};
use super::locate::{follow, join, split};

/// How many names are tried for the file beside.
const ATTEMPTS_MAX: usize = 64;
/// How many directories one write may make.
const DIRECTORIES_MAX: usize = 32;

/// A place that is to be written, as it was found.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Links are followed.
    pub(crate) path: String,
    /// What was there.
    pub(crate) before: Option<Meta>,
}

/// How the new content came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// In one step.
    Atomic,
    /// Into the file that was there, since it could not be replaced.
    InPlace,
}

impl Way {
    /// What an answer adds, where it should.
    pub(crate) fn note(self) -> &'static str {
        match self {
            Way::Atomic => "",
            Way::InPlace => " (in place, since the file could not be replaced as a whole)",
        }
    }
}

/// Content that is ready to take its place.
#[derive(Debug)]
pub(crate) struct Staged<'b> {
    place: Place,
    bytes: &'b [u8],
    /// The file beside, unless it goes into the file that is there.
    beside: Option<String>,
}

/// Where a path leads to, if a file can be there.
pub(crate) fn place(files: &dyn Changeable, path: &str) -> Result<Place, Failure> {
    if split(path).is_none() {
        return Err(Failure::refused(format!("\"{path}\" names a directory, not a file; add the file's name")));
    }
    let (path, before) = follow(files, path)?;
    match before.map(|meta| meta.kind) {
        None | Some(Kind::File) => Ok(Place { path, before }),
        Some(Kind::Directory) => Err(Failure::refused(format!("\"{path}\" is a directory; add the file's name"))),
        Some(Kind::Link | Kind::Other) => {
            Err(Failure::refused(format!("\"{path}\" is a device, a socket or a pipe, and only files are written")))
        }
    }
}

/// Makes the directories above a path that are missing, and says which.
pub(crate) fn make_parents(files: &dyn Changeable, path: &str) -> Result<Vec<String>, Failure> {
    let mut wanted = Vec::new();
    let mut at = path;
    while let Some((directory, _)) = split(at) {
        if matches!(directory, "." | "/") || files.meta(directory).is_ok() {
            break;
        }
        wanted.push(directory.to_owned());
        if wanted.len() > DIRECTORIES_MAX {
            let text = format!("\"{path}\" lies below more than {DIRECTORIES_MAX} directories that do not exist");
            return Err(Failure::refused(text));
        }
        at = directory;
    }
    wanted.reverse();
    let mut made = Vec::new();
    for directory in wanted {
        match files.make_directory(&directory) {
            Ok(()) => made.push(directory),
            // Somebody was faster.
            Err(Trouble::Exists) => {}
            Err(trouble) => {
                remove_directories(files, &made);
                return Err(explain("make the directory", &directory, trouble));
            }
        }
    }
    Ok(made)
}

/// Takes directories away again that [`make_parents`] made; one that is in use by now stays.
pub(crate) fn remove_directories(files: &dyn Changeable, made: &[String]) {
    for directory in made.iter().rev() {
        if files.remove_directory(directory).is_err() {
            return;
        }
    }
}

/// Writes the content beside its place.
pub(crate) fn stage<'b>(files: &dyn Changeable, place: Place, bytes: &'b [u8]) -> Result<Staged<'b>, Failure> {
    if place.before.is_some_and(|before| before.links > 1) {
        return Ok(Staged { place, bytes, beside: None });
    }
    let Some((directory, _)) = split(&place.path) else {
        return Err(explain("write", &place.path, Trouble::IsADirectory));
    };
    for attempt in 0..ATTEMPTS_MAX {
        let beside = join(directory, &format!(".stockade-write-{attempt}.tmp"));
        match files.create_new(&beside, bytes) {
            Ok(()) => return Ok(Staged { place, bytes, beside: Some(beside) }),
            Err(Trouble::Exists) => {}
            // The directory is closed and the file perhaps is not.
            Err(Trouble::Denied | Trouble::ReadOnly | Trouble::Busy) if place.before.is_some() => {
                return Ok(Staged { place, bytes, beside: None });
            }
            Err(trouble) => return Err(explain("write", &place.path, trouble)),
        }
    }
    Err(full(directory))
}

fn full(directory: &str) -> Failure {
    Failure::refused(format!(
        "\"{directory}\" is full of files called .stockade-write-*.tmp, left by calls that were ended; remove them"
    ))
}

impl Staged<'_> {
    /// Whether the place is still as it was found.
    pub(crate) fn is_current(&self, files: &dyn Changeable) -> bool {
        files.link_meta(&self.place.path).ok() == self.place.before
    }

    /// Takes the place.
    pub(crate) fn commit(self, files: &dyn Changeable) -> Result<Way, Failure> {
        if !self.is_current(files) {
            let text = format!("\"{}\" was changed by somebody else meanwhile; read it again", self.place.path);
            self.discard(files);
            return Err(Failure::refused(text));
        }
        let Some(beside) = &self.beside else {
            return match files.overwrite(&self.place.path, self.bytes) {
                Ok(()) => Ok(Way::InPlace),
                Err(trouble) => Err(explain("write", &self.place.path, trouble)),
            };
        };
        match files.rename(beside, &self.place.path) {
            Ok(()) => Ok(Way::Atomic),
            // A file that is a mount point of its own cannot be replaced, only written.
            Err(Trouble::Busy | Trouble::CrossDevice) if self.place.before.is_some() => {
                let written = files.overwrite(&self.place.path, self.bytes);
                let written = written.map_err(|trouble| explain("write", &self.place.path, trouble));
                self.discard(files);
                written.map(|()| Way::InPlace)
            }
            Err(trouble) => {
                let failure = explain("write", &self.place.path, trouble);
                self.discard(files);
                Err(failure)
            }
        }
    }

    /// Leaves everything as it was.
    pub(crate) fn discard(&self, files: &dyn Changeable) {
        // A file beside that cannot be removed is found by its name; nothing else could be done about it here.
        let _removed = self.beside.as_ref().map(|beside| files.remove(beside));
    }
}

/// Moves a file out of its place, so that it can come back; the name that it has meanwhile.
pub(crate) fn set_aside(files: &dyn Changeable, path: &str) -> Result<String, Failure> {
    let Some((directory, _)) = split(path) else { return Err(explain("delete", path, Trouble::IsADirectory)) };
    for attempt in 0..ATTEMPTS_MAX {
        let beside = join(directory, &format!(".stockade-write-{attempt}.tmp"));
        match files.link_meta(&beside) {
            Ok(_) => {}
            Err(_) => {
                return files
                    .rename(path, &beside)
                    .map(|()| beside)
                    .map_err(|trouble| explain("delete", path, trouble));
            }
        }
    }
    Err(full(directory))
}

/// One file, at once.
pub(crate) fn put(files: &dyn Changeable, place: Place, bytes: &[u8]) -> Result<Way, Failure> {
    stage(files, place, bytes)?.commit(files)
}
