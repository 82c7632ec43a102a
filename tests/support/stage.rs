//! A stage for a test of several steps: runs the binary there, and looks afterwards whether anything was left behind.
//! It never lets a test pass that left a process, a mount, a control group, a container or a temporary file.

use crate::binaries;
use crate::people::Person;
use crate::process::{Ended, Program};
use crate::report::Report;
use crate::scene::Scene;
use crate::story::{Stop, Told, must};
use crate::wall;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Takes the right to make user namespaces away from what follows, and nothing else.
const FORBID: &str = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";

/// The search path of everything that the tests start.
pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
/// Longest time for one step; a bound against hanging, not a measurement.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long the kernel may take to bury what was killed.
const BURIAL: Duration = Duration::from_secs(10);

/// A variable of an environment.
type Variable = (OsString, OsString);

/// A stage, and ways to run something on it.
#[derive(Debug)]
pub struct Stage {
    /// Its directories and names.
    pub scene: Scene,
    /// Variables of whoever starts things, besides the usual ones; a later one wins.
    pub environment: Vec<Variable>,
    /// Longest time for one step.
    pub patience: Duration,
    /// Words before the binary under test: a program that starts it in other circumstances. Mostly none.
    pub before: Vec<String>,
    usual: Vec<Variable>,
}

impl Stage {
    /// A stage with the binary under test, and a directory for temporary files that has to be empty afterwards.
    ///
    /// # Errors
    /// A text: there is no binary, or no place for a stage.
    pub fn new(person: Person) -> Result<Self, String> {
        let binary = binaries::under_test()?;
        let programs: Vec<(&str, &Path)> = binary.iter().map(|binary| ("stockade", binary.as_path())).collect();
        let mut scene = Scene::new(person, &programs).map_err(|e| format!("stage: {e}"))?;
        let temporary = scene.fill("{root}/temporary");
        scene.folder(&temporary).map_err(|e| format!("{temporary}: {e}"))?;
        scene.name("temporary", &temporary);
        let mut stage = Self::on(scene);
        stage.usual.push(("TMPDIR".into(), temporary.into()));
        Ok(stage)
    }

    /// A stage on a scene that is there already.
    #[must_use]
    pub fn on(scene: Scene) -> Self {
        let usual = usual_environment(&scene);
        Self { scene, environment: Vec::new(), patience: PATIENCE, before: Vec::new(), usual }
    }

