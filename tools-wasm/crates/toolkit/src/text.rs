//! Bytes of a file as text and back again: encoding, byte order mark, line endings. It never loses anything on the way:
//! what it cannot bring back, it says before anything is written.

use super::Failure;
use std::borrow::Cow;

/// How the bytes of a file stand for characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8, or ASCII.
    Utf8,
    /// UTF-8 with bytes in it that are not; they are kept as they are.
    BrokenUtf8,
    /// UTF-16, the lower byte first.
    Utf16Le,
    /// UTF-16, the higher byte first.
    Utf16Be,
    /// ISO 8859-1: each byte is the character of that number.
    Latin1,
}

impl Encoding {
    /// As answers name it.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Utf8 => "utf-8",
            Encoding::BrokenUtf8 => "utf-8 with invalid bytes",
            Encoding::Utf16Le => "utf-16le",
            Encoding::Utf16Be => "utf-16be",
            Encoding::Latin1 => "latin-1",
        }
    }
}

/// What the bytes of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Text, in this encoding, after a mark of so many bytes.
    Text(Encoding, usize),
    /// A picture of this media type, which can be shown.
    Image(&'static str),
    /// Something else, as far as it is known.
    Binary(&'static str),
}

/// How many bytes decide what a file is.
pub const HEAD_BYTES: usize = 64 * 1024;

const IMAGES: [(&[u8], &str); 4] = [
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
];

const BINARIES: [(&[u8], &str); 12] = [
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a zip archive (or a document made of one)"),
    (b"\x1f\x8b", "gzip data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ\0", "xz data"),
    (b"\x28\xb5\x2f\xfd", "zstd data"),
    (b"\x7fELF", "a program or library"),
    (b"\0asm", "a WebAssembly module"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\xca\xfe\xba\xbe", "a Java class or a universal binary"),
    (b"OggS", "Ogg media"),
    (b"ID3", "an MP3 file"),
];

/// What the beginning of a file says that it is; `whole` when there is no more than this beginning.
pub fn detect(head: &[u8], whole: bool) -> Content {
    if let Some((_, name)) = IMAGES.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Content::Image(name);
    }
    if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        return Content::Image("image/webp");
    }
    for (mark, encoding) in
        [(&b"\xef\xbb\xbf"[..], Encoding::Utf8), (b"\xff\xfe", Encoding::Utf16Le), (b"\xfe\xff", Encoding::Utf16Be)]
    {
        if let Some(rest) = head.strip_prefix(mark) {
            let broken = encoding == Encoding::Utf8 && !is_utf8(rest, whole);
            return Content::Text(if broken { Encoding::BrokenUtf8 } else { encoding }, mark.len());
        }
    }
    // A text may begin with letters that also begin a format; every PDF says that it is one, though it may look like text.
    let is_text = !head.contains(&0) && is_utf8(head, whole);
    let says_enough = |magic: &[u8]| magic == b"%PDF-" || !magic.iter().all(u8::is_ascii_graphic);
    let known = BINARIES.iter().find(|(magic, _)| head.starts_with(magic));
    if let Some((_, name)) = known.filter(|(magic, _)| says_enough(magic) || !is_text) {
        return Content::Binary(name);
    }
    if is_text {
        return Content::Text(Encoding::Utf8, 0);
    }
    if head.contains(&0) {
        return unmarked_utf16(head).map_or(Content::Binary("binary data"), |encoding| Content::Text(encoding, 0));
    }
    eight_bits(head)
}

/// UTF-8 that may be cut in the middle of its last character when it goes on.
fn is_utf8(bytes: &[u8], whole: bool) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => !whole && error.error_len().is_none(),
    }
}

/// Text of mostly Latin letters has a zero in every second byte.
fn unmarked_utf16(head: &[u8]) -> Option<Encoding> {
    let pairs = head.len() / 2;
    if pairs < 2 {
        return None;
    }
    let zeros = |from: usize| head.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    if even == 0 && odd * 10 > pairs * 7 {
        return Some(Encoding::Utf16Le);
    }
    (odd == 0 && even * 10 > pairs * 7).then_some(Encoding::Utf16Be)
}

/// Neither zeros nor UTF-8: text of an older encoding, UTF-8 with some damage, or no text at all.
fn eight_bits(head: &[u8]) -> Content {
    let controls = head.iter().filter(|byte| **byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b));
    if controls.count() * 50 > head.len() {
        return Content::Binary("binary data");
    }
    let (mut characters, mut wrong) = (0usize, 0usize);
    for chunk in head.utf8_chunks() {
        characters += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        wrong += chunk.invalid().len();
    }
    Content::Text(if characters >= wrong { Encoding::BrokenUtf8 } else { Encoding::Latin1 }, 0)
}

/// A file's text. The bytes are UTF-8, except where the encoding says that some of them are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// What the file is in.
    pub encoding: Encoding,
    /// Whether a byte order mark stands before it.
    pub mark: bool,
    /// Without the mark.
    pub bytes: Vec<u8>,
}

impl Text {
    /// The text of a whole file; none when it is not text.
    pub fn decode(file: &[u8]) -> Result<Text, Content> {
        let mut content = detect(file.get(..HEAD_BYTES).unwrap_or(file), file.len() <= HEAD_BYTES);
        // The beginning decides what it is; the rest may still be damaged.
        if content == Content::Text(Encoding::Utf8, 0) && std::str::from_utf8(file).is_err() {
            content = eight_bits(file);
        }
        let Content::Text(encoding, mark) = content else { return Err(content) };
        let rest = file.get(mark..).unwrap_or_default();
        let damaged = encoding == Encoding::Utf8 && std::str::from_utf8(rest).is_err();
        let encoding = if damaged { Encoding::BrokenUtf8 } else { encoding };
        let bytes = to_utf8(rest, encoding).ok_or(Content::Binary("UTF-16 with a broken character in it"))?;
        Ok(Text { encoding, mark: mark > 0, bytes: bytes.into_owned() })
    }

