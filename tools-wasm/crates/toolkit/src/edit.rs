//! Replaces exact texts in a file, one or several, all or none. It never replaces what is not exactly there, and never
//! guesses which of several places is meant.

mod near;

use super::args::Args;
use super::files::{Changeable, read_whole};
use super::locate::need_file;
use super::store;
use super::text::{Content, Encoding, Endings, Text, cut, line_of};
use super::{Answer, Failure, WHOLE_FILE_BYTES_MAX};
use memchr::memmem::find_iter;
use serde_json::{Value, json};
use std::ops::Range;

/// How many edits one call holds.
const EDITS_MAX: usize = 100;
/// How many places a refusal names.
const PLACES_NAMED_MAX: usize = 10;
/// What a refusal holds of why, so that its end is not cut off on its way.
const WHY_BYTES_MAX: usize = 3000;
/// How much of the difference an answer shows.
const DIFF_BYTES_MAX: usize = 8 * 1024;
/// Changed regions that are longer are not compared line by line: that takes the square of the time.
const DIFF_LINES_MAX: usize = 2000;

/// One replacement.
struct Edit {
    old: String,
    new: String,
    everywhere: bool,
}

/// What one replacement did.
struct Done {
    /// The line, counted in the file as it was when this edit came.
    line: usize,
    count: usize,
}

/// One call.
pub fn run(arguments: &str, files: &dyn Changeable) -> Result<Answer, Failure> {
    let mut args = Args::parse(arguments)?;
    let path = args.need_path("file_path")?;
    let edits = edits(&mut args)?;
    args.finish()?;
    need_file(files, &path)?;
    let place = store::place(files, &path)?;
    let file = read_whole(files, &place.path, WHOLE_FILE_BYTES_MAX)?;
    let before = decode(&path, &file)?;
    let mut text = before.clone();
    let mut done = Vec::new();
    for (index, edit) in edits.iter().enumerate() {
        let which = if edits.len() > 1 { format!("edit {} of {}: ", index + 1, edits.len()) } else { String::new() };
        let refuse = |why: String| {
            let (shown, mark) = (cut(&why, WHY_BYTES_MAX), if why.len() > WHY_BYTES_MAX { " …" } else { "" });
            Failure::refused(format!("{which}{shown}{mark}; \"{path}\" was not changed"))
        };
        done.push(apply(&mut text, edit).map_err(refuse)?);
    }
    let bytes = text.encode()?;
    if bytes == file {
        return Err(Failure::refused(format!("the edits of \"{path}\" undo each other; it was not changed")));
    }
    let way = store::put(files, place, &bytes, Some(&file))?;
    let count: usize = done.iter().map(|done| done.count).sum();
    let places: Vec<Value> = done.iter().map(|done| json!({ "line": done.line, "replacements": done.count })).collect();
    let diff = difference(&before.bytes, &text.bytes);
    let structured = json!({
        "file_path": path, "replacements": count, "edits": places, "atomic": way == store::Way::Atomic, "diff": diff,
    });
    let plural = if count == 1 { "" } else { "s" };
    Ok(Answer::new(format!("{count} replacement{plural} in \"{path}\"{}\n{diff}", way.note()), structured))
}

fn edits(args: &mut Args) -> Result<Vec<Edit>, Failure> {
    let list = args.list("edits")?;
    let single = args.text("old_string")?;
    let new = args.text("new_string")?;
    let everywhere = args.flag("replace_all")?;
    let edits = match (list, single, new) {
        (Some(list), None, None) => list
            .into_iter()
            .map(|value| {
                let mut args = Args::from_value(value, "an edit's arguments")?;
                let edit = Edit {
                    old: args.need_text("old_string")?,
                    new: args.need_text("new_string")?,
                    everywhere: args.flag("replace_all")? || everywhere,
                };
                args.finish().map(|()| edit)
            })
            .collect::<Result<_, _>>()?,
        (None, Some(old), Some(new)) => vec![Edit { old, new, everywhere }],
        (Some(_), _, _) => {
            return Err(Failure::invalid("\"edits\" and \"old_string\" exclude each other; put all into \"edits\""));
        }
        (None, _, _) => {
            return Err(Failure::invalid("give \"old_string\" and \"new_string\", or several of both as \"edits\""));
        }
    };
    if edits.is_empty() || edits.len() > EDITS_MAX {
        let text = format!("\"edits\" has {} entries, and must have from 1 to {EDITS_MAX}", edits.len());
        return Err(Failure::invalid(text));
    }
    for edit in &edits {
        if edit.old.is_empty() {
            return Err(Failure::invalid(
                "\"old_string\" is empty, which is everywhere; write makes and replaces files",
            ));
        }
        if edit.old == edit.new {
            return Err(Failure::invalid("\"old_string\" and \"new_string\" are the same"));
        }
    }
    Ok(edits)
}

/// A file's text; one that is none is refused.
pub(crate) fn decode(path: &str, file: &[u8]) -> Result<Text, Failure> {
    Text::decode(file).map_err(|content| {
        let what = match content {
            Content::Image(media_type) => format!("a picture ({media_type})"),
            Content::Binary(what) => what.to_owned(),
            Content::Text(encoding, _) => format!("damaged {}", encoding.name()),
        };
        Failure::refused(format!("\"{path}\" is {what}, not text, and cannot be edited as text"))
    })
}

