//! Spellings that replace characters: hexadecimal, percent, JSON, HTML, UTF-16.
//! It never reads anything but the secret.

use super::{Digits, Form, Spelling, copied, spelled};
use zeroize::Zeroizing;

/// A new line of one kind where the secret has the other.
pub(super) fn line_ends(plain: &[u8], all: &mut Vec<Spelling>) {
    if !plain.contains(&b'\n') {
        return;
    }
    let unix = spelled(plain, 1, |byte, out| out.extend(Some(byte).filter(|byte| *byte != b'\r')));
    let dos = spelled(&unix, 2, |byte, out| match byte {
        b'\n' => out.extend(b"\r\n"),
        _ => out.push(byte),
    });
    all.push(Spelling::new(Form::Raw, unix));
    all.push(Spelling::new(Form::Raw, dos));
}

pub(super) fn hex(plain: &[u8], all: &mut Vec<Spelling>) {
    for digits in Digits::BOTH {
        all.push(Spelling::new(Form::Hex, spelled(plain, 2, |byte, out| digits.pair(byte, out))));
    }
}

/// RFC 3986, section 2.3.
pub(super) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// What the usual encoders keep: the RFC; `encodeURIComponent`; segments of a path; `encodeURI`; forms; nothing.
const KEPT: [fn(u8) -> bool; 6] = [
    is_unreserved,
    |byte| is_unreserved(byte) || b"!'()*".contains(&byte),
    |byte| is_unreserved(byte) || b"/".contains(&byte),
    |byte| is_unreserved(byte) || b"!'()*;/?:@&=+$,#".contains(&byte),
    |byte| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte),
    |_| false,
];

/// Each kept set with both cases, a space as `%20` and as `+`; and once more over that.
pub(super) fn percent(plain: &[u8], all: &mut Vec<Spelling>) {
    for digits in Digits::BOTH {
        for kept in KEPT {
            let mut once = vec![percent_of(plain, kept, digits)];
            if plain.contains(&b' ') {
                once.push(spelled(plain, 3, |byte, out| match byte {
                    b' ' => out.push(b'+'),
                    _ => percent_one(byte, kept, digits, out),
                }));
            }
            for text in once {
                all.push(Spelling::new(Form::PercentTwice, percent_of(&text, is_unreserved, digits)));
                all.push(Spelling::new(Form::Percent, text));
            }
        }
    }
}

pub(super) fn percent_of(plain: &[u8], kept: fn(u8) -> bool, digits: Digits) -> Zeroizing<Vec<u8>> {
    spelled(plain, 3, |byte, out| percent_one(byte, kept, digits, out))
}

fn percent_one(byte: u8, kept: fn(u8) -> bool, digits: Digits, out: &mut Vec<u8>) {
    if kept(byte) {
        return out.push(byte);
    }
    out.push(b'%');
    digits.pair(byte, out);
}

/// What a writer of JSON escapes although it need not, as `\u00XX`.
const JSON_EXTRA: [&[u8]; 4] = [
    b"",
    // Go, and what puts JSON into HTML.
    b"<>&",
    b"<>&'",
    // .NET.
    b"<>&'\"+`",
];

/// How far a writer of JSON goes.
#[derive(Clone, Copy)]
struct Json {
    digits: Digits,
    extra: &'static [u8],
    is_slash_escaped: bool,
    is_ascii_only: bool,
}

pub(super) fn json(plain: &[u8], all: &mut Vec<Spelling>) {
    for digits in Digits::BOTH {
        for extra in JSON_EXTRA {
            for is_slash_escaped in [false, true] {
                for is_ascii_only in [false, true] {
                    let style = Json { digits, extra, is_slash_escaped, is_ascii_only };
                    all.push(Spelling::new(Form::Json, style.of(plain)));
                }
            }
        }
        all.push(Spelling::new(Form::Json, utf16_escaped(plain, digits)));
        let plainly = Json { digits, extra: b"", is_slash_escaped: false, is_ascii_only: false };
        all.push(Spelling::new(Form::Json, plainly.of(&plainly.of(plain))));
    }
}

impl Json {
    fn of(self, plain: &[u8]) -> Zeroizing<Vec<u8>> {
        let text = std::str::from_utf8(plain).ok();
        let Some(text) = text.filter(|_| self.is_ascii_only) else {
            return spelled(plain, 6, |byte, out| self.byte(byte, out));
        };
        let mut out = Zeroizing::new(Vec::with_capacity(6 * plain.len()));
        for one in text.chars() {
            match u8::try_from(one) {
                Ok(byte) if byte.is_ascii() => self.byte(byte, &mut out),
                Ok(_) | Err(_) => {
                    let mut units = [0; 2];
                    one.encode_utf16(&mut units).iter().for_each(|unit| json_unit(*unit, self.digits, &mut out));
                }
            }
        }
        out
    }

