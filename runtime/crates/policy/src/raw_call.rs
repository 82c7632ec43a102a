//! Raw calls: bytes from an agent, and how they become a `Call`.
//! It never guesses: an unknown key, a key that stands twice or a value of another type is refused.
//!
//! ```json
//! {"tool": "bash", "command": {"argv": ["cargo", "test"], "cwd": "crates/a", "env": {"RUST_LOG": "info"},
//!                              "stdin": "stream", "terminal": {"rows": 24, "columns": 80}, "wall_s": 60}}
//! {"tool": "read",  "read":  {"path": "src/lib.rs"}}
//! {"tool": "edit",  "write": {"path": {"b64": "c3JjL/8="}}}
//! {"tool": "fetch", "connect": {"host": "example.com", "port": 443, "method": "GET", "path": "/v1"}}
//! {"tool": "dbus",  "unix": {"path": "/run/x.sock"}}
//! {"tool": "grep",  "args": {"pattern": "fn main"}}
//! ```
//!
//! Words and paths need not be UTF-8: wherever one stands, `{"b64": "…"}` gives its bytes in base64 (RFC 4648,
//! section 4, with padding).

use crate::call::{Action, Argument, Call, Command, GuestPath, Stdin, Terminal, Word};
use crate::diagnostic::Printable;
use crate::host::Host;
use crate::json::Json;
use crate::name::{EnvName, Flaw, ToolName};
use crate::path::UrlPath;
use crate::rule::Method;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::num::NonZeroU64;

/// A call of more bytes is refused before it reaches the parser. Base64 needs a third more than the bytes it stands
/// for, so a command may be a little shorter in this form than by [`Command::from_words`].
pub const CALL_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that claim to be a call.
#[derive(Debug, Clone, Copy)]
pub struct RawCall<'a>(&'a [u8]);

impl<'a> RawCall<'a> {
    /// Takes the bytes, unlooked at.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Reads them.
    ///
    /// # Errors
    /// Anything but a well-formed call within all limits. It is the guest's fault, and the text is fit for it to see.
    pub fn parse(self) -> Result<Call, Flaw> {
        if self.0.len() > CALL_BYTES_MAX {
            let what = format!("call has {} bytes, more than {CALL_BYTES_MAX}", self.0.len());
            return Err(Flaw::new(what, "put the bytes into a file"));
        }
        let mut call = Object::of("call", Json::parse(self.0)?)?;
        let tool = ToolName::parse(&call.string("tool")?)?;
        let mut actions = Vec::new();
        for (key, read) in ACTIONS {
            if let Some(value) = call.take(key) {
                actions.push((read, value));
            }
        }
        call.finish()?;
        let known = ACTIONS.map(|(key, _)| key).join(", ");
        let one = format!("give exactly one of: {known}");
        let Some((read, value)) = actions.pop() else {
            return Err(Flaw::new("call wants nothing", one));
        };
        if !actions.is_empty() {
            return Err(Flaw::new("call wants more than one thing", one));
        }
        let action = read(&tool, value)?;
        Ok(Call::new(tool, action))
    }
}

type ReadAction = fn(&ToolName, Json) -> Result<Action, Flaw>;

const ACTIONS: [(&str, ReadAction); 6] = [
    ("command", |_, value| command(value).map(Action::Command)),
    ("read", |_, value| Ok(Action::Read { path: only_path("read", value)? })),
    ("write", |_, value| Ok(Action::Write { path: only_path("write", value)? })),
    ("connect", |_, value| connect(value)),
    ("unix", |_, value| Ok(Action::Unix { path: only_path("unix", value)? })),
    ("args", |tool, value| Ok(Action::Tool { name: tool.clone(), args: arguments(value)? })),
];

fn command(value: Json) -> Result<Command, Flaw> {
    let mut object = Object::of("command", value)?;
    let argv = object.required("argv")?;
    let Json::Array(words) = argv else {
        return Err(Flaw::new(format!("\"argv\" is {}", argv.kind()), "give a list of words"));
    };
    // The count is bounded by CALL_BYTES_MAX here, and by Command::new exactly.
    let words: Result<Vec<Word>, Flaw> =
        words.into_iter().map(|word| bytes("argv", word).and_then(Word::parse)).collect();
    let mut command = Command::new(words?)?;
    if let Some(cwd) = object.take("cwd") {
        command = command.in_directory(GuestPath::parse(bytes("cwd", cwd)?)?);
    }
    if let Some(env) = object.take("env") {
        command = command.with_env(variables(env)?)?;
    }
    if object.has("stdin") {
        command = command.with_stdin(match object.string("stdin")?.as_str() {
            "empty" => Stdin::Empty,
            "stream" => Stdin::Stream,
            _ => return Err(Flaw::new("\"stdin\" is none that is known", "write \"empty\" or \"stream\"")),
        });
    }
    if let Some(terminal) = object.take("terminal") {
        let mut size = Object::of("terminal", terminal)?;
        let (rows, columns) = (size.small("rows")?, size.small("columns")?);
        size.finish()?;
        command = command.with_terminal(Terminal::Pty { rows, columns });
    }
    if object.has("wall_s") {
        command = command.with_wall_s(object.count("wall_s")?);
    }
    object.finish()?;
    Ok(command)
}