    /// A program, its names filled in, that starts in the workspace; the binary under test on this run's wall.
    #[must_use]
    pub fn program(&self, words: &[&str]) -> Program {
        Program {
            argv: wall::on_this_wall(words).iter().map(|word| self.scene.fill(word).into()).collect(),
            directory: self.scene.path("{ws}"),
            environment: [self.usual.clone(), self.environment.clone()].concat(),
            person: self.scene.person(),
            input: Vec::new(),
            limit: self.patience,
        }
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    /// It cannot be started, or does not end in time.
    pub fn go(&self, program: &Program) -> Result<Ended, Stop> {
        let ended = program.run().map_err(|e| Stop::Fail(format!("{:?}: {e}", program.argv)))?;
        must(!ended.late, || format!("{:?} still running after {:?}\n{}", program.argv, program.limit, ended.told()))?;
        Ok(ended)
    }

    /// Runs a command as it is, in the workspace.
    ///
    /// # Errors
    /// As [`Self::go`].
    pub fn plain(&self, words: &[&str]) -> Result<Ended, Stop> {
        self.go(&self.program(words))
    }

    /// Runs the binary under test. Skips the story when only controls are wanted.
    ///
    /// # Errors
    /// As [`Self::go`].
    pub fn stockade(&self, words: &[&str]) -> Result<Ended, Stop> {
        if binaries::under_test()?.is_none() {
            return Err(Stop::Skip("controls only".to_owned()));
        }
        let before: Vec<&str> = self.before.iter().map(String::as_str).collect();
        self.plain(&[&before[..], &["{bin}/stockade"], words].concat())
    }

    /// Runs the binary under test where user namespaces are forbidden: inside one whose own limit is 0.
    ///
    /// # Errors
    /// As [`Self::go`]. Skips the story as root, and where they cannot be forbidden.
    pub fn without_user_namespaces(&self, words: &[&str]) -> Result<Ended, Stop> {
        if wall::is_container() {
            return Err(Stop::Skip(
                "in a container it is the engine's namespaces that count, not its caller's".to_owned(),
            ));
        }
        // As root the namespace would map root, who is then refused nothing that a mode forbids: not what is tested.
        if self.scene.person().is_root() {
            return Err(Stop::Skip("root is not forbidden user namespaces by this limit".to_owned()));
        }
        let forbid = ["/usr/bin/unshare", "--user", "--map-current-user", "--keep-caps", "/bin/sh", "-c", FORBID, "sh"];
        let control = self.plain(&[&forbid[..], &["/usr/bin/unshare", "--user", "/bin/true"]].concat())?;
        if control.code() == 0 || !control.err().contains("unshare") {
            return Err(Stop::Skip(format!("user namespaces cannot be forbidden here: {}", control.told())));
        }
        // The capabilities that were needed for writing the limit are not for what is tested.
        let dropped = ["/usr/bin/setpriv", "--inh-caps=-all", "--ambient-caps=-all"];
        self.plain(&[&forbid[..], &dropped, &["{bin}/stockade"], words].concat())
    }

    /// Runs the binary under test, and fails unless it ends with this code.
    ///
    /// # Errors
    /// It ends otherwise, or as [`Self::go`].
    pub fn answers(&self, code: i32, words: &[&str]) -> Result<Ended, Stop> {
        let ended = self.stockade(words)?;
        must(ended.code() == code, || format!("{words:?}: not exit code {code} but {}", ended.told()))?;
        Ok(ended)
    }

    /// `stockade run` with options, a report, and a command.
    ///
    /// # Errors
    /// As [`Self::go`].
    pub fn run(&self, options: &[&str], command: &[&str]) -> Result<Ended, Stop> {
        self.stockade(&run_words(options, command))
    }

    /// The report of the last run.
    ///
    /// # Errors
    /// There is none.
    pub fn report(&self) -> Result<Report, Stop> {
        Ok(Report::read(&self.scene.path("{root}/report.json"))?)
    }

    /// Writes a profile and gives its path.
    ///
    /// # Errors
    /// The system's.
    pub fn profile(&self, name: &str, body: &str) -> Result<String, Stop> {
        let path = format!("{{root}}/{name}.toml");
        self.scene.file_with_mode(&path, &format!("profile = 1\nname = \"{name}\"\n{body}"), 0o644)?;
        Ok(self.scene.fill(&path))
    }

    /// A profile for attacks: the shell's, and the probe may be run.
    ///
    /// # Errors
    /// The system's.
    pub fn probe_profile(&self, name: &str, body: &str) -> Result<String, Stop> {
        let exec = "[[grant.exec]]\npath = \"{bin}\"\nreason = \"the attack program\"\n";
        self.profile(name, &format!("extends = [\"shell\"]\n{exec}{body}"))
    }

    /// Whether something is at a path.
    #[must_use]
    pub fn exists(&self, template: &str) -> bool {
        self.scene.path(template).symlink_metadata().is_ok()
    }

    /// The content of a file as text.
    #[must_use]
    pub fn text(&self, template: &str) -> String {
        let bytes = std::fs::read(self.scene.path(template));
        bytes.map_or_else(|e| format!("({e})"), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Fails when something was left behind: processes, mounts, control groups, containers, temporary files.
    ///
    /// # Errors
    /// What there is.
    pub fn nothing_left(&self) -> Told {
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
        left.extend(wall::containers_of(&self.scene.path("{state}"))?);
        left.extend(entries(&self.scene.path("{temporary}")).map(|path| format!("file {}", path.display())));
        Ok(left)
    }
}

/// The environment of whoever starts something on a stage.
#[must_use]
pub fn usual_environment(scene: &Scene) -> Vec<Variable> {
    let usual = [("PATH", PATH), ("HOME", "{home}"), ("STOCKADE_STATE", "{state}"), ("LANG", "C.UTF-8")];
    usual.iter().map(|(name, value)| (name.into(), scene.fill(value).into())).collect()
}

/// The words of `stockade run` with a report.
#[must_use]
pub fn run_words<'a>(options: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
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
#[must_use]
pub fn masked(text: &str) -> String {
    let is_name =
        |word: &str| word.len() == 26 && word.starts_with('0') && word.bytes().all(|b| b.is_ascii_alphanumeric());
    let mut names: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| is_name(word)).collect();
    names.sort_unstable();
    names.dedup();
    names.iter().fold(text.to_owned(), |text, name| text.replace(name, "SESSION"))
}
