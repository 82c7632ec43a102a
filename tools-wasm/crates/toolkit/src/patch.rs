//! Applies a patch to any number of files, all of it or none: a unified diff, or the form that begins with
//! `*** Begin Patch`. It never changes a file before every hunk has found its place.

mod apply;
mod block;
mod doing;
mod notes;
mod transaction;
mod unified;

use super::args::{Args, path_is_sound};
use super::edit::difference;
use super::files::Changeable;
use super::text::cut;
use super::{ANSWER_BYTES_MAX, Answer, Failure};
use notes::NOTES_BYTES_MAX;
use serde_json::{Value, json};
use transaction::{Entry, Transaction, What};

/// The longest patch.
const PATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Files of one patch.
const FILES_MAX: usize = 500;
/// What the names of all files may take: an answer repeats them.
const NAMES_BYTES_MAX: usize = 256 * 1024;
/// What the list of the files takes of an answer's text.
const LIST_BYTES_MAX: usize = ANSWER_BYTES_MAX / 3;
/// Lines of a refusal that show what was looked for.
const SHOWN_LINES_MAX: usize = 12;

const _: () = assert!(LIST_BYTES_MAX + NOTES_BYTES_MAX + 256 < ANSWER_BYTES_MAX, "what was done is always told");

/// What a patch wants of one file.
struct Change {
    /// As the patch names it, the better guess first where it is not clear.
    paths: Vec<String>,
    act: Act,
    /// What the patch wants besides and does not get.
    note: Option<String>,
}

enum Act {
    Add { content: String },
    Delete { hunks: Vec<Hunk> },
    Update { hunks: Vec<Hunk>, moved: Option<String> },
}

/// A place in a file and what becomes of it.
#[derive(Default)]
struct Hunk {
    /// The line of the patch, for refusals.
    patch_line: usize,
    /// Lines that stand somewhere before, in their order.
    anchors: Vec<String>,
    /// Where the patch says that it is, counted from 1.
    start: Option<usize>,
    lines: Vec<Line>,
    /// The last line of the old, of the new side has no line end: said by the patch.
    old_open: bool,
    new_open: bool,
    /// It must be at the end of the file.
    at_end: bool,
    comparison: Comparison,
}

/// When two lines are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Comparison {
    #[default]
    Exact,
    /// Where nothing equal is found, lines may differ in white space.
    Loose,
}

struct Line {
    tag: Tag,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    Keep,
    Remove,
    Add,
}

impl Hunk {
    fn old(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter(|line| line.tag != Tag::Add).map(|line| line.text.as_str())
    }

    fn new_text(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter(|line| line.tag != Tag::Remove).map(|line| line.text.as_str())
    }
}

/// One call.
pub fn run(arguments: &str, files: &dyn Changeable) -> Result<Answer, Failure> {
    let mut args = Args::parse(arguments)?;
    let patch = args.need_text("patch")?;
    let dry = args.flag("dry_run")?;
    args.finish()?;
    if patch.len() > PATCH_BYTES_MAX {
        let text = format!("the patch has {} bytes, and one call takes at most {PATCH_BYTES_MAX}", patch.len());
        return Err(Failure::invalid(text));
    }
    let changes = parse(&patch)?;
    bounded(&changes)?;
    let mut transaction = Transaction::new(files);
    for change in &changes {
        plan(&mut transaction, change)?;
    }
    let (entries, notes) = transaction.end();
    if entries.is_empty() {
        return Err(Failure::refused(
            "the patch changes nothing: its old and its new sides are the same, perhaps apart from how lines end, which \
             stays as it is in the file; nothing was changed",
        ));
    }
    let mut text = list(&entries);
    let records = records(&entries);
    let done = if dry { Vec::new() } else { doing::commit(files, &entries)? };
    let notes = notes.told(&done);
    for note in &notes {
        text += &format!("[{note}]\n");
    }
    if dry {
        text += "[nothing was changed: dry_run]\n";
    }
    let structured = json!({ "files": records, "notes": notes, "applied": !dry });
    Ok(Answer::new(text, structured))
}

/// So many files, and no longer names, that an answer has room for all of them.
fn bounded(changes: &[Change]) -> Result<(), Failure> {
    if changes.is_empty() || changes.len() > FILES_MAX {
        let text = format!(
            "the patch names {} files, and must name from 1 to {FILES_MAX}; it is a unified diff (\"--- a/f\", \"+++ b/f\", \
             \"@@ -1,3 +1,4 @@\") or begins with \"*** Begin Patch\"",
            changes.len()
        );
        return Err(Failure::invalid(text));
    }
    let moved = |change: &Change| match &change.act {
        Act::Update { moved: Some(to), .. } => to.len(),
        Act::Update { moved: None, .. } | Act::Add { .. } | Act::Delete { .. } => 0,
    };
    let bytes: usize = changes.iter().map(|change| change.paths.first().map_or(0, String::len) + moved(change)).sum();
    if bytes > NAMES_BYTES_MAX {
        let text = format!("the patch's names of files have {bytes} bytes, and may have {NAMES_BYTES_MAX}; split it");
        return Err(Failure::invalid(text));
    }
    Ok(())
}

