//! Fetches one URL and makes text of it, as far as an answer has room. It never reaches the network itself, and never
//! judges a host: each request, after a redirect too, is the host's to judge.

mod address;

use super::args::Args;
use super::markdown::{Extent, Form, TEXT_BYTES_MAX, convert};
use super::text::{Content, HEAD_BYTES, detect};
use super::{ANSWER_BYTES_MAX, Answer, Failure};
use address::Address;
use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use serde_json::{Value, json};
use std::fmt::Write;

/// How much of an answer's body is taken.
pub const BODY_BYTES_MAX: usize = 5 * 1024 * 1024;
/// Requests of one call: redirects are followed.
const REQUESTS_MAX: usize = 6;
const HEADERS_MAX: usize = 20;
const HEADER_BYTES_MAX: usize = 8 * 1024;
/// How much of a body stands in an answer as base64.
const BYTES_SHOWN_MAX: usize = 36 * 1024;

const _: () = assert!(BYTES_SHOWN_MAX * 4 / 3 + 4 < ANSWER_BYTES_MAX);

/// What came back.
pub struct Response {
    /// As in 200.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// No more than [`BODY_BYTES_MAX`].
    pub body: Vec<u8>,
    /// Whether that was all of it.
    pub complete: bool,
}

/// The parts of a request's address.
pub struct Target<'u> {
    /// Whether it is `https`.
    pub tls: bool,
    /// Host and perhaps port.
    pub authority: &'u str,
    /// With the query.
    pub path: &'u str,
}

/// The network as a tool reaches it.
pub trait Web {
    /// One GET; a text says why there is no response.
    fn get(&self, target: &Target<'_>, headers: &[(String, String)]) -> Result<Response, String>;
}

/// One call.
pub fn run(arguments: &str, web: &dyn Web) -> Result<Answer, Failure> {
    let mut args = Args::parse(arguments)?;
    let url = args.need_text("url")?;
    let format = args.word("format", &["markdown", "text", "raw", "bytes"])?;
    let headers = headers(args.object("headers")?)?;
    let offset = args.count("offset", 0, usize::MAX)?.unwrap_or(0);
    args.finish()?;
    let (address, response) = follow(web, Address::parse(&url).map_err(Failure::InvalidArguments)?, headers)?;
    let url = address.to_string();
    let content_type = header(&response, "content-type").unwrap_or_default();
    let mut note = format!("[{} {url}, {} bytes", response.status, response.body.len());
    if !response.complete {
        note += &format!(", cut after {BODY_BYTES_MAX}");
    }
    let mut structured = json!({
        "url": url, "status": response.status, "content_type": content_type, "bytes": response.body.len(),
        "complete": response.complete,
    });
    if format == "bytes" {
        return Ok(bytes(&response, offset, structured, &note));
    }
    let head = response.body.get(..HEAD_BYTES).unwrap_or(&response.body);
    let charset = parameter(&content_type, "charset");
    match detect(head, response.complete && head.len() == response.body.len()) {
        Content::Image(media_type) if response.complete => {
            let images = vec![(media_type.to_owned(), response.body)];
            return Ok(Answer { text: format!("{note}: a picture, shown beside this text]"), structured, images });
        }
        Content::Image(what) | Content::Binary(what) if !declares_text(&content_type) => {
            return Err(Failure::refused(format!(
                "\"{url}\" is {what} ({} bytes), not text; the format \"bytes\" returns it as base64",
                response.body.len()
            )));
        }
        Content::Image(_) | Content::Binary(_) | Content::Text(..) => {}
    }
    let text = decode(&response.body, charset.as_deref());
    let form = match format {
        "markdown" => Some(Form::Markdown),
        "text" => Some(Form::Plain),
        _raw => None,
    };
    let text = match form.filter(|_| is_html(&content_type, &text)) {
        Some(form) => {
            let converted = convert(&text, form, &|link| address.join(link));
            if converted.extent == Extent::Beginning {
                note += &format!(", the text of its beginning: it would have more than {TEXT_BYTES_MAX} bytes");
                structured["complete"] = json!(false);
            }
            converted.text
        }
        None => text,
    };
    let (page, next) = page(&text, offset)?;
    if let Some(next) = next {
        let _infallible = write!(note, "; text to {next} of {}; go on with offset {next}", text.len());
    }
    structured["content"] = json!(page);
    structured["total"] = json!(text.len());
    structured["next_offset"] = json!(next);
    Ok(Answer::new(format!("{note}]\n\n{page}"), structured))
}

/// Follows redirects; what was meant for one origin is not sent to another.
fn follow(
    web: &dyn Web,
    mut address: Address,
    mut headers: Vec<(String, String)>,
) -> Result<(Address, Response), Failure> {
    for _ in 0..REQUESTS_MAX {
        let response = web.get(&address.target(), &headers);
        let response = response.map_err(|why| Failure::refused(format!("cannot fetch \"{address}\": {why}")))?;
        if let Some(why) = denied(&response) {
            return Err(Failure::refused(format!("cannot fetch \"{address}\": {why}")));
        }
        let redirected = matches!(response.status, 301 | 302 | 303 | 307 | 308);
        let Some(location) = header(&response, "location").filter(|_| redirected) else {
            return Ok((address, response));
        };
        let next = Address::parse(&address.join(&location)).map_err(|why| {
            Failure::refused(format!("\"{address}\" redirects to \"{}\": {why}", super::text::cut(&location, 500)))
        })?;
        if address.tls && !next.tls {
            return Err(Failure::refused(format!(
                "\"{address}\" redirects to \"{next}\", which is not encrypted; fetch that if it is meant"
            )));
        }
        if !address.same_origin(&next) {
            headers.clear();
        }
        address = next;
    }
    Err(Failure::refused(format!("more than {} redirects, the last to \"{address}\"", REQUESTS_MAX - 1)))
}

/// Why the outlet, not the host, gave this answer: it says so in `proxy-status` (RFC 9209), which no host can say for it.
fn denied(response: &Response) -> Option<String> {
    let said = header(response, "proxy-status").filter(|said| said.starts_with("stockade;"))?;
    let told: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let text = |name: &str| told.get(name).and_then(Value::as_str);
    let mut why = text("reason").unwrap_or(&said).to_owned();
    let instead = told.get("allowed_instead").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let instead: Vec<&str> = instead.collect();
    if !instead.is_empty() {
        why += &format!("; allowed instead: {}", instead.join(", "));
    }
    if let Some(ask) = text("to_ask") {
        why += &format!("; {ask}");
    }
    Some(why)
}

fn headers(object: Option<serde_json::Map<String, Value>>) -> Result<Vec<(String, String)>, Failure> {
    let mut headers = Vec::new();
    for (name, value) in object.unwrap_or_default() {
        let Value::String(value) = value else {
            return Err(Failure::invalid(format!("the header \"{name}\" must be a string")));
        };
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) || value.chars().any(|c| c.is_control() && c != '\t') {
            return Err(Failure::invalid(format!(
                "\"{name}\" is no header's name, or its value has a control character"
            )));
        }
        let name = name.to_ascii_lowercase();
        if ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te"].contains(&name.as_str()) {
            return Err(Failure::invalid(format!("the header \"{name}\" belongs to the connection and cannot be set")));
        }
        headers.push((name, value));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
        let text = format!(
            "there are {} headers with {bytes} bytes; at most {HEADERS_MAX} with {HEADER_BYTES_MAX}",
            headers.len()
        );
        return Err(Failure::invalid(text));
    }
    Ok(headers)
}

