//! The exec protocol, both ways: a program hands out secrets, to us or for us.
//! It never gives a program a shell, our environment, or more than the names that it is asked for.
//!
//! ```text
//! to standard input:     {"protocolVersion":1,"provider":"stockade","ids":["example"]}
//! from standard output:  {"protocolVersion":1,"values":{"example":"…"},"errors":{"other":{"message":"…"}}}
//! ```

use crate::error::{Error, Result};
use crate::secrets::plain::{PLAIN_BYTES_MAX, Plain, jailed};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use stockade_jail::program::{HostProgram, run_host_program};
use stockade_policy::SecretName;
use zeroize::Zeroizing;

/// Longest that a program may take: some ask a person.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Most that a program may answer, bytes: a value of escapes alone, and the words around it.
pub const REPLY_BYTES_MAX: usize = 6 * PLAIN_BYTES_MAX + 16 * 1024;
/// Longest request that we answer as a provider, bytes.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Most names in a request that we answer.
const IDS_MAX: usize = 256;
/// Most characters of a program's own explanation that are shown.
const MESSAGE_CHARS_MAX: usize = 200;
const PROTOCOL: u64 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Asking<'a> {
    protocol_version: u64,
    provider: &'a str,
    ids: [&'a str; 1],
}

/// A reply, with its values not yet read: they stay in the bytes that they came in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply<'a> {
    protocol_version: u64,
    #[serde(borrow, default)]
    values: BTreeMap<Cow<'a, str>, &'a RawValue>,
    #[serde(borrow, default)]
    errors: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    protocol_version: u64,
    #[serde(default)]
    ids: Vec<String>,
}

#[derive(Serialize)]
struct Why<'a> {
    message: &'a str,
}

/// Asks a program for a secret, by the secret's name.
///
/// # Errors
/// Operator: it cannot be run, ends badly, has no such secret, or answers something else.
pub fn ask(program: &Path, arguments: &[String], name: &SecretName) -> Result<Plain> {
    let asking = Asking { protocol_version: PROTOCOL, provider: "stockade", ids: [name.as_str()] };
    let input = serde_json::to_vec(&asking).map_err(|error| Error::bug(format!("write JSON: {error}")))?;
    let answer = run_host_program(HostProgram {
        program: program.to_owned(),
        arguments: arguments.iter().map(Into::into).collect(),
        environment: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()), ("LANG".into(), "C.UTF-8".into())],
        input,
        output_bytes_max: REPLY_BYTES_MAX,
        timeout: TIMEOUT,
    });
    let answer = answer.map_err(|error| jailed(&error))?;
    if !answer.status.success() {
        // What it wrote to standard error is not repeated: it may hold what it was to hand out.
        return Err(Error::operator(format!(
            "secret \"{name}\": \"{}\" ended with {}",
            program.display(),
            answer.status
        ))
        .hint("run it by hand to see why"));
    }
    read_reply(answer.output.as_slice(), name)
}

/// Reads the value of one secret in a program's reply.
///
/// # Errors
/// Operator: the reply is no reply, or has no such secret.
pub fn read_reply(bytes: &[u8], name: &SecretName) -> Result<Plain> {
    let refuse = |why: String| {
        Error::operator(format!("secret \"{name}\": its program {why}"))
            .hint("it must answer {\"protocolVersion\":1,\"values\":{\"NAME\":\"…\"},\"errors\":{}}")
    };
    if bytes.len() > REPLY_BYTES_MAX {
        return Err(refuse("answers too much".to_owned()));
    }
    // The parser's own words would quote the reply.
    let reply: Reply<'_> =
        serde_json::from_slice(bytes).map_err(|_| refuse("answers no JSON of the protocol".into()))?;
    if reply.protocol_version != PROTOCOL {
        return Err(refuse(format!("speaks version {} of the protocol, not {PROTOCOL}", reply.protocol_version)));
    }
    if let Some(why) = reply.errors.get(name.as_str()) {
        return Err(refuse(format!("has none: {}", message(why.get()))));
    }
    let value = reply.values.get(name.as_str()).ok_or_else(|| refuse("does not know it".to_owned()))?;
    let text = unquote(value.get()).ok_or_else(|| refuse("answers with something that is no text".to_owned()))?;
    Plain::copied(&text).map_err(|unfit| unfit.of(name.as_str()))
}

