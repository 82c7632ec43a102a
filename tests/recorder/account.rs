//! Runs a command on record, and reads the account that the sealed log gives of it.
//! It never takes a log that does not verify: each account was checked, double entry included.

use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use stockade_tests::binaries;
use stockade_tests::people::Person;
use stockade_tests::process::Ended;
use stockade_tests::scene::Scene;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Theatre, Told, must};

/// Longest time for one step: whatever waits for something that never comes ends the test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// A stage with the probe.
pub(crate) const THEATRE: Theatre = Theatre { stage, afterwards: Stage::nothing_left };

/// How much a run is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    Off,
    Changes,
    AllOpens,
}

impl Record {
    const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Changes => "changes",
            Self::AllOpens => "all-opens",
        }
    }
}

fn stage(person: Person) -> Result<Stage, String> {
    let probe = Path::new(env!("CARGO_BIN_EXE_stockade-probe"));
    let mut programs = vec![("stockade-probe", probe)];
    let binary = binaries::under_test()?;
    programs.extend(binary.iter().map(|binary| ("stockade", binary.as_path())));
    let mut scene = Scene::new(person, &programs).map_err(|e| format!("stage: {e}"))?;
    let temporary = scene.fill("{root}/temporary");
    scene.folder(&temporary).map_err(|e| format!("{temporary}: {e}"))?;
    scene.name("temporary", &temporary);
    let mut stage = Stage::on(scene);
    stage.environment.push(("TMPDIR".into(), temporary.into()));
    stage.patience = PATIENCE;
    Ok(stage)
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) ended: Ended,
    /// The log, one record per line: kind, evidence, then `member=value` in the members' order. Empty where it was not
    /// asked for.
    pub(crate) log: String,
    records: Vec<Value>,
    traced: bool,
}

impl Account {
    pub(crate) fn told(&self) -> String {
        let cut: String = self.log.chars().take(6_000).collect();
        format!("{}\n--- log\n{cut}", self.ended.told())
    }

    /// Fails unless each of these is in the log, its words in one record. A recorder that traces opens nothing itself.
    pub(crate) fn shows(&self, wanted: &[&[&str]]) -> Told {
        wanted.iter().try_for_each(|words| {
            let as_traced = |word: &&str| {
                if self.traced { word.replace("fs.open performed", "fs.open observed") } else { (*word).to_owned() }
            };
            let words: Vec<String> = words.iter().map(as_traced).collect();
            let has = self.log.lines().any(|line| words.iter().all(|word| line.contains(word.as_str())));
            must(has, || format!("no record with {words:?} in {}", self.told()))
        })
    }

    /// The objects of records of this kind.
    pub(crate) fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.records.iter().filter(move |record| text(record, "k") == kind).filter_map(|record| record.get("o"))
    }

    /// When that happened which the first record of this kind tells of a process, ns since the log was opened.
    pub(crate) fn happened_ns(&self, kind: &str, process: u64) -> Option<u64> {
        let of = |record: &&Value| record.pointer("/o/p").and_then(Value::as_u64) == Some(process);
        let record = self.records.iter().filter(|record| text(record, "k") == kind).find(of)?;
        let number = |name: &str| record.get(name).and_then(Value::as_u64);
        Some(number("mt")? - number("ago").unwrap_or(0))
    }

    /// How many events records of this kind stand for whose object holds all of this.
    pub(crate) fn count(&self, kind: &str, wanted: &[(&str, &str)]) -> u64 {
        let has = |object: &&Value| wanted.iter().all(|(name, value)| text(object, name) == *value);
        self.of(kind).filter(has).map(|object| object.get("times").and_then(Value::as_u64).unwrap_or(1)).sum()
    }
}

/// A member as text, without quotes.
pub(crate) fn text(object: &Value, name: &str) -> String {
    match object.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// Writes a profile for a way of recording, and gives its path. `more` are further tables.
pub(crate) fn profile(stage: &Stage, base: &str, record: Record, more: &str) -> Result<String, Stop> {
    let record = record.word();
    let exec = "[[grant.exec]]\npath = \"{bin}\"\nreason = \"the attack program\"\n";
    stage.profile(&format!("record-{record}"), &format!("extends = [\"{base}\"]\nrecord = \"{record}\"\n{exec}{more}"))
}

/// Runs a command in the workspace itself, and reads its account.
pub(crate) fn on_record(stage: &Stage, record: Record, command: &[&str]) -> Result<Account, Stop> {
    run(stage, record, "direct", "", command)
}

/// The same in any mode, with more in the profile.
pub(crate) fn run(stage: &Stage, record: Record, mode: &str, more: &str, command: &[&str]) -> Result<Account, Stop> {
    let profile = profile(stage, "shell", record, more)?;
    let ended = stage.run(&["-q", "--profile", &profile, "--mode", mode], command)?;
    account(stage, ended)
}

/// Reads the account of the last run, after it was verified.
pub(crate) fn account(stage: &Stage, ended: Ended) -> Result<Account, Stop> {
    let verified = stage.stockade(&["verify", "last"])?;
    let sound = verified.code() == 0 && verified.out().starts_with("PASS");
    let shown = stage.answers(0, &["log", "show", "last", "--json"])?.out();
    let records: Vec<Value> = shown.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let log = records.iter().map(line).collect();
    let traces = |record: &Value| record.pointer("/o/recorder/grade").and_then(Value::as_str) == Some("trace");
    let (traced, expected) = (records.iter().any(traces), !stage.before.is_empty());
    let off = records.iter().any(|record| record.pointer("/o/recorder/scope").and_then(Value::as_str) == Some("off"));
    let account = Account { ended, log, records, traced };
    must(traced == (expected && !off), || format!("another recorder than there should be: {}", account.told()))?;
    must(sound, || format!("{}{}", verified.told(), account.told()))?;
    Ok(account)
}

fn line(record: &Value) -> String {
    let members = record.get("o").and_then(Value::as_object);
    let members = members.into_iter().flatten().map(|(name, value)| format!(" {name}={value}"));
    format!("{} {}{}\n", text(record, "k"), text(record, "ev"), members.collect::<String>())
}
