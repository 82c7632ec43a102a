//! The process wall: grants and limits become a plan, and a logged call runs in the sandbox that the plan made.
//! It never judges a call.

pub mod grants;
pub mod host;
pub mod layout;
pub mod outlet;
pub mod plan;
pub mod pump;
pub mod trust;

pub use pump::{Input, Sink};

use crate::backend::container::wall::{Held, Outer};
use crate::error::{Error, Result};
use crate::journal::Logged;
use pump::{Ends, Overseer, Pumped};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use stockade_audit::record::CallId;
use stockade_jail::recorder::{CallNumber, Events};
use stockade_jail::watch::{LayerLook, LimitHit, LimitKind};
use stockade_jail::{
    Command, Enforced, ErrorKind, Helper, InnerStream, JailError, Options, OutletEnd, Plan, ProcessExit, Running,
    Sandbox, Stdio, Usage,
};
use stockade_policy::{Action, Limit, Stdin, Terminal};

/// One MiB, bytes.
const MIB: u64 = 1024 * 1024;
/// How long setting up a sandbox may take. Copying nothing, it takes milliseconds; a machine that swaps takes seconds.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long the output of a killed call may stay open before nobody waits for it any more.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);

/// How long a call that prints no more may run before somebody looks whether it is still wanted.
const OUTSIDE_LIMIT: Duration = Duration::from_millis(100);

/// A sandbox that is ready for calls.
#[derive(Debug)]
pub struct ProcessWall {
    sandbox: Sandbox,
    environment: BTreeMap<Vec<u8>, Vec<u8>>,
    moved: Moved,
    /// The container that it came up in. Dropped after the sandbox, which ends it.
    around: Option<Held>,
}

/// Where the workspace is inside: elsewhere than on the host where the wall has no mounts of its own.
#[derive(Debug, Clone)]
pub struct Moved {
    /// On the host.
    pub from: PathBuf,
    /// Inside.
    pub to: PathBuf,
}

impl Moved {
    /// A path of the host as the guest knows it.
    fn inside(&self, path: PathBuf) -> PathBuf {
        match path.strip_prefix(&self.from) {
            Ok(rest) if self.from != self.to && rest.as_os_str().is_empty() => self.to.clone(),
            Ok(rest) if self.from != self.to => self.to.join(rest),
            Ok(_) | Err(_) => path,
        }
    }
}

/// What a caller gives a call and takes from it.
pub struct Io<'a> {
    /// Standard input, where the call asks for it.
    pub input: Input,
    /// Takes standard output, and everything when the call has a terminal.
    pub stdout: &'a mut dyn Sink,
    /// Takes standard error.
    pub stderr: &'a mut dyn Sink,
    /// Who may reach the call while it runs.
    pub outside: &'a mut dyn Outside,
}

/// What reaches a running call from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A signal to pass on.
    Signal(i32),
    /// The caller's terminal has another size.
    Resized {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// The caller wants no answer any more: the call and everything that it started is to end.
    Cancelled,
}

/// A source of events for a running call.
pub trait Outside {
    /// Readable when there is an event; `None` when there will never be one.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
    /// The next event, if there is one now.
    fn next_event(&mut self) -> Option<Event>;
}

/// Nobody reaches the call.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Outside for Alone {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn next_event(&mut self) -> Option<Event> {
        None
    }
}

/// How a call went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ran {
    /// Its program was executed and everything that it started has ended.
    Ended(Box<Run>),
    /// Its program could not be executed.
    NotStarted {
        /// What a shell would answer.
        code: NotStarted,
        /// The kernel's answer.
        errno: i32,
        /// In words.
        why: String,
    },
}

/// Why a program could not be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotStarted {
    /// There is none.
    NotFound,
    /// It is there and cannot be executed, or its directory cannot be entered.
    NotExecutable,
}

