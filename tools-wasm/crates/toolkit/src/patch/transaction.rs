//! Gathers what becomes of each file, then does all of it or takes back what it did. It never shows a half-done state
//! longer than the renames take.

use super::Hunk;
use super::apply::apply;
use crate::edit::decode;
use crate::files::{Changeable, Kind, Trouble, explain, read_whole};
use crate::locate::{missing, need_file};
use crate::store::{self, Place, Way};
use crate::text::Text;
use crate::{Failure, WHOLE_FILE_BYTES_MAX};

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Added,
    Deleted,
    Changed,
}

/// A file before and after.
struct Entry {
    /// As the patch names it.
    path: String,
    place: Place,
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
}

/// For the answer.
pub(super) struct End<'t> {
    pub(super) path: &'t str,
    pub(super) what: What,
    pub(super) before: Option<&'t [u8]>,
    pub(super) after: Option<&'t [u8]>,
}

/// What was done already, and how it is taken back.
enum Done {
    Written { place: Place, before: Option<Vec<u8>> },
    Aside { path: String, beside: String },
    Directories(Vec<String>),
}

/// All files of one patch.
pub(super) struct Transaction<'f> {
    files: &'f dyn Changeable,
    entries: Vec<Entry>,
    notes: Vec<String>,
}

impl<'f> Transaction<'f> {
    pub(super) fn new(files: &'f dyn Changeable) -> Transaction<'f> {
        Transaction { files, entries: Vec::new(), notes: Vec::new() }
    }

    pub(super) fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    /// Whether there is a file, after what the patch did so far.
    pub(super) fn exists(&self, path: &str) -> bool {
        match self.entries.iter().find(|entry| entry.path == path) {
            Some(entry) => entry.after.is_some(),
            None => self.files.link_meta(path).is_ok(),
        }
    }

    /// The file's bytes after the hunks.
    pub(super) fn patched(&mut self, path: &str, hunks: &[Hunk]) -> Result<Vec<u8>, Failure> {
        let index = self.open(path)?;
        let Some(bytes) = self.entries.get(index).and_then(|entry| entry.after.as_ref()) else {
            return Err(missing(self.files, "patch", path, Trouble::NotFound));
        };
        let text = decode(path, bytes)?;
        let bytes = apply(path, &text.bytes, hunks, &mut self.notes).map_err(Failure::refused)?;
        Text { bytes, ..text }.encode()
    }

    /// The entry of a file that is there.
    fn open(&mut self, path: &str) -> Result<usize, Failure> {
        if let Some(index) = self.entries.iter().position(|entry| entry.path == path) {
            return Ok(index);
        }
        need_file(self.files, path)?;
        let place = store::place(self.files, path)?;
        let bytes = read_whole(self.files, &place.path, WHOLE_FILE_BYTES_MAX)?;
        Ok(self.push(Entry { path: path.to_owned(), place, before: Some(bytes.clone()), after: Some(bytes) }))
    }

    fn push(&mut self, entry: Entry) -> usize {
        self.entries.push(entry);
        self.entries.len() - 1
    }

    pub(super) fn change(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), Failure> {
        let index = self.open(path)?;
        self.set(index, Some(bytes));
        Ok(())
    }

    fn set(&mut self, index: usize, after: Option<Vec<u8>>) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.after = after;
        }
    }

    pub(super) fn add(&mut self, path: &str, content: &str) -> Result<(), Failure> {
        self.add_bytes(path, content.as_bytes().to_vec())
    }

    fn add_bytes(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), Failure> {
        if self.exists(path) {
            let text = format!("the patch makes \"{path}\" anew, but it is there already; change it, or use write");
            return Err(Failure::refused(text + "; nothing was changed"));
        }
        if let Some(index) = self.entries.iter().position(|entry| entry.path == path) {
            self.set(index, Some(bytes));
            return Ok(());
        }
        let place = store::place(self.files, path)?;
        self.push(Entry { path: path.to_owned(), place, before: None, after: Some(bytes) });
        Ok(())
    }

    pub(super) fn delete(&mut self, path: &str) -> Result<(), Failure> {
        if let Some(index) = self.entries.iter().position(|entry| entry.path == path) {
            self.set(index, None);
            return Ok(());
        }
        let meta = self.files.link_meta(path).map_err(|trouble| missing(self.files, "delete", path, trouble))?;
        if meta.kind == Kind::Directory {
            return Err(Failure::refused(format!(
                "\"{path}\" is a directory, and a patch deletes files; nothing was changed"
            )));
        }
        // A link goes itself, and not what it leads to.
        let before =
            if meta.kind == Kind::File { read_whole(self.files, path, WHOLE_FILE_BYTES_MAX)? } else { Vec::new() };
        let place = Place { path: path.to_owned(), before: Some(meta) };
        self.push(Entry { path: path.to_owned(), place, before: Some(before), after: None });
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str, bytes: Vec<u8>) -> Result<(), Failure> {
        self.add_bytes(to, bytes)?;
        self.delete(from)
    }

    /// What will be different.
    pub(super) fn ends(&self) -> Vec<End<'_>> {
        let what = |entry: &Entry| match (&entry.before, &entry.after) {
            (None, Some(_)) => Some(What::Added),
            (Some(_), None) => Some(What::Deleted),
            (Some(before), Some(after)) => (before != after).then_some(What::Changed),
            (None, None) => None,
        };
        let end = |entry: &'_ Entry| -> Option<What> { what(entry) };
        self.entries
            .iter()
            .filter_map(|entry| {
                let (before, after) = (entry.before.as_deref(), entry.after.as_deref());
                Some(End { path: &entry.path, what: end(entry)?, before, after })
            })
            .collect()
    }

    /// Does it; notes about what could not be done in one step.
    pub(super) fn commit(self) -> Result<Vec<String>, Failure> {
        let files = self.files;
        let mut done = Vec::new();
        match Self::go(files, self.entries, &mut done) {
            Ok(notes) => {
                for done in &done {
                    if let Done::Aside { beside, .. } = done {
                        files.remove(beside).map_err(|trouble| explain("delete", beside, trouble))?;
                    }
                }
                Ok(notes)
            }
            Err(failure) => {
                let left = take_back(files, done);
                if left.is_empty() {
                    return Err(Failure::refused(format!("{}; nothing was changed", failure.text())));
                }
                let text = format!("{}; these could not be brought back: {}", failure.text(), left.join(", "));
                Err(Failure::refused(text))
            }
        }
    }

    fn go(files: &dyn Changeable, entries: Vec<Entry>, done: &mut Vec<Done>) -> Result<Vec<String>, Failure> {
        let mut notes = Vec::new();
        // Everything is written beside its place first: what has no room or no right fails here, before any change.
        let mut staged = Vec::new();
        for entry in &entries {
            let (Some(bytes), true) = (&entry.after, entry.before != entry.after) else { continue };
            let made = store::make_parents(files, &entry.place.path);
            let ready = made.and_then(|made| {
                done.push(Done::Directories(made));
                store::stage(files, entry.place.clone(), bytes)
            });
            match ready {
                Ok(ready) => staged.push((ready, entry)),
                Err(failure) => {
                    staged.iter().for_each(|(ready, _)| ready.discard(files));
                    return Err(failure);
                }
            }
        }
        let mut staged = staged.into_iter();
        while let Some((ready, entry)) = staged.next() {
            match ready.commit(files) {
                Ok(way) => {
                    if way == Way::InPlace {
                        notes.push(format!("{} was written in place", entry.path));
                    }
                    let before = entry.before.clone();
                    done.push(Done::Written { place: entry.place.clone(), before });
                }
                Err(failure) => {
                    staged.for_each(|(ready, _)| ready.discard(files));
                    return Err(failure);
                }
            }
        }
        for entry in entries.iter().filter(|entry| entry.after.is_none() && entry.before.is_some()) {
            let beside = store::set_aside(files, &entry.place.path)?;
            done.push(Done::Aside { path: entry.place.path.clone(), beside });
        }
        Ok(notes)
    }
}

/// The newest first; what could not be brought back.
fn take_back(files: &dyn Changeable, done: Vec<Done>) -> Vec<String> {
    let mut left = Vec::new();
    for done in done.into_iter().rev() {
        match done {
            Done::Written { place, before: None } => {
                if files.remove(&place.path).is_err() {
                    left.push(format!("\"{}\"", place.path));
                }
            }
            Done::Written { place, before: Some(bytes) } => {
                let back = store::place(files, &place.path).and_then(|place| store::put(files, place, &bytes));
                if back.is_err() {
                    left.push(format!("\"{}\"", place.path));
                }
            }
            Done::Aside { path, beside } => {
                if files.rename(&beside, &path).is_err() {
                    left.push(format!("\"{path}\" (it is called \"{beside}\")"));
                }
            }
            Done::Directories(made) => store::remove_directories(files, &made),
        }
    }
    left
}
