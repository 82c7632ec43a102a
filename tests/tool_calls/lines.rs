//! A session that is called line by line, and its log afterwards.
//! It never takes a session for a good one whose log does not pass.

use serde_json::{Value, json};
use stockade_tests::process::Ended;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Told, must};

/// A call of a tool.
pub(crate) fn tool(name: &str, args: Value) -> Value {
    json!({ "tool": name, "args": args })
}

/// A command of the shell.
pub(crate) fn shell(script: &str) -> Value {
    json!({ "tool": "bash", "command": { "argv": ["/bin/sh", "-c", script] } })
}

/// What came of a session.
pub(crate) struct Session {
    ended: Ended,
    answers: Vec<Value>,
    /// The log, one record per line, as JSON.
    pub(crate) log: String,
}

impl Session {
    /// Has these calls answered in one session, and proves its log.
    pub(crate) fn of(stage: &Stage, options: &[&str], calls: &[Value]) -> Result<Self, Stop> {
        let words = [&["{bin}/stockade", "session", "--workspace", "{ws}"], options].concat();
        let mut program = stage.program(&words);
        for (id, call) in calls.iter().enumerate() {
            let line = json!({ "id": id, "call": call }).to_string();
            program.input.extend(stage.scene.fill(&line).into_bytes());
            program.input.push(b'\n');
        }
        let ended = stage.go(&program)?;
        must(ended.code() == 0, || ended.told())?;
        let answers = ended.out().lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
        let answers = answers.map_err(|error| format!("an answer is no JSON: {error}: {}", ended.told()))?;
        must(answers.len() == calls.len(), || format!("{} answers to {} calls", answers.len(), calls.len()))?;
        let verified = stage.stockade(&["verify", "last"])?;
        let log = stage.answers(0, &["log", "show", "last", "--json"])?.out();
        let session = Self { ended, answers, log };
        must(verified.code() == 0 && verified.out().starts_with("PASS"), || {
            format!("{}\n{}", verified.told(), session.told())
        })?;
        Ok(session)
    }

    pub(crate) fn told(&self) -> String {
        format!("{}\n--- log\n{}", self.ended.told(), self.log)
    }

    pub(crate) fn answer(&self, n: usize) -> &Value {
        self.answers.get(n).unwrap_or(&Value::Null)
    }

    /// Fails unless an answer has these words somewhere in one of its members.
    pub(crate) fn says(&self, n: usize, member: &str, words: &[&str]) -> Told {
        let found = self.answer(n).get(member).map(ToString::to_string).unwrap_or_default();
        words.iter().try_for_each(|word| {
            must(found.contains(word), || format!("no {word:?} in {member:?} of answer {n}: {}", self.told()))
        })?;
        must(!found.is_empty(), || format!("answer {n} has no {member:?}: {}", self.told()))
    }

    /// Fails unless the log has all of this, each within one record.
    pub(crate) fn logged(&self, records: &[&[&str]]) -> Told {
        records.iter().try_for_each(|words| {
            let has = self.log.lines().any(|line| words.iter().all(|word| line.contains(word)));
            must(has, || format!("no record with {words:?} in {}", self.told()))
        })
    }
}
