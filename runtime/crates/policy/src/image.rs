//! Names of container images, as registries and engines write them, and names of the runtimes that start containers.
//! It never completes a name nor asks a registry: what a profile says is what an engine is asked for.
//!
//! The grammar is that of github.com/distribution/reference, without its ambiguities: what an engine could take for
//! something else than a reader does (an id without its algorithm, a digest of another algorithm) is refused.

use crate::name::{Flaw, NAME_BYTES_MAX, plain};
use alloc::format;
use alloc::sync::Arc;
use core::fmt;
use core::net::Ipv6Addr;
use core::num::NonZeroU16;

/// Longest tag, bytes.
const TAG_BYTES_MAX: usize = 128;
/// Digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;
/// What a digest, and the id of an image, begins with.
const SHA256: &str = "sha256:";
/// Longest reference, bytes: a name, a tag and a digest.
pub const IMAGE_BYTES_MAX: usize = NAME_BYTES_MAX + 1 + TAG_BYTES_MAX + 1 + SHA256.len() + DIGEST_DIGITS;
/// Longest name of a runtime, bytes.
const RUNTIME_BYTES_MAX: usize = 64;

/// What names an image: `[domain[:port]/]path[:tag][@sha256:…]`, or the id of one that is there, `sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference(Arc<str>);

/// How much a reference says of what the image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin<'a> {
    /// It is the image of this id (`sha256:…`), which is there or is not: nothing can be fetched by it.
    Id(&'a str),
    /// It is what has this digest (`sha256:…`) in a registry, whatever its tag says.
    Digest(&'a str),
    /// It is whatever this tag stands for at the moment; `latest` where none is written.
    Tag(&'a str),
}

impl ImageReference {
    /// # Errors
    /// The text names no image, or could name two.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let text = plain(text, "image", IMAGE_BYTES_MAX)?;
        if let Some(digits) = text.strip_prefix(SHA256) {
            sha256(digits)?;
            return Ok(Self(text.into()));
        }
        let (named, digest) = text.split_once('@').map_or((text, None), |(named, digest)| (named, Some(digest)));
        if let Some(digest) = digest {
            let (algorithm, digits) = digest.split_once(':').unwrap_or((digest, ""));
            only_sha256(algorithm)?;
            sha256(digits)?;
        }
        let (name, tag) = split_tag(named);
        if is_algorithm(name) && tag.is_some() {
            only_sha256(name)?;
        }
        if name.len() == DIGEST_DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let what = format!("\"{name}\" could be the id of an image or its name");
            return Err(Flaw::new(what, format!("write \"{SHA256}{name}\" for an id")));
        }
        image_name(name)?;
        tag.map_or(Ok(()), image_tag)?;
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How much it says of what the image is.
    pub fn pin(&self) -> Pin<'_> {
        if self.0.starts_with(SHA256) {
            return Pin::Id(&self.0);
        }
        match self.0.split_once('@') {
            Some((_, digest)) => Pin::Digest(digest),
            None => Pin::Tag(split_tag(&self.0).1.unwrap_or("latest")),
        }
    }

    /// The name without tag and digest; none where it is an id.
    pub fn name(&self) -> Option<&str> {
        let named = self.0.split_once('@').map_or(&*self.0, |(named, _)| named);
        (!self.0.starts_with(SHA256)).then(|| split_tag(named).0)
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name and the tag behind its last component. A colon before a slash belongs to a port.
fn split_tag(named: &str) -> (&str, Option<&str>) {
    match named.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        Some(_) | None => (named, None),
    }
}

fn is_algorithm(text: &str) -> bool {
    matches!(text, "sha256" | "sha384" | "sha512")
}

fn only_sha256(algorithm: &str) -> Result<(), Flaw> {
    if algorithm == "sha256" {
        return Ok(());
    }
    let what = format!("image has a digest of \"{algorithm}\", which is not sha256");
    Err(Flaw::new(what, "give the sha256 digest of the same image: …@sha256: and 64 digits"))
}

fn sha256(digits: &str) -> Result<(), Flaw> {
    if digits.len() != DIGEST_DIGITS {
        let what = format!("digest of the image has {} digits, not {DIGEST_DIGITS}", digits.len());
        return Err(Flaw::new(what, "copy all of it: sha256: and 64 digits"));
    }
    if !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        let what = format!("\"{digits}\" is no digest of an image");
        return Err(Flaw::new(what, "digits are 0 to 9 and a to f, in lower case"));
    }
    Ok(())
}

