//! Tests that take several steps: how one is named, told and judged, and what a test program says at its end.
//! It never counts a test that could not be carried out as one that passed.

use crate::people::{Person, everybody};
use crate::scene;
use crate::stage::Stage;
use crate::wall;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

/// Tests that could not be carried out: name and reason.
static SKIPPED: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Why a test ended early.
#[derive(Debug)]
pub enum Stop {
    /// It cannot be carried out on this machine.
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

/// How a test ends.
pub type Told = Result<(), Stop>;

/// Fails a test when something is not so.
///
/// # Errors
/// It is not so.
pub fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Told {
    if holds { Ok(()) } else { Err(Stop::Fail(otherwise())) }
}

/// Fails a test when two things differ.
///
/// # Errors
/// They differ.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Told {
    must(found == expected, || format!("{what}\n   found {found:?}\nexpected {expected:?}"))
}

/// A named test of several steps.
pub struct Story {
    name: String,
    gap: Option<&'static str>,
    /// Why it is not told in a container, where it is not.
    apart: Option<&'static str>,
    tell: Box<dyn Fn(&mut Stage) -> Told + Send + Sync>,
}

impl std::fmt::Debug for Story {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Story").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How the stories of a test program begin and end.
#[derive(Debug, Clone, Copy)]
pub struct Theatre {
    /// Builds a stage.
    pub stage: fn(Person) -> Result<Stage, String>,
    /// Looks at it when the story is told.
    pub afterwards: fn(&Stage) -> Told,
}

/// A stage with the binary alone, on which nothing may be left.
pub const BARE: Theatre = Theatre { stage: Stage::new, afterwards: Stage::nothing_left };

impl Story {
    /// A story: what must not happen, or what must keep working.
    pub fn new(name: impl Into<String>, tell: impl Fn(&mut Stage) -> Told + Send + Sync + 'static) -> Self {
        Self { name: name.into(), gap: None, apart: None, tell: Box::new(tell) }
    }

    /// One whose right answer is not given yet, and why: it is ignored, and a machine that gives it fails the check of
    /// known gaps.
    #[must_use]
    pub fn gap(mut self, why: &'static str) -> Self {
        self.gap = Some(why);
        self
    }

    /// One that means nothing on the third wall, and why: there it is skipped, which is said.
    #[must_use]
    pub fn not_in_a_container(mut self, why: &'static str) -> Self {
        self.apart = Some(why);
        self
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same story on a stage that this changes first, under a name that begins with this.
    #[must_use]
    pub fn on(self, place: &str, change: fn(&mut Stage)) -> Self {
        let Self { name, gap, apart, tell } = self;
        let changed = move |stage: &mut Stage| {
            change(stage);
            tell(stage)
        };
        Self { name: format!("{place}::{name}"), gap, apart, tell: Box::new(changed) }
    }

    /// The test of it, as a person.
    pub fn trial(self, person: Person, theatre: Theatre) -> Trial {
        let name = match self.gap {
            // The check of known gaps finds them by this beginning.
            Some(_) => format!("gap_{}_{}", self.name, person.label()).replace("::", "_"),
            None => format!("{}::{}", self.name, person.label()),
        };
        let ignored = self.gap.is_some();
        let own = name.clone();
        Trial::ignorable_test(name, move || self.run(person, theatre, &own)).with_ignored_flag(ignored)
    }

    fn run(&self, person: Person, theatre: Theatre, name: &str) -> Result<Completion, Failed> {
        if let Some(why) = self.apart.filter(|_| wall::is_container()) {
            return Ok(skip(name, why));
        }
        if let Some(why) = wall::differs(&self.name) {
            return Ok(skip(name, why));
        }
        let mut stage = (theatre.stage)(person)?;
        match (self.tell)(&mut stage).and_then(|()| (theatre.afterwards)(&stage)) {
            Ok(()) => Ok(Completion::Completed),
            Err(Stop::Skip(why)) => Ok(skip(name, &why)),
            Err(Stop::Fail(why)) => Err(self.gap.map_or(why.clone(), |gap| format!("known gap: {gap}\n{why}")).into()),
        }
    }
}

/// Notes a test that could not be carried out, and ends it as neither passed nor failed.
pub fn skip(name: &str, why: &str) -> Completion {
    let mut skipped = SKIPPED.lock().unwrap_or_else(PoisonError::into_inner);
    skipped.push((name.to_owned(), why.to_owned()));
    Completion::ignored_with(why)
}

/// Runs every story as everybody: the main function of a test program.
pub fn run_all(program: &str, stories: fn() -> Vec<Story>) -> ExitCode {
    run_trials(program, |person| stories().into_iter().map(|story| story.trial(person, BARE)).collect())
}

/// Runs every test as everybody, and says what was not shown.
pub fn run_trials(program: &str, trials: impl Fn(Person) -> Vec<Trial>) -> ExitCode {
    let arguments = Arguments::from_args();
    let (people, missing) = everybody();
    let conclusion = libtest_mimic::run(&arguments, people.iter().flat_map(|person| trials(*person)).collect());
    scene::clean_up();
    if !arguments.list {
        tell(program, &conclusion, missing.as_deref());
    }
    conclusion.exit_code()
}

/// Says what was not shown, so that nobody takes it for shown.
#[expect(clippy::print_stdout, reason = "the summary of a test program")]
fn tell(program: &str, conclusion: &libtest_mimic::Conclusion, missing: Option<&str>) {
    let mut skipped = SKIPPED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    skipped.sort();
    for (name, reason) in &skipped {
        println!("SKIPPED {name}: {reason}");
    }
    if let Some(missing) = missing {
        println!("SKIPPED everything for other people: {missing}");
    }
    let (passed, failed) = (conclusion.num_passed, conclusion.num_failed);
    let wall = if wall::is_container() { " in a container" } else { "" };
    println!(
        "{program}{wall}: {passed} hold, {failed} FAILED, {} SKIPPED (nothing is shown about them)",
        skipped.len()
    );
}
