//! Paths as text in a serialised plan: UTF-8 as it is, a backslash doubled, any other byte as `\xNN`.
//! It never loses a byte: what is written reads back as the same path.

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&escape(path))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let text = String::deserialize(deserializer)?;
    unescape(&text).ok_or_else(|| D::Error::custom("a path with a broken escape"))
}

/// The path as text.
pub(super) fn escape(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                other => text.push(other),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// The path that [`escape`] turned into this text.
fn unescape(text: &str) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next()? {
            b'\\' => bytes.push(b'\\'),
            b'x' => bytes.push(hex_digit(rest.next()?)? * 16 + hex_digit(rest.next()?)?),
            _ => return None,
        }
    }
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

fn hex_digit(digit: u8) -> Option<u8> {
    u8::try_from(char::from(digit).to_digit(16)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_is_changed_by_writing_and_reading() {
        for bytes in [&b"/plain"[..], b"/a\\b", b"/a\\x41", b"/\xff\xfe/\xc3\xa4", b"", b"/\xc3", b"/new\nline"] {
            let path = PathBuf::from(OsString::from_vec(bytes.to_vec()));
            assert_eq!(unescape(&escape(&path)), Some(path));
        }
    }

    #[test]
    fn a_broken_escape_is_refused() {
        for text in ["\\", "\\x", "\\x4", "\\xzz", "\\q"] {
            assert_eq!(unescape(text), None, "{text}");
        }
    }
}
