//! Paths as text in a serialised plan: UTF-8 as it is, a backslash doubled, any other byte as `\xNN`.
//! It never loses a byte: what is written reads back as the same path.

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&escape(path))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = unescape(&text).ok_or_else(|| D::Error::custom("a path with a broken escape"))?;
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

/// A list of paths.
pub(super) mod list {
    use super::{Deserialize as _, Deserializer, Path, PathBuf, Serializer, deserialize as one};
    use serde::Serialize as _;

    #[derive(serde::Deserialize)]
    struct Read(#[serde(deserialize_with = "one")] PathBuf);

    pub(in crate::plan) fn serialize<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
        paths.iter().map(|path: &PathBuf| super::escape(Path::new(path))).collect::<Vec<_>>().serialize(serializer)
    }

    pub(in crate::plan) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
        Ok(Vec::<Read>::deserialize(deserializer)?.into_iter().map(|Read(path)| path).collect())
    }
}

/// The path as text.
pub(super) fn escape(path: &Path) -> String {
    escape_bytes(path.as_os_str().as_bytes())
}

/// Bytes as text.
pub(super) fn escape_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for (number, piece) in chunk.valid().split('\\').enumerate() {
            text.push_str(if number == 0 { "" } else { "\\\\" });
            text.push_str(piece);
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// The bytes that [`escape_bytes`] turned into this text.
pub(super) fn unescape(text: &str) -> Option<Vec<u8>> {
    if !text.contains('\\') {
        return Some(text.as_bytes().to_vec());
    }
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
    Some(bytes)
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
            assert_eq!(unescape(&escape(&path)), Some(bytes.to_vec()));
        }
    }

    #[test]
    fn a_broken_escape_is_refused() {
        for text in ["\\", "\\x", "\\x4", "\\xzz", "\\q"] {
            assert_eq!(unescape(text), None, "{text}");
        }
    }
}