/// What a provider says of a failure: a text, or an object with one.
fn message(raw: &str) -> String {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    let text = serde_json::from_str::<String>(raw).or_else(|_| serde_json::from_str(raw).map(|m: Message| m.message));
    let text = text.unwrap_or_else(|_| "it does not say why".to_owned());
    text.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect()
}

/// The text of a JSON string that a parser has checked. By hand, since a parser leaves copies of it behind.
pub(in crate::secrets) fn unquote(raw: &str) -> Option<Zeroizing<Vec<u8>>> {
    let inner = raw.trim().strip_prefix('"')?.strip_suffix('"')?;
    let mut out = Zeroizing::new(Vec::with_capacity(inner.len()));
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        let c = if c == '\\' { escape(&mut rest)? } else { c };
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some(out)
}

/// The character of an escape (RFC 8259, 7).
fn escape(rest: &mut std::str::Chars<'_>) -> Option<char> {
    match rest.next()? {
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'u' => {
            let high = four(rest)?;
            if !(0xD800..0xDC00).contains(&high) {
                return char::from_u32(high);
            }
            (rest.next()? == '\\' && rest.next()? == 'u').then_some(())?;
            let low = four(rest).filter(|low| (0xDC00..0xE000).contains(low))?;
            char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00))
        }
        plain @ ('"' | '\\' | '/') => Some(plain),
        _ => None,
    }
}

fn four(rest: &mut std::str::Chars<'_>) -> Option<u32> {
    let mut number = 0;
    for _digit in 0..4 {
        number = number << 4 | rest.next()?.to_digit(16)?;
    }
    Some(number)
}

/// Answers a request of another program's, as its provider: these names and no other. The reply holds plaintexts.
///
/// # Errors
/// Operator: the request is none. A name that cannot be had is an error inside the reply.
pub fn provide(
    request: &[u8],
    allowed: &BTreeSet<SecretName>,
    fetch: impl Fn(&SecretName) -> Result<Plain>,
) -> Result<Zeroizing<Vec<u8>>> {
    let refuse = |why: &str| {
        Error::operator(format!("the request {why}"))
            .hint("it must be {\"protocolVersion\":1,\"provider\":\"…\",\"ids\":[\"NAME\"]}")
    };
    let asked: Request = serde_json::from_slice(request).map_err(|_| refuse("is no JSON of the protocol"))?;
    if asked.protocol_version != PROTOCOL {
        return Err(refuse("has another version"));
    }
    if asked.ids.len() > IDS_MAX {
        return Err(refuse("asks for too many at once"));
    }
    let ids: BTreeSet<String> = asked.ids.into_iter().collect();
    let mut values = Zeroizing::new(Vec::new());
    let mut errors = BTreeMap::new();
    for id in &ids {
        let name = SecretName::parse(id).ok().filter(|name| allowed.contains(name));
        match name.ok_or("it is not provided").and_then(|name| fetch(&name).map_err(|_| "it cannot be had")) {
            Ok(value) => write_value(&mut values, id, &value)?,
            Err(message) => drop(errors.insert(id.as_str(), Why { message })),
        }
    }
    let errors = serde_json::to_vec(&errors).map_err(|error| Error::bug(format!("write JSON: {error}")))?;
    let parts: [&[u8]; 5] = [b"{\"protocolVersion\":1,\"values\":{", &values, b"},\"errors\":", &errors, b"}\n"];
    let mut reply = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| reply.extend_from_slice(part));
    Ok(reply)
}

/// Appends `"id":"value"` to a JSON object's members, without a copy of the value that is not wiped.
fn write_value(out: &mut Zeroizing<Vec<u8>>, id: &str, value: &Plain) -> Result<()> {
    let text = str::from_utf8(value.bytes())
        .map_err(|_| Error::operator(format!("secret \"{id}\" is not text")).hint("the protocol carries text alone"))?;
    // Grown beforehand into a new vector, so that the old one is wiped and not left by the allocator.
    let mut grown = Zeroizing::new(Vec::with_capacity(out.len() + id.len() + 6 * text.len() + 8));
    grown.extend_from_slice(out);
    if !grown.is_empty() {
        grown.push(b',');
    }
    serde_json::to_writer(&mut *grown, id).map_err(|error| Error::bug(format!("write JSON: {error}")))?;
    grown.push(b':');
    serde_json::to_writer(&mut *grown, text).map_err(|error| Error::bug(format!("write JSON: {error}")))?;
    *out = grown;
    Ok(())
}
