//! JSON lines: one call a line in, one answer a line out, in order, in one warm session.
//! It never reads a line of any length, and a malformed line ends nothing but itself.
//!
//! ```json
//! {"id": 7, "call": {"tool": "bash", "command": {"argv": ["cargo", "test"]}}}
//! {"id": 7, "exit": {"code": 0}, "stdout": "…", "stderr": "", "changes": 2, "receipt": {"n": 9, "leaf_hash": "…", "durable": false}}
//! {"id": 8, "call": {"tool": "grep", "args": {"pattern": "fn main"}}}
//! {"id": 8, "reply": {"text": "…", "structured": {…}, "images": [{"media_type": "image/png", "b64": "…"}]}, "changes": 2, "receipt": {…}}
//! {"id": 8, "refused": {"why": "invalid-arguments", "text": "…"}, "changes": 2, "receipt": {…}}
//! {"id": 8, "failed": {"why": "trapped", "text": "…"}, "changes": 2, "receipt": {…}}
//! {"id": 8, "denied": "…", "receipt": {…}}
//! {"id": 9, "error": "…"}
//! ```
//!
//! `call` is what [`stockade_policy::RawCall`] reads. Output that is not UTF-8 is `{"b64": "…"}`, and output of more than
//! 1 MiB a stream is cut, with `"cut"` saying how many bytes are missing; the log has the digest of all that was kept. What
//! a tool answers is bounded by the limits of its call. A tool that failed is `trapped`, over a `limit`, `died` or `cancelled`.

use crate::backend::process::{Alone, Input, Io, NotStarted, Ran, Sink};
use crate::backend::wasm::{End, Failure, Reply};
use crate::error::{Error, Result};
use crate::session::tools::Called;
use crate::session::{Outcome, Sealed, Session};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::io::{self, BufRead, Write};
use stockade_audit::Receipt;
use stockade_audit::record::Digest;
use stockade_jail::Status;
use stockade_policy::{Action, CALL_BYTES_MAX, Call, RawCall};

/// Longest line, bytes: a call and its envelope.
const LINE_BYTES_MAX: usize = CALL_BYTES_MAX + 4096;
/// Longest id, bytes.
const ID_BYTES_MAX: usize = 128;
/// Most output of one stream in an answer, bytes.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// What a line asks for.
#[derive(Debug)]
pub enum Asked {
    /// A command or a tool, under the name that its answer bears.
    Call(Value, Call),
    /// Nothing that can be done: the answer.
    Refused(Value),
}

/// Serves calls until the input ends.
///
/// # Errors
/// Host: the input or output fails, or the session can take no more calls.
pub fn serve(session: &mut Session, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<()> {
    while let Some(asked) = read(input)? {
        let answer = match asked {
            Asked::Call(id, call) => answer(session, id, call)?,
            Asked::Refused(answer) => answer,
        };
        let written = serde_json::to_writer(&mut *output, &answer).map_err(io::Error::from);
        let written = written.and_then(|()| output.write_all(b"\n")).and_then(|()| output.flush());
        written.map_err(|e| Error::host(format!("write an answer: {}", crate::error::plain(&e))))?;
    }
    Ok(())
}

/// Reads up to the next line that asks for something; `None` at the end of the input.
///
/// # Errors
/// Host: the input fails.
pub fn read(input: &mut dyn BufRead) -> Result<Option<Asked>> {
    while let Some(line) = read_line(input)? {
        match line {
            Line::TooLong => {
                let error = format!("line has more than {LINE_BYTES_MAX} bytes");
                return Ok(Some(Asked::Refused(json!({ "id": null, "error": error }))));
            }
            Line::Whole(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => {}
            Line::Whole(bytes) => return Ok(Some(asked(&bytes).unwrap_or_else(Asked::Refused))),
        }
    }
    Ok(None)
}

/// One line of the input.
enum Line {
    Whole(Vec<u8>),
    TooLong,
}

/// Reads one line; of one that is too long the rest is skipped, not kept.
fn read_line(input: &mut dyn BufRead) -> Result<Option<Line>> {
    let failed = |e: io::Error| Error::host(format!("read a call: {}", crate::error::plain(&e)));
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let chunk = input.fill_buf().map_err(failed)?;
        if chunk.is_empty() {
            return Ok((!line.is_empty() || too_long).then_some(()).map(|()| finished(line, too_long)));
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let taken = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
        too_long |= line.len() + taken.len() > LINE_BYTES_MAX;
        if !too_long {
            line.extend_from_slice(taken);
        }
        let used = taken.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            return Ok(Some(finished(line, too_long)));
        }
    }
}

fn finished(line: Vec<u8>, too_long: bool) -> Line {
    if too_long { Line::TooLong } else { Line::Whole(line) }
}

/// The envelope of a call; the call itself stays unread bytes until the policy reads it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(default)]
    id: Value,
    #[serde(borrow)]
    call: &'a RawValue,
}

