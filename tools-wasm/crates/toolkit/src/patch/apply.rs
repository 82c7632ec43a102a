//! Finds the place of each hunk in a text and makes the new text. It never takes a place that does not hold every line
//! that the hunk removes.

use super::notes::Notes;
use super::{Comparison, Hunk, SHOWN_LINES_MAX, Tag};
use crate::text::{Endings, chomp, cut, lines, shown};

/// Lines of context that may be left aside at either end, as in patch(1).
const FUZZ_MAX: usize = 2;

/// How lines are compared, the strictest first.
const COMPARISONS: [fn(&[u8], &str) -> bool; 3] = [
    |line, wanted| line == wanted.as_bytes(),
    |line, wanted| line.trim_ascii_end() == wanted.trim_ascii_end().as_bytes(),
    |line, wanted| line.trim_ascii() == wanted.trim_ascii().as_bytes(),
];

/// A place that was found.
struct Place {
    /// Index of the first line that the hunk concerns, without what was left aside.
    at: usize,
    /// Lines of the hunk that were left aside at its beginning and its end.
    skipped: (usize, usize),
    loose: bool,
    /// The line that an anchor is only a part of.
    anchor_inside: Option<usize>,
}

/// The text after all hunks; what was not quite as the patch said goes into the notes.
pub(super) fn apply(path: &str, text: &[u8], hunks: &[Hunk], notes: &mut Notes) -> Result<Vec<u8>, String> {
    let file: Vec<&[u8]> = lines(text).collect();
    let crlf = Endings::of(text).new_line_is_crlf();
    let mut result = Vec::with_capacity(text.len());
    let mut done = 0;
    let mut drift = 0isize;
    for (index, hunk) in hunks.iter().enumerate() {
        let place = find(&file, hunk, done, drift).ok_or_else(|| refusal(path, &file, hunk, index, hunks.len()))?;
        if let Some(start) = hunk.start {
            let said = expected(hunk, start);
            let found = place.at.saturating_sub(place.skipped.0);
            drift = found as isize - said as isize;
            if drift != 0 || place.skipped != (0, 0) {
                let fuzz = place.skipped.0.max(place.skipped.1);
                notes.add(&format!(
                    "{path}: hunk {} went in at line {}, the patch says {start} (fuzz {fuzz})",
                    index + 1,
                    found + 1
                ));
            }
        }
        if let Some(inside) = place.anchor_inside {
            notes.add(&format!(
                "{path}: part {} follows line {}, which only contains what it names",
                index + 1,
                inside + 1
            ));
        }
        if place.loose {
            notes.add(&format!("{path}: part {} matched line {} only apart from white space", index + 1, place.at + 1));
        }
        file.get(done..place.at).unwrap_or_default().iter().for_each(|line| result.extend_from_slice(line));
        done = put(&mut result, &file, hunk, &place, crlf);
    }
    file.get(done..).unwrap_or_default().iter().for_each(|line| result.extend_from_slice(line));
    Ok(result)
}

/// Writes the hunk's new side; the index of the first line behind its old side.
fn put(result: &mut Vec<u8>, file: &[&[u8]], hunk: &Hunk, place: &Place, crlf: bool) -> usize {
    let end: &[u8] = if crlf { b"\r\n" } else { b"\n" };
    let close = |result: &mut Vec<u8>| {
        if !result.is_empty() && !result.ends_with(b"\n") {
            result.extend_from_slice(end);
        }
    };
    let mut at = place.at;
    let mut open = false;
    let last = hunk.lines.len() - place.skipped.1;
    for line in hunk.lines.get(place.skipped.0..last).unwrap_or_default() {
        match line.tag {
            Tag::Keep => {
                close(result);
                result.extend_from_slice(file.get(at).copied().unwrap_or_default());
                at += 1;
            }
            Tag::Remove => {
                open = file.get(at).is_some_and(|line| !line.ends_with(b"\n"));
                at += 1;
            }
            Tag::Add => {
                close(result);
                // Lines end here as the file's lines do.
                result.extend_from_slice(chomp(line.text.as_bytes()));
                result.extend_from_slice(end);
            }
        }
    }
    let ends_here = at >= file.len();
    let adds_last = hunk.lines.last().is_some_and(|line| line.tag == Tag::Add);
    // A file without a last line end keeps that, unless the patch says otherwise.
    if ends_here && adds_last && (hunk.new_open || open && !hunk.old_open) {
        let length = chomp(result).len();
        result.truncate(length);
    }
    at
}

