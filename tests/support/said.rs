//! The one line that the probe prints about an attack, written by the probe and read by the tests.
//! It never judges: what an outcome means is the table's business.

use serde_json::{Map, Value};

/// Exit code of a probe whose attack succeeded.
pub const EXIT_SUCCEEDED: u8 = 0;
/// Exit code of a probe whose attack was refused.
pub const EXIT_REFUSED: u8 = 10;
/// Exit code of a probe that could not even try.
pub const EXIT_BROKEN: u8 = 70;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The forbidden thing happened.
    Succeeded,
    /// It did not.
    Refused,
}

/// What a probe said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The attack: the probe's sub-command.
    pub attack: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The kernel's reason, or what was gained.
    pub detail: String,
}

impl Said {
    /// The line, without its newline.
    pub fn line(&self) -> String {
        let outcome = match self.outcome {
            Outcome::Succeeded => "succeeded",
            Outcome::Refused => "refused",
        };
        let fields = [("attack", self.attack.as_str()), ("outcome", outcome), ("detail", self.detail.as_str())];
        let object: Map<String, Value> =
            fields.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value.to_owned()))).collect();
        Value::Object(object).to_string()
    }

    /// The last such line of an output; `None` when the probe never spoke.
    pub fn find(output: &str) -> Option<Self> {
        output.lines().rev().find_map(Self::parse)
    }

    fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let outcome = match text("outcome")?.as_str() {
            "succeeded" => Outcome::Succeeded,
            "refused" => Outcome::Refused,
            _ => return None,
        };
        Some(Self { attack: text("attack")?, outcome, detail: text("detail")? })
    }
}
