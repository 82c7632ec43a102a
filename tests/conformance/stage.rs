//! A stage for a test of several steps: runs the binary there, and looks afterwards whether anything was left behind.
//! It never lets a test pass that left a process, a mount, a control group or a temporary file.

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use stockade_tests::people::{Person, everybody};
use stockade_tests::process::{Ended, Program};
use stockade_tests::scene::{self, Scene};
use stockade_tests::{binaries, report::Report};

/// The search path of everything that the tests start.
pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
/// Longest time for one step; a bound against hanging, not a measurement.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the kernel may take to bury what was killed.
const BURIAL: Duration = Duration::from_secs(10);

/// Tests that could not be carried out: name and reason.
static SKIPPED: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Why a test ended early.
#[derive(Debug)]
pub(crate) enum Stop {
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
pub(crate) type Told = Result<(), Stop>;

/// Fails a test when something is not so.
pub(crate) fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Told {
    if holds { Ok(()) } else { Err(Stop::Fail(otherwise())) }
}

/// Fails a test when two things differ.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Told {
    must(found == expected, || format!("{what}\n   found {found:?}\nexpected {expected:?}"))
}

/// A named test of several steps.
pub(crate) struct Story {
    name: String,
    gap: Option<&'static str>,
    tell: Box<dyn Fn(&mut Stage) -> Told + Send + Sync>,
}

impl Story {
    /// A story.
    pub(crate) fn new(name: impl Into<String>, tell: impl Fn(&mut Stage) -> Told + Send + Sync + 'static) -> Self {
        Self { name: name.into(), gap: None, tell: Box::new(tell) }
    }

    /// One whose right answer is not given yet, and why: it is ignored, and a machine that gives it fails the check of
    /// known gaps.
    pub(crate) fn gap(mut self, why: &'static str) -> Self {
        self.gap = Some(why);
        self
    }

    fn trial(self, person: Person) -> Trial {
        let name = match self.gap {
            // The check of known gaps finds them by this ending.
            Some(_) => format!("gap_{}_{}", self.name, person.label()).replace("::", "_"),
            None => format!("{}::{}", self.name, person.label()),
        };
        let ignored = self.gap.is_some();
        let own = name.clone();
        Trial::ignorable_test(name, move || self.run(person, &own)).with_ignored_flag(ignored)
    }

    fn run(&self, person: Person, name: &str) -> Result<Completion, Failed> {
        let mut stage = Stage::new(person)?;
        let told = (self.tell)(&mut stage).and_then(|()| stage.nothing_left());
        match told {
            Ok(()) => Ok(Completion::Completed),
            Err(Stop::Skip(why)) => {
                SKIPPED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((name.to_owned(), why.clone()));
                Ok(Completion::ignored_with(why))
            }
            Err(Stop::Fail(why)) => Err(self.gap.map_or(why.clone(), |gap| format!("known gap: {gap}\n{why}")).into()),
        }
    }
}

/// Runs every story as everybody: the main function of a test program.
pub(crate) fn run_all(program: &str, stories: fn() -> Vec<Story>) -> ExitCode {
    let arguments = Arguments::from_args();
    let (people, missing) = everybody();
    let trials = people.iter().flat_map(|person| stories().into_iter().map(|story| story.trial(*person))).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    scene::clean_up();
    if !arguments.list {
        tell(program, &conclusion, missing.as_deref());
    }
    conclusion.exit_code()
}

/// Says what was not shown, so that nobody takes it for shown.
#[expect(clippy::print_stdout, reason = "the summary of a test program")]
fn tell(program: &str, conclusion: &libtest_mimic::Conclusion, missing: Option<&str>) {
    let mut skipped = SKIPPED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    skipped.sort();
    for (name, reason) in &skipped {
        println!("SKIPPED {name}: {reason}");
    }
    if let Some(missing) = missing {
        println!("SKIPPED everything for other people: {missing}");
    }
    let (passed, failed) = (conclusion.num_passed, conclusion.num_failed);
    println!("{program}: {passed} hold, {failed} FAILED, {} SKIPPED (nothing is shown about them)", skipped.len());
}

/// A stage, and ways to run something on it.
pub(crate) struct Stage {
    /// Its directories and names.
    pub(crate) scene: Scene,
    /// Variables of whoever starts things, besides the usual ones; a later one wins.
    pub(crate) environment: Vec<(OsString, OsString)>,
}

impl Stage {
    fn new(person: Person) -> Result<Self, String> {
        let binary = binaries::stockade()?;
        let mut scene = Scene::new(person, &[("stockade", &binary)]).map_err(|e| format!("stage: {e}"))?;
        let temporary = scene.fill("{root}/temporary");
        scene.folder(&temporary).map_err(|e| format!("{temporary}: {e}"))?;
        scene.name("temporary", &temporary);
        Ok(Self { scene, environment: Vec::new() })
    }

