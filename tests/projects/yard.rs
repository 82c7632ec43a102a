//! A place to run a project as one person: a workspace, a state directory, the way in and the way beside it.
//! It never lets the two ways differ in anything but the wall: same person, same variables, same directory.

use libtest_mimic::Failed;
use std::ffi::OsString;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;
use stockade_tests::binaries;
use stockade_tests::people::Person;
use stockade_tests::process::{Ended, Program};
use stockade_tests::report::Report;
use stockade_tests::scene::Scene;

/// A build and its tests take seconds; a hang must not take the day.
const LIMIT: Duration = Duration::from_secs(300);

/// The place.
pub(crate) struct Yard {
    scene: Scene,
    person: Person,
}

impl Yard {
    /// An empty one.
    pub(crate) fn new(person: Person) -> Result<Self, Failed> {
        let binary = binaries::stockade()?;
        let mut scene = Scene::new(person, &[("stockade", &binary)])?;
        let tmp = scene.fill("{root}/tmp");
        scene.name("tmp", &tmp);
        scene.folder("{tmp}")?;
        Ok(Self { scene, person })
    }

    /// A path, its names replaced.
    pub(crate) fn path(&self, template: &str) -> PathBuf {
        self.scene.path(template)
    }

    /// Copies a directory's content, and gives it to the person.
    pub(crate) fn copy(&self, source: &Path, template: &str) -> Result<(), Failed> {
        let target = self.path(template);
        let owner = self.person.switch().map_or_else(|| "+0:+0".to_owned(), |(uid, gid)| format!("+{uid}:+{gid}"));
        let copy = format!(
            "mkdir -p \"$2\" && cp -a \"$1/.\" \"$2\" && {{ [ {owner} = +0:+0 ] || chown -R {owner} \"$2\"; }}"
        );
        let (from, to) = (source.as_os_str(), target.as_os_str());
        let argv = ["sh".into(), "-c".into(), copy.into(), "sh".into(), from.to_owned(), to.to_owned()];
        let myself = Program { person: Person::myself(), ..self.program(Path::new("/"), argv.to_vec()) };
        demand(&myself.run()?, 0)
    }

    /// A repository in the workspace, cloned from one beside it.
    pub(crate) fn origin(&self) -> Result<(), Failed> {
        let script = "set -e; umask 022; mkdir made; cd made; git init -q -b main .; printf 'one\\n' > story.txt; mkdir nested; \
            printf 'deep\\n' > nested/file.txt; printf 'exit 0\\n' > script.sh; git add -A; \
            git -c user.name=Host -c user.email=host@example.com commit -q -m outside; cd ..; \
            git clone -q made cloned; cp -a cloned/. ../ws; rm -rf cloned";
        self.scene.folder("{root}/made-here")?;
        demand(&self.outside("{root}/made-here", &["sh", "-c", script])?, 0)
    }

    /// The commit that a repository is at.
    pub(crate) fn head(&self, template: &str) -> Result<String, Failed> {
        let said = self.outside(template, &["git", "rev-parse", "HEAD"])?;
        demand(&said, 0)?;
        Ok(said.out().trim().to_owned())
    }

    /// Runs a command beside the wall, with a `/tmp` of its own as it has inside.
    pub(crate) fn outside(&self, template: &str, command: &[&str]) -> Result<Ended, Failed> {
        let mut program = self.program(&self.path(template), command.iter().map(OsString::from).collect());
        program.environment.push(("TMPDIR".into(), self.path("{tmp}").into_os_string()));
        Ok(program.run()?)
    }

    /// Runs a command in a stockade around the workspace, with a report.
    pub(crate) fn run(&self, profile: &str, command: &[&str]) -> Result<Ended, Failed> {
        let workspace = self.scene.fill("{ws}");
        let report = self.scene.fill("{state}/report.json");
        let front =
            ["run", "--profile", profile, "--workspace", &workspace, "--mode", "review", "--report", &report, "--"];
        self.stockade(&[&front, command].concat())
    }

    /// Runs the binary under test.
    pub(crate) fn stockade(&self, arguments: &[&str]) -> Result<Ended, Failed> {
        let binary = self.path("{bin}/stockade").into_os_string();
        let argv = std::iter::once(binary).chain(arguments.iter().map(OsString::from)).collect();
        Ok(self.program(&self.path("{ws}"), argv).run()?)
    }

    /// What the newest run reported.
    pub(crate) fn report(&self) -> Result<Report, Failed> {
        Ok(Report::read(&self.path("{state}/report.json"))?)
    }

    fn program(&self, directory: &Path, argv: Vec<OsString>) -> Program {
        Program {
            argv,
            directory: directory.to_owned(),
            environment: self.environment(),
            person: self.person,
            input: Vec::new(),
            limit: LIMIT,
        }
    }

    /// Whose tools are used: one's own, or those that `tests/run` laid out for the ordinary user.
    fn environment(&self) -> Vec<(OsString, OsString)> {
        const SYSTEM: &str = "/usr/local/bin:/usr/bin:/bin";
        let of = |name: &str| binaries::variable(name).unwrap_or_default();
        let (home, tools) = match self.person {
            Person::Myself { .. } => (of("HOME"), PathBuf::from(of("HOME")).join(".cargo/bin").into_os_string()),
            Person::Ordinary { .. } => {
                (of("STOCKADE_TEST_HOME"), PathBuf::from(of("STOCKADE_TEST_TOOLCHAIN")).join("bin").into_os_string())
            }
        };
        let mut path = OsString::from(SYSTEM);
        if Path::new(&tools).is_dir() {
            path = tools;
            path.push(":");
            path.push(SYSTEM);
        }
        let state = self.path("{state}").into_os_string();
        vec![
            ("HOME".into(), home),
            ("PATH".into(), path),
            ("STOCKADE_STATE".into(), state),
            ("LC_ALL".into(), "C".into()),
        ]
    }
}

/// Fails unless a program ended with this code.
pub(crate) fn demand(ended: &Ended, code: i32) -> Result<(), Failed> {
    if ended.code() == code { Ok(()) } else { Err(format!("expected exit {code}, got {}", ended.told()).into()) }
}

/// Fails unless both are the same.
pub(crate) fn agree<T: PartialEq + Debug>(about: &str, expected: &T, found: &T) -> Result<(), Failed> {
    if expected == found { Ok(()) } else { Err(format!("{about}: expected {expected:?}, got {found:?}").into()) }
}
