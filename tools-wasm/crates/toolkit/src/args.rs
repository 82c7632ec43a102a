//! Arguments of a call, taken out of their JSON one by one, so that what remains is what the tool does not know. It
//! never guesses: another spelling of a name is refused, with the right one in the refusal.

use super::Failure;
use serde_json::{Map, Value};

/// Names that models know from other tools, and what is meant here.
const KNOWN_ELSEWHERE: [(&str, &[&str]); 17] = [
    ("path", &["file_path"]),
    ("file", &["file_path", "path"]),
    ("filename", &["file_path", "path"]),
    ("filePath", &["file_path"]),
    ("file_path", &["path"]),
    ("directory", &["path"]),
    ("dir", &["path"]),
    ("old_str", &["old_string"]),
    ("oldString", &["old_string"]),
    ("new_str", &["new_string"]),
    ("newString", &["new_string"]),
    ("file_text", &["content"]),
    ("contents", &["content"]),
    ("text", &["content"]),
    ("input", &["patch"]),
    ("regex", &["pattern"]),
    ("context", &["-C"]),
];

/// The arguments that no one took yet.
pub struct Args {
    left: Map<String, Value>,
    asked: Vec<&'static str>,
}

impl Args {
    /// From the JSON of a call.
    pub fn parse(json: &str) -> Result<Args, Failure> {
        let value: Value = serde_json::from_str(json)
            .map_err(|error| Failure::invalid(format!("the arguments are not JSON: {error}")))?;
        Args::from_value(value, "the arguments")
    }

    /// From a part of the JSON of a call; `what` names it in a refusal.
    pub fn from_value(value: Value, what: &str) -> Result<Args, Failure> {
        let Value::Object(left) = value else {
            return Err(Failure::invalid(format!("{what} are {}, and must be an object", kind(&value))));
        };
        Ok(Args { left, asked: Vec::new() })
    }

    /// Null is as if it were not there: some harnesses send every name they know.
    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.asked.push(name);
        self.left.remove(name).filter(|value| !value.is_null())
    }

    /// A text that may be missing.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, Failure> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(name, "a string", &other)),
        }
    }

    /// A text that must be there.
    pub fn need_text(&mut self, name: &'static str) -> Result<String, Failure> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// A path that must be there.
    pub fn need_path(&mut self, name: &'static str) -> Result<String, Failure> {
        let path = self.need_text(name)?;
        path_is_sound(name, &path)?;
        Ok(path)
    }

    /// A path that may be missing.
    pub fn path(&mut self, name: &'static str) -> Result<Option<String>, Failure> {
        let path = self.text(name)?;
        if let Some(path) = &path {
            path_is_sound(name, path)?;
        }
        Ok(path)
    }

    /// One of some words; the first is meant when it is missing.
    pub fn word(&mut self, name: &'static str, words: &[&'static str]) -> Result<&'static str, Failure> {
        let Some(text) = self.text(name)? else { return Ok(words[0]) };
        words.iter().copied().find(|word| *word == text).ok_or_else(|| {
            Failure::invalid(format!("\"{name}\" is \"{text}\", and must be one of: {}", words.join(", ")))
        })
    }

    /// A yes or no; no when it is missing.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, Failure> {
        Ok(self.choice(name)?.unwrap_or(false))
    }

    /// A yes or no, or nothing.
    pub fn choice(&mut self, name: &'static str) -> Result<Option<bool>, Failure> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(Value::String(text)) if text == "true" || text == "false" => Ok(Some(text == "true")),
            Some(other) => Err(wrong(name, "true or false", &other)),
        }
    }

    /// A whole number within bounds, or nothing. Digits in a string are a number: models write both.
    pub fn number(&mut self, name: &'static str, least: u64, most: u64) -> Result<Option<u64>, Failure> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = match &value {
            Value::Number(number) => whole(number),
            Value::String(text) => text.parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        let Some(number) = number else { return Err(wrong(name, "a whole number", &value)) };
        if !(least..=most).contains(&number) {
            return Err(Failure::invalid(format!("\"{name}\" is {number}, and must be from {least} to {most}")));
        }
        Ok(Some(number))
    }

    /// As [`Args::number`], for what counts things in memory.
    pub fn count(&mut self, name: &'static str, least: usize, most: usize) -> Result<Option<usize>, Failure> {
        let number = self.number(name, least as u64, most as u64)?;
        Ok(number.map(|number| usize::try_from(number).unwrap_or(most)))
    }

    /// A list that may be missing.
    pub fn list(&mut self, name: &'static str) -> Result<Option<Vec<Value>>, Failure> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(other) => Err(wrong(name, "an array", &other)),
        }
    }

    /// An object that may be missing.
    pub fn object(&mut self, name: &'static str) -> Result<Option<Map<String, Value>>, Failure> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(other) => Err(wrong(name, "an object", &other)),
        }
    }

    /// Nothing may be left that the tool does not know.
    pub fn finish(self) -> Result<(), Failure> {
        let Some((name, _)) = self.left.iter().next() else { return Ok(()) };
        let meant = KNOWN_ELSEWHERE.iter().find(|(known, _)| known == name).map_or(&[][..], |(_, meant)| *meant);
        let meant = meant.iter().find(|meant| self.asked.contains(meant));
        let hint = meant.map_or_else(String::new, |meant| format!(" (did you mean \"{meant}\"?)"));
        let there = self.asked.join("\", \"");
        Err(Failure::invalid(format!("there is no argument \"{name}\"{hint}; there are: \"{there}\"")))
    }

    fn missing(&self, name: &'static str) -> Failure {
        let other =
            KNOWN_ELSEWHERE.iter().find(|(known, meant)| meant.contains(&name) && self.left.contains_key(*known));
        let hint = other.map_or_else(String::new, |(known, _)| format!(": write \"{name}\" instead of \"{known}\""));
        Failure::invalid(format!("the argument \"{name}\" is missing{hint}"))
    }
}