/// How a program ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its own process.
    pub main: ProcessExit,
    /// Other processes that the init reaped.
    pub others: Vec<ProcessExit>,
    /// How many more there were.
    pub unlisted: u64,
    /// The limit that ended it.
    pub ended_by: Option<LimitHit>,
    /// Whether its caller ended it.
    pub cancelled: bool,
    /// Limits that it ran into without ending.
    pub refusals: Vec<LimitHit>,
    /// What it used.
    pub usage: Usage,
}

impl ProcessWall {
    /// Starts the sandbox of a session in a helper.
    ///
    /// # Errors
    /// Host: what the machine refused; see [`ErrorKind`] for what a caller can do without.
    pub fn start(
        helper: Helper,
        plan: &Plan,
        session: &str,
        moved: Moved,
        environment: BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> std::result::Result<Self, JailError> {
        let options = Options { name: session.to_owned(), start_limit: START_LIMIT };
        let sandbox = Sandbox::start_in(helper, plan, &options)?;
        Ok(Self { sandbox, environment, moved, around: None })
    }

    /// The same in a container, which is gone when this is.
    ///
    /// # Errors
    /// As [`ProcessWall::start`].
    pub fn start_inside(
        outer: Outer,
        plan: &Plan,
        session: &str,
        moved: Moved,
        environment: BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> std::result::Result<Self, JailError> {
        let options = Options { name: session.to_owned(), start_limit: START_LIMIT };
        let (inside, layer, held) = outer.into_parts();
        let sandbox = Sandbox::start_inside(inside, plan, &options, vec![layer])?;
        Ok(Self { sandbox, environment, moved, around: Some(held) })
    }

    /// Ends the sandbox, and does not wait for it: dropping does.
    pub fn end(&self) {
        self.sandbox.end();
    }

    /// What was enforced.
    pub fn enforced(&self) -> &Enforced {
        self.sandbox.enforced()
    }

    /// The sockets of the outlet, in the order in which the plan names them: `None` for one on an IPv6 address where the
    /// inside has no IPv6. Empty without an outlet, and the second time.
    pub fn take_outlet(&mut self) -> Vec<Option<OutletEnd>> {
        self.sandbox.take_outlet()
    }

    /// What the sandbox's processes do, as it happens: once, and only where it is recorded. From then on it has to be
    /// drained, or the guest waits.
    ///
    /// # Errors
    /// Host: the memory that events come in cannot be mapped.
    pub fn take_recorder(&mut self) -> Result<Option<Events>> {
        self.sandbox.take_recorder().map_err(|error| failed(&error))
    }

    /// Connects to a server that listens on the loopback inside. The stream does not block.
    ///
    /// # Errors
    /// Guest: nobody listens there, or does not answer within this time. Host: the sandbox is gone, or has no loopback
    /// of its own.
    pub fn connect_inside(&self, port: u16, within: Duration) -> Result<InnerStream> {
        self.sandbox.connect_inside(port, within).map_err(|error| failed(&error))
    }

    /// Starts a worker for tools beside this sandbox's processes.
    ///
    /// # Errors
    /// Host: the sandbox is gone, or what the machine refused.
    pub fn worker(&self, kind: stockade_jail::worker::Kind) -> Result<stockade_jail::worker::Worker> {
        self.sandbox.worker(kind).map_err(|error| failed(&error))
    }

    /// What looks at the layer while a worker writes in it; `None` where the disk is not limited, or there is no layer.
    pub fn layer_look(&self) -> Option<LayerLook> {
        self.sandbox.layer_look()
    }

    /// The limit of the disk, when what the layer takes exceeds it; cheap to ask, since it looks rarely.
    pub fn exceeded(&self, look: &mut LayerLook) -> Option<LimitHit> {
        self.sandbox.exceeded(look)
    }

    /// Runs a logged call to its end. The permit is used up: what comes back is the call's name and how it went. `begins`
    /// is told its number in the sandbox and its name before anything of it can happen.
    ///
    /// # Errors
    /// Bug: the call is not a command. Host: the sandbox is gone, or its streams fail.
    pub fn run(
        &self,
        logged: Logged,
        io: Io<'_>,
        begins: &mut dyn FnMut(CallNumber, &CallId),
    ) -> Result<(CallId, Ran)> {
        let ran = self.run_to_its_end(&logged, io, begins)?;
        Ok((logged.into_id(), ran))
    }

    fn run_to_its_end(&self, logged: &Logged, io: Io<'_>, begins: &mut dyn FnMut(CallNumber, &CallId)) -> Result<Ran> {
        let Action::Command(asked) = logged.call().action() else {
            return Err(Error::bug("a call that is not a command reached the process wall"));
        };
        let directory = logged.grounds().place.as_ref().map_or_else(|| self.moved.from.clone(), grants::path);
        let directory = self.moved.inside(directory);
        let command = self.command(asked, directory)?;
        let stdio = match asked.terminal() {
            Terminal::None => Stdio::Pipes,
            Terminal::Pty { rows, columns } => Stdio::Pty { rows, columns },
        };
        let limit = |limit| logged.grounds().limits.get(limit);
        let start = Instant::now();
        let announce = |number| begins(number, logged.id());
        let mut running = match self.sandbox.spawn_announced(&command, stdio, announce) {
            Ok(running) => running,
            Err(error) => return not_started(self.explained(error)),
        };
        let ends = ends(&mut running)?;
        let input = if asked.stdin() == Stdin::Stream { io.input } else { Input::Empty };
        let mut overseer = Watchman::new(&running, io.outside, start, limit(Limit::WallS));
        let output_bytes_max = limit(Limit::OutputMib).map_or(u64::MAX, |mib| mib.saturating_mul(MIB));
        let pumped = pump::pump(ends, input, io.stdout, io.stderr, output_bytes_max, &mut overseer)?;
        if let Pumped::OverLimit(bytes) = pumped {
            running.kill(Some(hit(LimitKind::Output, output_bytes_max, bytes + 1)));
        }
        match overseer.wait() {
            Ok(ended) => Ok(Ran::Ended(Box::new(run(ended, overseer.cancelled)?))),
            Err(error) => not_started(self.explained(error)),
        }
    }

    /// What the engine knows of a sandbox that is gone.
    fn explained(&self, error: JailError) -> JailError {
        let lost = error.kind == ErrorKind::SandboxLost;
        let Some(cause) = self.around.as_ref().filter(|_| lost).and_then(Held::cause) else { return error };
        let known = error.hint.as_ref().map_or_else(String::new, |hint| format!("{hint}; "));
        error.hint(format!("{known}the engine says of the container: {cause}"))
    }

    /// The command as the kernel takes it: the session's environment, the call's own variables over it.
    fn command(&self, asked: &stockade_policy::Command, cwd: PathBuf) -> Result<Command> {
        let text =
            |bytes: &[u8]| CString::new(bytes).map_err(|_| Error::guest("an argument or variable has a NUL byte"));
        let argv = asked.argv().iter().map(|word| text(word.as_bytes())).collect::<Result<_>>()?;
        let mut variables: BTreeMap<&[u8], &[u8]> =
            self.environment.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
        variables.extend(asked.env().iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())));
        let directory = cwd.as_os_str().as_bytes();
        variables.insert(b"PWD", directory);
        let env = variables.into_iter().map(|(name, value)| Ok((text(name)?, text(value)?))).collect::<Result<_>>()?;
        Ok(Command { argv, env, cwd: PathBuf::from(OsStr::from_bytes(directory)) })
    }
}

