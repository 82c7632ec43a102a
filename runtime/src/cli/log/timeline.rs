//! `stockade log timeline`: what happened, one line a record, as sentences.
//! It never leaves out a record that the terms let through.

use super::say::{Beside, Said, say};
use super::show::visible_json;
use super::why::actor;
use super::words::{cut, since};
use super::{each, filter, unfinished, unrecorded};
use crate::cli::style::Tone;
use crate::cli::{Context, print, tell};
use crate::error::{Error, Result};
use crate::journal::failed;
use std::ffi::OsString;
use stockade_audit::query::{End, LogReader, host_of, paths_of, process_of, program_of, tool_of, utc};
use stockade_audit::record::{Evidence, Leaf, parse_head, parse_leaf};

/// Longest sentence on a line, characters.
const SENTENCE_CHARS: usize = 180;

/// Prints the timeline.
///
/// # Errors
/// Operator: something is no term. Host: the log cannot be read.
pub(super) fn timeline(log: &LogReader, terms: &[OsString], json: bool, context: &Context) -> Result<()> {
    let wanted = filter(terms)?;
    let (mut beside, end) = beside(log)?;
    each(log, &wanted, &mut |leaf, _| {
        beside.learn(&leaf);
        let said = say(&leaf, &beside);
        print(&if json { object(&leaf, &said)? } else { line(&leaf, &said, context) })
    })?;
    for remark in [unfinished(end).map(str::to_owned), unrecorded(log)].into_iter().flatten() {
        tell(&format!("stockade: {remark}"));
    }
    Ok(())
}

/// Names that were resolved, values whose openings are there, and how the log ends.
pub(super) fn beside(log: &LogReader) -> Result<(Beside, End)> {
    let mut beside = Beside { openings: log.disclosed().map_err(failed)?, ..Beside::default() };
    let end = log.each_bytes(&mut |_, bytes| {
        // Most records are of other kinds, and need not be read beyond their head.
        if parse_head(bytes).is_ok_and(|head| head.kind == "net.name")
            && let Ok(leaf) = parse_leaf(bytes)
        {
            beside.learn(&leaf);
        }
        Ok(())
    });
    Ok((beside, end.map_err(failed)?))
}

fn line(leaf: &Leaf, said: &Said, context: &Context) -> String {
    let call = leaf.call.as_ref().map_or("", |call| call.as_str());
    let process = actor(&leaf.body).unwrap_or_default();
    let verb = context.colour.paint(said.tone, &format!("{:10}", said.verb));
    let place = context.colour.paint(Tone::Faint, &format!("#{} {}", leaf.n, leaf.evidence.word()));
    let what = cut(&said.what, SENTENCE_CHARS);
    format!("{:>11} {call:6} {process:5} {verb} {what}  {place}\n", since(leaf.happened_ns()))
}

fn object(leaf: &Leaf, said: &Said) -> Result<String> {
    let object = serde_json::json!({
        "n": leaf.n,
        "t": utc(leaf.wall_ns),
        "since_start_ns": leaf.happened_ns(),
        "k": leaf.body.kind(),
        "evidence": leaf.evidence.word(),
        "call": leaf.call.as_ref().map(|call| call.as_str()),
        "process": process_of(&leaf.body),
        "tool": tool_of(&leaf.body),
        "paths": paths_of(&leaf.body).collect::<Vec<_>>(),
        "program": program_of(&leaf.body),
        "host": host_of(&leaf.body),
        "verb": said.verb,
        "says": said.what,
    });
    let text = serde_json::to_vec(&object).map_err(|e| Error::bug(format!("write JSON: {e}")))?;
    Ok(visible_json(&text))
}

/// A grade of evidence, in words.
pub(super) fn evidence(level: Evidence) -> &'static str {
    match level {
        Evidence::Claimed => "the agent, or a program of its, says so",
        Evidence::Observed => "seen when it was asked for, through memory that could have changed meanwhile",
        Evidence::Confirmed => "read from the kernel: a register, a process's state, an exit",
        Evidence::Performed => "Stockade itself did it",
        Evidence::Outcome => "the content itself was hashed",
    }
}
