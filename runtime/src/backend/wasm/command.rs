//! Components that are commands: programs of `wasi:cli/run`, compiled as they are, with arguments, input and a status.
//! It never gives a command what its call does not have, nor what was not granted.

use crate::backend::wasm::call::{CallGrant, Reply};
use crate::backend::wasm::manifest::{Ceiling, Manifest, Schema};
use crate::error::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What a command exports, of whichever version of WASI 0.2.
pub const EXPORT: &str = "wasi:cli/run@0.2.";
/// The function in it.
pub const FUNCTION: &str = "run";
/// Bytes of each stream that a reply has, at most.
pub const STREAM_BYTES_MAX: usize = 64 * 1024;
/// The same as it is written in JSON, where a character may take six bytes.
const WRITTEN_BYTES_MAX: usize = 112 * 1024;
/// Arguments of a call at most.
const ARGS_MAX: usize = 16 * 1024;

/// How a component is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Entry {
    /// By the function of `tools-wasm/wit/tool.wit`.
    #[default]
    Call,
    /// As a command.
    Command,
}

/// How a component is entered that exports these.
///
/// # Errors
/// Operator: neither, or both.
pub(super) fn entry(is_tool: bool, is_command: bool) -> Result<Entry> {
    match (is_tool, is_command) {
        (true, false) => Ok(Entry::Call),
        (false, true) => Ok(Entry::Command),
        (true, true) => Err(Error::operator("the component exports both \"call\" and \"wasi:cli/run\"")
            .hint("it is a tool by the one or a command by the other: build it as a library, or without `call`")),
        (false, false) => {
            let what =
                "the component is of another world: it exports neither a function \"call\" nor \"wasi:cli/run@0.2\"";
            let hint = "build it for the world `tool` of tools-wasm/wit/tool.wit, or a program for wasm32-wasip2";
            Err(Error::operator(what).hint(hint))
        }
    }
}

/// Holds a manifest against how its component is entered, and says for a command what it need not say itself.
pub(super) fn complete(manifest: &mut Manifest, entry: Entry) -> Result<()> {
    manifest.entry = entry;
    match entry {
        Entry::Call => {
            if !manifest.input_schema.is_said() {
                return Err(Error::operator("the manifest has no input_schema")
                    .hint("it says what `call` takes: {\"type\": \"object\", …}"));
            }
            let asks = [("arguments", manifest.ceiling.arguments), ("stdin", manifest.ceiling.stdin)];
            match asks.into_iter().find(|(_, asks)| *asks) {
                None => Ok(()),
                Some((key, _)) => Err(Error::operator(format!("the manifest's ceiling.{key} is for commands"))
                    .hint("all that a call has for a component with `call` are the arguments of that function")),
            }
        }
        Entry::Command => {
            if manifest.input_schema.is_said() {
                same_members(&manifest.input_schema, &manifest.ceiling)?;
            } else {
                manifest.input_schema = made(input(&manifest.ceiling))?;
            }
            if manifest.output_schema.is_some() {
                return Err(Error::operator("the manifest's output_schema is for components with `call`")
                    .hint("what a command answers is always its stdout, stderr and status: leave it out"));
            }
            manifest.output_schema = Some(made(output())?);
            Ok(())
        }
    }
}

fn made(schema: Value) -> Result<Schema> {
    Schema::new(schema).map_err(|error| Error::bug(format!("a schema of ours is none: {error}")))
}

/// A schema of its own is about what a command can be given.
fn same_members(schema: &Schema, ceiling: &Ceiling) -> Result<()> {
    let none = Map::new();
    let said = schema.members().get("properties").and_then(Value::as_object).unwrap_or(&none);
    let asked = [("args", ceiling.arguments), ("stdin", ceiling.stdin)];
    for (name, asks) in asked {
        if asks != said.contains_key(name) {
            let what = format!("the manifest's input_schema {} \"{name}\"", if asks { "does not have" } else { "has" });
            let key = if name == "args" { "arguments" } else { name };
            return Err(Error::operator(what)
                .hint(format!("a command has \"{name}\" where its ceiling says {key}: true, and nowhere else")));
        }
    }
    match said.keys().find(|name| asked.iter().all(|(known, _)| known != name)) {
        None => Ok(()),
        Some(other) => Err(Error::operator(format!("the manifest's input_schema has \"{}\"", other.escape_debug()))
            .hint("a command gets \"args\" and \"stdin\", and nothing else")),
    }
}

/// What a call of a command has, where its manifest does not say more.
fn input(ceiling: &Ceiling) -> Value {
    let mut members = Map::new();
    if ceiling.arguments {
        let args = json!({
            "type": "array",
            "items": { "type": "string" },
            "description": "Arguments, without the name of the program.",
        });
        members.insert("args".to_owned(), args);
    }
    if ceiling.stdin {
        let stdin = json!({ "type": "string", "description": "What the program reads from its standard input." });
        members.insert("stdin".to_owned(), stdin);
    }
    json!({ "type": "object", "properties": members, "additionalProperties": false })
}

/// What a command answers.
fn output() -> Value {
    json!({
        "type": "object",
        "properties": {
            "stdout": { "type": "string" },
            "stderr": { "type": "string" },
            "status": { "type": "integer", "description": "0 where it went well, by its own account." },
            "cut": { "type": "integer", "description": "Bytes of both streams that were left out." },
        },
        "required": ["stdout", "stderr", "status"],
        "additionalProperties": false,
    })
}