/// The ends of the call's streams that we hold.
fn ends(running: &mut Running) -> Result<Ends> {
    if let Some(master) = running.terminal() {
        let master = master.try_clone_to_owned();
        return master.map(Ends::Terminal).map_err(|e| Error::host(format!("hold the call's terminal: {e}")));
    }
    match (running.take_stdout(), running.take_stderr()) {
        (Some(stdout), Some(stderr)) => Ok(Ends::Pipes { stdin: running.take_stdin(), stdout, stderr }),
        (_, _) => Err(Error::bug("a call came without its streams")),
    }
}

fn hit(limit: LimitKind, value: u64, observed: u64) -> LimitHit {
    LimitHit { limit, value, observed, unit: limit.unit() }
}

fn run(ended: stockade_jail::Ended, cancelled: bool) -> Result<Run> {
    let mut exits = ended.exits.into_iter();
    let main = exits.next().ok_or_else(|| Error::bug("a call ended without a process"))?;
    Ok(Run {
        main,
        others: exits.collect(),
        unlisted: ended.exits_unlisted,
        ended_by: ended.cause,
        cancelled,
        refusals: ended.refusals,
        usage: ended.usage,
    })
}

/// A program that cannot be executed is the call's result, as a shell would give it; anything else is ours to report.
fn not_started(error: JailError) -> Result<Ran> {
    let code = if error.kind == ErrorKind::ProgramNotFound {
        NotStarted::NotFound
    } else if matches!(error.kind, ErrorKind::ProgramNotExecutable | ErrorKind::WorkingDirectory) {
        NotStarted::NotExecutable
    } else {
        return Err(failed(&error));
    };
    Ok(Ran::NotStarted { code, errno: error.errno.unwrap_or_default(), why: error.to_string() })
}