/// What no file system takes is not tried.
pub(crate) fn path_is_sound(name: &str, path: &str) -> Result<(), Failure> {
    if path.is_empty() {
        return Err(Failure::invalid(format!("\"{name}\" is empty; \".\" is the workspace")));
    }
    if path.contains('\0') {
        return Err(Failure::invalid(format!("\"{name}\" has a NUL in it, which no path has")));
    }
    if path.len() > 4096 {
        return Err(Failure::invalid(format!("\"{name}\" has {} bytes, a path has at most 4096", path.len())));
    }
    if path.starts_with("~/") || path == "~" {
        return Err(Failure::invalid(format!("\"{name}\" begins with \"~\", which only a shell knows; write it out")));
    }
    Ok(())
}

fn whole(number: &serde_json::Number) -> Option<u64> {
    // A number such as 20.0 is whole, too.
    number.as_u64().or_else(|| {
        let float = number.as_f64().filter(|float| float.fract() == 0.0 && (0.0..9.0e15).contains(float))?;
        format!("{float:.0}").parse().ok()
    })
}

fn wrong(name: &str, wanted: &str, value: &Value) -> Failure {
    Failure::invalid(format!("\"{name}\" is {}, and must be {wanted}", kind(value)))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, said: &str) {
        let taken = Args::parse(json).and_then(|mut args| {
            let path = args.need_path("file_path")?;
            let limit = args.number("limit", 1, 10)?;
            let all = args.flag("all")?;
            let mode = args.word("mode", &["a", "b"])?;
            args.finish()?;
            Ok(format!("{path} {limit:?} {all} {mode}"))
        });
        let text = taken.unwrap_or_else(|failure| failure.text().to_owned());
        assert_eq!(text, said);
    }

    #[test]
    fn arguments_are_taken_or_refused_by_name() {
        check(r#"{"file_path":"x"}"#, "x None false a");
        check(r#"{"file_path":"x","limit":3.0,"all":true,"mode":"b"}"#, "x Some(3) true b");
        check(r#"{"file_path":"x","limit":"7","all":"true","mode":null}"#, "x Some(7) true a");
        check(r#"{"path":"x"}"#, "the argument \"file_path\" is missing: write \"file_path\" instead of \"path\"");
        check(r#"{}"#, "the argument \"file_path\" is missing");
        check(r#"{"file_path":7}"#, "\"file_path\" is a number, and must be a string");
        check(r#"{"file_path":""}"#, "\"file_path\" is empty; \".\" is the workspace");
        check(r#"{"file_path":"a\u0000b"}"#, "\"file_path\" has a NUL in it, which no path has");
        check(r#"{"file_path":"~/x"}"#, "\"file_path\" begins with \"~\", which only a shell knows; write it out");
        check(r#"{"file_path":"x","limit":0}"#, "\"limit\" is 0, and must be from 1 to 10");
        check(r#"{"file_path":"x","limit":-1}"#, "\"limit\" is a number, and must be a whole number");
        check(r#"{"file_path":"x","limit":1.5}"#, "\"limit\" is a number, and must be a whole number");
        check(r#"{"file_path":"x","limit":1e300}"#, "\"limit\" is a number, and must be a whole number");
        check(r#"{"file_path":"x","mode":"c"}"#, "\"mode\" is \"c\", and must be one of: a, b");
        check(r#"[1]"#, "the arguments are an array, and must be an object");
        let there = "there are: \"file_path\", \"limit\", \"all\", \"mode\"";
        check(
            r#"{"file_path":"x","filename":1}"#,
            &format!("there is no argument \"filename\" (did you mean \"file_path\"?); {there}"),
        );
        check(r#"{"file_path":"x","colour":1}"#, &format!("there is no argument \"colour\"; {there}"));
    }

    #[test]
    fn what_is_not_json_is_said_to_be_so() {
        let failure = Args::parse("{").err().expect("half an object is none");
        assert!(failure.text().starts_with("the arguments are not JSON: "), "{failure:?}");
    }
}
