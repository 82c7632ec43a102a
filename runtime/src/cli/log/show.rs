//! `stockade log show`, `tail` and `query`: records one by one, with all their members.
//! It never shows a character that commands a terminal, and never changes what a record says.

use super::say::{Beside, tone, value};
use super::words::{cut, since};
use super::{each, filter};
use crate::cli::events;
use crate::cli::style::visible;
use crate::cli::{Context, print, print_json};
use crate::error::{Error, Result};
use crate::journal::failed;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::time::Duration;
use stockade_audit::query::{Filter, LogReader};
use stockade_audit::record::Leaf;
use stockade_audit::text::deceives;

/// How often `tail --follow` looks for more.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Longest text shown of one record, characters.
const SHOWN_CHARS: usize = 160;

/// All records, or one.
pub(super) fn show(log: &LogReader, number: Option<u64>, json: bool, context: &Context) -> Result<()> {
    let Some(number) = number else {
        return each(log, &Filter::default(), &mut |leaf, bytes| print(&shown(&leaf, bytes, json, context)));
    };
    let found = log.record(number).map_err(failed)?;
    let (leaf, bytes) = found.ok_or_else(|| {
        Error::operator(format!("there is no record {number} in \"{}\"", visible(log.origin())))
            .hint("`stockade log show SESSION` lists them")
    })?;
    if json {
        return print(&visible_json(&bytes));
    }
    print_json(&members(&bytes))?;
    let beside = Beside { openings: log.opened(leaf.disclosed.iter().copied()).map_err(failed)?, ..Beside::default() };
    print(&disclosed(&leaf, &beside))
}

/// The newest records, and those that come.
pub(super) fn tail(log: &LogReader, follow: bool, lines: u64, context: &Context) -> Result<()> {
    let mut newest = VecDeque::new();
    let mut seen = 0;
    let lines = usize::try_from(lines).unwrap_or(usize::MAX);
    each(log, &Filter::default(), &mut |leaf, bytes| {
        seen = leaf.n + 1;
        newest.push_back(line(&leaf, bytes, context));
        newest.drain(..newest.len().saturating_sub(lines));
        Ok(())
    })?;
    print(&newest.into_iter().collect::<String>())?;
    if !follow {
        return Ok(());
    }
    let mut tail = log.tail();
    while let Some(batch) = tail.next().map_err(failed)? {
        // The first batch is everything from the start; of that, only what came after the look above is new.
        for found in batch.iter().filter(|found| found.leaf.n >= seen) {
            print(&line(&found.leaf, &found.bytes, context))?;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// The records that terms let through.
pub(super) fn query(log: &LogReader, terms: &[OsString], json: bool, context: &Context) -> Result<()> {
    each(log, &filter(terms)?, &mut |leaf, bytes| print(&shown(&leaf, bytes, json, context)))
}

fn shown(leaf: &Leaf, bytes: &[u8], json: bool, context: &Context) -> String {
    if json { visible_json(bytes) } else { line(leaf, bytes, context) }
}

/// A record as one line of JSON of the same meaning, in which no character commands a terminal: the control characters
/// that JSON allows unescaped, and those that reorder or hide text, are written as escapes. `export` gives the bytes that
/// were hashed.
pub(super) fn visible_json(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 1);
    // Outside of strings JSON is ASCII, and white space there is what JSON allows; every other character that deceives
    // stands in a string, where an escape may stand.
    for c in String::from_utf8_lossy(bytes).chars() {
        if deceives(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("writing to a String cannot fail");
            }
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    out
}

/// A record's members. The verifier reads them strictly; here they are only shown.
pub(super) fn members(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

/// One record on one line: number, time since the start, kind, call, and what it says.
fn line(leaf: &Leaf, bytes: &[u8], context: &Context) -> String {
    let call = leaf.call.as_ref().map_or("", |call| call.as_str());
    let kind = context.colour.paint(tone(&leaf.body), &format!("{:13}", leaf.body.kind()));
    let says = cut(&visible(&events::said(&leaf.body).unwrap_or_else(|| summary(bytes))), SHOWN_CHARS);
    format!("{:>6} {:>11} {kind} {call:6} {says}\n", leaf.n, since(leaf.happened_ns()))
}

/// What a record says beyond its place and time.
fn summary(bytes: &[u8]) -> String {
    const PLACE: [&str; 9] = ["v", "n", "t", "mt", "ago", "k", "ev", "tc", "_sd"];
    let serde_json::Value::Object(members) = members(bytes) else { return String::new() };
    let own = members.iter().filter(|(name, _)| !PLACE.contains(&name.as_str()));
    own.flat_map(|(_, value)| match value.as_object() {
        Some(inner) => inner.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        None => vec![value.to_string()],
    })
    .collect::<Vec<String>>()
    .join(" ")
}

/// The values behind a record's digests, where their openings are still there, one a line.
pub(super) fn disclosed(leaf: &Leaf, beside: &Beside) -> String {
    let mut out = String::new();
    for digest in &leaf.disclosed {
        match beside.openings.get(&digest.0) {
            Some(opening) => writeln!(out, "{} = {}", visible(&opening.name), value(&opening.value)),
            None => writeln!(out, "(a value whose opening is not there)"),
        }
        .expect("writing to a String cannot fail");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_for_a_terminal_has_the_same_meaning_and_commands_nothing() {
        let text = "{\"a\":\"x\u{7f}\u{9b}\u{202e}\u{2028}\u{e0041}ü\"}";
        let shown = visible_json(text.as_bytes());
        assert!(!shown.trim_end().chars().any(deceives), "{shown}");
        assert!(shown.contains('ü'));
        let same: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(same, serde_json::from_str::<serde_json::Value>(text).expect("JSON"));
    }
}
