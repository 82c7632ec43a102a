//! What a warm call costs from claim to seal, and each of its steps, beside a bare start of the same program.
//! It never judges: it prints medians; all series are measured in turns, so that the machine's moods hit all alike.
//!
//! `cargo bench -p stockade --bench session`; under `chrt -f 10` where others use the machine too.
#![expect(clippy::disallowed_methods, reason = "a bench that starts the program it compares with")]
#![expect(clippy::print_stdout, reason = "what a bench is for")]

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio as Std;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stockade::backend::process::{Alone, Input, Io, Moved, ProcessWall, Ran, Sink};
use stockade::config::environment::Environment;
use stockade::config::profiles::{self, Sources};
use stockade::error::Result;
use stockade::journal::{self, Journal};
use stockade::session::settle::{self, Known};
use stockade::session::{Options, Outcome, Paths, Session, User, open, prepare, records};
use stockade::workspace::{Layer, Mode};
use stockade_audit::Ledger;
use stockade_audit::record::{self as log, Digest, Record, SessionOpen};
use stockade_jail::Helper;
use stockade_jail::plan::Wall;
use stockade_policy::{Action, Call, Command, Decision, ExpandedProfile, Stdin, ToolName};

/// Turns; each measures every series once.
const TURNS: usize = 300;
const PROGRAM: &str = "/bin/true";

fn main() -> Result<()> {
    stockade_jail::run_as_init_if_asked();
    let scratch = Scratch::new();
    let ledger = journal::ledger(&scratch.0, "bench")?;
    let options_of_whole = options(&scratch.0, "whole")?;
    let (log, id) = (options_of_whole.paths.log.clone(), options_of_whole.id.clone());
    let draft = || Journal::draft(&log, Arc::clone(&ledger), &id);
    let mut whole = Session::open(options_of_whole, helper()?, draft)?;
    let mut steps = Steps::open(options(&scratch.0, "steps")?, ledger)?;
    let mut series = Series::default();
    for _ in 0..TURNS {
        series.time("bare fork+exec", bare);
        series.time("the whole call", || expect_ran(whole.call(call(), io(&mut Sunk, &mut Sunk, &mut Alone))));
        steps.call(&mut series)?;
    }
    series.print();
    whole.close(log::Cause::Stop, 0)?;
    Ok(())
}

/// A state directory for this run, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("stockade-bench-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&path).expect("a fresh name");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn helper() -> Result<Helper> {
    Helper::begin().map_err(|error| stockade::backend::process::failed(&error))
}

/// A session in parts, so that each step of a call can be timed; the order is that of `Session::call`.
struct Steps {
    profile: ExpandedProfile,
    journal: Journal,
    wall: ProcessWall,
    layer: Layer,
    known: Known,
}

impl Steps {
    fn open(options: Options, ledger: Arc<Ledger>) -> Result<Self> {
        let prepared = prepare(&options, Wall::Namespaces, open::method(&options)?)?;
        let workspace = options.paths.workspace.clone();
        let moved = Moved { from: workspace.clone(), to: workspace };
        let helper = Helper::begin().map_err(|error| stockade::backend::process::failed(&error))?;
        let wall =
            ProcessWall::start(helper, &prepared.plan, options.id.as_str(), moved, std::collections::BTreeMap::new())
                .map_err(|error| stockade::backend::process::failed(&error))?;
        let journal = Journal::draft(&options.paths.log, ledger, &options.id)?.begin(opening(&options))?;
        Ok(Self { profile: options.profile, journal, wall, layer: prepared.layer, known: Known::default() })
    }

    fn call(&mut self, series: &mut Series) -> Result<()> {
        let call = call();
        let claim = series.time("· claim", || self.journal.claim(&call, "bench"))?;
        let Decision::Permit(permit) = series.time("· judge", || self.profile.judge(call)) else {
            unreachable!("the profile grants {PROGRAM}")
        };
        let logged = series.time("· commit", || self.journal.commit(claim, permit))?;
        let before = series.time("· look before", || settle::before(&self.layer))?;
        let (id, ran) =
            series.time("· run", || self.wall.run(logged, io(&mut Sunk, &mut Sunk, &mut Alone), &mut |_, _| {}))?;
        let (profile, layer, known) = (self.profile.profile(), &self.layer, &mut self.known);
        series.time("· look after", || settle::after(layer, profile, before, known))?;
        series.time("· seal", || {
            let Ran::Ended(run) = &ran else { unreachable!("{PROGRAM} is there") };
            let seen = vec![Record::new(records::process(&run.main)).of_call(&id)];
            self.journal.seal(&id, seen, records::outcome(&ran, Some(run.main.process.0), [None, None]))
        })?;
        Ok(())
    }
}

