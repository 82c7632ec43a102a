//! The small values that records are made of: digests, paths, names.
//! It never has two encodings for one value.

use crate::merkle::Hash;
use crate::text::{base64url, hex, printable_bytes, unbase64url, unhex};
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A SHA-256 value, on disk 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub Hash);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0u8; 64];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        serializer.serialize_str(std::str::from_utf8(&text).expect("hex digits are ASCII"))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Digest;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 lowercase hexadecimal digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
                unhex(text).map(Digest).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Name of a blob in a git repository of the usual kind: SHA-1 over `blob LENGTH\0CONTENT`, on disk 40 lowercase hexadecimal
/// digits. It joins a record with commits; what proves the content is the [`Digest`] beside it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GitId(pub [u8; 20]);

impl fmt::Display for GitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for GitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GitId({self})")
    }
}

impl Serialize for GitId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GitId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = GitId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("40 lowercase hexadecimal digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<GitId, E> {
                unhex(text).map(GitId).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A path as the kernel knows it: bytes. On disk a JSON string when it is UTF-8, else `{"b64":"<base64url>"}`; so each
/// path has exactly one encoding.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogPath(pub Vec<u8>);

impl LogPath {
    /// The path as text that is safe to show.
    #[must_use]
    pub fn printable(&self) -> String {
        printable_bytes(&self.0)
    }
}

impl From<&std::path::Path> for LogPath {
    fn from(path: &std::path::Path) -> Self {
        use std::os::unix::ffi::OsStrExt as _;
        Self(path.as_os_str().as_bytes().to_vec())
    }
}

impl From<&str> for LogPath {
    fn from(path: &str) -> Self {
        Self(path.as_bytes().to_vec())
    }
}

impl fmt::Debug for LogPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogPath({})", self.printable())
    }
}

impl Serialize for LogPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("b64", &base64url(&self.0))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for LogPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = LogPath;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or {\"b64\": …} for bytes that are not UTF-8")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<LogPath, E> {
                Ok(LogPath(text.as_bytes().to_vec()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LogPath, A::Error> {
                let wrong = || de::Error::custom("not the one encoding of a path");
                let (key, text) = map.next_entry::<String, String>()?.ok_or_else(wrong)?;
                let bytes = unbase64url(&text).filter(|bytes| std::str::from_utf8(bytes).is_err()).ok_or_else(wrong)?;
                if key != "b64" || map.next_entry::<String, String>()?.is_some() {
                    return Err(wrong());
                }
                Ok(LogPath(bytes))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Content in the blob store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobRef {
    /// SHA-256 of the stored bytes (the ciphertext): name of the blob.
    pub h: Digest,
    /// Commitment to the content: SHA-256(salt ‖ content), the salt being inside the ciphertext.
    pub c: Digest,
    /// Bytes of the content.
    pub z: u64,
}

/// Why a name is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameError;

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name has 1 to 64 characters of A-Z a-z 0-9 . _ : -")
    }
}

impl std::error::Error for NameError {}

/// Name of a call within its session, 1 to 64 characters of `A-Z a-z 0-9 . _ : -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(String);

impl CallId {
    /// A call's name.
    ///
    /// # Errors
    /// When the text has other characters or another length.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) { Ok(Self(text)) } else { Err(NameError) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Name of a session: a ULID, 26 characters of Crockford's base 32, that sorts by time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(String);

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl SessionId {
    /// The id for a session that starts at `wall_ns`, made unique by 80 random bits.
    #[must_use]
    pub fn new(wall_ns: u64, random: [u8; 10]) -> Self {
        let mut bits = u128::from(wall_ns / 1_000_000) << 80;
        bits |= random.iter().fold(0u128, |acc, byte| acc << 8 | u128::from(*byte));
        let digit = |i: u32| char::from(CROCKFORD[(bits >> (5 * (25 - i)) & 31) as usize]);
        Self((0..26).map(digit).collect())
    }

    /// The id in a text.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        let first = matches!(text.as_bytes().first(), Some(b'0'..=b'7'));
        let ulid = text.len() == 26 && first && text.bytes().all(|b| CROCKFORD.contains(&b));
        if ulid { Ok(Self(text)) } else { Err(NameError) }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SessionId {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.0
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
