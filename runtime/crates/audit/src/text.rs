//! Text encodings of the format (hex, base64) and the one way to show a stranger's bytes to a person.
//! It never passes a control character, an escape sequence or a direction mark through.

use base64ct::{Base64, Base64UrlUnpadded, Encoding as _};
use std::fmt::Write as _;

/// Lowercase hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}

/// Bytes of lowercase hexadecimal; `None` for anything else.
#[must_use]
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let nibble = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(out)
}

/// Standard base64 with padding: notes, checkpoints, proofs.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// Bytes of standard base64, canonical only.
#[must_use]
pub fn unbase64(text: &str) -> Option<Vec<u8>> {
    Base64::decode_vec(text).ok().filter(|bytes| base64(bytes) == text)
}

/// URL-safe base64 without padding: disclosures and their digests.
#[must_use]
pub fn base64url(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// Bytes of URL-safe base64 without padding, canonical only.
#[must_use]
pub fn unbase64url(text: &str) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(text).ok().filter(|bytes| base64url(bytes) == text)
}

/// Characters that change how a terminal or a reader sees the text around them: controls, direction marks and
/// isolates (Trojan Source, CVE-2021-42574), zero-width and invisible characters, line and paragraph separators, tags.
#[must_use]
pub fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{fffc}' | '\u{115f}' | '\u{1160}' | '\u{3164}'
        )
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Text that is safe to show: what deceives is written as `\u{…}`, a backslash as `\\`, so nothing is ambiguous.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push_printable(&mut out, c));
    out
}

/// Bytes that are safe to show: like [`printable`], and what is not UTF-8 as `\xNN`.
#[must_use]
pub fn printable_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push_printable(&mut out, c));
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("writing to a String succeeds");
        }
    }
    out
}

fn push_printable(out: &mut String, c: char) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\t' => out.push_str("\\t"),
        '\r' => out.push_str("\\r"),
        c if deceives(c) => write!(out, "\\u{{{:x}}}", u32::from(c)).expect("writing to a String succeeds"),
        c => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_or_a_reader_is_shown_raw() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable("x\u{202e}y\u{200b}"), "x\\u{202e}y\\u{200b}");
        assert_eq!(printable_bytes(b"ok \xff\\"), "ok \\xff\\\\");
        assert_eq!(printable("grüße/日本"), "grüße/日本");
    }

    #[test]
    fn hex_and_base64_accept_only_what_they_write() {
        assert_eq!(unhex::<2>("00ff"), Some([0, 255]));
        assert_eq!(unhex::<2>("00FF"), None);
        assert_eq!(unhex::<2>("00f"), None);
        assert_eq!(unbase64("AA=="), Some(vec![0]));
        assert_eq!(unbase64("AB=="), None, "trailing bits must be zero");
        assert_eq!(unbase64("AA"), None);
    }
}