/// Reads one line; the error is its answer.
fn asked(line: &[u8]) -> std::result::Result<Asked, Value> {
    // serde would take an array for an envelope too, its members by their places.
    if line.trim_ascii_start().first() != Some(&b'{') {
        return Err(json!({ "id": null, "error": "not a call: the line is not an object" }));
    }
    let envelope: Envelope<'_> =
        serde_json::from_slice(line).map_err(|error| json!({ "id": null, "error": format!("not a call: {error}") }))?;
    // An id comes back as it came, so it must be small; nobody needs a structure for one.
    if !matches!(&envelope.id, Value::Null | Value::Number(_))
        && envelope.id.as_str().is_none_or(|id| id.len() > ID_BYTES_MAX)
    {
        return Err(json!({ "id": null, "error": "the id is not a number or a short string" }));
    }
    let call = match RawCall::new(envelope.call.get().as_bytes()).parse() {
        Ok(call) => call,
        Err(flaw) => return Err(json!({ "id": envelope.id, "error": flaw.what, "hint": flaw.hint })),
    };
    // A session runs commands and tools; what else a harness may ask for is refused before it is claimed, so that the log
    // never has a permit that nothing carries out.
    if !matches!(call.action(), Action::Command(_) | Action::Tool { .. }) {
        let hint = "ask for a command, or call a tool with \"args\"; both can read and write files of the workspace";
        return Err(json!({ "id": envelope.id, "error": "this session runs commands and tools only", "hint": hint }));
    }
    Ok(Asked::Call(envelope.id, call))
}

/// Runs one call. Only what makes the session unusable is an error; the rest is an answer.
fn answer(session: &mut Session, id: Value, call: Call) -> Result<Value> {
    let (mut stdout, mut stderr) = (Kept::default(), Kept::default());
    let io = Io { input: Input::Empty, stdout: &mut stdout, stderr: &mut stderr, outside: &mut Alone };
    let mut answer = match session.call(call, io)? {
        Outcome::Denied(refusal, at) => json!({ "denied": refusal.to_string(), "receipt": receipt(&at) }),
        Outcome::Unapproved(ask, at) => {
            let reasons: Vec<&str> = ask.rules().iter().map(|asking| asking.reason.as_str()).collect();
            let denied = format!("a person has to approve this: {}", reasons.join("; "));
            json!({ "denied": denied, "receipt": receipt(&at) })
        }
        Outcome::Ran(sealed) => ran(&sealed, stdout, stderr),
        Outcome::Called(called) => self::called(*called),
    };
    if let Value::Object(members) = &mut answer {
        members.insert("id".to_owned(), id);
    }
    Ok(answer)
}

fn receipt(receipt: &Receipt) -> Value {
    json!({ "n": receipt.n, "leaf_hash": Digest(receipt.leaf_hash).to_string(), "durable": receipt.durable })
}

/// The answer to the call of a tool.
fn called(called: Called) -> Value {
    let failed = |why: &str, text: String| ("failed", json!({ "why": why, "text": text }));
    let refused = |why: &str, text: String| ("refused", json!({ "why": why, "text": text }));
    let mut limit = None;
    let (name, value) = match called.ran.end {
        End::Answered(reply) => ("reply", self::reply(reply)),
        End::Refused(Failure::InvalidArguments(text)) => refused("invalid-arguments", text),
        End::Refused(Failure::Refused(text)) => refused("refused", text),
        End::Trapped { why } => failed("trapped", why),
        End::Died { why } => failed("died", why),
        End::Cancelled => failed("cancelled", "its caller did not want it any more".to_owned()),
        End::Limit(hit) => {
            limit = Some(hit);
            failed("limit", "it ran into a limit".to_owned())
        }
    };
    let mut answer =
        json!({ "changes": called.settled.waiting.changes, "receipt": receipt(&called.receipt), name: value });
    if let (Some(hit), Value::Object(members)) = (limit, &mut answer) {
        members.insert("limit".to_owned(), json!(hit));
    }
    answer
}

fn reply(reply: Reply) -> Value {
    let mut answer = json!({ "text": reply.text });
    let Value::Object(members) = &mut answer else { return answer };
    // A tool says that it is JSON; what is none is passed on as the text that it is.
    if let Some(structured) = reply.structured {
        let value = serde_json::from_str(&structured).unwrap_or(Value::String(structured));
        members.insert("structured".to_owned(), value);
    }
    if !reply.images.is_empty() {
        let image = |(media_type, bytes): (String, Vec<u8>)| json!({ "media_type": media_type, "b64": stockade_audit::text::base64(&bytes) });
        members.insert("images".to_owned(), reply.images.into_iter().map(image).collect());
    }
    answer
}

