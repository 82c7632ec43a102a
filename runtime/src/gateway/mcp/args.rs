//! Arguments of a tool of ours, taken one by one out of what a client sent.
//! It never guesses: an unknown argument or one of another type is refused with what would do.

use serde_json::{Map, Value};
use stockade_policy::Flaw;

/// Longest name or value that is said back, characters.
const SHOWN_CHARS_MAX: usize = 60;

/// What is left of the arguments.
#[derive(Debug)]
pub(super) struct Args {
    left: Map<String, Value>,
    known: &'static str,
}

impl Args {
    /// Arguments of a tool that knows these names, as a hint says them.
    pub(super) fn new(args: Map<String, Value>, known: &'static str) -> Self {
        Self { left: args, known }
    }

    /// A string, when it is there.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Flaw> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(name, &other, "a string")),
        }
    }

    /// Whether something was said to be so.
    pub(super) fn yes(&mut self, name: &str) -> Result<bool, Flaw> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(yes)) => Ok(yes),
            Some(other) => Err(wrong(name, &other, "true or false")),
        }
    }

    /// A whole number from 1, when it is there.
    pub(super) fn count(&mut self, name: &str) -> Result<Option<u64>, Flaw> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                // 30.0 is a whole number to JSON, and some models write it so.
                let float = value.as_f64().filter(|n| n.fract() == 0.0 && (1.0..9e15).contains(n));
                let float = float.and_then(|n| format!("{n:.0}").parse().ok());
                let whole = value.as_u64().filter(|n| *n >= 1).or(float);
                whole.map(Some).ok_or_else(|| wrong(name, &value, "a whole number, 1 or more"))
            }
        }
    }

    /// A list of strings; empty when it is not there.
    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<String>, Flaw> {
        let wanted = "a list of strings";
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                let text =
                    |item| if let Value::String(text) = item { Ok(text) } else { Err(wrong(name, &item, wanted)) };
                items.into_iter().map(text).collect()
            }
            Some(other) => Err(wrong(name, &other, wanted)),
        }
    }

    /// Names and strings; empty when it is not there.
    pub(super) fn table(&mut self, name: &str) -> Result<Vec<(String, String)>, Flaw> {
        let wanted = "an object whose values are strings";
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Object(entries)) => {
                let pair = |(key, value)| {
                    if let Value::String(text) = value { Ok((key, text)) } else { Err(wrong(name, &value, wanted)) }
                };
                entries.into_iter().map(pair).collect()
            }
            Some(other) => Err(wrong(name, &other, wanted)),
        }
    }

    /// Nothing may be left.
    pub(super) fn finish(self) -> Result<(), Flaw> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => {
                let what = format!("there is no argument \"{}\"", short(name));
                Err(flaw(what, format!("the arguments are: {}", self.known)))
            }
        }
    }
}

fn wrong(name: &str, value: &Value, wanted: &str) -> Flaw {
    flaw(format!("argument \"{name}\" is {}", short(&value.to_string())), format!("give {wanted}"))
}

fn short(text: &str) -> String {
    let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_CHARS_MAX).collect();
    let dots = if text.chars().nth(SHOWN_CHARS_MAX).is_some() { "…" } else { "" };
    format!("{shown}{dots}")
}

/// Something that is wrong with a call's arguments.
pub(super) fn flaw(what: impl Into<String>, hint: impl Into<String>) -> Flaw {
    Flaw { what: what.into(), hint: hint.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn args(json: &str) -> Args {
        Args::new(serde_json::from_str(json).expect("the test writes objects"), "a, b")
    }

    #[test]
    fn values_of_another_type_are_said_back_and_refused() {
        for (json, said) in [
            (r#"{"a":1}"#, "argument \"a\" is 1"),
            (r#"{"a":["x"]}"#, "argument \"a\" is [\"x\"]"),
            (r#"{"a":{"b":"\u001b[2J"}}"#, "argument \"a\" is {\"b\":\"\\u001b[2J\"}"),
        ] {
            let flaw = args(json).text("a").expect_err(json);
            assert!(flaw.what.starts_with(said) && flaw.hint == "give a string", "{flaw:?}");
            assert!(!flaw.what.contains('\u{1b}'));
        }
        for json in [r#"{"a":0}"#, r#"{"a":-1}"#, r#"{"a":1.5}"#, r#"{"a":"1"}"#, r#"{"a":true}"#, r#"{"a":1e300}"#] {
            assert!(args(json).count("a").is_err(), "{json}");
        }
        assert_eq!(args(r#"{"a":30.0}"#).count("a").ok(), Some(Some(30)));
        assert_eq!(args(r#"{"a":null}"#).count("a").ok(), Some(None));
        assert!(args(r#"{"a":["x",1]}"#).texts("a").is_err());
        assert!(args(r#"{"a":{"x":1}}"#).table("a").is_err());
    }

    #[test]
    fn what_nobody_asked_for_is_named() {
        let flaw = args(r#"{"comand":"ls"}"#).finish().expect_err("it is unknown");
        assert_eq!(
            (flaw.what.as_str(), flaw.hint.as_str()),
            ("there is no argument \"comand\"", "the arguments are: a, b")
        );
    }
}