    /// The bytes of the file; the refusal names the character that the encoding has not.
    pub fn encode(&self) -> Result<Vec<u8>, Failure> {
        let mut file = Vec::with_capacity(self.bytes.len() + 3);
        let lossless = |bytes| {
            std::str::from_utf8(bytes)
                .map_err(|_| Failure::refused("the text is not UTF-8 any more; nothing was changed"))
        };
        match self.encoding {
            Encoding::Utf8 | Encoding::BrokenUtf8 => {
                if self.mark {
                    file.extend_from_slice(b"\xef\xbb\xbf");
                }
                file.extend_from_slice(&self.bytes);
            }
            Encoding::Latin1 => {
                for c in lossless(&self.bytes)?.chars() {
                    file.push(u8::try_from(u32::from(c)).map_err(|_| no_such_character(c))?);
                }
            }
            Encoding::Utf16Le | Encoding::Utf16Be => {
                let mark = self.mark.then_some('\u{feff}');
                for unit in mark.into_iter().chain(lossless(&self.bytes)?.chars()).flat_map(units) {
                    let [low, high] = unit.to_le_bytes();
                    let pair = if self.encoding == Encoding::Utf16Le { [low, high] } else { [high, low] };
                    file.extend_from_slice(&pair);
                }
            }
        }
        Ok(file)
    }
}

fn units(c: char) -> impl Iterator<Item = u16> {
    let mut buffer = [0; 2];
    let length = c.encode_utf16(&mut buffer).len();
    buffer.into_iter().take(length)
}

fn no_such_character(c: char) -> Failure {
    Failure::refused(format!(
        "the file is in latin-1, which has no \"{c}\"; use characters up to U+00FF, or write the file anew in UTF-8"
    ))
}

/// What the bytes mean, as UTF-8; none where UTF-16 is broken. Damaged UTF-8 stays damaged.
pub fn to_utf8(bytes: &[u8], encoding: Encoding) -> Option<Cow<'_, [u8]>> {
    Some(match encoding {
        Encoding::Utf8 | Encoding::BrokenUtf8 => Cow::Borrowed(bytes),
        Encoding::Latin1 => Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into_bytes()),
        Encoding::Utf16Le | Encoding::Utf16Be => {
            let (pairs, rest) = bytes.as_chunks::<2>();
            if !rest.is_empty() {
                return None;
            }
            let unit = |pair: &[u8; 2]| {
                if encoding == Encoding::Utf16Le { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) }
            };
            let text: String = char::decode_utf16(pairs.iter().map(unit)).collect::<Result<_, _>>().ok()?;
            Cow::Owned(text.into_bytes())
        }
    })
}

/// How lines end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endings {
    /// There is no line end.
    None,
    /// Line feeds.
    Lf,
    /// Carriage return and line feed.
    Crlf,
    /// Both, and which are more.
    Mixed {
        /// Whether most lines end with CRLF.
        mostly_crlf: bool,
    },
}

impl Endings {
    /// Of a text.
    pub fn of(bytes: &[u8]) -> Endings {
        let (mut lf, mut crlf) = (0usize, 0usize);
        for at in memchr::memchr_iter(b'\n', bytes) {
            if at > 0 && bytes.get(at - 1) == Some(&b'\r') { crlf += 1 } else { lf += 1 }
        }
        match (lf, crlf) {
            (0, 0) => Endings::None,
            (_, 0) => Endings::Lf,
            (0, _) => Endings::Crlf,
            (_, _) => Endings::Mixed { mostly_crlf: crlf > lf },
        }
    }

    /// As answers name it.
    pub fn name(self) -> &'static str {
        match self {
            Endings::None => "none",
            Endings::Lf => "lf",
            Endings::Crlf => "crlf",
            Endings::Mixed { .. } => "mixed",
        }
    }

    /// Whether a new line among these should end with CRLF.
    pub fn new_line_is_crlf(self) -> bool {
        match self {
            Endings::Crlf => true,
            Endings::Mixed { mostly_crlf } => mostly_crlf,
            Endings::None | Endings::Lf => false,
        }
    }
}

/// Each line with its end.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        rest = after;
        Some(line)
    })
}

/// A line without its end.
pub fn chomp(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The number of the line, counted from 1, in which an offset lies.
pub fn line_of(bytes: &[u8], offset: usize) -> usize {
    memchr::memchr_iter(b'\n', bytes.get(..offset).unwrap_or(bytes)).count() + 1
}

/// The beginning of a text, no longer than so many bytes and whole characters.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

/// A line as it is shown: what is not UTF-8 as replacement characters, what is too long cut, and said to be.
pub fn shown(line: &[u8], chars_max: usize) -> String {
    let (text, cut) = first_chars(line, chars_max);
    if cut { format!("{text}{}", long_line(line.len())) } else { text }
}

/// What stands after the beginning of a line that is too long.
pub fn long_line(bytes: usize) -> String {
    format!("… [the line has {bytes} bytes]")
}

/// The first characters of a line, and whether there are more.
pub fn first_chars(line: &[u8], chars_max: usize) -> (String, bool) {
    // Four bytes are the longest character: no more than these are looked at, however long the line is.
    let head = line.get(..chars_max.saturating_mul(4)).unwrap_or(line);
    let text = String::from_utf8_lossy(head);
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => (text.get(..end).unwrap_or(&text).to_owned(), true),
        None => (text.into_owned(), head.len() < line.len()),
    }
}

#[cfg(test)]
mod tests;
