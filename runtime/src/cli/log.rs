//! `stockade log`: reading the log. Text that a guest chose is always shown escaped.
//! It never writes to a session's own log; a redaction goes to its follow-up log.

use crate::cli::args::LogCommand;
use crate::cli::style::{Tone, is_deceptive, visible};
use crate::cli::{Context, print, print_json};
use crate::config::state::State;
use crate::error::{Error, Result};
use crate::journal::{self, failed};
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;
use stockade_audit::disclose::{Disclosed, Value};
use stockade_audit::query::{Disclose, Filter, Glob, LogReader, Process, SessionState, list_sessions};
use stockade_audit::record::{Leaf, LogPath, SessionId, parse_leaf};

/// How often `tail --follow` looks for more.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Does what the subcommand says.
///
/// # Errors
/// Operator: no such session or record. Host: the log cannot be read.
pub(super) fn log(command: &LogCommand, context: &Context) -> Result<u8> {
    let state = State::open(&context.environment)?;
    match command {
        LogCommand::List { json } => list(&state, *json, context)?,
        LogCommand::Show { session, number, json } => show(&open(&state, session)?, *number, *json, context)?,
        LogCommand::Tail { session, follow, lines } => tail(&open(&state, session)?, *follow, *lines, context)?,
        LogCommand::Query { session, terms, json } => query(&open(&state, session)?, &terms.join(" "), *json, context)?,
        LogCommand::Tree { session, json } => tree(&open(&state, session)?, *json)?,
        LogCommand::Why { session, path, json } => why(&open(&state, session)?, path, *json, context)?,
        LogCommand::Prove { session, number } => {
            print(&open(&state, session)?.prove(*number).map_err(failed)?.to_text())?;
        }
        LogCommand::Export { session, jsonl: _, disclose } => {
            let disclose = if *disclose { Disclose::Yes } else { Disclose::No };
            let log = open(&state, session)?;
            // A file or a program gets the bytes that were hashed; a screen gets what cannot command it.
            if std::io::stdout().is_terminal() {
                let mut exported = Vec::new();
                log.export_jsonl(&mut exported, disclose).map_err(failed)?;
                let lines = exported.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                lines.map(visible_json).try_for_each(|line| print(&line))?;
            } else {
                log.export_jsonl(&mut std::io::stdout().lock(), disclose).map_err(failed)?;
            }
        }
        LogCommand::Redact { session, number, reason } => redact(&state, session, *number, reason, context)?,
    }
    Ok(0)
}

fn open(state: &State, session: &str) -> Result<LogReader> {
    let id = state.find(session)?;
    LogReader::open(&state.log(&id)).map_err(failed)
}

/// One line a session.
fn list(state: &State, json: bool, context: &Context) -> Result<()> {
    let sessions = list_sessions(&state.root().join("ledger"), &state.root().join("s"));
    let sessions = match sessions {
        Err(_) if !state.root().join("ledger").exists() => Vec::new(),
        other => other.map_err(failed)?,
    };
    if json {
        let lines = sessions.iter().map(|session| {
            serde_json::json!({
                "session": session.sid.to_string(),
                "opened_ns": session.opened_ns,
                "closed_ns": session.closed_ns,
                "records": session.size,
                "state": state_word(&session.state),
                "profile": session.open.as_ref().map(|open| &open.profile),
                "grade": session.open.as_ref().map(|open| &open.grade),
                "waiting": state.layer(&session.sid).is_dir(),
            })
        });
        return print_json(&lines.collect::<Vec<_>>());
    }
    let mut out = String::new();
    for session in &sessions {
        let open = session.open.as_ref();
        let profile = open.map_or("?", |open| open.profile.as_str());
        let word = state_word(&session.state);
        let tone = if word.starts_with("closed") { Tone::Good } else { Tone::Notice };
        let waits = if state.layer(&session.sid).is_dir() { "layer kept" } else { "" };
        let records = session.size.map_or_else(|| "?".to_owned(), |size| size.to_string());
        let word = context.colour.paint(tone, &format!("{word:14}"));
        let when = instant(session.opened_ns);
        writeln!(out, "{}  {when}  {word} {records:>7} records  {}  {waits}", session.sid, visible(profile))
            .expect("writing to a String cannot fail");
    }
    print(&out)
}

fn state_word(state: &SessionState) -> String {
    match state {
        SessionState::Running => "running".to_owned(),
        SessionState::Closed { status, .. } => format!("closed ({status})"),
        SessionState::Interrupted => "interrupted".to_owned(),
        SessionState::Gone => "gone".to_owned(),
    }
}