/// What a call has for a command.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Handed {
    /// Arguments, without the name of the program.
    pub args: Vec<String>,
    /// Standard input.
    pub stdin: String,
}

impl Handed {
    /// Reads what a call has, before anything of it runs.
    ///
    /// # Errors
    /// Guest: it has what a command cannot be given, or what was not granted.
    pub fn parse(arguments: &str, manifest: &Manifest, grant: &CallGrant) -> Result<Self> {
        let handed: Self = serde_json::from_str(arguments).map_err(|error| {
            Error::guest(format!("the arguments are none of a command: {error}"))
                .hint("{\"args\": [\"…\"], \"stdin\": \"…\"}, each where the command asks for it")
        })?;
        let wants = [
            ("args", "arguments", !handed.args.is_empty(), manifest.ceiling.arguments, grant.arguments),
            ("stdin", "stdin", !handed.stdin.is_empty(), manifest.ceiling.stdin, grant.stdin),
        ];
        for (name, key, is_there, asks, granted) in wants {
            if is_there && !asks {
                let what = format!("\"{name}\" is there, and \"{}\" takes none", manifest.name);
                return Err(Error::guest(what).hint(format!("leave it out: its ceiling has no {key}")));
            }
            if is_there && !granted {
                let what =
                    format!("\"{name}\" is there, and the profile does not grant it to this tool ({key} = false)");
                return Err(Error::guest(what).hint("leave it out, or ask for a grant"));
            }
        }
        if handed.args.len() > ARGS_MAX {
            let what = format!("\"args\" has {} items, {ARGS_MAX} are given", handed.args.len());
            return Err(Error::guest(what).hint("put them into a file or into stdin"));
        }
        if let Some(n) = handed.args.iter().position(|arg| arg.contains('\0')) {
            return Err(Error::guest(format!("\"/args/{n}\" has a character of value 0"))
                .hint("no argument of a program has one: stdin may"));
        }
        Ok(handed)
    }
}

/// The answer of a command that has ended.
pub fn reply(status: i32, stdout: &[u8], stderr: &[u8], cut: u64) -> Reply {
    let (out, err) = (String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
    let ((out, less_out), (err, less_err)) = (bounded(&out), bounded(&err));
    let cut = cut.saturating_add(less_out).saturating_add(less_err);
    let mut structured = json!({ "stdout": out, "stderr": err, "status": status });
    if let (Some(members), true) = (structured.as_object_mut(), cut > 0) {
        members.insert("cut".to_owned(), cut.into());
    }
    Reply {
        text: out.to_owned() + &notes(status, err, cut),
        structured: Some(structured.to_string()),
        images: Vec::new(),
    }
}

/// What a model has to see beside the output, which many see alone.
fn notes(status: i32, stderr: &str, cut: u64) -> String {
    let mut notes = String::new();
    if !stderr.is_empty() && status != 0 {
        notes.push_str(&format!("\n[stderr]\n{stderr}"));
    }
    if cut > 0 {
        notes.push_str(&format!("\n[{cut} bytes are left out]"));
    }
    if status != 0 {
        notes.push_str(&format!("\n[exit status {status}]"));
    }
    notes
}

/// As much of a text as may be written in JSON, and how many bytes less that is.
fn bounded(text: &str) -> (&str, u64) {
    let mut written = 0_usize;
    let width = |character: char| match character {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        '\0'..'\u{20}' => 6,
        other => other.len_utf8(),
    };
    let end = text.char_indices().find(|(_, character)| {
        written += width(*character);
        written > WRITTEN_BYTES_MAX
    });
    let end = end.map_or(text.len(), |(end, _)| end);
    (text.get(..end).unwrap_or(text), u64::try_from(text.len() - end).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_bounded_in_the_form_that_it_is_sent_in() {
        for stream in [vec![b'x'; STREAM_BYTES_MAX], vec![1; STREAM_BYTES_MAX], vec![0xff; STREAM_BYTES_MAX]] {
            let Reply { text, structured, .. } = reply(3, &stream, &stream, 7);
            let structured = structured.expect("it has some");
            assert!(structured.len() < 256 * 1024, "{}", structured.len());
            assert!(text.ends_with("[exit status 3]"), "{}", text.len());
            let said: Value = serde_json::from_str(&structured).expect("it is JSON");
            made(output())
                .and_then(|schema| schema.fits(&structured, "it", &str::to_owned).map_err(Error::bug))
                .expect("it fits");
            let lengths = ["stdout", "stderr"].map(|name| said[name].as_str().map_or(0, str::len));
            let all = String::from_utf8_lossy(&stream).len() * 2;
            assert_eq!(said["cut"].as_u64(), u64::try_from(all - lengths[0] - lengths[1] + 7).ok());
        }
    }

    #[test]
    fn an_answer_that_went_well_is_the_output_and_nothing_else() {
        let told = reply(0, b"out\n", b"a warning\n", 0);
        assert_eq!(told.text, "out\n");
        let structured: Value = serde_json::from_str(&told.structured.expect("it has some")).expect("it is JSON");
        assert_eq!(structured, json!({ "stdout": "out\n", "stderr": "a warning\n", "status": 0 }));
    }

    #[test]
    fn neither_or_both_entrances_are_refused() {
        assert_eq!(entry(true, false).ok(), Some(Entry::Call));
        assert_eq!(entry(false, true).ok(), Some(Entry::Command));
        assert!(entry(true, true).is_err_and(|error| error.to_string().contains("exports both")));
        assert!(entry(false, false).is_err_and(|error| error.to_string().contains("another world")));
    }
}
