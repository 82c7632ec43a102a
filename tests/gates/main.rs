//! What must not compile: a forged permit, a copied one, one used twice, a call that runs without being logged.
//! Nothing here is ever run; each gate fails for the reason that it names, and its legal twin compiles.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use stockade_tests::binaries;
use stockade_tests::people::Person;
use stockade_tests::process::{Ended, Program};

/// A line of code that a type forbids, and the nearest one that it allows.
struct Gate {
    name: &'static str,
    /// Crates of ours that it needs.
    crates: &'static [&'static str],
    /// Declarations that both begin with.
    front: &'static str,
    allowed: &'static str,
    forbidden: &'static str,
    /// The compiler's code for every error of `forbidden`.
    error: &'static str,
    /// A part of the message: what the compiler must have stumbled over.
    says: &'static str,
}

const POLICY: &str = "use stockade_policy::{Call, Decision, ExpandedProfile, Grounds, Permit};";

const RUNTIME: &str = "use stockade::backend::process::{Io, ProcessWall, Ran};
use stockade::{error::Result, journal::Logged};
use stockade_policy::Permit;";

// A build of `stockade` may rest on another build of `stockade_policy` than the newest one, so that the same type is two:
// what must match is taken from `stockade` alone. A `Permit` of either build must be refused.
const ALL: &[&str] = &["stockade_policy", "stockade"];

const GATES: [Gate; 9] = [
    Gate {
        name: "a_permit_cannot_be_forged",
        crates: &["stockade_policy"],
        front: POLICY,
        allowed: "pub fn f(permit: Permit) -> (Call, Grounds) { permit.into_parts() }",
        forbidden: "pub fn f(call: Call, grounds: Grounds) -> Permit { Permit { call, grounds } }",
        error: "E0451",
        says: "of struct `stockade_policy::Permit` are private",
    },
    Gate {
        name: "a_permit_cannot_be_made_by_its_maker",
        crates: &["stockade_policy"],
        front: POLICY,
        allowed: "pub fn f(permit: &Permit) -> &Call { Permit::call(permit) }",
        forbidden: "pub fn f(call: Call, grounds: Grounds) -> Permit { Permit::new(call, grounds) }",
        error: "E0624",
        says: "associated function `new` is private",
    },
    Gate {
        name: "a_permit_cannot_be_copied",
        crates: &["stockade_policy"],
        front: POLICY,
        allowed: "pub fn f(permit: Permit) -> (Call, Permit) { (permit.call().clone(), permit) }",
        forbidden: "pub fn f(permit: Permit) -> (Permit, Permit) { (permit.clone(), permit) }",
        error: "E0599",
        says: "no method named `clone` found for struct `stockade_policy::Permit`",
    },
    Gate {
        name: "a_permit_cannot_be_used_twice",
        crates: &["stockade_policy"],
        front: POLICY,
        allowed: "pub fn f(permit: Permit) -> Call { drop(permit.call()); permit.into_parts().0 }",
        forbidden: "pub fn f(permit: Permit) -> Call { drop(permit.into_parts()); permit.into_parts().0 }",
        error: "E0382",
        says: "use of moved value: `permit`",
    },
    Gate {
        name: "a_permit_does_not_come_from_nothing",
        crates: &["stockade_policy"],
        front: POLICY,
        allowed: "pub fn f() -> Option<Permit> { Default::default() }",
        forbidden: "pub fn f() -> Permit { Default::default() }",
        error: "E0277",
        says: "the trait bound `stockade_policy::Permit: Default` is not satisfied",
    },
    Gate {
        name: "a_permit_that_was_not_logged_does_not_run",
        crates: ALL,
        front: RUNTIME,
        allowed: "pub fn f(wall: &ProcessWall, logged: Logged, io: Io<'_>) { drop(wall.run(logged, io, &mut |_, _| {})) }",
        forbidden: "pub fn f(wall: &ProcessWall, permit: Permit, io: Io<'_>) { drop(wall.run(permit, io, &mut |_, _| {})) }",
        error: "E0308",
        says: "expected `Logged`, found `Permit`",
    },
    Gate {
        name: "a_logged_permit_does_not_run_twice",
        crates: ALL,
        front: RUNTIME,
        allowed: "pub fn f(wall: &ProcessWall, logged: Logged, io: Io<'_>) { drop(wall.run(logged, io, &mut |_, _| {})) }",
        forbidden: "pub fn f(wall: &ProcessWall, logged: Logged, io: Io<'_>) { drop(logged.into_id()); drop(wall.run(logged, io, &mut |_, _| {})) }",
        error: "E0382",
        says: "use of moved value: `logged`",
    },
    Gate {
        name: "a_logged_permit_cannot_be_forged",
        crates: ALL,
        front: RUNTIME,
        allowed: "pub fn f(l: &Logged) -> bool { drop((l.call().clone(), l.grounds().clone(), l.id().clone(), l.receipt())); true }",
        forbidden: "pub fn f(l: &Logged) -> Logged { Logged { call: l.call().clone(), grounds: l.grounds().clone(), id: l.id().clone(), receipt: l.receipt() } }",
        error: "E0451",
        says: "of struct `Logged` are private",
    },
    Gate {
        name: "a_logged_permit_cannot_be_copied",
        crates: ALL,
        front: RUNTIME,
        allowed: "pub fn f(logged: Logged) -> Logged { drop(logged.call().clone()); logged }",
        forbidden: "pub fn f(logged: Logged) -> (Logged, Logged) { (logged.clone(), logged) }",
        error: "E0599",
        says: "no method named `clone` found for struct `Logged`",
    },
];

