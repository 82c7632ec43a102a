//! Unified hunks of two texts, and making control characters visible.
//! It never reads a file and never writes an escape sequence that came from a guest.

use imara_diff::{Algorithm, Diff, InternedInput};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::Range;

/// What a line of a diff is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Names, modes.
    Header,
    /// Where the lines that follow are.
    Hunk,
    /// The same on both sides.
    Context,
    /// New.
    Added,
    /// Gone.
    Removed,
    /// For people: what a patch cannot say.
    Note,
}

/// A text file by git's rule: no NUL among its first bytes.
pub fn is_text(bytes: &[u8]) -> bool {
    const LOOKED_AT: usize = 8000;
    !bytes.iter().take(LOOKED_AT).any(|byte| *byte == 0)
}

/// Calls `emit` for each line of the unified diff, line terminators included where the texts have them.
///
/// # Errors
/// What `emit` says.
pub fn hunks(
    before: &[u8],
    after: &[u8],
    context: u32,
    emit: &mut dyn FnMut(Line, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let input = InternedInput::new(before, after);
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_lines(&input);
    let hunks: Vec<(Range<u32>, Range<u32>)> = diff.hunks().map(|hunk| (hunk.before, hunk.after)).collect();
    let total = u32::try_from(input.before.len()).unwrap_or(u32::MAX);
    let line = |side: &[imara_diff::Token], at: u32| -> Vec<u8> {
        side.get(at as usize).map(|token| input.interner[*token].to_vec()).unwrap_or_default()
    };
    for group in grouped(&hunks, context) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let lead = first.0.start.min(context);
        let trail = (total - last.0.end).min(context);
        let old = first.0.start - lead..last.0.end + trail;
        let new = first.1.start - lead..last.1.end + trail;
        emit(Line::Hunk, format!("@@ -{} +{} @@\n", span(&old), span(&new)).as_bytes())?;
        let mut at = old.start;
        for (removed, added) in group {
            for context in at..removed.start {
                emit(Line::Context, &line(&input.before, context))?;
            }
            for gone in removed.clone() {
                emit(Line::Removed, &line(&input.before, gone))?;
            }
            for come in added.clone() {
                emit(Line::Added, &line(&input.after, come))?;
            }
            at = removed.end;
        }
        for context in at..old.end {
            emit(Line::Context, &line(&input.before, context))?;
        }
    }
    Ok(())
}

/// Lines added and removed.
pub(super) fn counts(before: &[u8], after: &[u8]) -> (u32, u32) {
    let input = InternedInput::new(before, after);
    let diff = Diff::compute(Algorithm::Histogram, &input);
    (diff.count_additions(), diff.count_removals())
}

/// Hunks whose contexts touch are shown as one.
fn grouped(hunks: &[(Range<u32>, Range<u32>)], context: u32) -> impl Iterator<Item = &[(Range<u32>, Range<u32>)]> {
    hunks.chunk_by(move |a, b| b.0.start - a.0.end <= context * 2)
}

/// `start,count` as a unified diff counts: from one, and the line before an empty range.
fn span(range: &Range<u32>) -> String {
    match range.len() {
        0 => format!("{},0", range.start),
        1 => format!("{}", range.start + 1),
        count => format!("{},{count}", range.start + 1),
    }
}

/// Text that cannot do anything to a terminal: controls, bidirectional overrides and invalid bytes are spelled out.
pub(super) fn write_visible(out: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\n' | '\t' => text.push(letter),
                '\0'..='\u{1f}' => {
                    text.push('^');
                    text.push(char::from((letter as u8) ^ 0x40));
                }
                '\u{7f}' => text.push_str("^?"),
                '\u{80}'..='\u{9f}'
                | '\u{ad}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}' => push(&mut text, format_args!("<U+{:04X}>", letter as u32)),
                other => text.push(other),
            }
        }
        for byte in chunk.invalid() {
            push(&mut text, format_args!("<{byte:02X}>"));
        }
    }
    out.write_all(text.as_bytes())
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a String takes everything");
}
