//! Replaces files as wholes: the new content is written beside the old and takes its name in one step. It never leaves
//! half a file where the file system can do better, and says where it could not.
//!
//! What WASI allows: no permissions can be read or set. A name that is taken over keeps the replaced file's permissions
//! because the host carries them over (a file that this call made, renamed over another). Owner, extended attributes and
//! other names (hard links) belong to the old file: a file with several names is therefore written in place.

use super::files::{Changeable, Kind, Meta, Trouble, explain, read_whole};
use super::locate::{follow, join, split};
use super::text::cut;
use super::{Failure, WHOLE_FILE_BYTES_MAX};

/// How many names are tried for the file beside.
const ATTEMPTS_MAX: usize = 64;
/// How many directories one write may make.
const DIRECTORIES_MAX: usize = 32;
/// How much a refusal says of why, before what is left.
const WHY_BYTES_MAX: usize = 2000;

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

/// How a place was not taken.
#[derive(Debug)]
pub(crate) enum Missed {
    /// It is as it was found, or as somebody else made it.
    Untouched(Failure),
    /// Writing into the file that was there broke off: it may hold a part of the new content.
    Torn(Failure),
}

impl Missed {
    /// Why, without what it left.
    pub(crate) fn why(self) -> Failure {
        match self {
            Missed::Untouched(failure) | Missed::Torn(failure) => failure,
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

/// Writes the content beside its place; `before` is how many files this call has beside others already, whose names are
/// not tried again.
pub(crate) fn stage<'b>(
    files: &dyn Changeable,
    place: Place,
    bytes: &'b [u8],
    before: usize,
) -> Result<Staged<'b>, Failure> {
    if place.before.is_some_and(|before| before.links > 1) {
        return Ok(Staged { place, bytes, beside: None });
    }
    let Some((directory, _)) = split(&place.path) else {
        return Err(explain("write", &place.path, Trouble::IsADirectory));
    };
    for attempt in before..before + ATTEMPTS_MAX {
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
    pub(crate) fn commit(self, files: &dyn Changeable) -> Result<Way, Missed> {
        if !self.is_current(files) {
            self.discard(files);
            return Err(Missed::Untouched(meanwhile(&self.place.path)));
        }
        let in_place = || match files.overwrite(&self.place.path, self.bytes) {
            Ok(()) => Ok(Way::InPlace),
            // Opening is what is denied.
            Err(trouble @ (Trouble::Denied | Trouble::ReadOnly)) => {
                Err(Missed::Untouched(explain("write", &self.place.path, trouble)))
            }
            Err(trouble) => Err(Missed::Torn(explain("write", &self.place.path, trouble))),
        };
        let Some(beside) = &self.beside else { return in_place() };
        match files.rename(beside, &self.place.path) {
            Ok(()) => Ok(Way::Atomic),
            // A file that is a mount point of its own cannot be replaced, only written.
            Err(Trouble::Busy | Trouble::CrossDevice) if self.place.before.is_some() => {
                // The room that the file beside takes may be what the file itself needs.
                self.discard(files);
                in_place()
            }
            Err(trouble) => {
                let failure = explain("write", &self.place.path, trouble);
                self.discard(files);
                Err(Missed::Untouched(failure))
            }
        }
    }

    /// Leaves everything as it was.
    pub(crate) fn discard(&self, files: &dyn Changeable) {
        // A file beside that cannot be removed is found by its name; nothing else could be done about it here.
        let _removed = self.beside.as_ref().map(|beside| files.remove(beside));
    }
}

/// For what is not as it was found.
pub(crate) fn meanwhile(path: &str) -> Failure {
    Failure::refused(format!("\"{path}\" was changed by somebody else meanwhile; read it again"))
}

/// Moves a file out of its place, so that it can come back; the name that it has meanwhile.
pub(crate) fn set_aside(files: &dyn Changeable, place: &Place, before: usize) -> Result<String, Failure> {
    let path = &place.path;
    let Some((directory, _)) = split(path) else { return Err(explain("delete", path, Trouble::IsADirectory)) };
    if files.link_meta(path).ok() != place.before {
        return Err(meanwhile(path));
    }
    for attempt in before..before + ATTEMPTS_MAX {
        let beside = join(directory, &format!(".stockade-write-{attempt}.tmp"));
        if files.link_meta(&beside).is_err() {
            let moved = files.rename(path, &beside);
            return moved.map(|()| beside).map_err(|trouble| explain("delete", path, trouble));
        }
    }
    Err(full(directory))
}

/// One file, at once. A write in place that breaks off is followed by what was there, `old`, where that is known.
pub(crate) fn put(files: &dyn Changeable, place: Place, bytes: &[u8], old: Option<&[u8]>) -> Result<Way, Failure> {
    let path = place.path.clone();
    match stage(files, place, bytes, 0)?.commit(files) {
        Ok(way) => Ok(way),
        Err(Missed::Untouched(failure)) => Err(failure),
        Err(Missed::Torn(failure)) if old.is_some_and(|old| restore(files, &path, old)) => Err(failure),
        Err(Missed::Torn(failure)) => {
            let why = cut(failure.text(), WHY_BYTES_MAX);
            Err(Failure::refused(format!(
                "{why}; \"{}\" may hold a part of the new text",
                cut(&path, WHY_BYTES_MAX / 2)
            )))
        }
    }
}

/// Whether a file holds, again or still, what it held. A write that broke off may have changed nothing.
fn restore(files: &dyn Changeable, path: &str, old: &[u8]) -> bool {
    holds(files, path, old) || files.overwrite(path, old).is_ok()
}

/// Whether a file holds these bytes.
pub(crate) fn holds(files: &dyn Changeable, path: &str, bytes: &[u8]) -> bool {
    read_whole(files, path, WHOLE_FILE_BYTES_MAX).is_ok_and(|now| now == bytes)
}
