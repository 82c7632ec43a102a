//! The name of an image: `name`, `name:tag`, `name@sha256:…`, or the id `sha256:…` of one that is on this machine.
//! It never asks an engine.

use super::trouble::bounded;
use crate::error::{Error, Result};
use std::fmt;

/// Longest reference, bytes: a name may have 255, and a tag and a digest come after it.
const REFERENCE_BYTES_MAX: usize = 512;
/// Longest tag, bytes.
const TAG_BYTES_MAX: usize = 128;

/// A reference that can be part of a request: its characters mean nothing in an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// An image on this machine, by the hash of its configuration.
    Id {
        /// 64 hexadecimal digits.
        hex: String,
    },
    /// An image by its name.
    Name {
        /// Registry and path.
        name: String,
        /// Its tag.
        tag: Option<String>,
        /// 64 hexadecimal digits of the hash of its manifest.
        digest: Option<String>,
    },
}

impl Reference {
    /// Reads one.
    ///
    /// # Errors
    /// Operator: it is none.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::operator(format!("image \"{}\": {why}", bounded(text)))
                .hint("write name:tag, name@sha256:… with 64 digits, or the id sha256:… of an image on this machine")
        };
        if text.is_empty() || text.len() > REFERENCE_BYTES_MAX {
            return Err(wrong("is no reference: it has no length of one"));
        }
        if let Some(hex) = text.strip_prefix("sha256:") {
            return if is_hex(hex) { Ok(Self::Id { hex: hex.to_owned() }) } else { Err(wrong("is no id of an image")) };
        }
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => match digest.strip_prefix("sha256:").filter(|hex| is_hex(hex)) {
                Some(hex) => (rest, Some(hex.to_owned())),
                None => return Err(wrong("its digest is not sha256: and 64 digits")),
            },
        };
        // A colon before a slash is that of a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            Some(_) | None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("its tag has characters that tags have not"));
        }
        if !is_name(name) {
            return Err(wrong("its name is not one of an image"));
        }
        Ok(Self::Name { name: name.to_owned(), tag: tag.map(str::to_owned), digest })
    }

    /// Name and tag, as a new image may be called.
    ///
    /// # Errors
    /// Operator: it is no such name.
    pub fn parse_tag(text: &str) -> Result<Self> {
        match Self::parse(text)? {
            named @ Self::Name { digest: None, .. } => Ok(named),
            Self::Name { .. } | Self::Id { .. } => {
                Err(Error::operator(format!("tag \"{}\": a new image is called name:tag", bounded(text))))
            }
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id { hex } => write!(f, "sha256:{hex}"),
            Self::Name { name, tag, digest } => {
                f.write_str(name)?;
                tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
                digest.iter().try_for_each(|digest| write!(f, "@sha256:{digest}"))
            }
        }
    }
}

pub(super) fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= TAG_BYTES_MAX
        && bytes.next().is_some_and(word)
        && bytes.all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// Parts of lower case letters, digits and single separators; the first may be a host with a port.
fn is_name(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    name.len() <= 255
        && parts.iter().enumerate().all(|(place, part)| is_part(part) || place == 0 && parts.len() > 1 && is_host(part))
}

fn is_part(part: &str) -> bool {
    let end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
    end(part.bytes().next()) && end(part.bytes().last()) && part.bytes().all(inside) && !part.contains("..")
}

fn is_host(part: &str) -> bool {
    let (host, port) = part.rsplit_once(':').map_or((part, None), |(host, port)| (host, Some(port)));
    let digits = |port: &str| !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    let label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    port.is_none_or(digits) && host.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn references_are_read_and_written_alike() {
        let id = format!("sha256:{HEX}");
        let pinned = format!("localhost:5000/team/app:1.2@sha256:{HEX}");
        for text in ["debian", "debian:12", "docker.io/library/debian:bookworm-slim", "a/b_c/d-e.f", &id, &pinned] {
            assert_eq!(Reference::parse(text).expect("it can be read").to_string(), text);
        }
        let Reference::Name { name, tag, digest } = Reference::parse(&pinned).expect("it can be read") else {
            panic!("a name")
        };
        assert_eq!((name.as_str(), tag.as_deref()), ("localhost:5000/team/app", Some("1.2")));
        assert_eq!(digest.as_deref(), Some(HEX));
    }

    #[test]
    fn a_hostile_reference_does_not_become_part_of_a_request() {
        let short = format!("a@sha256:{}", &HEX[1..]);
        let upper = format!("sha256:{}", HEX.to_uppercase());
        let long = "a".repeat(600);
        for text in [
            "",
            " ",
            "a b",
            "../../containers/json",
            "a/../b",
            "a//b",
            "/a",
            "a/",
            "a?x=1",
            "a#b",
            "a%2fb",
            "A",
            "a:b:c",
            "a:",
            ":a",
            "a@",
            "a@md5:00",
            "sha256:",
            "sha256:12",
            &short,
            &upper,
            &long,
            "a\u{1b}[2J",
            "a\nb",
            "ä",
            "a:-b",
            "a.",
            "-a",
            "x:70000000/a",
            "::1/a",
        ] {
            let error = Reference::parse(text).expect_err(text).to_string();
            assert!(!error.contains('\u{1b}'), "{error:?}");
        }
    }

    #[test]
    fn a_new_image_is_not_called_by_a_digest() {
        Reference::parse_tag("a:1").expect("a name");
        Reference::parse_tag(&format!("a@sha256:{HEX}")).expect_err("a digest");
        Reference::parse_tag(&format!("sha256:{HEX}")).expect_err("an id");
    }
}
