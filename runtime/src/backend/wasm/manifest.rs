//! The manifest of a component: what it is called, what it takes and answers, and the most that it asks for.
//! It never grants anything: what a call gets is what both the manifest and the profile say.

use crate::backend::wasm::call::Files;
use crate::backend::wasm::command::{self, Entry};
pub use crate::backend::wasm::schema::Schema;
use crate::error::{Error, Result};
use serde::Deserialize;

/// Name of the custom section that holds it.
pub const SECTION: &str = "stockade:tool";
/// Bytes of a manifest at most.
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a name or a version at most.
const NAME_BYTES_MAX: usize = 64;
/// Variables that a component may ask for.
const ENV_MAX: usize = 256;
/// A memory of 32 bits.
const MEMORY_MIB_MAX: u64 = 4096;
/// A day.
const WALL_S_MAX: u64 = 86_400;

/// What a component says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What models call it by.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// What it does, for models.
    pub description: String,
    /// JSON schema of its arguments: an object. A command need not say one.
    #[serde(default = "Schema::unsaid")]
    pub input_schema: Schema,
    /// JSON schema of `structured` in its reply: an object.
    #[serde(default)]
    pub output_schema: Option<Schema>,
    /// The most that it asks for.
    #[serde(default)]
    pub ceiling: Ceiling,
    /// The most that a call of it takes.
    #[serde(default)]
    pub limits: OwnLimits,
    /// How its component is entered, which no manifest says.
    #[serde(skip)]
    pub entry: Entry,
}

/// The most that a component asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the manifest, and asked for by itself")]
pub struct Ceiling {
    /// Files.
    #[serde(with = "files")]
    pub files: Files,
    /// Requests.
    pub network: bool,
    /// Sockets: connections that it makes itself.
    pub sockets: bool,
    /// The real time.
    pub clocks: bool,
    /// Randomness.
    pub random: bool,
    /// Names of variables.
    pub env: Vec<String>,
    /// Arguments, of a command.
    pub arguments: bool,
    /// Standard input, of a command.
    pub stdin: bool,
}

/// The most that a call of it takes; `None` where only the profile says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OwnLimits {
    /// All memories of a call together.
    pub memory_mib: Option<u64>,
    /// From its start to its end.
    pub wall_s: Option<u64>,
}

mod files {
    //! The words of `files`. They never stand for anything but a ceiling.

    use super::Files;
    use serde::{Deserialize as _, Deserializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Files, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "none" => Ok(Files::None),
            "read" => Ok(Files::Read),
            "write" => Ok(Files::Write),
            other => Err(serde::de::Error::custom(format!("files = \"{other}\" is not none, read or write"))),
        }
    }
}

impl Manifest {
    /// Reads the manifest of a component that exports `call`.
    ///
    /// # Errors
    /// Operator: it is too long, is not JSON, has an unknown key, or a value that cannot be.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Self::parse_for(bytes, Entry::Call)
    }

    /// Reads the manifest of a component that is entered this way.
    ///
    /// # Errors
    /// As [`Manifest::parse`].
    pub fn parse_for(bytes: &[u8], entry: Entry) -> Result<Self> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            let what = format!("the manifest has {} bytes, {MANIFEST_BYTES_MAX} are allowed", bytes.len());
            return Err(Error::operator(what).hint("shorten its description and its schemas"));
        }
        let mut manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| Error::operator(format!("the manifest is not one of a tool: {error}")).hint(HINT))?;
        manifest.check()?;
        command::complete(&mut manifest, entry)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<()> {
        let name = |text: &str| {
            let mut bytes = text.bytes();
            bytes.next().is_some_and(|first| first.is_ascii_lowercase())
                && text.len() <= NAME_BYTES_MAX
                && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
        };
        if !name(&self.name) {
            return Err(wrong("name", &self.name, "a small letter, then small letters, digits, `_` and `-`"));
        }
        let printable = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !printable(&self.version) || self.version.len() > NAME_BYTES_MAX {
            return Err(wrong("version", &self.version, "printable text such as 1.2.0"));
        }
        if self.description.trim().is_empty() {
            return Err(wrong("description", "", "a sentence that tells a model what the tool does"));
        }
        let variable = |name: &str| !name.is_empty() && !name.bytes().any(|byte| byte == b'=' || byte == 0);
        if let Some(bad) = self.ceiling.env.iter().find(|name| !variable(name)) {
            return Err(wrong("ceiling.env", bad, "names of variables"));
        }
        if self.ceiling.env.len() > ENV_MAX {
            return Err(wrong("ceiling.env", "…", &format!("at most {ENV_MAX} names")));
        }
        let within = |value: Option<u64>, max: u64| value.is_none_or(|value| (1..=max).contains(&value));
        if !within(self.limits.memory_mib, MEMORY_MIB_MAX) {
            return Err(wrong("limits.memory_mib", "…", &format!("a number from 1 to {MEMORY_MIB_MAX}")));
        }
        if !within(self.limits.wall_s, WALL_S_MAX) {
            return Err(wrong("limits.wall_s", "…", &format!("a number from 1 to {WALL_S_MAX}")));
        }
        Ok(())
    }
}

const HINT: &str = "it has name, version, description and input_schema, and may have output_schema, ceiling and limits";

fn wrong(key: &str, value: &str, wanted: &str) -> Error {
    Error::operator(format!("the manifest's {key} cannot be {value:?}")).hint(format!("it is {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_schema_that_is_none_of_an_object_is_refused() {
        let manifest = |input: &str, output: &str| {
            let text = format!(
                "{{\"name\":\"t\",\"version\":\"1\",\"description\":\"d\",\"input_schema\":{input},\"output_schema\":{output}}}"
            );
            Manifest::parse(text.as_bytes())
        };
        const OBJECT: &str = r#"{"properties":{"a":{"type":"string"}},"type":"object"}"#;
        let whole = manifest(OBJECT, OBJECT).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(Value::Object(whole.input_schema.members().clone()).to_string(), OBJECT);
        assert!(manifest(OBJECT, "null").is_ok_and(|manifest| manifest.output_schema.is_none()));
        let deep = format!("{{\"type\":\"object\",\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for wrong in ["{}", "[]", "true", r#"{"type":"string"}"#, r#"{"type":["object"]}"#, deep.as_str()] {
            for (input, output) in [(wrong, OBJECT), (OBJECT, wrong)] {
                let error = manifest(input, output).expect_err(wrong).to_string();
                assert!(error.contains("the manifest is not one of a tool"), "{error}");
            }
        }
    }
}
