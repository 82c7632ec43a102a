//! The regular expressions of schemas: as ECMA-262 writes them, matched in time that is linear in the text.
//! It never takes one that needs backtracking, nor one that becomes large.

use super::compile::clipped;
use regex::{Regex, RegexBuilder};
use std::str::Chars;

/// Bytes of a pattern at most.
const PATTERN_BYTES_MAX: usize = 1024;
/// How large a compiled pattern may be, bytes, and what a byte of a text that is held against it costs then, in steps.
const SIZES: [(usize, u64); 3] = [(8 * 1024, 16), (64 * 1024, 128), (256 * 1024, 512)];
const DIGIT: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";
const SPACE: &str = r"\t-\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}";

/// A pattern that is ready.
#[derive(Debug)]
pub(super) struct Pattern {
    /// As the schema has it.
    pub(super) text: String,
    /// Steps for each byte of a text.
    pub(super) weight: u64,
    regex: Regex,
}

impl Pattern {
    /// Compiles one.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("a pattern of {} bytes, {PATTERN_BYTES_MAX} are allowed", text.len()));
        }
        let none = || format!("pattern {:?} is none that can be matched in linear time", clipped(text));
        let translated = translated(text).ok_or_else(none)?;
        for (bytes, weight) in SIZES {
            match RegexBuilder::new(&translated).size_limit(bytes).nest_limit(64).build() {
                Ok(regex) => return Ok(Self { text: text.to_owned(), weight, regex }),
                Err(regex::Error::CompiledTooBig(_)) => {}
                Err(_) => return Err(none()),
            }
        }
        Err(format!("pattern {:?} becomes too large", clipped(text)))
    }

    /// Whether some part of the text matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// The same expression in the syntax of the crate, where classes of ASCII are written out and a class has brackets, `&&`, `~~`
/// and `--` that mean something else. None where it is broken, or has an escape that ECMA-262 does not have.
fn translated(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 16);
    let mut left = text.chars();
    while let Some(character) = left.next() {
        match character {
            '\\' => {
                escape(&mut left, &mut out, Inside::Nothing)?;
            }
            '[' => class(&mut left, &mut out)?,
            '.' => out.push_str(r"[^\n\r\x{2028}\x{2029}]"),
            other => out.push(other),
        }
    }
    Some(out)
}

/// Where an escape stands.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Nothing,
    Class,
}

/// What an escape stands for.
enum Meant {
    /// One character, or a place.
    One,
    /// Any of several.
    Several,
}

/// One escape, behind its backslash.
fn escape(left: &mut Chars<'_>, out: &mut String, inside: Inside) -> Option<Meant> {
    let next = left.next()?;
    let set = match next {
        'd' | 'D' => DIGIT,
        'w' | 'W' => WORD,
        's' | 'S' => SPACE,
        'b' if inside == Inside::Class => {
            out.push_str(r"\x08");
            return Some(Meant::One);
        }
        'b' => {
            out.push_str(r"(?-u:\b)");
            return Some(Meant::One);
        }
        '0' if !left.as_str().starts_with(|digit: char| digit.is_ascii_digit()) => {
            out.push_str(r"\x00");
            return Some(Meant::One);
        }
        // A boundary of a word in the crate, and nothing but itself to everybody else.
        '<' | '>' => {
            out.push(next);
            return Some(Meant::One);
        }
        'f' | 'n' | 'r' | 't' | 'v' | 'B' => "",
        'x' | 'u' | 'p' | 'P' => {
            out.extend(['\\', next]);
            argument(left, out, if next == 'u' { 4 } else { 2 })?;
            return Some(if next.eq_ignore_ascii_case(&'p') { Meant::Several } else { Meant::One });
        }
        // References back among them, and what begins or ends a text in the crate alone.
        other if other.is_ascii_alphanumeric() => return None,
        _ => "",
    };
    if set.is_empty() {
        out.extend(['\\', next]);
        return Some(Meant::One);
    }
    out.push_str(if next.is_ascii_uppercase() { "[^" } else { "[" });
    out.push_str(set);
    out.push(']');
    Some(Meant::Several)
}

/// What belongs to an escape of a character by its number, or by what it is: so many digits, or anything in braces.
fn argument(left: &mut Chars<'_>, out: &mut String, digits: usize) -> Option<()> {
    let rest = left.as_str();
    let end = if rest.starts_with('{') { rest.find('}')? + 1 } else { digits };
    out.push_str(rest.get(..end)?);
    *left = rest.get(end..)?.chars();
    Some(())
}

/// Which character a class was left at, as far as it matters for a `-` that comes then.
#[derive(Clone, Copy)]
enum Last {
    /// None, or the end of a range.
    Nothing,
    /// One that a range can begin with.
    One,
    /// A class in the class, with which no range can begin.
    Several,
    /// A `-` behind one of those: what comes now is the end of it.
    Dash,
}

/// A class, behind its bracket.
fn class(left: &mut Chars<'_>, out: &mut String) -> Option<()> {
    for (whole, means) in [("]", "[a&&b]"), ("^]", "(?s:.)")] {
        if let Some(rest) = left.as_str().strip_prefix(whole) {
            *left = rest.chars();
            out.push_str(means);
            return Some(());
        }
    }
    out.push('[');
    if let Some(rest) = left.as_str().strip_prefix('^') {
        *left = rest.chars();
        out.push('^');
    }
    let mut last = Last::Nothing;
    loop {
        let character = left.next()?;
        let several = match character {
            ']' => break,
            '-' if matches!(last, Last::One | Last::Several) && !left.as_str().starts_with(']') => {
                let several_come = ["\\d", "\\D", "\\w", "\\W", "\\s", "\\S", "\\p", "\\P"];
                let is_range =
                    matches!(last, Last::One) && !several_come.iter().any(|set| left.as_str().starts_with(set));
                out.push_str(if is_range { "-" } else { r"\-" });
                last = Last::Dash;
                continue;
            }
            '\\' => matches!(escape(left, out, Inside::Class)?, Meant::Several),
            '[' | '&' | '~' | '-' => {
                out.extend(['\\', character]);
                false
            }
            other => {
                out.push(other);
                false
            }
        };
        last = match last {
            Last::Dash => Last::Nothing,
            Last::Nothing | Last::One | Last::Several if several => Last::Several,
            Last::Nothing | Last::One | Last::Several => Last::One,
        };
    }
    out.push(']');
    Some(())
}
