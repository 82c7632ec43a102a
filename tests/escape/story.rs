//! Tests that take several steps: run, then look, apply, verify; each still has its control where it is an attack.
//! It never goes on after a step that did not do what it was meant to do.

use crate::check::{base_environment, skip, stage, under_test};
use libtest_mimic::{Completion, Failed};
use std::ffi::OsString;
use std::time::Duration;
use stockade_tests::people::Person;
use stockade_tests::process::{Ended, Program};
use stockade_tests::report::Report;
use stockade_tests::scene::Scene;

/// Why a story ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It cannot be told on this machine.
    Skip(String),
    /// What must not happen happened, or a step failed.
    Fail(String),
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Fail(why)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Fail(error.to_string())
    }
}

/// How a story ends.
pub(crate) type Told = Result<(), Stop>;

/// A named test of several steps.
pub(crate) struct Story {
    /// What must not happen, or what must keep working.
    pub(crate) name: String,
    tell: Box<dyn Fn(&mut Stage) -> Told + Send + Sync>,
}

impl Story {
    /// A story.
    pub(crate) fn new(name: impl Into<String>, tell: impl Fn(&mut Stage) -> Told + Send + Sync + 'static) -> Self {
        Self { name: name.into(), tell: Box::new(tell) }
    }

    /// Tells it as a person.
    pub(crate) fn run(&self, person: Person, name: &str) -> Result<Completion, Failed> {
        let mut stage = Stage::new(person)?;
        match (self.tell)(&mut stage) {
            Ok(()) => Ok(Completion::Completed),
            Err(Stop::Skip(why)) => Ok(skip(name, &why)),
            Err(Stop::Fail(why)) => Err(why.into()),
        }
    }
}

/// Fails a story when something is not so.
pub(crate) fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Told {
    if holds { Ok(()) } else { Err(Stop::Fail(otherwise())) }
}

/// A stage, and ways to run something on it.
pub(crate) struct Stage {
    /// Its directories and names.
    pub(crate) scene: Scene,
    /// Variables of whoever starts things, besides the usual ones.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Longest time for one step.
    pub(crate) patience: Duration,
}

impl Stage {
    fn new(person: Person) -> Result<Self, String> {
        Ok(Self { scene: stage(person)?, environment: Vec::new(), patience: Duration::from_secs(120) })
    }

    /// Runs a command as it is, in the workspace.
    pub(crate) fn plain(&self, words: &[&str]) -> Result<Ended, Stop> {
        let program = Program {
            argv: words.iter().map(|word| self.scene.fill(word).into()).collect(),
            directory: self.scene.path("{ws}"),
            environment: [base_environment(&self.scene), self.environment.clone()].concat(),
            person: self.scene.person(),
            input: Vec::new(),
            limit: self.patience,
        };
        let ended = program.run().map_err(|e| Stop::Fail(format!("{:?}: {e}", program.argv)))?;
        if ended.late {
            return Err(Stop::Fail(format!("{words:?} still running after {:?}\n{}", self.patience, ended.told())));
        }
        Ok(ended)
    }

    /// Runs the binary under test. Skips the story when only controls are wanted.
    pub(crate) fn stockade(&self, words: &[&str]) -> Result<Ended, Stop> {
        if under_test()?.is_none() {
            return Err(Stop::Skip("controls only".to_owned()));
        }
        self.plain(&[&["{bin}/stockade"], words].concat())
    }

    /// `stockade run` with options, a report, and a command.
    pub(crate) fn confined(&self, options: &[&str], command: &[&str]) -> Result<Ended, Stop> {
        let run = ["run", "--workspace", "{ws}", "--report", "{root}/report.json"];
        self.stockade(&[&run, options, &["--"], command].concat())
    }

    /// The report of the last confined run.
    pub(crate) fn report(&self) -> Result<Report, Stop> {
        Ok(Report::read(&self.scene.path("{root}/report.json"))?)
    }

    /// Writes a profile and gives its path.
    pub(crate) fn profile(&self, name: &str, body: &str) -> Result<String, Stop> {
        let path = format!("{{root}}/{name}.toml");
        self.scene.file_with_mode(&path, &format!("profile = 1\nname = \"{name}\"\n{body}"), 0o644)?;
        Ok(self.scene.fill(&path))
    }

    /// A profile for attacks: the shell's, and the probe may be run.
    pub(crate) fn probe_profile(&self, name: &str, body: &str) -> Result<String, Stop> {
        let exec = "[[grant.exec]]\npath = \"{bin}\"\nreason = \"the attack program\"\n";
        self.profile(name, &format!("extends = [\"shell\"]\n{exec}{body}"))
    }

    /// Whether something is at a path.
    pub(crate) fn exists(&self, template: &str) -> bool {
        self.scene.path(template).symlink_metadata().is_ok()
    }
}