fn apply(text: &mut Text, edit: &Edit) -> Result<Done, String> {
    let found = find(text, &edit.old);
    let Some(first) = found.first() else { return Err(near::explain(text, &edit.old, &edit.new)) };
    if found.len() > 1 && !edit.everywhere {
        let lines: Vec<_> =
            found.iter().take(PLACES_NAMED_MAX).map(|at| line_of(&text.bytes, at.start).to_string()).collect();
        let more = if found.len() > PLACES_NAMED_MAX { ", …" } else { "" };
        return Err(format!(
            "\"old_string\" is there {} times, at lines {}{more}: add lines around it until it is there once, or set \
             \"replace_all\"",
            found.len(),
            lines.join(", ")
        ));
    }
    let done = Done { line: line_of(&text.bytes, first.start), count: found.len() };
    let endings = Endings::of(&text.bytes);
    let mut bytes = Vec::with_capacity(text.bytes.len());
    let mut at = 0;
    for place in found {
        bytes.extend_from_slice(text.bytes.get(at..place.start).unwrap_or_default());
        let replaced = text.bytes.get(place.clone()).unwrap_or_default();
        bytes.extend_from_slice(with_endings_of(&edit.new, replaced, endings).as_bytes());
        at = place.end;
    }
    bytes.extend_from_slice(text.bytes.get(at..).unwrap_or_default());
    text.bytes = bytes;
    if text.encoding == Encoding::Utf8 && std::str::from_utf8(&text.bytes).is_err() {
        // Both sides were UTF-8 and the places begin and end with whole characters; kept as a check of that.
        return Err("the result would not be UTF-8".to_owned());
    }
    Ok(done)
}

/// Line feeds of the new text become the line ends that were in the place, or that the file mostly has.
fn with_endings_of(new: &str, replaced: &[u8], file: Endings) -> String {
    let crlf = match Endings::of(replaced) {
        Endings::None => file.new_line_is_crlf(),
        here @ (Endings::Lf | Endings::Crlf | Endings::Mixed { .. }) => here.new_line_is_crlf(),
    };
    if crlf && !new.contains('\r') { new.replace('\n', "\r\n") } else { new.to_owned() }
}

/// Where the text is, without overlaps. A line feed that is searched for is found in a CRLF as well.
fn find(text: &Text, old: &str) -> Vec<Range<usize>> {
    let old = old.as_bytes();
    let plain = || find_iter(&text.bytes, old).map(|at| at..at + old.len()).collect();
    let lines_end_alike = matches!(Endings::of(&text.bytes), Endings::None | Endings::Lf);
    if lines_end_alike || old.contains(&b'\r') || !old.contains(&b'\n') {
        return plain();
    }
    let flat = Flat::of(&text.bytes);
    find_iter(&flat.bytes, old).map(|at| flat.origin(at)..flat.origin(at + old.len())).collect()
}

/// A text whose CRLFs became line feeds, and where they were.
struct Flat {
    bytes: Vec<u8>,
    /// Places of those line feeds, in order.
    shortened: Vec<usize>,
}

impl Flat {
    fn of(bytes: &[u8]) -> Flat {
        let mut flat = Flat { bytes: Vec::with_capacity(bytes.len()), shortened: Vec::new() };
        let mut rest = bytes;
        while let Some(at) = memchr::memmem::find(rest, b"\r\n") {
            flat.bytes.extend_from_slice(rest.get(..at).unwrap_or_default());
            flat.shortened.push(flat.bytes.len());
            flat.bytes.push(b'\n');
            rest = rest.get(at + 2..).unwrap_or_default();
        }
        flat.bytes.extend_from_slice(rest);
        flat
    }

    /// The place in the text as it was. A line feed's place is that of its carriage return.
    fn origin(&self, at: usize) -> usize {
        at + self.shortened.partition_point(|shortened| *shortened < at)
    }
}

/// The lines that differ, as a unified diff, as far as it fits.
pub(crate) fn difference(before: &[u8], after: &[u8]) -> String {
    let (before, after) = (String::from_utf8_lossy(before), String::from_utf8_lossy(after));
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let shorter = old.len().min(new.len());
    let head = (0..shorter).take_while(|at| old[*at] == new[*at]).count();
    let tail = (0..shorter - head).take_while(|at| old[old.len() - 1 - at] == new[new.len() - 1 - at]).count();
    // Three lines of context are kept on both sides.
    let (from, tail) = (head.saturating_sub(3), tail.saturating_sub(3));
    let (old, new) = (&old[from..old.len() - tail], &new[from..new.len() - tail]);
    if old.len().max(new.len()) > DIFF_LINES_MAX {
        return format!(
            "[lines {} to {} changed; the difference is too long to be shown]\n",
            head + 1,
            from + old.len()
        );
    }
    let changes = similar::TextDiff::from_slices(old, new);
    let mut diff = String::new();
    for group in changes.grouped_ops(3) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let (a, b) = (first.old_range().start..last.old_range().end, first.new_range().start..last.new_range().end);
        diff += &format!("@@ -{},{} +{},{} @@\n", from + a.start + 1, a.len(), from + b.start + 1, b.len());
        for change in group.iter().flat_map(|op| changes.iter_changes(op)) {
            diff += &format!("{}{}\n", change.tag(), super::text::shown(change.value().as_bytes(), 500));
            if diff.len() > DIFF_BYTES_MAX {
                return diff + "[the rest of the difference is not shown]\n";
            }
        }
    }
    diff
}

#[cfg(test)]
mod tests;
