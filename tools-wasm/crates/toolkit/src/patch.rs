//! Applies a patch to any number of files, all of it or none: a unified diff, or the form that begins with
//! `*** Begin Patch`. It never changes a file before every hunk has found its place.

mod apply;
mod block;
mod transaction;
mod unified;

use super::args::Args;
use super::edit::difference;
use super::files::Changeable;
use super::{Answer, Failure};
use serde_json::{Value, json};
use transaction::{Transaction, What};

/// The longest patch.
const PATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Files of one patch.
const FILES_MAX: usize = 500;
/// Lines of a refusal that show what was looked for.
const SHOWN_LINES_MAX: usize = 12;

/// What a patch wants of one file.
struct Change {
    /// As the patch names it, the better guess first where it is not clear.
    paths: Vec<String>,
    act: Act,
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
    if changes.is_empty() || changes.len() > FILES_MAX {
        let text = format!(
            "the patch names {} files, and must name from 1 to {FILES_MAX}; it is a unified diff (\"--- a/f\", \"+++ b/f\", \
             \"@@ -1,3 +1,4 @@\") or begins with \"*** Begin Patch\"",
            changes.len()
        );
        return Err(Failure::invalid(text));
    }
    let mut transaction = Transaction::new(files);
    for change in &changes {
        plan(&mut transaction, change)?;
    }
    let ends = transaction.ends();
    let (mut text, mut records) = (String::new(), Vec::new());
    for end in &ends {
        text += &format!("{} {}\n", letter(end.what), end.path);
        let diff = difference(end.before.unwrap_or_default(), end.after.unwrap_or_default());
        records.push(json!({ "file_path": end.path, "what": name(end.what), "diff": diff }));
    }
    let notes = transaction.notes();
    drop(ends);
    let in_place = if dry { Vec::new() } else { transaction.commit()? };
    for note in notes.iter().chain(&in_place) {
        text += &format!("[{note}]\n");
    }
    if dry {
        text += "[nothing was changed: dry_run]\n";
    }
    let structured = json!({ "files": cut(records), "notes": notes, "applied": !dry });
    Ok(Answer::new(text, structured))
}

/// The differences as far as an answer has room for them.
fn cut(mut records: Vec<Value>) -> Vec<Value> {
    let mut room = super::ANSWER_BYTES_MAX / 2;
    for record in &mut records {
        let length = record["diff"].as_str().map_or(0, str::len);
        if length > room {
            record["diff"] = Value::Null;
        }
        room = room.saturating_sub(length);
    }
    records
}

fn letter(what: What) -> char {
    match what {
        What::Added => 'A',
        What::Deleted => 'D',
        What::Changed => 'M',
    }
}

fn name(what: What) -> &'static str {
    match what {
        What::Added => "added",
        What::Deleted => "deleted",
        What::Changed => "changed",
    }
}

/// Both forms, with or without the fence of Markdown around them.
fn parse(patch: &str) -> Result<Vec<Change>, Failure> {
    let mut lines: Vec<&str> = patch.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
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
    match &change.act {
        Act::Add { content } => transaction.add(path, content),
        Act::Delete { hunks } => {
            if !hunks.is_empty() {
                let left = transaction.patched(path, hunks)?;
                if !left.is_empty() {
                    let text = format!("the patch deletes \"{path}\", which has more in it than the patch takes away");
                    return Err(Failure::refused(text + "; nothing was changed"));
                }
            }
            transaction.delete(path)
        }
        Act::Update { hunks, moved } => {
            let content = transaction.patched(path, hunks)?;
            match moved {
                Some(to) if to != path => transaction.rename(path, to, content),
                Some(_) | None => transaction.change(path, content),
            }
        }
    }
}

#[cfg(test)]
mod tests;