/// Wall time as a person reads it, UTC.
fn instant(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// Year, month and day of a number of days since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`), for days that are not before it.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// All records, or one.
fn show(log: &LogReader, number: Option<u64>, json: bool, context: &Context) -> Result<()> {
    let Some(number) = number else {
        return each(log, &mut |leaf, bytes| show_one(leaf, bytes, json, context));
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
    let openings = log.disclosed().map_err(failed)?;
    print(&disclosed(&leaf, &openings))
}

/// Visits every leaf with its bytes.
fn each(log: &LogReader, visit: &mut dyn FnMut(&Leaf, &[u8]) -> Result<()>) -> Result<()> {
    let mut stopped = None;
    log.each_bytes(&mut |_, bytes| {
        if stopped.is_none() {
            let leaf = parse_leaf(bytes).map_err(|e| Error::host(format!("a record cannot be read: {e}")));
            stopped = leaf.and_then(|leaf| visit(&leaf, bytes)).err();
        }
        Ok(())
    })
    .map_err(failed)?;
    stopped.map_or(Ok(()), Err)
}

fn show_one(leaf: &Leaf, bytes: &[u8], json: bool, context: &Context) -> Result<()> {
    if json { print(&visible_json(bytes)) } else { print(&line(leaf, bytes, context)) }
}

/// A record as one line of JSON of the same meaning, in which no character commands a terminal: the control characters
/// that JSON allows unescaped, and those that reorder text, are written as escapes. `export` gives the bytes that were
/// hashed.
fn visible_json(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 1);
    // Outside of strings JSON is ASCII without DEL, so each of these stands in a string, where an escape may stand.
    for c in String::from_utf8_lossy(bytes).chars() {
        if c.is_control() || is_deceptive(c) {
            write!(out, "\\u{:04x}", u32::from(c)).expect("writing to a String cannot fail");
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    out
}

/// A record's members. The verifier reads them strictly; here they are only shown.
fn members(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

/// One record on one line: number, time since the start, kind, call, and what it says.
fn line(leaf: &Leaf, bytes: &[u8], context: &Context) -> String {
    /// Longest text shown of one record, characters.
    const SHOWN_CHARS: usize = 160;
    let kind = leaf.body.kind();
    let tone = match kind {
        "deny" | "limit" | "gap" => Tone::Bad,
        "fs.outcome" => Tone::Notice,
        _ => Tone::Strong,
    };
    let call = leaf.call.as_ref().map_or("", |call| call.as_str());
    let kind = context.colour.paint(tone, &format!("{kind:13}"));
    let seconds = Duration::from_nanos(leaf.mono_ns).as_secs_f64();
    let mut says: String = visible(&summary(bytes));
    if let Some((cut, _)) = says.char_indices().nth(SHOWN_CHARS) {
        says.truncate(cut);
        says.push('…');
    }
    format!("{:>6} {seconds:>10.3}s {kind} {call:6} {says}\n", leaf.n)
}

/// What a record says beyond its place and time.
fn summary(bytes: &[u8]) -> String {
    const PLACE: [&str; 8] = ["v", "n", "t", "mt", "k", "ev", "tc", "_sd"];
    let serde_json::Value::Object(members) = members(bytes) else { return String::new() };
    let own = members.iter().filter(|(name, _)| !PLACE.contains(&name.as_str()));
    own.flat_map(|(_, value)| match value.as_object() {
        Some(inner) => inner.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        None => vec![value.to_string()],
    })
    .collect::<Vec<String>>()
    .join(" ")
}

/// The values behind a record's digests, where their openings are still there.
fn disclosed(leaf: &Leaf, openings: &HashMap<[u8; 32], Disclosed>) -> String {
    let mut out = String::new();
    for digest in &leaf.disclosed {
        let text = match openings.get(&digest.0) {
            Some(Disclosed { name, value }) => format!("{name} = {}", value_text(value)),
            None => "(a value whose opening is not there)".to_owned(),
        };
        writeln!(out, "{}", visible(&text)).expect("writing to a String cannot fail");
    }
    out
}

fn value_text(value: &Value) -> String {
    let quoted = |path: &LogPath| format!("{:?}", path.printable());
    match value {
        Value::Bytes(bytes) => quoted(bytes),
        Value::List(list) => list.iter().map(quoted).collect::<Vec<_>>().join(" "),
        Value::Pairs(pairs) => {
            pairs.iter().map(|(k, v)| format!("{}={}", k.printable(), quoted(v))).collect::<Vec<_>>().join(" ")
        }
    }
}

/// The newest records, and those that come.
fn tail(log: &LogReader, follow: bool, lines: u64, context: &Context) -> Result<()> {
    let mut newest = VecDeque::new();
    let mut seen = 0;
    let lines = usize::try_from(lines).unwrap_or(usize::MAX);
    each(log, &mut |leaf, bytes| {
        seen = leaf.n + 1;
        newest.push_back(line(leaf, bytes, context));
        newest.drain(..newest.len().saturating_sub(lines));
        Ok(())
    })?;
    print(&newest.into_iter().collect::<String>())?;
    if !follow {
        return Ok(());
    }
    let mut tail = log.tail();
    let mut first = true;
    while let Some(batch) = tail.next().map_err(failed)? {
        // The first batch is everything from the start; of that, only what came after the look above is new.
        for leaf in batch.iter().filter(|leaf| !first || leaf.n >= seen) {
            let found = log.record(leaf.n).map_err(failed)?;
            found.iter().try_for_each(|(leaf, bytes)| print(&line(leaf, bytes, context)))?;
        }
        first = false;
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

fn query(log: &LogReader, terms: &str, json: bool, context: &Context) -> Result<()> {
    let filter = Filter::parse(terms).map_err(|error| {
        Error::operator(format!("\"{}\" is not a term", visible(&error.part)))
            .hint("terms are FIELD=GLOB with the fields k, ev, tc, path and n: k=fs.* path=src/* n=10..20")
    })?;
    let found: HashSet<u64> = log.query(&filter).map_err(failed)?.iter().map(|leaf| leaf.n).collect();
    each(log, &mut |leaf, bytes| match found.contains(&leaf.n) {
        true => show_one(leaf, bytes, json, context),
        false => Ok(()),
    })
}

/// Processes below who started them.
fn tree(log: &LogReader, json: bool) -> Result<()> {
    let roots = log.tree().map_err(failed)?;
    if json {
        return print_json(&roots.iter().map(process_json).collect::<Vec<_>>());
    }
    let mut out = String::new();
    for root in &roots {
        branch(root, 0, &mut out);
    }
    print(&out)
}

fn branch(process: &Process, depth: usize, out: &mut String) {
    let exit = &process.exit;
    let call = process.call.as_ref().map_or("", |call| call.as_str());
    let exe = exit.exe.as_ref().map_or_else(String::new, |exe| format!(" {}", exe.printable()));
    let cause = format!("{:?}", exit.cause).to_lowercase();
    writeln!(
        out,
        "{:indent$}p{} pid {}{exe}  {cause} {}  cpu {:.3} s  peak {} KiB  {call}",
        "",
        exit.p,
        exit.pid,
        exit.status,
        Duration::from_micros(exit.cpu_us).as_secs_f64(),
        exit.rss_kib,
        indent = depth * 2
    )
    .expect("writing to a String cannot fail");
    for child in &process.children {
        branch(child, depth + 1, out);
    }
}

fn process_json(process: &Process) -> serde_json::Value {
    serde_json::json!({
        "leaf": process.n,
        "call": process.call.as_ref().map(|call| call.as_str()),
        "exit": process.exit,
        "children": process.children.iter().map(process_json).collect::<Vec<_>>(),
    })
}

/// Which calls changed a path, from what to what.
fn why(log: &LogReader, path: &Path, json: bool, context: &Context) -> Result<()> {
    let found = log.why(&Glob::new(path.as_os_str().as_bytes())).map_err(failed)?;
    if json {
        let lines = found.iter().map(|why| {
            let because =
                why.because.iter().map(|leaf| Ok(members(&bytes_of(log, leaf)?))).collect::<Result<Vec<_>>>()?;
            Ok(serde_json::json!({ "change": members(&bytes_of(log, &why.change)?), "because": because }))
        });
        return print_json(&lines.collect::<Result<Vec<_>>>()?);
    }
    if found.is_empty() {
        return print(&format!("nothing in this session changed {}\n", visible(&path.display().to_string())));
    }
    let openings = log.disclosed().map_err(failed)?;
    for why in &found {
        print(&line(&why.change, &bytes_of(log, &why.change)?, context))?;
        for leaf in &why.because {
            print(&format!("    {}", line(leaf, &bytes_of(log, leaf)?, context)))?;
            for value in disclosed(leaf, &openings).lines() {
                print(&format!("               {value}\n"))?;
            }
        }
    }
    Ok(())
}

/// The bytes of a leaf of this log.
fn bytes_of(log: &LogReader, leaf: &Leaf) -> Result<Vec<u8>> {
    let found = log.record(leaf.n).map_err(failed)?;
    found.map(|(_, bytes)| bytes).ok_or_else(|| Error::host(format!("record {} is gone", leaf.n)))
}

/// Deletes the openings of a record's values.
fn redact(state: &State, session: &str, number: u64, reason: &str, context: &Context) -> Result<()> {
    let id: SessionId = state.find(session)?;
    let directory = state.log(&id);
    let log = LogReader::open(&directory).map_err(failed)?;
    let (leaf, _) = log.record(number).map_err(failed)?.ok_or_else(|| {
        Error::operator(format!("there is no record {number} in session {id}")).hint("`stockade log show` lists them")
    })?;
    let openings = log.disclosed().map_err(failed)?;
    let names: Vec<&str> =
        leaf.disclosed.iter().filter_map(|digest| openings.get(&digest.0)).map(|value| value.name.as_str()).collect();
    if names.is_empty() {
        return Err(Error::operator(format!("record {number} has no value that could be deleted"))
            .hint("`stockade log show SESSION N` shows the values of a record"));
    }
    let ledger = journal::ledger(state.root(), &context.environment.user)?;
    let by = &context.environment.user;
    for name in &names {
        let what = stockade_audit::Erase::Value { leaf: number, name };
        stockade_audit::redact(&directory, ledger.clone(), what, reason, by).map_err(failed)?;
    }
    print(&format!("deleted {} of record {number}; every proof of it stays valid\n", names.join(", ")))
}
