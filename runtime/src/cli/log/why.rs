//! `stockade log why`: who changed a path, for which call, through which open, from what to what, and how well that is known.
//! It never names a culprit without a record of the act.

use super::say::{Beside, say};
use super::show::{members, visible_json};
use super::tree::process_object;
use super::words::{bytes, change, cut, file_type, mark, no_program, since};
use super::{after, open, unrecorded};
use crate::cli::style::{Colour, Tone};
use crate::cli::{Context, print, tell};
use crate::config::state::State;
use crate::error::{Error, Result};
use crate::journal::failed;
use crate::workspace::Layer;
use serde_json::json;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use stockade_audit::query::{Filter, Found, Glob, LogReader, Process, Why, process_of, tool_of};
use stockade_audit::record::{Act, Apply, Body, Discard, FileState, FsOutcome, LogPath, PATH_BYTES_MAX, Undo};
use stockade_audit::text::printable_bytes;

/// Characters of a sentence that are shown.
const SENTENCE_CHARS: usize = 180;
/// Other paths that are named where nothing was done to the one that was asked for.
const NAMESAKES_MAX: usize = 5;

/// Says why.
///
/// # Errors
/// Host: the log cannot be read.
pub(super) fn why(state: &State, session: &str, path: &Path, json: bool, context: &Context) -> Result<()> {
    let log = open(state, session)?;
    let (path, found) = look(state, session, &log, path)?;
    let leaves = found.iter().flat_map(|why| why.because.iter().chain(&why.events)).map(|found| &found.leaf);
    let execs = found.iter().flat_map(|why| why.who.iter().flatten()).flat_map(|process| &process.execs);
    let digests = leaves.flat_map(|leaf| &leaf.disclosed).chain(execs.flat_map(|exec| &exec.disclosed)).copied();
    let beside = Beside { openings: log.opened(digests).map_err(failed)?, ..Beside::default() };
    let later = later(state, &log, &path)?;
    if json {
        let whys: Vec<serde_json::Value> = found.iter().map(|why| object(why, &beside)).collect();
        let later: Vec<serde_json::Value> = later.iter().map(|found| members(&found.bytes)).collect();
        let text = serde_json::to_vec_pretty(&json!({ "why": whys, "later": later }))
            .map_err(|e| Error::bug(format!("write JSON: {e}")))?;
        return print(&visible_json(&text));
    }
    let remark = unrecorded(&log);
    if found.is_empty() {
        print(&format!("nothing in this session changed {}\n", printable_bytes(&path)))?;
        let namesakes = namesakes(&log, &path)?;
        if !namesakes.is_empty() {
            tell(&format!("stockade: it did something to {}", namesakes.join(", ")));
        }
        if let Some(remark) = remark {
            tell(&format!("stockade: {remark}"));
        }
        return Ok(());
    }
    let mut page = Page { out: String::new(), beside: &beside, colour: context.colour };
    found.iter().for_each(|why| page.why(why));
    for found in &later {
        let said = say(&found.leaf, &beside);
        page.line(said.verb, &said.what, Some(found));
    }
    print(&page.out)?;
    if let Some(remark) = remark {
        tell(&format!("stockade: {remark}"));
    }
    Ok(())
}

/// The path as the log has it, and what is known of it: as it was said; from the root, where it lies in the workspace; or
/// from the directory that we are in, where that does.
fn look(state: &State, session: &str, log: &LogReader, path: &Path) -> Result<(Vec<u8>, Vec<Why>)> {
    let workspace = Layer::workspace_of(&state.layer(&state.find(session)?));
    let here = std::env::current_dir().ok();
    let inside = |path: &Path| Some(path.strip_prefix(workspace.as_ref()?).ok()?.to_path_buf());
    let said = if path.is_absolute() {
        None
    } else {
        Some(path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>())
    };
    let from_here = here.filter(|_| said.is_some()).and_then(|here| inside(&here.join(path)));
    let ways = [inside(path), said, from_here, Some(path.to_path_buf())];
    let mut first = None;
    for way in ways.into_iter().flatten() {
        let (kept, _) = LogPath::kept(way.as_os_str().as_bytes(), PATH_BYTES_MAX);
        let found = log.why(&Glob::new(&kept.0)).map_err(failed)?;
        if !found.is_empty() {
            return Ok((kept.0, found));
        }
        first.get_or_insert(kept.0);
    }
    Ok((first.unwrap_or_default(), Vec::new()))
}

/// Paths of the log with the same last name.
fn namesakes(log: &LogReader, path: &[u8]) -> Result<Vec<String>> {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if name.is_empty() {
        return Ok(Vec::new());
    }
    let found = log.why(&Glob::new([b"**/", name].concat())).map_err(failed)?;
    let mut paths: Vec<String> = found.iter().map(|why| why.path.printable()).collect();
    paths.dedup();
    paths.truncate(NAMESAKES_MAX);
    Ok(paths)
}

/// What was applied, discarded or taken back of it afterwards; the times are those of the follow-up log.
fn later(state: &State, log: &LogReader, path: &[u8]) -> Result<Vec<Found>> {
    let Some(after) = after(state, log) else { return Ok(Vec::new()) };
    let term = [b"path=", path].concat();
    let filter = Filter::of_terms([term]).map_err(|error| Error::bug(error.to_string()))?;
    after.query(&filter).map_err(failed)
}