    /// A program, its names filled in, that starts in the workspace.
    pub(crate) fn program(&self, words: &[&str]) -> Program {
        let usual = [
            ("PATH", PATH),
            ("HOME", "{home}"),
            ("STOCKADE_STATE", "{state}"),
            ("LANG", "C.UTF-8"),
            ("TMPDIR", "{temporary}"),
        ];
        let usual = usual.iter().map(|(name, value)| (name.into(), self.scene.fill(value).into()));
        Program {
            argv: words.iter().map(|word| self.scene.fill(word).into()).collect(),
            directory: self.scene.path("{ws}"),
            environment: usual.chain(self.environment.clone()).collect(),
            person: self.scene.person(),
            input: Vec::new(),
            limit: PATIENCE,
        }
    }

    /// Runs a program to its end.
    pub(crate) fn go(&self, program: &Program) -> Result<Ended, Stop> {
        let ended = program.run().map_err(|e| Stop::Fail(format!("{:?}: {e}", program.argv)))?;
        must(!ended.late, || format!("{:?} still running after {PATIENCE:?}\n{}", program.argv, ended.told()))?;
        Ok(ended)
    }

    /// Runs a command as it is, in the workspace.
    pub(crate) fn plain(&self, words: &[&str]) -> Result<Ended, Stop> {
        self.go(&self.program(words))
    }

    /// Runs the binary under test.
    pub(crate) fn stockade(&self, words: &[&str]) -> Result<Ended, Stop> {
        self.plain(&[&["{bin}/stockade"], words].concat())
    }

    /// Runs the binary under test, and fails unless it ends with this code.
    pub(crate) fn answers(&self, code: i32, words: &[&str]) -> Result<Ended, Stop> {
        let ended = self.stockade(words)?;
        must(ended.code() == code, || format!("{words:?}: not exit code {code} but {}", ended.told()))?;
        Ok(ended)
    }

    /// `stockade run` with options, a report, and a command.
    pub(crate) fn run(&self, options: &[&str], command: &[&str]) -> Result<Ended, Stop> {
        self.stockade(&run_words(options, command))
    }

    /// The report of the last run.
    pub(crate) fn report(&self) -> Result<Report, Stop> {
        Ok(Report::read(&self.scene.path("{root}/report.json"))?)
    }

    /// Writes a profile and gives its path.
    pub(crate) fn profile(&self, name: &str, body: &str) -> Result<String, Stop> {
        let path = format!("{{root}}/{name}.toml");
        self.scene.file_with_mode(&path, &format!("profile = 1\nname = \"{name}\"\n{body}"), 0o644)?;
        Ok(self.scene.fill(&path))
    }

    /// The content of a file as text.
    pub(crate) fn text(&self, template: &str) -> String {
        let bytes = std::fs::read(self.scene.path(template));
        bytes.map_or_else(|e| format!("({e})"), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What was left behind: processes, mounts, control groups, temporary files.
    pub(crate) fn nothing_left(&self) -> Told {
        let until = Instant::now() + BURIAL;
        loop {
            let left = self.leftovers()?;
            if left.is_empty() {
                return Ok(());
            }
            must(Instant::now() < until, || format!("left behind: {left:#?}"))?;
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn leftovers(&self) -> Result<Vec<String>, Stop> {
        // With the slash: stage 1 is not stage 10.
        let root = self.scene.fill("{root}/");
        let mut left = Vec::new();
        for process in entries(Path::new("/proc")).filter(|path| is_number(path)) {
            // A process of a sandbox tells the stage by its variables, or by what is mounted where it lives.
            for file in ["environ", "cmdline", "mountinfo"] {
                let told = std::fs::read(process.join(file)).unwrap_or_default();
                if told.windows(root.len()).any(|window| window == root.as_bytes()) {
                    let words = std::fs::read(process.join("cmdline")).unwrap_or_default();
                    left.push(format!("process {}: {}", process.display(), String::from_utf8_lossy(&words)));
                }
            }
        }
        let sessions: Vec<OsString> =
            entries(&self.scene.path("{state}/s")).filter_map(|path| Some(path.file_name()?.to_owned())).collect();
        groups(Path::new("/sys/fs/cgroup"), 5, &mut |group| {
            if sessions.iter().any(|session| group.as_os_str().as_bytes().ends_with(session.as_bytes())) {
                left.push(format!("control group {}", group.display()));
            }
        });
        left.extend(entries(&self.scene.path("{temporary}")).map(|path| format!("file {}", path.display())));
        Ok(left)
    }
}

/// The words of `stockade run` with a report.
pub(crate) fn run_words<'a>(options: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--workspace", "{ws}", "--report", "{root}/report.json"], options, &["--"], command].concat()
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn is_number(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().iter().all(u8::is_ascii_digit))
}

fn groups(directory: &Path, depth: usize, visit: &mut dyn FnMut(&Path)) {
    for group in entries(directory).filter(|path| path.is_dir() && !path.is_symlink()) {
        visit(&group);
        if depth > 0 {
            groups(&group, depth - 1, visit);
        }
    }
}

/// A text in which session names are `SESSION`: they are random, and nothing else on a line is.
pub(crate) fn masked(text: &str) -> String {
    let is_name =
        |word: &str| word.len() == 26 && word.starts_with('0') && word.bytes().all(|b| b.is_ascii_alphanumeric());
    let mut names: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| is_name(word)).collect();
    names.sort_unstable();
    names.dedup();
    names.iter().fold(text.to_owned(), |text, name| text.replace(name, "SESSION"))
}
