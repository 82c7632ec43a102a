//! Real projects in a stockade, as root and as an ordinary user: their own tests pass inside as they do outside, the
//! workspace stays as it was until `apply`, and the log verifies. It never downloads; `tests/projects/fetch` did.

mod yard;

use libtest_mimic::{Arguments, Failed, Trial};
use std::path::PathBuf;
use stockade_tests::people::{self, Person};
use stockade_tests::{binaries, scene};
use yard::{Yard, agree, demand};

/// A project, how its tests are run, and what tells that they ran.
struct Project {
    name: &'static str,
    /// Below the directory of downloads.
    source: &'static str,
    profile: &'static str,
    command: &'static [&'static str],
    /// Beginning of the lines in which the project's test runner counts; inside and outside must say the same.
    counts: &'static str,
    /// Something that the command leaves behind.
    leaves: &'static str,
}

const PROJECTS: [Project; 3] = [
    Project {
        name: "a_rust_crate_builds_and_passes_inside",
        source: "rust/walkdir",
        profile: "rust-dev",
        command: &["cargo", "test", "--offline"],
        counts: "test result: ",
        leaves: "target/debug/deps",
    },
    Project {
        name: "a_python_project_passes_inside",
        source: "python/idna-3.10",
        profile: "python-dev",
        command: &["python3", "-m", "unittest", "discover", "-s", "tests", "-t", "."],
        counts: "OK",
        leaves: "idna/__pycache__",
    },
    Project {
        name: "a_node_project_passes_inside",
        source: "node/package",
        profile: "node-dev",
        command: &["npm", "run", "test:unit"],
        counts: "# pass",
        leaves: "coverage",
    },
];

fn main() {
    let arguments = Arguments::from_args();
    let downloads = binaries::variable("STOCKADE_TEST_PROJECTS").map(PathBuf::from);
    let (persons, missing) = people::everybody();
    // Somebody who is missing is a test that is skipped, with the reason as its name.
    let mut trials: Vec<Trial> =
        missing.into_iter().map(|why| Trial::test(why, || Ok(())).with_ignored_flag(true)).collect();
    for person in persons {
        for project in &PROJECTS {
            let source =
                downloads.as_ref().map(|directory| directory.join(project.source)).filter(|path| path.is_dir());
            let ignored = source.is_none();
            let run = move || inside_as_outside(person, project, &source.unwrap_or_default());
            trials.push(Trial::test(named(project.name, person), run).with_ignored_flag(ignored));
        }
        let git = move || a_commit_inside_is_a_commit_outside(person);
        trials.push(Trial::test(named("a_commit_inside_is_a_commit_outside", person), git));
        let undone = move || an_applied_change_can_be_undone(person);
        trials.push(Trial::test(named("an_applied_change_can_be_undone", person), undone));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    scene::clean_up();
    conclusion.exit();
}

fn named(test: &str, person: Person) -> String {
    format!("{test}::{}", person.label())
}

fn inside_as_outside(person: Person, project: &Project, source: &std::path::Path) -> Result<(), Failed> {
    let yard = Yard::new(person)?;
    yard.copy(source, "{ws}")?;
    yard.copy(source, "{root}/control")?;
    let outside = yard.outside("{root}/control", project.command)?;
    demand(&outside, 0)?;
    let counted = lines(&outside, project.counts);
    if counted.is_empty() {
        return Err(format!("no line begins with \"{}\": {}", project.counts, outside.told()).into());
    }

    let inside = yard.run(project.profile, project.command)?;
    demand(&inside, 0)?;
    agree("what the tests counted", &counted, &lines(&inside, project.counts))?;
    let left = yard.path("{ws}").join(project.leaves);
    agree("whether the workspace was touched before apply", &false, &left.exists())?;
    let changes = yard.report()?.changed_paths();
    if !changes.iter().any(|path| path.starts_with(project.leaves)) {
        return Err(format!("no change below \"{}\" is reported: {changes:?}", project.leaves).into());
    }

    demand(&yard.stockade(&["verify", "last"])?, 0)?;
    demand(&yard.stockade(&["apply", "last"])?, 0)?;
    agree("whether apply took the changes over", &true, &left.exists())?;
    demand(&yard.stockade(&["verify", "last"])?, 0)?;
    demand(&yard.outside("{ws}", project.command)?, 0)
}

/// Lines of both streams that begin so, without the times that some of them end with.
fn lines(ended: &stockade_tests::process::Ended, begin: &str) -> Vec<String> {
    let text = format!("{}\n{}", ended.out(), ended.err());
    let counted = text.lines().filter(|line| line.trim_start().starts_with(begin));
    counted.map(|line| line.split("; finished in").next().unwrap_or_default().trim().to_owned()).collect()
}

fn a_commit_inside_is_a_commit_outside(person: Person) -> Result<(), Failed> {
    let yard = Yard::new(person)?;
    yard.origin()?;
    let script = "set -e; printf 'two\\n' >> story.txt; mkdir -p deep; printf 'new\\n' > deep/new.txt; git add -A; \
        git -c user.name=Guest -c user.email=guest@example.com commit -q -m 'inside'; git rev-parse HEAD; git fsck --strict";
    let before = yard.head("{ws}")?;
    let inside = yard.run("git", &["sh", "-c", script])?;
    demand(&inside, 0)?;
    let commit = inside.out().lines().next().unwrap_or_default().to_owned();
    agree("the host's HEAD before apply", &before, &yard.head("{ws}")?)?;

    let diff = yard.stockade(&["diff", "last", "story.txt"])?;
    demand(&diff, 0)?;
    if !diff.out().contains("+two") {
        return Err(format!("the diff does not show the new line: {}", diff.told()).into());
    }
    demand(&yard.stockade(&["apply", "last"])?, 0)?;
    agree("the host's HEAD after apply", &commit, &yard.head("{ws}")?)?;
    demand(&yard.outside("{ws}", &["git", "fsck", "--strict"])?, 0)?;
    let log = yard.outside("{ws}", &["git", "log", "--format=%s|%an|%P", "-1"])?;
    agree("the host's log", &format!("inside|Guest|{before}"), &log.out().trim().to_owned())?;
    let status = yard.outside("{ws}", &["git", "status", "--porcelain"])?;
    agree("the host's status", &String::new(), &status.out())?;
    demand(&yard.stockade(&["verify", "last"])?, 0)
}

fn an_applied_change_can_be_undone(person: Person) -> Result<(), Failed> {
    let yard = Yard::new(person)?;
    yard.origin()?;
    let script =
        "printf 'changed\\n' > story.txt; rm -r nested; ln -s story.txt link; mkdir empty; chmod 755 script.sh";
    demand(&yard.run("shell", &["sh", "-c", script])?, 0)?;
    let listing = |yard: &Yard| {
        yard.outside(
            "{ws}",
            &["sh", "-c", "find . -path ./.git -prune -o -printf '%p %y %m %l\\n' | sort; cat story.txt"],
        )
    };
    let before = listing(&yard)?.out();
    demand(&yard.stockade(&["apply", "last"])?, 0)?;
    let applied = listing(&yard)?.out();
    for part in ["./link l 777 story.txt", "./empty d", "./script.sh f 755", "changed"] {
        if !applied.contains(part) || applied.contains("./nested") {
            return Err(format!("apply left something out (\"{part}\"):\n{applied}").into());
        }
    }
    demand(&yard.stockade(&["undo", "last"])?, 0)?;
    agree("the workspace after undo", &before, &listing(&yard)?.out())?;
    demand(&yard.stockade(&["verify", "last"])?, 0)
}