/// Durations by name, in the order in which the names came.
#[derive(Default)]
struct Series(Vec<(&'static str, Vec<Duration>)>);

impl Series {
    fn time<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        let took = began.elapsed();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, times)) => times.push(took),
            None => self.0.push((name, vec![took])),
        }
        done
    }

    fn print(&mut self) {
        let mut bare = Duration::ZERO;
        for (name, times) in &mut self.0 {
            times.sort_unstable();
            let (p50, p95) = (times[times.len() / 2], times[times.len() * 95 / 100]);
            if bare.is_zero() {
                bare = p50;
            }
            println!(
                "{name:<20} p50 {:>8.1} us  p95 {:>8.1} us  {:>5.2} x bare",
                p50.as_secs_f64() * 1e6,
                p95.as_secs_f64() * 1e6,
                p50.as_secs_f64() / bare.as_secs_f64()
            );
        }
    }
}

/// Takes what a call prints, and keeps nothing.
struct Sunk;

impl Sink for Sunk {
    fn take(&mut self, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

fn io<'a>(stdout: &'a mut Sunk, stderr: &'a mut Sunk, outside: &'a mut Alone) -> Io<'a> {
    Io { input: Input::Empty, stdout, stderr, outside }
}

fn call() -> Call {
    let command = Command::from_words([PROGRAM.as_bytes().to_vec()]).expect("a program's name");
    Call::new(ToolName::parse("exec").expect("a name"), Action::Command(command.with_stdin(Stdin::Empty)))
}

fn expect_ran(outcome: Result<Outcome>) {
    match outcome {
        Ok(Outcome::Ran(_)) => {}
        Ok(other @ (Outcome::Called(_) | Outcome::Denied(..) | Outcome::Unapproved(..))) => panic!("{other:?}"),
        Err(error) => panic!("{error}"),
    }
}

/// As lean as starting a program gets here: vfork and exec by posix_spawn(3).
fn bare() {
    let status = std::process::Command::new(PROGRAM)
        .env_clear()
        .stdin(Std::null())
        .stdout(Std::null())
        .stderr(Std::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()), "{PROGRAM} runs");
}

fn options(scratch: &Path, name: &str) -> Result<Options> {
    let environment = Environment::of_process();
    let id = journal::new_session_id()?;
    for directory in ["s", "w", name] {
        std::fs::create_dir_all(scratch.join(directory)).expect("a directory of our own");
    }
    let workspace = scratch.join(name).canonicalize().expect("made above");
    let sources = Sources::gather("shell", &environment)?.in_workspace(&workspace)?;
    let profile = profiles::placed(&sources.profile()?, &workspace, &environment)?;
    Ok(Options {
        from: None,
        watch: |_| (),
        paths: Paths {
            state: scratch.to_owned(),
            log: scratch.join("s").join(id.as_str()),
            layer: scratch.join("w").join(id.as_str()),
            workspace,
            home: environment.home.clone(),
        },
        id,
        profile,
        mode: Mode::Review,
        user: User { uid: environment.uid, gid: environment.gid, name: "bench".to_owned() },
        variables: std::collections::BTreeMap::new(),
        rule_files: Vec::new(),
        engine: None,
        via: "bench",
    })
}

fn opening(options: &Options) -> SessionOpen {
    SessionOpen {
        sid: options.id.clone(),
        tool: "bench".to_owned(),
        kernel: "bench".to_owned(),
        wall: "process".to_owned(),
        grade: "full".to_owned(),
        layers: Vec::new(),
        profile: options.profile.name().to_string(),
        profile_h: Digest([0; 32]),
        plan_h: Digest([0; 32]),
        filter_h: None,
        mode: log::Mode::Review,
        durability: log::Durability::Group,
        recorder: None,
        container: None,
        from: None,
    }
}
