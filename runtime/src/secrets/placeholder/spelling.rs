//! The spellings of text: base64, hex, two bytes a character, and escapes of URLs, JSON and HTML.
//! It never fails: what is no spelling is left as it is.

/// How a placeholder was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spelling {
    /// As it is.
    Raw,
    /// With percent signs, `\u`, `\x` or `&#`.
    Escaped,
    /// In base64, of either alphabet, alone or within more text.
    Base64,
    /// In hex.
    Hex,
    /// Two bytes for each character.
    Wide,
}

/// Text without its escapes, and where each byte of it began.
#[derive(Debug)]
pub(super) struct Unescaped {
    pub(super) bytes: Vec<u8>,
    pub(super) origin: Vec<usize>,
}

/// Whether there can be an escape, or a line that was folded.
pub(super) fn may_be_escaped(bytes: &[u8]) -> bool {
    // In blocks without a branch inside, which compilers turn into vector instructions.
    bytes.chunks(64).any(|block| {
        block.iter().fold(false, |any, &byte| any | (byte == b'%') | (byte == b'\\') | (byte == b'&') | (byte == b'\n'))
    })
}

/// Takes one layer of escapes and folds away; `None` when there was none.
pub(super) fn unescape(bytes: &[u8]) -> Option<Unescaped> {
    let mut out = Unescaped { bytes: Vec::with_capacity(bytes.len()), origin: Vec::with_capacity(bytes.len()) };
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let (byte, taken) = one(rest);
        if let Some(byte) = byte {
            out.bytes.push(byte);
            out.origin.push(at);
        }
        at += taken;
    }
    (out.bytes.len() < bytes.len()).then_some(out)
}

/// The first byte that the text means, and how many bytes say so. A line's end means nothing: base64 is folded by it.
fn one(rest: &[u8]) -> (Option<u8>, usize) {
    let plain = |rest: &[u8]| (rest.first().copied(), 1);
    match rest {
        [b'%', high, low, ..] => match hex_pair(*high, *low) {
            Some(byte) => (Some(byte), 3),
            None => plain(rest),
        },
        [b'\\', b'u' | b'U', b'0', b'0', high, low, ..] => match hex_pair(*high, *low) {
            Some(byte) => (Some(byte), 6),
            None => plain(rest),
        },
        [b'\\', b'x', high, low, ..] => match hex_pair(*high, *low) {
            Some(byte) => (Some(byte), 4),
            None => plain(rest),
        },
        [b'\\', b'n' | b'r', ..] => (None, 2),
        [b'\\', b'/', ..] => (Some(b'/'), 2),
        [b'&', b'#', digits @ ..] => {
            entity(digits).map_or_else(|| plain(rest), |(byte, taken)| (Some(byte), 2 + taken))
        }
        [b'\r' | b'\n', ..] => (None, 1),
        _ => plain(rest),
    }
}

/// `115;` or `x73;`, of at most eight characters.
fn entity(digits: &[u8]) -> Option<(u8, usize)> {
    let end = digits.iter().take(9).position(|&byte| byte == b';')?;
    let text = str::from_utf8(digits.get(..end)?).ok()?;
    let number = match text.strip_prefix(['x', 'X']) {
        Some(hex) => u8::from_str_radix(hex, 16),
        None => text.parse(),
    };
    Some((number.ok()?, end + 1))
}

/// The byte that two hex digits mean.
pub(super) fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// The six bits that a character of base64 means, in either alphabet.
pub(super) fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// The character of base64 for six bits.
pub(super) fn character(sextet: u8) -> u8 {
    match sextet & 63 {
        upper @ 0..=25 => b'A' + upper,
        lower @ 26..=51 => b'a' + lower - 26,
        digit @ 52..=61 => b'0' + digit - 52,
        62 => b'+',
        _ => b'/',
    }
}
