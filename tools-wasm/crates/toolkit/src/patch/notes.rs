//! What an answer adds about how a patch went in, as far as it has room. It never grows with the patch.

use crate::text::cut;

/// How many notes an answer has.
const NOTES_MAX: usize = 100;
const NOTE_BYTES_MAX: usize = 400;
/// The most that all notes take, with what stands around them.
pub(super) const NOTES_BYTES_MAX: usize = (NOTES_MAX + 1) * (NOTE_BYTES_MAX + 8);

/// The first notes, and how many more there were.
#[derive(Debug, Default)]
pub(super) struct Notes {
    kept: Vec<String>,
    more: usize,
}

impl Notes {
    pub(super) fn add(&mut self, note: &str) {
        if self.kept.len() >= NOTES_MAX {
            self.more += 1;
            return;
        }
        let kept = cut(note, NOTE_BYTES_MAX);
        let mark = if kept.len() < note.len() { "…" } else { "" };
        self.kept.push(format!("{kept}{mark}"));
    }

    /// For the answer; what was met while it was done comes before how hunks found their places.
    pub(super) fn told(self, done: &[String]) -> Vec<String> {
        let mut all = Notes::default();
        done.iter().chain(&self.kept).for_each(|note| all.add(note));
        let more = self.more + all.more;
        let more = (more > 0).then(|| format!("{more} more notes"));
        all.kept.into_iter().chain(more).collect()
    }
}