fn ran(sealed: &Sealed, stdout: Kept, stderr: Kept) -> Value {
    let mut answer = json!({ "changes": sealed.settled.waiting.changes, "receipt": receipt(&sealed.receipt) });
    let mut add = |name: &str, value: Value| {
        if let Value::Object(members) = &mut answer {
            members.insert(name.to_owned(), value);
        }
    };
    match &sealed.ran {
        Ran::NotStarted { code, why, .. } => {
            let code = if *code == NotStarted::NotFound { 127 } else { 126 };
            add("exit", json!({ "code": code, "why": why }));
        }
        Ran::Ended(run) => {
            let exit = match run.main.status {
                Status::Exited(code) => json!({ "code": code }),
                Status::Signalled(signal) => json!({ "signal": signal }),
            };
            add("exit", exit);
            if let Some(hit) = run.ended_by.or_else(|| run.refusals.first().copied()) {
                add("limit", json!(hit));
            }
        }
    }
    let cut = stdout.cut + stderr.cut;
    if cut > 0 {
        add("cut", json!(cut));
    }
    add("stdout", text(stdout.bytes));
    add("stderr", text(stderr.bytes));
    answer
}

/// Output as JSON: a string when it is one.
fn text(bytes: Vec<u8>) -> Value {
    match String::from_utf8(bytes) {
        Ok(text) => Value::String(text),
        Err(error) => json!({ "b64": stockade_audit::text::base64(error.as_bytes()) }),
    }
}

/// Keeps the beginning of a stream.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    cut: usize,
}

impl Sink for Kept {
    fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
        let room = OUTPUT_BYTES_MAX.saturating_sub(self.bytes.len()).min(chunk.len());
        let (kept, cut) = chunk.split_at(room);
        self.bytes.extend_from_slice(kept);
        self.cut += cut.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn lines(input: &[u8]) -> Vec<Option<usize>> {
        let mut input = io::BufReader::with_capacity(7, input);
        let mut read = Vec::new();
        while let Some(line) = read_line(&mut input).expect("reading memory works") {
            read.push(match line {
                Line::Whole(bytes) => Some(bytes.len()),
                Line::TooLong => None,
            });
        }
        read
    }

    #[test]
    fn lines_end_where_they_end() {
        assert_eq!(lines(b"abc\n\nlonger than the buffer\nlast"), [Some(3), Some(0), Some(22), Some(4)]);
        assert_eq!(lines(b""), []);
    }

    /// What a text asks for: `run` or the beginning of the answer.
    #[track_caller]
    fn check(line: &[u8], expected: &[&str]) {
        let mut input = io::BufReader::new(line);
        for expected in expected {
            let found = match read(&mut input).expect("reading memory works") {
                Some(Asked::Call(id, _)) => format!("run {id}"),
                Some(Asked::Refused(answer)) => answer.to_string(),
                None => "end".to_owned(),
            };
            assert!(found.contains(expected), "{:?}: {found}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn hostile_lines_are_answered_and_nothing_else() {
        let call = r#"{"tool":"t","command":{"argv":["true"]}}"#;
        let with_id = |id: &str| format!("{{\"id\":{id},\"call\":{call}}}");
        check(with_id("7").as_bytes(), &["run 7", "end"]);
        check(with_id("-1.5e3").as_bytes(), &["run -1500"]);
        check(with_id(&format!("\"{}\"", "x".repeat(ID_BYTES_MAX))).as_bytes(), &["run"]);
        for id in ["{}", "[1]", "true", &format!("\"{}\"", "x".repeat(ID_BYTES_MAX + 1))] {
            check(with_id(id).as_bytes(), &["the id is not a number or a short string", "end"]);
        }
        check(b" \t\r\n\n", &["end"]);
        check(format!("[7,{call}]").as_bytes(), &["the line is not an object"]);
        check(format!("{{\"id\":1,\"id\":2,\"call\":{call}}}").as_bytes(), &["duplicate field"]);
        check(format!("{{\"call\":{call},\"call\":{call}}}").as_bytes(), &["duplicate field"]);
        check(format!("{{\"call\":{call},\"sandbox\":false}}").as_bytes(), &["unknown field"]);
        check(format!("{}{}", with_id("1"), with_id("2")).as_bytes(), &["trailing characters", "end"]);
        check(format!("\u{feff}{}", with_id("1")).as_bytes(), &["the line is not an object"]);
        check(b"{\"id\":1,\"call\":\xff}", &["not a call"]);
        check(&[b"{\"call\":".repeat(10_000), b"\n".to_vec(), with_id("3").into()].concat(), &["not a call", "run 3"]);
        check(&[vec![b'['; LINE_BYTES_MAX], b"\n".to_vec(), with_id("4").into()].concat(), &["not an object", "run 4"]);
        let nested = format!("{{\"id\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
        check(nested.as_bytes(), &["not a call", "end"]);
    }

    #[test]
    fn an_endless_line_is_not_kept_and_spoils_no_other() {
        let mut input = vec![b'x'; LINE_BYTES_MAX + 1];
        input.extend(b"\nok\n");
        assert_eq!(lines(&input), [None, Some(2)]);
        assert_eq!(lines(&vec![b'x'; LINE_BYTES_MAX]), [Some(LINE_BYTES_MAX)]);
    }
}