    fn byte(self, byte: u8, out: &mut Vec<u8>) {
        let short = match byte {
            _ if self.extra.contains(&byte) => None,
            b'"' | b'\\' => Some(byte),
            b'/' if self.is_slash_escaped => Some(byte),
            b'\n' => Some(b'n'),
            b'\r' => Some(b'r'),
            b'\t' => Some(b't'),
            8 => Some(b'b'),
            12 => Some(b'f'),
            0..=31 => None,
            _ => return out.push(byte),
        };
        match short {
            Some(letter) => out.extend([b'\\', letter]),
            None => json_unit(u16::from(byte), self.digits, out),
        }
    }
}

fn json_unit(unit: u16, digits: Digits, out: &mut Vec<u8>) {
    let unit = u32::from(unit);
    out.extend([b'\\', b'u', digits.of(unit >> 12), digits.of(unit >> 8), digits.of(unit >> 4), digits.of(unit)]);
}

/// Every character as `\uXXXX`.
fn utf16_escaped(plain: &[u8], digits: Digits) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(6 * plain.len()));
    each_unit(plain, |unit| json_unit(unit, digits, &mut out));
    out
}

/// `/` as `\/`.
pub(super) fn slashed(text: &[u8]) -> Zeroizing<Vec<u8>> {
    spelled(text, 2, |byte, out| match byte {
        b'/' => out.extend(b"\\/"),
        _ => out.push(byte),
    })
}

/// How the usual escapers write `"` and `'`: the standard's names, Python, Go, PHP, underscore.
const QUOTES: [(&str, &str); 5] =
    [("&quot;", "&apos;"), ("&quot;", "&#x27;"), ("&#34;", "&#39;"), ("&quot;", "&#39;"), ("&quot;", "&#039;")];

/// Which characters become numeric references.
#[derive(Clone, Copy)]
enum Numbered {
    /// All that are neither letters nor digits, as OWASP asks for.
    Special,
    /// All.
    Every,
}

pub(super) fn html(plain: &[u8], all: &mut Vec<Spelling>) {
    for (double, single) in QUOTES {
        // mustache and handlebars escape more than the five.
        for extra in [&b""[..], b"/=`"] {
            let text = spelled(plain, 6, |byte, out| match byte {
                b'&' => out.extend(b"&amp;"),
                b'<' => out.extend(b"&lt;"),
                b'>' => out.extend(b"&gt;"),
                b'"' => out.extend(double.as_bytes()),
                b'\'' => out.extend(single.as_bytes()),
                _ if extra.contains(&byte) => hex_reference(byte, Digits::Upper, out),
                _ => out.push(byte),
            });
            all.push(Spelling::new(Form::Html, text));
        }
    }
    for numbered in [Numbered::Special, Numbered::Every] {
        let is_kept =
            |one: char| matches!(numbered, Numbered::Special) && (one.is_ascii_alphanumeric() || !one.is_ascii());
        for base in ["x", "X", ""] {
            let mut text = Zeroizing::new(Vec::with_capacity(10 * plain.len()));
            each_char(plain, |one| match (base, u32::from(one)) {
                _ if is_kept(one) => text.extend_from_slice(one.encode_utf8(&mut [0; 4]).as_bytes()),
                ("x", code) => text.extend(format!("&#x{code:02x};").bytes()),
                ("X", code) => text.extend(format!("&#x{code:02X};").bytes()),
                (_, code) => text.extend(format!("&#{code};").bytes()),
            });
            all.push(Spelling::new(Form::Html, text));
        }
    }
}

/// `&#x2f;`
fn hex_reference(byte: u8, digits: Digits, out: &mut Vec<u8>) {
    out.extend(b"&#x");
    digits.pair(byte, out);
    out.push(b';');
}

pub(super) fn utf16(plain: &[u8], all: &mut Vec<Spelling>) {
    for write in [u16::to_le_bytes, u16::to_be_bytes] {
        let mut text = Zeroizing::new(Vec::with_capacity(2 * plain.len()));
        each_unit(plain, |unit| text.extend(write(unit)));
        all.push(Spelling::new(Form::Utf16, text));
    }
    // Big-endian, the first byte of an ASCII text is a zero that tells nothing and is often the end of something else.
    let narrow = all.last().filter(|last| last.bytes.first() == Some(&0)).map(|last| copied(&last.bytes[1..]));
    all.extend(narrow.map(|bytes| Spelling::new(Form::Utf16, bytes)));
}

/// The characters; bytes that are not UTF-8 count as one each.
fn each_char(plain: &[u8], take: impl FnMut(char)) {
    match std::str::from_utf8(plain) {
        Ok(text) => text.chars().for_each(take),
        Err(_) => plain.iter().map(|byte| char::from(*byte)).for_each(take),
    }
}

/// The units of UTF-16; bytes that are not UTF-8 count as one character each.
fn each_unit(plain: &[u8], mut take: impl FnMut(u16)) {
    match std::str::from_utf8(plain) {
        Ok(text) => text.encode_utf16().for_each(take),
        Err(_) => plain.iter().for_each(|byte| take(u16::from(*byte))),
    }
}