fn object(why: &Why, beside: &Beside) -> serde_json::Value {
    let records = |found: &[Found]| found.iter().map(|found| members(&found.bytes)).collect::<Vec<_>>();
    let line = |line: &Vec<Process>| line.iter().map(|process| process_object(0, process, beside)).collect::<Vec<_>>();
    json!({
        "path": why.path,
        "change": why.change.as_ref().map(|found| members(&found.bytes)),
        "events": records(&why.events),
        "who": why.who.iter().map(line).collect::<Vec<_>>(),
        "because": records(&why.because),
    })
}

struct Page<'a> {
    out: String,
    beside: &'a Beside,
    colour: Colour,
}

impl Page<'_> {
    fn line(&mut self, title: &str, text: &str, place: Option<&Found>) {
        let place = place.map_or_else(String::new, |found| {
            format!("  #{} {} {}", found.leaf.n, found.leaf.evidence.word(), since(found.leaf.happened_ns()))
        });
        let place = self.colour.paint(Tone::Faint, &place);
        let title = self.colour.paint(Tone::Faint, &format!("{title:8}"));
        let text = cut(text, SENTENCE_CHARS);
        writeln!(self.out, "  {title} {text}{place}").expect("writing to a String cannot fail");
    }

    fn why(&mut self, why: &Why) {
        let path = self.colour.paint(Tone::Strong, &why.path.printable());
        match why.change.as_ref().and_then(|found| Some((found, outcome(&found.leaf.body)?))) {
            Some((found, outcome)) => {
                let call = found.leaf.call.as_ref().map_or_else(String::new, |call| format!(" in call {call}"));
                let verb = self.colour.paint(Tone::Notice, change(outcome.op));
                writeln!(self.out, "{path} {verb}{call}{}", mark(outcome.mark))
                    .expect("writing to a String cannot fail");
                for (title, state) in [("before", &outcome.b), ("after", &outcome.a)] {
                    let text = state.as_ref().map_or_else(|| "not there".to_owned(), state_of);
                    self.line(title, &text, (title == "after").then_some(found));
                }
            }
            None => writeln!(self.out, "{path} was touched, and no change of it was left at the end of a call")
                .expect("writing to a String cannot fail"),
        }
        for found in &why.events {
            let said = say(&found.leaf, self.beside);
            let p = actor(&found.leaf.body).map_or_else(String::new, |actor| format!("{actor} "));
            self.line("through", &format!("{p}{} {}", said.verb, said.what), Some(found));
        }
        if why.events.is_empty() && why.change.is_some() {
            self.line("through", "no open and no change of a name in the log explains it", None);
        }
        for line in &why.who {
            self.who(line);
        }
        for found in &why.because {
            let said = say(&found.leaf, self.beside);
            self.line(said.verb, &said.what, Some(found));
        }
        self.out.push('\n');
    }

    /// A process, and who made it.
    fn who(&mut self, line: &[Process]) {
        let Some((process, makers)) = line.split_first() else { return };
        let exec = process.execs.last();
        let words = exec.and_then(|exec| self.beside.argv(&exec.disclosed));
        let words = words.map_or_else(String::new, |argv| format!(": {argv}"));
        let hash = exec.and_then(|exec| exec.exec.h).map_or_else(String::new, |hash| format!("  sha256 {hash}"));
        self.line("by", &format!("p{} {}{}", process.p, program(process), words), None);
        if let Some(exec) = exec {
            let place = format!("record {}, {}{hash}", exec.at.n, exec.at.evidence.word());
            self.line("executed", &place, None);
        }
        if !makers.is_empty() {
            let makers: Vec<String> = makers.iter().map(|maker| format!("p{} {}", maker.p, program(maker))).collect();
            self.line("made by", &makers.join(" ← "), None);
        }
    }
}

/// Who did what a record tells of.
pub(super) fn actor(body: &Body) -> Option<String> {
    process_of(body).map(|p| format!("p{p}")).or_else(|| tool_of(body).map(|t| format!("t{t}")))
}

fn program(process: &Process) -> String {
    process.program().map_or_else(|| no_program(process), LogPath::printable)
}

/// The change that a record tells of.
fn outcome(body: &Body) -> Option<&FsOutcome> {
    if let Body::FsOutcome(outcome) = body {
        return Some(outcome);
    }
    if let Body::Apply(Apply(Act::File(outcome)))
    | Body::Discard(Discard(Act::File(outcome)))
    | Body::Undo(Undo(Act::File(outcome))) = body
    {
        return Some(outcome);
    }
    None
}

/// A file at one moment, with its hash.
fn state_of(state: &FileState) -> String {
    let mut text = format!("{} {:04o}", file_type(state.ty), state.mode);
    if let Some(length) = state.z {
        text += &format!("  {}", bytes(length));
    }
    if let Some(hash) = state.h {
        text += &format!("  sha256 {hash}");
    }
    if let Some(to) = &state.to {
        text += &format!("  to {}", to.printable());
    }
    text
}