fn header(response: &Response, name: &str) -> Option<String> {
    let value = response.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value)?;
    Some(String::from_utf8_lossy(value).trim().to_owned())
}

fn parameter(content_type: &str, name: &str) -> Option<String> {
    content_type.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

fn declares_text(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media.starts_with("text/") || media.ends_with("json") || media.ends_with("xml")
}

fn is_html(content_type: &str, text: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let begin: String = text.trim_start().chars().take(15).collect::<String>().to_ascii_lowercase();
    media == "text/html"
        || media == "application/xhtml+xml"
        || media.is_empty() && (begin.starts_with("<!doctype html") || begin.starts_with("<html"))
}

/// As browsers decide: the mark, then the header, then the page, then what the bytes allow.
fn decode(body: &[u8], charset: Option<&str>) -> String {
    let declared = || charset.and_then(|label| Encoding::for_label(label.as_bytes()));
    let in_page = || {
        let head = body.get(..1024).unwrap_or(body);
        let at = memchr::memmem::find(head, b"charset=")?;
        let label = head.get(at + 8..)?.split(|byte| matches!(byte, b'"' | b'\'' | b'>' | b' ' | b';' | b'/'));
        Encoding::for_label(label.into_iter().find(|part| !part.is_empty())?)
    };
    let guess = || if std::str::from_utf8(body).is_ok() { UTF_8 } else { WINDOWS_1252 };
    let encoding = declared().or_else(in_page).unwrap_or_else(guess);
    let (text, _, _) = encoding.decode(body);
    text.into_owned()
}

/// The part of a text that one answer holds.
fn page(text: &str, offset: usize) -> Result<(&str, Option<usize>), Failure> {
    let Some(rest) = text.get(offset..) else {
        let text = format!(
            "\"offset\" is {offset}, and must be a next_offset of an answer before; the text has {} bytes",
            text.len()
        );
        return Err(Failure::invalid(text));
    };
    let end = rest.floor_char_boundary(ANSWER_BYTES_MAX - 4096);
    Ok((rest.get(..end).unwrap_or(rest), (end < rest.len()).then_some(offset + end)))
}

fn bytes(response: &Response, offset: usize, mut structured: Value, note: &str) -> Answer {
    let rest = response.body.get(offset..).unwrap_or_default();
    let part = rest.get(..BYTES_SHOWN_MAX).unwrap_or(rest);
    let next = (part.len() < rest.len()).then_some(offset + part.len());
    let text = base64(part);
    let more = next.map_or_else(String::new, |next| format!("; go on with offset {next}"));
    let answer = format!("{note}; base64 of bytes {offset} to {}{more}]\n\n{text}", offset + part.len());
    structured["content"] = json!(text);
    structured["total"] = json!(response.body.len());
    structured["next_offset"] = json!(next);
    Answer::new(answer, structured)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let value = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let index = (value >> (18 - 6 * digit)) & 63;
            let known = digit <= three.len();
            text.push(if known { char::from(DIGITS[index as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests;