fn image_tag(tag: &str) -> Result<(), Flaw> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let fits = tag.starts_with(word) && tag.chars().all(|c| word(c) || matches!(c, '.' | '-'));
    if fits && tag.len() <= TAG_BYTES_MAX {
        return Ok(());
    }
    let what = format!("\"{tag}\" is not a tag of an image");
    let hint =
        format!("a tag has letters, digits and \"_ . -\", at most {TAG_BYTES_MAX}, and begins with none of \". -\"");
    Err(Flaw::new(what, hint))
}

/// `[domain[:port]/]path`.
fn image_name(name: &str) -> Result<(), Flaw> {
    if name.len() > NAME_BYTES_MAX {
        let what = format!("name of the image has {} bytes, more than {NAME_BYTES_MAX}", name.len());
        return Err(Flaw::new(what, "make it shorter"));
    }
    let domain = name.split_once('/').filter(|(first, _)| is_domain(first));
    let path = match domain {
        Some((domain, path)) => {
            if !domain_fits(domain) {
                let what = format!("\"{domain}\" is no registry");
                return Err(Flaw::new(what, "write host/path, host:port/path or [address]:port/path"));
            }
            path
        }
        None => name,
    };
    if path.contains(|c: char| c.is_ascii_uppercase()) {
        let what = format!("name of the image \"{name}\" has an upper-case letter");
        return Err(Flaw::new(what, "names of images are in lower case; a tag may have upper case"));
    }
    if path.split('/').all(component_fits) {
        return Ok(());
    }
    let what = format!("\"{name}\" is not the name of an image");
    let hint = "write [registry/]path[:tag][@sha256:…]: parts of lower-case letters and digits, joined by \"/ . _ -\"";
    Err(Flaw::new(what, hint))
}

/// Whether what stands before the first slash is a registry rather than a part of the path: as engines tell them apart.
fn is_domain(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':', '['])
}

fn domain_fits(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (domain, None),
    };
    // `u16` alone would also read a sign.
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<NonZeroU16>().is_ok();
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host_fits = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.split('.').all(label_fits),
    };
    host_fits && port.is_none_or(is_port)
}

fn label_fits(label: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    label.starts_with(edge) && label.ends_with(edge) && label.chars().all(|c| edge(c) || c == '-')
}

/// Letters and digits in lower case, and between two of them `.`, `_`, `__`, or any number of `-`.
fn component_fits(component: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let joint = |joint: &str| matches!(joint, "." | "_" | "__") || joint.chars().all(|c| c == '-');
    component.starts_with(inner)
        && component.ends_with(inner)
        && component.split(inner).filter(|between| !between.is_empty()).all(joint)
}

/// Name under which an engine knows an OCI runtime: `runc`, `crun`, `runsc`, `kata`…
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuntimeName(Arc<str>);

impl RuntimeName {
    /// # Errors
    /// The text is not a runtime's name. A path is none: which program a name means is the engine's to say.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let text = plain(text, "runtime", RUNTIME_BYTES_MAX)?;
        let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if fits && text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Ok(Self(text.into()));
        }
        let hint = "use the name that the engine has for it, such as \"runc\", \"crun\", \"runsc\" or \"kata\"";
        Err(Flaw::new(format!("\"{text}\" is not the name of a runtime"), hint))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RuntimeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
