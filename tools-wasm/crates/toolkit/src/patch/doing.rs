//! Does what a patch came to, all of it, or takes back what it did. It never shows a half-done state longer than the
//! renames take, and names what it could not bring back.

use super::transaction::{Content, Entry};
use crate::Failure;
use crate::files::{Changeable, Trouble, explain};
use crate::store::{self, Missed, Place, Staged, Way};
use crate::text::cut;

/// What a refusal holds of why, and of what is left, so that none of it is cut off on its way.
const WHY_BYTES_MAX: usize = 2000;
const LEFT_BYTES_MAX: usize = 1500;

/// What was done already, and how it is taken back.
enum Done<'e> {
    /// Without `before` nothing was there: what has bytes that nobody knows was set aside.
    Written {
        place: &'e Place,
        before: Option<&'e [u8]>,
    },
    Aside {
        path: &'e str,
        beside: String,
    },
    Moved {
        from: &'e str,
        to: &'e str,
    },
    Directories(Vec<String>),
}

/// Does it; notes about what could not be done in one step.
pub(super) fn commit(files: &dyn Changeable, entries: &[Entry]) -> Result<Vec<String>, Failure> {
    let mut done = Vec::new();
    match go(files, entries, &mut done) {
        Ok(mut notes) => {
            for done in done {
                // It is deleted either way: only its other name is left.
                if let Done::Aside { path, beside } = done
                    && files.remove(&beside).is_err()
                {
                    notes.push(format!("what was in {path} is still there as {beside}, which could not be removed"));
                }
            }
            Ok(notes)
        }
        Err(failure) => {
            let why = cut(failure.text(), WHY_BYTES_MAX);
            let left = take_back(files, done);
            if left.is_empty() {
                return Err(Failure::refused(format!("{why}; nothing was changed")));
            }
            let left = left.join(", ");
            let text = format!("{why}; these could not be brought back: {}", cut(&left, LEFT_BYTES_MAX));
            Err(Failure::refused(text))
        }
    }
}

/// Deletes, then moves, then writes: a name that is wanted is free by then, and a file that moves keeps its permissions
/// when its new content takes its place.
fn go<'e>(files: &dyn Changeable, entries: &'e [Entry], done: &mut Vec<Done<'e>>) -> Result<Vec<String>, Failure> {
    let mut staged = Vec::new();
    let ready = prepare(files, entries, &mut staged, done)
        .and_then(|()| set_aside(files, entries, done))
        .and_then(|()| rename(files, entries, done));
    if let Err(failure) = ready {
        staged.iter().for_each(|(ready, _)| ready.discard(files));
        return Err(failure);
    }
    let mut notes = Vec::new();
    let mut staged = staged.into_iter();
    while let Some((ready, entry)) = staged.next() {
        let written = Done::Written { place: &entry.place, before: entry.before.bytes() };
        match ready.commit(files) {
            Ok(way) => {
                if way == Way::InPlace {
                    notes.push(format!("{} was written in place", entry.path()));
                }
                done.push(written);
            }
            Err(missed) => {
                staged.for_each(|(ready, _)| ready.discard(files));
                if matches!(missed, Missed::Torn(_)) {
                    done.push(written);
                }
                return Err(missed.why());
            }
        }
    }
    Ok(notes)
}

/// Everything is written beside its place first: what has no room or no right fails here, before any change.
fn prepare<'e>(
    files: &dyn Changeable,
    entries: &'e [Entry],
    staged: &mut Vec<(Staged<'e>, &'e Entry)>,
    done: &mut Vec<Done<'e>>,
) -> Result<(), Failure> {
    for entry in entries.iter().filter(|entry| entry.after.is_there()) {
        done.push(Done::Directories(store::make_parents(files, &entry.place.path)?));
        if let (Content::Bytes(bytes), true) = (&entry.after, entry.before != entry.after) {
            let ready = store::stage(files, entry.destination(), bytes, staged.len())?;
            staged.push((ready, entry));
        }
    }
    Ok(())
}

fn set_aside<'e>(files: &dyn Changeable, entries: &'e [Entry], done: &mut Vec<Done<'e>>) -> Result<(), Failure> {
    for entry in entries.iter().filter(|entry| entry.gives_way()) {
        let place = Place { path: entry.origin().to_owned(), before: entry.place.before };
        let beside = store::set_aside(files, &place, done.len())?;
        done.push(Done::Aside { path: entry.origin(), beside });
    }
    Ok(())
}

fn rename<'e>(files: &dyn Changeable, entries: &'e [Entry], done: &mut Vec<Done<'e>>) -> Result<(), Failure> {
    for entry in entries.iter().filter(|entry| entry.after.is_there() && !entry.gives_way()) {
        let Some(from) = entry.from.as_deref() else { continue };
        let to = entry.place.path.as_str();
        if files.link_meta(from).ok() != entry.place.before {
            return Err(store::meanwhile(from));
        }
        let act = || format!("move \"{}\" to", cut(from, 500));
        // A rename would replace what is there.
        if files.link_meta(to).is_ok() {
            return Err(explain(&act(), to, Trouble::Exists));
        }
        files.rename(from, to).map_err(|trouble| explain(&act(), to, trouble))?;
        done.push(Done::Moved { from, to });
    }
    Ok(())
}

/// The newest first; what could not be brought back.
fn take_back(files: &dyn Changeable, done: Vec<Done<'_>>) -> Vec<String> {
    let mut left = Vec::new();
    for done in done.into_iter().rev() {
        match done {
            Done::Written { place, before: None } => {
                if files.remove(&place.path).is_err() {
                    left.push(format!("\"{}\"", place.path));
                }
            }
            Done::Written { place, before: Some(bytes) } => {
                let put = || store::put(files, store::place(files, &place.path)?, bytes, None);
                // A write that broke off may have changed nothing.
                if !store::holds(files, &place.path, bytes) && put().is_err() {
                    left.push(format!("\"{}\"", place.path));
                }
            }
            Done::Aside { path, beside } => {
                if files.rename(&beside, path).is_err() {
                    left.push(format!("\"{path}\" (it is called \"{beside}\")"));
                }
            }
            Done::Moved { from, to } => {
                if files.rename(to, from).is_err() {
                    left.push(format!("\"{from}\" (it is called \"{to}\")"));
                }
            }
            Done::Directories(made) => store::remove_directories(files, &made),
        }
    }
    left
}