#[track_caller]
fn check(name: &str) {
    let gate = GATES.iter().find(|gate| gate.name == name).expect("a test has the name of its gate");
    let compiler = Compiler::find();
    let twin = compiler.compile(gate, gate.allowed);
    assert_eq!(twin.code(), 0, "the legal twin must compile: {}", twin.told());

    let ended = compiler.compile(gate, gate.forbidden);
    assert_ne!(ended.code(), 0, "this compiles, and must not: {}", gate.forbidden);
    let text = ended.err();
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("error")).collect();
    let ours = format!("error[{}]: ", gate.error);
    let stray = errors.iter().find(|line| !line.starts_with(&ours) && !line.starts_with("error: aborting"));
    assert_eq!(stray, None, "it fails for another reason too:\n{text}");
    assert!(text.contains(gate.says), "expected the message to say \"{}\":\n{text}", gate.says);
}

/// The compiler, and the built crates beside this test.
struct Compiler {
    deps: PathBuf,
}

impl Compiler {
    fn find() -> Self {
        let own = std::env::current_exe().expect("a running program has a path");
        Self { deps: own.parent().expect("it lies in a directory").to_owned() }
    }

    /// The newest build of a crate of ours: this test depends on them, so it is not older than their source.
    fn library(&self, krate: &str) -> PathBuf {
        let (begin, modified) = (format!("lib{krate}-"), |path: &Path| {
            path.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
        });
        let entries = std::fs::read_dir(&self.deps).expect("the directory of this test can be listed");
        let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let ours = paths.filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&begin) && name.ends_with(".rlib")
        });
        ours.max_by_key(|path| modified(path)).expect("the crate was built for this test")
    }

    /// Where procedural macros are: they run in the compiler, so cargo builds them beside `target/TRIPLE/PROFILE/deps`,
    /// in `target/PROFILE/deps`.
    fn host_deps(&self) -> Option<PathBuf> {
        let profile = self.deps.parent()?;
        Some(profile.parent()?.parent()?.join(profile.file_name()?).join("deps")).filter(|path| path.is_dir())
    }

    fn compile(&self, gate: &Gate, line: &str) -> Ended {
        let mut argv: Vec<std::ffi::OsString> =
            ["rustc", "-", "--edition=2024", "--crate-type=lib", "--crate-name=gate"].map(Into::into).to_vec();
        argv.extend(["--color=never", "-Adead_code"].map(Into::into));
        // To a file of this gate's own: rustc replaces what it writes to, a device node included.
        argv.push(format!("--emit=metadata={}/{}.rmeta", env!("CARGO_TARGET_TMPDIR"), gate.name).into());
        for directory in [Some(self.deps.as_path()), self.host_deps().as_deref()].into_iter().flatten() {
            argv.push("-L".into());
            argv.push(format!("dependency={}", directory.display()).into());
        }
        for krate in gate.crates {
            argv.push("--extern".into());
            argv.push(format!("{krate}={}", self.library(krate).display()).into());
        }
        let names = ["PATH", "HOME", "RUSTUP_HOME", "CARGO_HOME", "RUSTUP_TOOLCHAIN"];
        let environment = names.into_iter().filter_map(|name| Some((name.into(), binaries::variable(name)?)));
        let program = Program {
            argv,
            directory: self.deps.clone(),
            environment: environment.collect(),
            person: Person::myself(),
            input: format!("{}\n{line}\n", gate.front).into_bytes(),
            limit: Duration::from_secs(60),
        };
        program.run().expect("the compiler that built this test can be started")
    }
}

#[test]
fn a_permit_cannot_be_forged() {
    check("a_permit_cannot_be_forged");
}

#[test]
fn a_permit_cannot_be_made_by_its_maker() {
    check("a_permit_cannot_be_made_by_its_maker");
}

#[test]
fn a_permit_cannot_be_copied() {
    check("a_permit_cannot_be_copied");
}

#[test]
fn a_permit_cannot_be_used_twice() {
    check("a_permit_cannot_be_used_twice");
}

#[test]
fn a_permit_does_not_come_from_nothing() {
    check("a_permit_does_not_come_from_nothing");
}

#[test]
fn a_permit_that_was_not_logged_does_not_run() {
    check("a_permit_that_was_not_logged_does_not_run");
}

#[test]
fn a_logged_permit_does_not_run_twice() {
    check("a_logged_permit_does_not_run_twice");
}

#[test]
fn a_logged_permit_cannot_be_forged() {
    check("a_logged_permit_cannot_be_forged");
}

#[test]
fn a_logged_permit_cannot_be_copied() {
    check("a_logged_permit_cannot_be_copied");
}
