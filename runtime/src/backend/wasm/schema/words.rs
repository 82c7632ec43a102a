//! What is said of a value that does not fit: each part of it bounded, whatever the value is.
//! It never writes out what is large before it is cut.

use super::rules::Range;
use serde_json::Value;

/// Longest pointer that is told, bytes.
pub(super) const POINTER_BYTES_MAX: usize = 256;
/// Longest value that is shown, bytes.
const VALUE_BYTES_MAX: usize = 80;
/// Longest list of what would fit, bytes.
const LIST_BYTES_MAX: usize = 400;

pub(super) fn article(word: &str) -> String {
    match word {
        "null" => "null".to_owned(),
        "integer" => "a whole number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" | "object" => format!("an {word}"),
        other => format!("a {other}"),
    }
}

pub(super) fn said(range: Range) -> String {
    match range {
        Range { least, most: u64::MAX } => format!("at least {least}"),
        Range { least: 0, most } => format!("at most {most}"),
        Range { least, most } => format!("{least} to {most}"),
    }
}

/// How what somebody else wrote is quoted. Texts are cleaned before they are escaped or cut: a secret of which only the
/// beginning is left is one that nobody finds afterwards.
#[derive(Clone, Copy)]
pub(super) struct Quoting<'a>(pub(super) &'a dyn Fn(&str) -> String);

impl Quoting<'_> {
    /// A text without what nobody may read.
    pub(super) fn clean(self, text: &str) -> String {
        (self.0)(text)
    }

    /// A value, or the beginning of it. What is large is not written out first.
    pub(super) fn value(self, value: &Value) -> String {
        match value {
            Value::Array(items) => format!("an array of {} items", items.len()),
            Value::Object(members) => format!("an object of {} members", members.len()),
            Value::String(text) => self.text(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        }
    }

    /// A text, or the beginning of it.
    pub(super) fn text(self, text: &str) -> String {
        let text = self.clean(text);
        let short = clip(&text, VALUE_BYTES_MAX);
        let more = if short.len() < text.len() { "…" } else { "" };
        Value::String(format!("{short}{more}")).to_string()
    }
}

pub(super) fn list(words: impl Iterator<Item = String>) -> String {
    let mut out = String::new();
    for word in words {
        if !out.is_empty() {
            out.push_str(", ");
        }
        if out.len() + word.len() > LIST_BYTES_MAX {
            out.push('…');
            break;
        }
        out.push_str(&word);
    }
    out
}

pub(super) fn clip(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}
