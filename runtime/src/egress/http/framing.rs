//! Where one request of HTTP/1 ends and the next begins, in the one reading that every server shares.
//! It never lets pass what another reader could cut in another place.
//!
//! hyper reads requests afterwards, and takes more than this: it drops a length beside chunks, one of two equal lengths,
//! and the carriage returns that are missing. Each of these is how a request is smuggled (RFC 9112, 11.2), so each is
//! refused here, before it is tidied away.

use super::{FIELDS_MAX, HEAD_BYTES_MAX};
use http::StatusCode;

/// Digits of the size of a chunk: 2^60 bytes are more than anybody has.
const SIZE_DIGITS_MAX: usize = 15;
/// Bytes of the extensions of all chunks of a body. Nobody knows one, and they are not passed on.
const EXTENSIONS_BYTES_MAX: usize = 4096;
/// Bytes of trailers.
const TRAILERS_BYTES_MAX: usize = 16 * 1024;
/// Empty lines before a request (RFC 9112, 2.2).
const EMPTY_LINES_MAX: usize = 2;

const _: () = assert!(TRAILERS_BYTES_MAX <= HEAD_BYTES_MAX);

/// Why what came is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// What its sender is told.
    pub status: StatusCode,
    /// What refuses it, for the log.
    pub by: &'static str,
    /// What is wrong.
    pub what: &'static str,
}

impl Flaw {
    const TOO_LONG: Self = Self::new("a head of more than 64 KiB").with(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);

    pub(super) const fn new(what: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, by: "malformed", what }
    }

    /// What comes too slowly.
    pub(super) const fn slow(what: &'static str) -> Self {
        Self { status: StatusCode::REQUEST_TIMEOUT, by: "slow", what }
    }

    const fn with(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }
}

/// Where the bytes of a connection stand.
#[derive(Debug, Default)]
pub struct Framing {
    place: Place,
    /// Bytes of a head that were looked at, and of extensions and trailers that have passed.
    seen_bytes: usize,
    last: u8,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Head,
    /// So many bytes are left of a body, or of a chunk.
    Body(u64),
    Chunk(u64),
    /// Behind a chunk.
    ChunkEnd(End),
    Size {
        digits: usize,
        bytes: u64,
    },
    Extension(u64),
    SizeEnd(u64),
    Trailers(Line),
}

/// How much of a line's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Nothing,
    Return,
}

/// Where in the lines of the trailers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Start,
    Name,
    Value,
    Return,
    LastReturn,
}

/// How a request says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    None,
    Length(u64),
    Chunks,
}

impl Framing {
    /// Whether the next byte begins a request, or stands in its head.
    pub fn at_head(&self) -> bool {
        self.place == Place::Head
    }

    /// Looks at all that came of a head; gives its length when it is whole.
    ///
    /// # Errors
    /// It is none, or readers differ about its end.
    pub fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Flaw> {
        let empty = bytes.chunks_exact(2).take_while(|pair| pair == b"\r\n").count();
        if empty > EMPTY_LINES_MAX {
            return Err(Flaw::new("empty lines in the place of a request"));
        }
        let start = 2 * empty;
        if self.seen_bytes < start {
            (self.seen_bytes, self.last) = (start, 0);
        }
        for (at, byte) in bytes.iter().enumerate().skip(self.seen_bytes) {
            match (self.last, *byte) {
                (b'\r', b'\n') => {
                    if at >= start + 3 && bytes.get(at - 3..at).is_some_and(|before| before == b"\r\n\r") {
                        if at >= HEAD_BYTES_MAX {
                            return Err(Flaw::TOO_LONG);
                        }
                        let head = bytes.get(start..at - 1).unwrap_or_default();
                        self.place = match examine(head)? {
                            Body::None => Place::Head,
                            Body::Length(length) => Place::Body(length),
                            Body::Chunks => Place::Size { digits: 0, bytes: 0 },
                        };
                        (self.seen_bytes, self.last) = (0, 0);
                        return Ok(Some(at + 1));
                    }
                }
                (b'\r', _) => return Err(Flaw::new("a carriage return within a line")),
                (_, b'\n') => return Err(Flaw::new("a line that ends without a carriage return")),
                (_, b'\r' | b'\t' | b' '..=b'~' | 0x80..) => {}
                (_, _) => return Err(Flaw::new("a control character in a head")),
            }
            self.last = *byte;
        }
        self.seen_bytes = bytes.len();
        if bytes.len() > HEAD_BYTES_MAX { Err(Flaw::TOO_LONG) } else { Ok(None) }
    }