/// An error of the jail as one of ours.
pub fn failed(error: &JailError) -> Error {
    use stockade_jail::Fault;
    let what = error.to_string();
    let made = match error.fault {
        Fault::Guest => Error::guest(what),
        Fault::Operator => Error::operator(what),
        Fault::Host => Error::host(what),
        Fault::Bug => Error::bug(what),
    };
    error.hint.iter().fold(made, Error::hint)
}

/// Passes events on, and ends the call when its time is over.
struct Watchman<'a> {
    running: &'a Running,
    outside: &'a mut dyn Outside,
    began: Instant,
    wall: Wall,
    cancelled: bool,
}

/// Where a call is with its wall time.
enum Wall {
    None,
    Until(Instant, u64),
    /// It was killed; its streams should end by then.
    Draining(Instant),
}

impl<'a> Watchman<'a> {
    fn new(running: &'a Running, outside: &'a mut dyn Outside, began: Instant, wall_s: Option<u64>) -> Self {
        let until =
            wall_s.and_then(|wall_s| Some(Wall::Until(began.checked_add(Duration::from_secs(wall_s))?, wall_s)));
        Self { running, outside, began, wall: until.unwrap_or(Wall::None), cancelled: false }
    }

    /// Waits for the end of a call that has closed its outputs: whoever is outside still reaches it.
    fn wait(&mut self) -> std::result::Result<stockade_jail::Ended, JailError> {
        if self.outside.descriptor().is_none() {
            return self.running.wait();
        }
        loop {
            if let Some(ended) = self.running.wait_timeout(OUTSIDE_LIMIT)? {
                return Ok(ended);
            }
            self.attend();
        }
    }

    fn pass_on(&mut self, event: Event) {
        let passed = match event {
            Event::Signal(signal) => self.running.signal(signal),
            Event::Resized { rows, columns } => self.running.resize(rows, columns),
            Event::Cancelled => {
                self.cancelled = true;
                self.running.kill(None);
                self.wall = Wall::Draining(Instant::now() + DRAIN_LIMIT);
                Ok(())
            }
        };
        if let Err(error) = passed {
            tracing::warn!(%error, "an event did not reach the call");
        }
    }
}

impl Overseer for Watchman<'_> {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.outside.descriptor()
    }

    fn attend(&mut self) {
        while let Some(event) = self.outside.next_event() {
            self.pass_on(event);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.wall {
            Wall::None => None,
            Wall::Until(deadline, _) | Wall::Draining(deadline) => Some(deadline),
        }
    }

    fn expire(&mut self) {
        self.wall = match self.wall {
            Wall::Until(_, wall_s) => {
                let spent_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.running.kill(Some(hit(LimitKind::Wall, wall_s.saturating_mul(1000), spent_ms)));
                Wall::Draining(Instant::now() + DRAIN_LIMIT)
            }
            // Killed processes that keep their output open are stuck in the kernel; `Running::wait` ends the sandbox.
            Wall::Draining(_) | Wall::None => Wall::None,
        };
    }
}
