//! The container that a session runs in, with the member names of the disk format: whose engine, which image, what was asked.
//! It never says what is in an image: the image's id does, to whoever has the image.

use super::values::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest word of an engine about itself, bytes: its name, a version, the name of a runtime.
const WORD_BYTES_MAX: usize = 128;
/// Longest name of an image, bytes, with its registry, tag and digest.
const IMAGE_BYTES_MAX: usize = 512;
/// Both of an image's names, and every word, beside the rest of a leaf.
const _: () = assert!(2 * IMAGE_BYTES_MAX + 4 * WORD_BYTES_MAX + 4096 < crate::frame::LEAF_BYTES_MAX);

/// Whose rights the engine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineRights {
    /// Those of root.
    Rootful,
    /// Those of the user whose it is: root inside is that user outside.
    Rootless,
}

impl EngineRights {
    /// The word on disk.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Rootful => "rootful",
            Self::Rootless => "rootless",
        }
    }
}

/// The name that an engine gives to a container, drawn anew for each: 64 lowercase hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerId(pub Digest);

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a session's container is, as its engine says, and what the engine was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// The engine: `docker`, `podman`.
    pub engine: String,
    /// Its version.
    pub engine_v: String,
    /// Version of its interface that was spoken.
    pub api: String,
    /// Whose rights it has.
    pub rights: EngineRights,
    /// The OCI runtime that started the container: `runc`, `crun`, `runsc`…
    pub runtime: String,
    /// The engine's name for the container.
    pub id: ContainerId,
    /// The image as it was asked for.
    pub image: String,
    /// What the image is: its id.
    pub image_id: Digest,
    /// Name and digest under which a registry has it, where one does: `name@sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_digest: Option<String>,
    /// User id of every process in the container, as the engine was asked for it.
    pub uid: u32,
    /// Group id of them.
    pub gid: u32,
    /// SHA-256 of the container as it was asked for: JSON without white space, members in ascending order.
    pub spec_h: Digest,
}

impl Container {
    /// The image's name as it was asked for, without tag and digest, and its tag if it has one. Neither of an id.
    #[must_use]
    pub fn image_name(&self) -> (Option<&str>, Option<&str>) {
        if self.image.starts_with("sha256:") {
            return (None, None);
        }
        let named = self.image.split_once('@').map_or(self.image.as_str(), |(named, _)| named);
        // A colon before a slash belongs to the port of a registry.
        match named.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
            Some((name, tag)) => (Some(name), Some(tag)),
            None => (Some(named), None),
        }
    }

    /// Why it means nothing.
    pub(super) fn nonsense(&self) -> Option<&'static str> {
        let words = [&self.engine, &self.engine_v, &self.api, &self.runtime];
        let worded = words.into_iter().all(|word| is_plain(word, WORD_BYTES_MAX));
        let digest = |text: &String| {
            let digits = text.split_once("@sha256:").filter(|(name, _)| !name.is_empty() && !name.contains('@'));
            is_plain(text, IMAGE_BYTES_MAX)
                && digits.is_some_and(|(_, digits)| crate::text::unhex::<32>(digits).is_some())
        };
        if !worded {
            return Some("a word about the engine that is empty, too long, or not plain");
        }
        if !is_plain(&self.image, IMAGE_BYTES_MAX) {
            return Some("an image whose name is empty, too long, or not plain");
        }
        self.repo_digest.as_ref().is_some_and(|text| !digest(text)).then_some("a digest in a registry that is none")
    }
}

/// Visible ASCII: no engine, version, runtime or image has anything else in its name, and a log has room for so much.
fn is_plain(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