    /// How many of these bytes belong to the body; fewer than all where it ends in them.
    ///
    /// # Errors
    /// Readers differ about its end: how many bytes come before that, and what is wrong.
    pub fn body(&mut self, bytes: &[u8]) -> Result<usize, (usize, Flaw)> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match self.place {
                Place::Head => break,
                Place::Body(left) | Place::Chunk(left) => {
                    let some = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += some;
                    self.place = match (self.place, left - some as u64) {
                        (Place::Body(_), 0) => Place::Head,
                        (Place::Body(_), left) => Place::Body(left),
                        (_, 0) => Place::ChunkEnd(End::Nothing),
                        (_, left) => Place::Chunk(left),
                    };
                    continue;
                }
                Place::ChunkEnd(_)
                | Place::Size { .. }
                | Place::Extension(_)
                | Place::SizeEnd(_)
                | Place::Trailers(_) => {
                    self.place = self.within(*byte).map_err(|what| (at, Flaw::new(what)))?;
                }
            }
            at += 1;
        }
        if self.place == Place::Head {
            self.seen_bytes = 0;
        }
        Ok(at)
    }

    /// The place after a byte between chunks.
    fn within(&mut self, byte: u8) -> Result<Place, &'static str> {
        const SIZE: &str = "a chunk whose size is no plain number";
        const LINE: &str = "a line of a chunk that does not end in a carriage return and a line feed";
        Ok(match (self.place, byte) {
            (Place::Size { digits, bytes }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < SIZE_DIGITS_MAX => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Place::Size { digits: digits + 1, bytes: bytes << 4 | u64::from(digit) }
            }
            (Place::Size { digits: 1.., bytes }, b'\r') => Place::SizeEnd(bytes),
            (Place::Size { digits: 1.., bytes }, b';') => Place::Extension(bytes),
            (Place::Size { .. }, _) => return Err(SIZE),
            (Place::Extension(bytes), b'\r') => Place::SizeEnd(bytes),
            (Place::Extension(bytes), b'\t' | b' '..=b'~') => {
                self.seen_bytes += 1;
                if self.seen_bytes > EXTENSIONS_BYTES_MAX {
                    return Err("chunks with more than 4 KiB of extensions");
                }
                Place::Extension(bytes)
            }
            (Place::Extension(_), _) => return Err("a control character in the extension of a chunk"),
            (Place::SizeEnd(0), b'\n') => {
                self.seen_bytes = 0;
                Place::Trailers(Line::Start)
            }
            (Place::SizeEnd(bytes), b'\n') => Place::Chunk(bytes),
            (Place::ChunkEnd(End::Nothing), b'\r') => Place::ChunkEnd(End::Return),
            (Place::ChunkEnd(End::Return), b'\n') => Place::Size { digits: 0, bytes: 0 },
            (Place::SizeEnd(_), _) => return Err(LINE),
            (Place::ChunkEnd(_), _) => return Err("a chunk that is longer than its size"),
            (Place::Trailers(line), byte) => {
                self.seen_bytes += 1;
                if self.seen_bytes > TRAILERS_BYTES_MAX {
                    return Err("trailers of more than 16 KiB");
                }
                match trailing(line, byte)? {
                    Some(line) => Place::Trailers(line),
                    None => Place::Head,
                }
            }
            (Place::Head | Place::Body(_) | Place::Chunk(_), _) => self.place,
        })
    }
}

/// The place in the trailers after a byte; `None` at their end.
fn trailing(line: Line, byte: u8) -> Result<Option<Line>, &'static str> {
    Ok(Some(match (line, byte) {
        (Line::Start, b'\r') => Line::LastReturn,
        (Line::LastReturn, b'\n') => return Ok(None),
        (Line::Start | Line::Name, byte) if is_token(byte) => Line::Name,
        (Line::Name, b':') => Line::Value,
        (Line::Value, b'\r') => Line::Return,
        (Line::Value, b'\t' | b' '..=b'~' | 0x80..) => Line::Value,
        (Line::Return, b'\n') => Line::Start,
        (Line::Start, b' ' | b'\t') => return Err("a folded line in trailers"),
        (Line::Start | Line::Name, _) => return Err("a trailer without a name"),
        (Line::Value | Line::Return | Line::LastReturn, _) => return Err("a stray control character in trailers"),
    }))
}

/// Reads the lines of a head for its framing. Control characters have been refused.
fn examine(head: &[u8]) -> Result<Body, Flaw> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().unwrap_or_default();
    let (mut length, mut is_chunked, mut fields) = (None, false, 0);
    for line in lines.filter(|line| !line.is_empty()) {
        fields += 1;
        if fields > FIELDS_MAX {
            let made = Flaw::new("a head with more than 100 fields");
            return Err(made.with(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Flaw::new("a folded line"));
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Flaw::new("a line that is no field"))?;
        let (name, value) = line.split_at(colon);
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(Flaw::new("a field whose name is none, or is followed by a space"));
        }
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.is_some() {
                return Err(Flaw::new("a body with two lengths"));
            }
            length = Some(number(value).ok_or(Flaw::new("a length that is no plain number"))?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                let made = Flaw::new("a transfer coding other than chunked");
                return Err(made.with(StatusCode::NOT_IMPLEMENTED));
            }
            is_chunked = true;
        }
    }
    match (length, is_chunked) {
        (Some(_), true) => Err(Flaw::new("a body with a length and in chunks")),
        (None, true) if !first.ends_with(b" HTTP/1.1") => Err(Flaw::new("chunks in a request before HTTP/1.1")),
        (None, true) => Ok(Body::Chunks),
        (Some(0) | None, false) => Ok(Body::None),
        (Some(length), false) => Ok(Body::Length(length)),
    }
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit).then_some(text)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