/// Where the patch says that the hunk is, counted from 0. Of a hunk that only adds, the number is that of the line before.
fn expected(hunk: &Hunk, start: usize) -> usize {
    if hunk.old().next().is_none() { start } else { start.saturating_sub(1) }
}

fn find(file: &[&[u8]], hunk: &Hunk, done: usize, drift: isize) -> Option<Place> {
    let (mut from, mut anchor_inside) = (done, None);
    for anchor in &hunk.anchors {
        let at = anchored(file, anchor, from)?;
        anchor_inside = anchor_inside.or(at.inside);
        from = at.line + 1;
    }
    let old: Vec<&str> = hunk.old().collect();
    if old.is_empty() {
        let at = match hunk.start {
            Some(start) => start.saturating_add_signed(drift).min(file.len()),
            None if hunk.anchors.is_empty() || hunk.at_end => file.len(),
            None => from,
        };
        return (at >= done).then_some(Place { at, skipped: (0, 0), loose: false, anchor_inside });
    }
    if let Some(start) = hunk.start {
        let said = expected(hunk, start).saturating_add_signed(drift);
        return (0..=FUZZ_MAX).find_map(|fuzz| fuzzy(file, hunk, &old, (said, done), fuzz));
    }
    let ways = if hunk.comparison == Comparison::Loose { &COMPARISONS[..] } else { &COMPARISONS[..1] };
    ways.iter().enumerate().find_map(|(way, same)| {
        let at_end = file.len().checked_sub(old.len()).filter(|at| *at >= from);
        let end = at_end.filter(|at| holds(file, *at, &old, *same));
        let at = if hunk.at_end { end } else { (from..file.len()).find(|at| holds(file, *at, &old, *same)) };
        // Anchors name what stands above; a hunk may also begin with the anchor's own line.
        let at = at
            .or_else(|| from.checked_sub(1).filter(|at| *at >= done && !hunk.at_end && holds(file, *at, &old, *same)));
        at.map(|at| Place { at, skipped: (0, 0), loose: way > 0, anchor_inside })
    })
}

/// Where an anchor was found.
struct Anchored {
    line: usize,
    /// That line, where the anchor is neither all of it nor its beginning.
    inside: Option<usize>,
}

/// The first line that is the anchor, or else begins with its words, or else the only one that contains it.
fn anchored(file: &[&[u8]], anchor: &str, from: usize) -> Option<Anchored> {
    let all = || file.iter().enumerate().skip(from);
    let whole = COMPARISONS.iter().find_map(|same| all().find(|(_, line)| same(chomp(line), anchor)));
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii();
    let ends_in_word = anchor.bytes().next_back().is_some_and(word);
    let begins = || {
        all().find(|(_, line)| {
            let rest = line.trim_ascii_start().strip_prefix(anchor.as_bytes());
            rest.is_some_and(|rest| !(ends_in_word && rest.first().copied().is_some_and(word)))
        })
    };
    if let Some((line, _)) = whole.or_else(begins) {
        return Some(Anchored { line, inside: None });
    }
    let mut containing = all().filter(|(_, line)| memchr::memmem::find(line, anchor.as_bytes()).is_some());
    let (line, _) = containing.next()?;
    containing.next().is_none().then_some(Anchored { line, inside: Some(line) })
}

