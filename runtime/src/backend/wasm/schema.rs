//! A schema of a manifest, and whether a JSON text fits it: compiled once, bounded at each use.
//! It never fetches what a schema refers to, and never goes on for longer than its steps last, whatever schema and text say.
//!
//! Why it is our own: the crates that are kept for this evaluate without a bound (a schema of one page can double its work
//! at each of a hundred levels), recurse as deep as a chain of references is long, and bring two dozen crates into the
//! process that holds the secrets. What they do beyond this is refused by name when a component is read: references to
//! elsewhere, dynamic references, and the two keywords that depend on what other keywords have looked at.

mod compile;
mod fit;
mod numbers;
mod pattern;
mod rules;
#[cfg(test)]
mod tests;
mod words;

use rules::Rules;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;
use words::Quoting;

/// A JSON schema of an object, which clients of MCP refuse a whole list of tools without (MCP 2025-11-25, "Tool").
#[derive(Clone)]
pub struct Schema {
    members: Map<String, Value>,
    rules: Arc<Rules>,
}

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// What is wrong with it, and where in it, in words.
    pub fn new(value: Value) -> Result<Self, String> {
        match value {
            Value::Object(members) if members.get("type").and_then(Value::as_str) == Some("object") => {
                let value = Value::Object(members);
                let rules = Arc::new(Rules::of(&value)?);
                let Value::Object(members) = value else { return Err("a schema is a JSON object".to_owned()) };
                Ok(Self { members, rules })
            }
            Value::Object(_) => Err("a schema says \"type\": \"object\"".to_owned()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err("a schema is a JSON object".to_owned())
            }
        }
    }

    /// One that a manifest does not have.
    pub(super) fn unsaid() -> Self {
        Self { members: Map::new(), rules: Arc::default() }
    }

    /// Whether a manifest has it.
    pub(super) fn is_said(&self) -> bool {
        !self.members.is_empty()
    }

    /// What it says.
    pub const fn members(&self) -> &Map<String, Value> {
        &self.members
    }

    /// Holds a JSON text against it; `whole` is what the text is called, as "the object of arguments". What is quoted of the
    /// text goes through `clean` first, whole.
    ///
    /// # Errors
    /// The first member that does not fit, by its JSON pointer (RFC 6901): what it is, and what it has to be.
    pub fn fits(&self, json: &str, whole: &str, clean: &dyn Fn(&str) -> String) -> Result<(), String> {
        let value: Value =
            serde_json::from_str(json).map_err(|error| format!("{whole} cannot be read as JSON: {error}"))?;
        fit::fits(&self.rules, &value, whole, Quoting(clean))
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.members).finish()
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.members == other.members
    }
}

impl Eq for Schema {}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
