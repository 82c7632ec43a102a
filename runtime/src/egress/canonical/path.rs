//! Paths and queries: the plain spellings of one meaning become one, and what has two meanings is refused.
//! It never resolves a dot segment: a server may see it where we do not.

use super::{Misfit, short};
use std::fmt::Write as _;
use stockade_policy::{Method, UrlPath};

/// The path in the form that is judged and sent.
pub(super) fn canonical(raw: &str) -> Result<UrlPath, Misfit> {
    if raw.is_empty() {
        return parse("/", raw);
    }
    let mut path = String::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let rest = bytes.clone();
                let code = hex(bytes.next(), bytes.next());
                let byte = code.ok_or_else(|| refuse(raw, "has a percent sign without two hex digits"))?;
                escaped(&mut path, byte, rest, raw)?;
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => path.push(char::from(byte)),
            byte if b"/-._~!$&'()*+,=:@".contains(&byte) => path.push(char::from(byte)),
            // Some servers cut a segment there, after others have matched it (`/public;/../admin`).
            b';' => {
                return Err(refuse(raw, "has \";\", which some servers cut off; write %3B if it belongs to the name"));
            }
            b'\\' => return Err(refuse(raw, "has \"\\\", which some servers read as \"/\"")),
            byte if byte.is_ascii_control() || byte == b' ' => return Err(refuse(raw, "has a control character")),
            byte => escape(&mut path, byte),
        }
    }
    parse(&path, raw)
}

/// Goes on with an escaped byte; `code` is what stands after its percent sign.
fn escaped(path: &mut String, byte: u8, code: std::str::Bytes<'_>, raw: &str) -> Result<(), Misfit> {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => path.push(char::from(byte)),
        // Every server takes these for themselves in a path. `+` is not here: some take it for a space.
        byte if b"-._~!$&'()*,=:@".contains(&byte) => path.push(char::from(byte)),
        b'\\' => return Err(refuse(raw, "has an escaped backslash, which some servers read as a slash")),
        byte if byte.is_ascii_control() => return Err(refuse(raw, "has an escaped control character")),
        b'%' if doubly(code) => return Err(refuse(raw, "is escaped twice")),
        byte => escape(path, byte),
    }
    Ok(())
}

/// Whether `25` and what follows would be a dot, slash, backslash, percent sign or control character to a server that
/// unescapes twice.
fn doubly(code: std::str::Bytes<'_>) -> bool {
    let mut next = code.skip(2);
    hex(next.next(), next.next()).is_some_and(|byte| b"./\\%;".contains(&byte) || byte.is_ascii_control())
}

fn escape(path: &mut String, byte: u8) {
    write!(path, "%{byte:02X}").expect("text takes all that is written to it");
}

fn hex(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some(digit(high?)? << 4 | digit(low?)?)
}

fn parse(path: &str, raw: &str) -> Result<UrlPath, Misfit> {
    UrlPath::parse(path).map_err(|flaw| {
        let why = flaw.what.rsplit("\" ").next().unwrap_or("is not canonical").to_owned();
        refuse(raw, &why)
    })
}

fn refuse(raw: &str, why: &str) -> Misfit {
    let hint = "send the path as the server would write it: single slashes, no dot segments";
    Misfit::new(format!("the path \"{}\" {why}", short(raw)), hint)
}

/// The query, kept as it came.
pub(super) fn query(raw: &str) -> Result<String, Misfit> {
    match raw.bytes().find(|byte| !matches!(byte, 0x21..=0x7e) || *byte == b'#') {
        Some(_) => Err(Misfit::new("a query with a space, control or non-ASCII character", "escape it")),
        None => Ok(raw.to_owned()),
    }
}

/// Methods that parameters of a query ask for (Rails, Laravel, Symfony, Sinatra).
pub(super) fn overrides(query: Option<&str>) -> Result<Vec<Method>, Misfit> {
    let mut found = Vec::new();
    for pair in query.unwrap_or_default().split(['&', ';']) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = plain(name);
        if matches!(name.as_str(), "_method" | "_httpmethod" | "x-http-method-override" | "x-http-method") {
            found.push(overriding(&plain(value))?);
        }
    }
    Ok(found)
}

/// The method that a request asks for beside its own.
pub(super) fn overriding(text: &str) -> Result<Method, Misfit> {
    Method::parse(&text.to_ascii_uppercase()).map_err(|flaw| {
        Misfit::new(format!("a request that overrides its method: {}", flaw.what), "send the method itself")
    })
}

/// Without escapes, in lower case.
fn plain(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let ahead = bytes.clone();
        match (byte, hex(bytes.next(), bytes.next())) {
            (b'%', Some(meant)) => plain.push(meant),
            _ => {
                plain.push(byte);
                bytes = ahead;
            }
        }
    }
    String::from_utf8_lossy(&plain).trim().to_ascii_lowercase()
}