/// The place that is nearest to where it should be, with so many lines of context left aside.
fn fuzzy(file: &[&[u8]], hunk: &Hunk, old: &[&str], (said, done): (usize, usize), fuzz: usize) -> Option<Place> {
    let kept = |line: &&super::Line| line.tag == Tag::Keep;
    let head = hunk.lines.iter().take_while(kept).count().min(fuzz);
    let tail = hunk.lines.iter().rev().take_while(kept).count().min(fuzz);
    if fuzz > 0 && (head.max(tail) < fuzz || head + tail >= old.len()) {
        return None;
    }
    let wanted = old.get(head..old.len() - tail)?;
    // What the patch says is a claim: nothing lies behind the end of the file.
    let target = said.saturating_add(head).min(file.len());
    (0..=file.len())
        .flat_map(|distance| [target.checked_add(distance), target.checked_sub(distance)])
        .flatten()
        .find(|at| *at >= done && holds(file, *at, wanted, COMPARISONS[0]))
        .map(|at| Place { at, skipped: (head, tail), loose: false, anchor_inside: None })
}

fn holds(file: &[&[u8]], at: usize, wanted: &[&str], same: fn(&[u8], &str) -> bool) -> bool {
    let Some(window) = file.get(at..).and_then(|rest| rest.get(..wanted.len())) else { return false };
    window.iter().zip(wanted).all(|(line, wanted)| same(chomp(line), wanted))
}

/// What was looked for, and what comes nearest to it.
fn refusal(path: &str, file: &[&[u8]], hunk: &Hunk, index: usize, count: usize) -> String {
    let old: Vec<&str> = hunk.old().collect();
    let mut text = format!(
        "hunk {} of {count} for \"{}\" (line {} of the patch) has no place in the file",
        index + 1,
        cut(path, 1000),
        hunk.patch_line
    );
    if let Some(anchor) = hunk.anchors.iter().find(|anchor| anchored(file, anchor, 0).is_none()) {
        let parts = file.iter().filter(|line| memchr::memmem::find(line, anchor.as_bytes()).is_some()).count();
        let only = if parts > 1 { format!(" ({parts} contain it: write the whole line)") } else { String::new() };
        let anchor = shown(anchor.as_bytes(), 200);
        return text + &format!(": no line is \"{anchor}\"{only}, after which it should be; nothing was changed");
    }
    // Said here, since what follows may be too long for where a refusal is shown.
    text += "; nothing was changed; it wants:";
    for line in old.iter().take(SHOWN_LINES_MAX) {
        text += &format!("\n      \t{}", shown(line.as_bytes(), 200));
    }
    match nearest(file, &old) {
        Some((at, same)) => {
            text += &format!("\nnearest to it, with {same} of {} lines the same, is:", old.len());
            for (offset, line) in file.iter().skip(at).take(old.len().min(SHOWN_LINES_MAX)).enumerate() {
                text += &format!("\n{:>6}\t{}", at + offset + 1, shown(chomp(line), 200));
            }
        }
        None => text += "\nno line of it is in the file; read the file again",
    }
    text
}

/// Where most of the lines are the same apart from white space; long files are compared at lines that are the same.
fn nearest(file: &[&[u8]], old: &[&str]) -> Option<(usize, usize)> {
    let same = |at: usize| {
        let window = file.iter().skip(at).zip(old);
        window.filter(|(line, wanted)| !wanted.trim().is_empty() && COMPARISONS[2](chomp(line), wanted)).count()
    };
    let candidates = file.iter().enumerate().flat_map(|(at, line)| {
        let hits = old
            .iter()
            .take(50)
            .enumerate()
            .filter(|(_, wanted)| !wanted.trim().is_empty() && COMPARISONS[2](chomp(line), wanted));
        hits.filter_map(move |(offset, _)| at.checked_sub(offset))
    });
    candidates.take(2000).map(|at| (at, same(at))).max_by_key(|(at, same)| (*same, std::cmp::Reverse(*at)))
}
