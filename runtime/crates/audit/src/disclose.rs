//! Disclosures (after RFC 9901, SD-JWT): a leaf carries a salted digest, the value lies beside the log and can be erased.
//! It never puts a value into a leaf, and never uses a salt twice.

use crate::error::{AuditError, Result};
use crate::merkle::{Hash, sha256};
use crate::record::LogPath;
use crate::text::{base64url, unbase64url};
use serde::{Deserialize, Serialize};

/// Bytes of an opening at most: an argument vector and environment as large as `execve(2)` takes fit.
pub const OPENING_BYTES_MAX: usize = 16 << 20;
/// Bytes of a salt: 128 bits stop the guessing of short values.
pub const SALT_BYTES: usize = 16;

/// A value that is recorded as a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disclosed {
    /// What it is: `argv`, `env`, `cwd`, `args`.
    pub name: String,
    /// The value.
    pub value: Value,
}

/// A value behind a digest. Bytes are encoded as paths are: a JSON string when UTF-8, else `{"b64":…}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// One string of bytes.
    Bytes(LogPath),
    /// An argument vector.
    List(Vec<LogPath>),
    /// An environment.
    Pairs(Vec<(LogPath, LogPath)>),
}

impl Disclosed {
    /// An argument vector, named `argv`.
    pub fn argv<A: AsRef<[u8]>>(args: impl IntoIterator<Item = A>) -> Self {
        let list = args.into_iter().map(|arg| LogPath(arg.as_ref().to_vec())).collect();
        Self { name: "argv".to_owned(), value: Value::List(list) }
    }

    /// An environment, named `env`.
    pub fn env<K: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let path = |bytes: &[u8]| LogPath(bytes.to_vec());
        let pairs = pairs.into_iter().map(|(k, v)| (path(k.as_ref()), path(v.as_ref()))).collect();
        Self { name: "env".to_owned(), value: Value::Pairs(pairs) }
    }

    /// A working directory, named `cwd`.
    #[must_use]
    pub fn cwd(path: impl Into<LogPath>) -> Self {
        Self { name: "cwd".to_owned(), value: Value::Bytes(path.into()) }
    }

    /// Bytes with any name.
    pub fn bytes(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), value: Value::Bytes(LogPath(bytes.into())) }
    }

    /// The opening under this salt: base64url of `["<salt>","<name>",<value>]`.
    pub(crate) fn opening(&self, salt: [u8; SALT_BYTES]) -> Result<Opening> {
        let triple = (base64url(&salt), &self.name, &self.value);
        let json = serde_json::to_vec(&triple)
            .map_err(|error| AuditError::Invalid { what: "a disclosure", why: error.to_string() })?;
        let text = base64url(&json);
        if text.len() > OPENING_BYTES_MAX {
            return Err(AuditError::TooLarge {
                what: "a disclosed value",
                bytes: text.len(),
                bytes_max: OPENING_BYTES_MAX,
            });
        }
        Ok(Opening { text })
    }
}

/// What proves a value behind a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    text: String,
}

impl Opening {
    /// The opening in a line of an `openings` file. `None` when it is none.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let opening = Self { text: line.to_owned() };
        opening.reveal()?;
        Some(opening)
    }

    /// Its text: one line, without the newline.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The digest that stands in the leaf.
    #[must_use]
    pub fn digest(&self) -> Hash {
        sha256(self.text.as_bytes())
    }

    /// The value.
    #[must_use]
    pub fn reveal(&self) -> Option<Disclosed> {
        let json = unbase64url(&self.text)?;
        let (salt, name, value): (String, String, Value) = serde_json::from_slice(&json).ok()?;
        (unbase64url(&salt)?.len() == SALT_BYTES).then_some(Disclosed { name, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_reveals_what_went_in_and_its_digest_depends_on_the_salt() {
        let cases = [
            Disclosed::argv(["cargo", "test"]),
            Disclosed::argv([&b"\xff\x00"[..]]),
            Disclosed::env([("A", "1"), ("B", "")]),
            Disclosed::cwd("/tmp"),
            Disclosed::argv(Vec::<&str>::new()),
        ];
        for value in cases {
            let (a, b) = (value.opening([1; 16]).expect("small"), value.opening([2; 16]).expect("small"));
            assert_ne!(a.digest(), b.digest());
            let again = Opening::parse(a.as_str()).expect("own opening parses");
            assert_eq!(again.digest(), a.digest());
            assert_eq!(
                again.reveal().map(|d| serde_json::to_string(&d.value).ok()),
                Some(serde_json::to_string(&value.value).ok())
            );
        }
    }
}