fn variables(value: Json) -> Result<BTreeMap<EnvName, Word>, Flaw> {
    let object = Object::of("env", value)?;
    let entries = object.entries.into_iter();
    entries.map(|(name, value)| Ok((EnvName::parse(&name)?, Word::parse(bytes("env", value)?)?))).collect()
}

fn connect(value: Json) -> Result<Action, Flaw> {
    let mut object = Object::of("connect", value)?;
    let host = Host::parse(&object.string("host")?)?;
    let port = object.small("port")?;
    let method = if object.has("method") { Some(Method::parse(&object.string("method")?)?) } else { None };
    let path = if object.has("path") { Some(UrlPath::parse(&object.string("path")?)?) } else { None };
    object.finish()?;
    Ok(Action::Connect { host, port, method, path })
}

fn only_path(what: &'static str, value: Json) -> Result<GuestPath, Flaw> {
    let mut object = Object::of(what, value)?;
    let path = object.required("path")?;
    object.finish()?;
    GuestPath::parse(bytes("path", path)?)
}

fn arguments(value: Json) -> Result<BTreeMap<String, Argument>, Flaw> {
    let object = Object::of("args", value)?;
    let argument = |value: Json| match value {
        Json::String(text) => Argument::Text(text),
        Json::Number(_) | Json::Boolean(_) => Argument::Scalar(value.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => Argument::Other(value.to_string()),
    };
    Ok(object.entries.into_iter().map(|(name, value)| (name, argument(value))).collect())
}

/// The bytes of a string, or of `{"b64": "…"}`.
fn bytes(key: &str, value: Json) -> Result<Vec<u8>, Flaw> {
    match value {
        Json::String(text) => Ok(text.into_bytes()),
        Json::Object(_) => {
            let mut object = Object::of("bytes", value)?;
            let text = object.string("b64")?;
            object.finish()?;
            base64(text.as_bytes()).ok_or_else(|| {
                let hint = "use the alphabet with + and /, and padding";
                Flaw::new(format!("\"{key}\" has base64 that is not canonical"), hint)
            })
        }
        Json::Null | Json::Boolean(_) | Json::Number(_) | Json::Array(_) => {
            let hint = "give a string, or { \"b64\": \"…\" } for bytes that are not UTF-8";
            Err(Flaw::new(format!("\"{key}\" has {}", value.kind()), hint))
        }
    }
}

/// Base64 of RFC 4648, section 4. Refuses every second spelling of the same bytes: missing padding, bits that are
/// set beyond the end.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => Some(u32::from(c - b'A')),
        b'a'..=b'z' => Some(u32::from(c - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(c - b'0') + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take_while(|&&c| c == b'=').count();
    let (digits, _) = text.split_at_checked(text.len().checked_sub(padding)?)?;
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for group in digits.chunks(4) {
        let mut bits = 0;
        for &c in group {
            bits = bits << 6 | value(c)?;
        }
        let [_, a, b, c] = (bits << (6 * (4 - group.len()))).to_be_bytes();
        match (group.len(), padding) {
            (4, _) => out.extend([a, b, c]),
            (3, 1) if c == 0 => out.extend([a, b]),
            (2, 2) if b == 0 && c == 0 => out.push(a),
            _ => return None,
        }
    }
    (padding < 3).then_some(out)
}

/// The entries of an object; each is taken once, and what is left over is unknown.
struct Object {
    what: &'static str,
    entries: BTreeMap<String, Json>,
}

impl Object {
    fn of(what: &'static str, value: Json) -> Result<Self, Flaw> {
        match value {
            Json::Object(entries) => Ok(Self { what, entries }),
            Json::Null | Json::Boolean(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
                Err(Flaw::new(format!("\"{what}\" is {}", value.kind()), "give an object"))
            }
        }
    }

    fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    fn take(&mut self, key: &str) -> Option<Json> {
        self.entries.remove(key)
    }

    fn required(&mut self, key: &str) -> Result<Json, Flaw> {
        let missing = || Flaw::new(format!("{} has no \"{key}\"", self.what), format!("add \"{key}\""));
        self.entries.remove(key).ok_or_else(missing)
    }

    fn string(&mut self, key: &str) -> Result<String, Flaw> {
        let value = self.required(key)?;
        if let Json::String(text) = value {
            return Ok(text);
        }
        Err(Flaw::new(format!("\"{key}\" is {}", value.kind()), "give a string"))
    }

    fn count(&mut self, key: &str) -> Result<NonZeroU64, Flaw> {
        let value = self.required(key)?;
        let number = if let Json::Number(number) = &value { number.as_u64() } else { None };
        number
            .and_then(NonZeroU64::new)
            .ok_or_else(|| Flaw::new(format!("\"{key}\" is no count"), "give a whole number from 1"))
    }

    fn small(&mut self, key: &str) -> Result<u16, Flaw> {
        let count = self.count(key)?.get();
        u16::try_from(count).map_err(|_| Flaw::new(format!("\"{key}\" is too large"), "give a number up to 65535"))
    }

    fn finish(self) -> Result<(), Flaw> {
        match self.entries.into_keys().next() {
            None => Ok(()),
            Some(key) => {
                let shown: String = Printable(&key).to_string().chars().take(64).collect();
                Err(Flaw::new(format!("unknown key \"{shown}\" in {}", self.what), "remove it"))
            }
        }
    }
}