/// A line for each file, as far as there is room.
fn list(entries: &[Entry]) -> String {
    let mut text = String::new();
    for (index, entry) in entries.iter().enumerate() {
        let line = match (entry.what(), &entry.from) {
            (Some(What::Moved), Some(from)) => format!("R {from} -> {}\n", entry.path()),
            (what, _) => format!("{} {}\n", what.map_or(' ', letter), entry.path()),
        };
        if text.len() + line.len() > LIST_BYTES_MAX {
            return text + &format!("[and {} more files]\n", entries.len() - index);
        }
        text += &line;
    }
    text
}

/// What became of each file, with the differences as far as an answer has room for them.
fn records(entries: &[Entry]) -> Vec<Value> {
    let mut room = ANSWER_BYTES_MAX / 2;
    let record = |entry: &Entry| {
        let what = entry.what()?;
        let diff = difference(entry.before.bytes().unwrap_or_default(), entry.after.bytes().unwrap_or_default());
        let fits = diff.len() <= room && !entry.goes_unread();
        room = room.saturating_sub(diff.len());
        let mut record = json!({ "file_path": entry.path(), "what": name(what), "diff": fits.then_some(diff) });
        if what == What::Moved {
            record["from"] = json!(entry.from);
        }
        Some(record)
    };
    entries.iter().filter_map(record).collect()
}

fn letter(what: What) -> char {
    match what {
        What::Added => 'A',
        What::Deleted => 'D',
        What::Changed => 'M',
        What::Moved => 'R',
    }
}

fn name(what: What) -> &'static str {
    match what {
        What::Added => "added",
        What::Deleted => "deleted",
        What::Changed => "changed",
        What::Moved => "moved",
    }
}

/// Both forms, with or without the fence of Markdown around them.
fn parse(patch: &str) -> Result<Vec<Change>, Failure> {
    let mut lines: Vec<&str> = patch.split('\n').collect();
    while lines.last().is_some_and(|line| matches!(*line, "" | "\r")) {
        lines.pop();
    }
    // A carriage return at each line belongs to how the patch came here. At some of the lines that are added it belongs
    // to the lines; elsewhere lines are compared without.
    let carried = lines.iter().rev().skip(1).all(|line| line.ends_with('\r'));
    for line in lines.iter_mut().filter(|line| carried || !line.starts_with('+')) {
        *line = line.strip_suffix('\r').unwrap_or(line);
    }
    let begin = lines.iter().position(|line| !line.trim().is_empty()).unwrap_or(0);
    let fenced = lines.get(begin).is_some_and(|line| line.starts_with("```")) && lines.last() == Some(&"```");
    let body = if fenced { lines.get(begin + 1..lines.len() - 1) } else { lines.get(begin..) }.unwrap_or_default();
    let numbered: Vec<(usize, &str)> = (begin + usize::from(fenced) + 1..).zip(body.iter().copied()).collect();
    if body.first().is_some_and(|line| line.trim() == "*** Begin Patch") {
        block::parse(&numbered)
    } else {
        unified::parse(&numbered)
    }
}

fn plan(transaction: &mut Transaction<'_>, change: &Change) -> Result<(), Failure> {
    let path = change.paths.iter().find(|path| transaction.exists(path)).or_else(|| change.paths.first());
    let Some(path) = path else { return Err(Failure::invalid("the patch names no file")) };
    path_is_sound(cut(path, 100), path)?;
    if let Some(note) = &change.note {
        transaction.notes.add(&format!("{path}: {note}"));
    }
    match &change.act {
        Act::Add { content } => transaction.add(path, content),
        Act::Delete { hunks } => {
            if !hunks.is_empty() && !transaction.patch(path, hunks)?.is_empty() {
                let text = format!("the patch deletes \"{path}\", which has more in it than the patch takes away");
                return Err(Failure::refused(text + "; nothing was changed"));
            }
            transaction.delete(path)
        }
        Act::Update { hunks, moved } => {
            if !hunks.is_empty() {
                transaction.patch(path, hunks)?;
            }
            match moved {
                Some(to) if to != path => {
                    path_is_sound(cut(to, 100), to)?;
                    transaction.rename(path, to)
                }
                Some(_) | None => Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
