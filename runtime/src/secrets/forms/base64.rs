//! Base64 of a secret that stands anywhere in a longer text.
//! It never makes a character of which a part is somebody else's, but the last one where the text ends with the secret.

use super::{Digits, Form, Spelling, escape};
use zeroize::Zeroizing;

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Columns at which base64(1), MIME (RFC 2045) and PEM (RFC 7468) begin a new line.
const COLUMNS: [usize; 2] = [76, 64];

/// How the text ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Something follows: the last character is not known.
    Open,
    /// The text ends with the secret.
    Closed,
    /// And is filled up with `=`.
    Padded,
}

/// Both alphabets at three alignments. A character that has bits of a neighbour is left out, so of a secret that stands
/// between others at most four bits remain at its front and four at its back.
pub(super) fn every(plain: &[u8], all: &mut Vec<Spelling>) {
    for (alphabet, form) in [(STANDARD, Form::Base64), (URL, Form::Base64Url)] {
        for before in 0..3 {
            for end in [End::Open, End::Closed, End::Padded] {
                push(encoded(plain, before, alphabet, end), form, all);
            }
        }
    }
    let (open, padded) = (encoded(plain, 0, STANDARD, End::Open), encoded(plain, 0, STANDARD, End::Padded));
    for columns in COLUMNS {
        for line_end in ["\n", "\r\n"] {
            for text in [&open, &padded] {
                all.push(Spelling::new(Form::Base64, wrapped(text, columns, line_end.as_bytes())));
            }
        }
    }
}

/// `user:secret`, whose every bit is known.
pub(super) fn basic(user: &str, plain: &[u8], all: &mut Vec<Spelling>) {
    let mut pair = Zeroizing::new(Vec::with_capacity(user.len() + 1 + plain.len()));
    pair.extend_from_slice(user.as_bytes());
    pair.push(b':');
    pair.extend_from_slice(plain);
    for alphabet in [STANDARD, URL] {
        for end in [End::Closed, End::Padded] {
            push(encoded(&pair, 0, alphabet, end), Form::Basic, all);
        }
    }
}

/// The text, and what becomes of it in a URL or in JSON that escapes `/`.
fn push(text: Zeroizing<Vec<u8>>, form: Form, all: &mut Vec<Spelling>) {
    if text.iter().any(|byte| b"+/=".contains(byte)) {
        for digits in Digits::BOTH {
            all.push(Spelling::new(form, escape::percent_of(&text, escape::is_unreserved, digits)));
        }
        all.push(Spelling::new(form, escape::slashed(&text)));
    }
    all.push(Spelling::new(form, text));
}

/// The characters of `plain` where `before` bytes stand in front of it in its group of three.
fn encoded(plain: &[u8], before: usize, alphabet: &[u8; 64], end: End) -> Zeroizing<Vec<u8>> {
    let (first_bit, end_bit) = (8 * before, 8 * (before + plain.len()));
    let (first, whole) = (first_bit.div_ceil(6), end_bit / 6);
    let last = if end == End::Open { whole } else { end_bit.div_ceil(6) };
    let mut text = Zeroizing::new(Vec::with_capacity(last - first + 3));
    text.extend((first..last).map(|place| alphabet[sextet(plain, 6 * place - first_bit)]));
    if end == End::Padded {
        text.extend((last % 4..4).filter(|_| !last.is_multiple_of(4)).map(|_| b'='));
    }
    text
}

/// Six bits of `plain` from a bit on; zeros follow its end.
fn sextet(plain: &[u8], bit: usize) -> usize {
    let byte = |at: usize| usize::from(plain.get(at).copied().unwrap_or_default());
    let pair = byte(bit / 8) << 8 | byte(bit / 8 + 1);
    (pair >> (10 - bit % 8)) & 63
}

/// Begins a new line after so many characters.
fn wrapped(text: &[u8], columns: usize, line_end: &[u8]) -> Zeroizing<Vec<u8>> {
    let lines = text.len().div_ceil(columns);
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() + lines * line_end.len()));
    for (number, line) in text.chunks(columns).enumerate() {
        if number > 0 {
            out.extend_from_slice(line_end);
        }
        out.extend_from_slice(line);
    }
    out
}
