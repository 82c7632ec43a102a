//! The supervisor's side of a sandbox: starting it, starting calls in it, and ending it for certain.
//! It never waits without a limit, and never leaves a process behind: what it started ends when it is dropped.

use crate::cgroup::Group;
use crate::channel::{Channel, protocol};
use crate::container::Inside;
use crate::enforced::{Enforced, Layer, LayerState};
use crate::error::{ErrorKind, Fault, JailError};
use crate::kernel::Kernel;
use crate::outlet::OutletEnd;
use crate::plan::{Limits, Plan, SessionStep, Wall};
use crate::recorder::{CallNumber, Events, Handed};
use crate::running::{Bounds, KILL_GRACE, Line, Running, Streams};
use crate::watch::{LimitHit, Scope, Watch};
use crate::wire::{self, Message, SpawnRequest};
use crate::worker::{Flock, Task};
use crate::{spawner::Helper, wire::DESCRIPTORS_USUAL_MAX};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

mod inside;
mod starting;

pub use inside::InnerStream;
use starting::{Parent, Starting};

const _: () = assert!(4 < DESCRIPTORS_USUAL_MAX, "a channel and three streams come with a call, and a memfd");

/// How a sandbox is started; nothing here changes what it confines.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names the session's control group; unique on the machine among running ones.
    pub name: String,
    /// How long the set-up may take.
    pub start_limit: Duration,
}

/// What a call runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program, looked up along the `PATH` of `env` inside, and its arguments.
    pub argv: Vec<CString>,
    /// The whole environment.
    pub env: Vec<(CString, CString)>,
    /// Working directory inside.
    pub cwd: PathBuf,
}

/// Where 0, 1 and 2 of a call lead.
#[derive(Debug)]
pub enum Stdio {
    /// To three new pipes, whose other ends [`Running`] holds.
    Pipes,
    /// To these. The guest gets every right that they carry.
    Fds {
        /// Descriptor 0.
        stdin: OwnedFd,
        /// Descriptor 1.
        stdout: OwnedFd,
        /// Descriptor 2.
        stderr: OwnedFd,
    },
    /// To a new terminal of the sandbox's own, whose master [`Running`] holds.
    Pty {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
}

/// A started sandbox. Dropping it kills and reaps everything in it.
#[derive(Debug)]
pub struct Sandbox {
    control: Channel,
    enforced: Enforced,
    bounds: Bounds,
    handle: Arc<Handle>,
    calls: Arc<Calls>,
    watch: Arc<Watch>,
    group: Option<Arc<Group>>,
    /// The guest's user and group outside.
    owner: (u32, u32),
    kernel: Kernel,
    /// The wall, and what a worker is told of the plan.
    workers: (Wall, Task),
    /// Who starts workers, on gVisor.
    nursery: Option<Channel>,
    /// The outlet, which nobody took yet.
    outlet: Vec<Option<OutletEnd>>,
    /// The recorder's side of it that nobody took yet.
    recorder: Option<Handed>,
}

/// What there is around a sandbox when its init is made.
struct Around {
    group: Option<Arc<Group>>,
    layers: Vec<LayerState>,
    /// The limits that the watcher holds or tells of.
    watched: Limits,
    kernel: Kernel,
    /// Our ends of the outlet's lines, where its sockets cannot come out.
    lines: Vec<OwnedFd>,
    nursery: Option<Channel>,
}

/// The init of a sandbox, by a handle that cannot come to mean another process.
#[derive(Debug)]
pub(crate) struct Handle {
    init: OwnedFd,
    /// The channel to the init, where that is no process out here.
    line: Option<OwnedFd>,
    flock: Mutex<Flock>,
}

impl Handle {
    /// Ends the sandbox: its workers, its first process, and with that by the kernel all others.
    pub(crate) fn kill(&self) {
        self.kill_workers();
        if let Some(line) = &self.line {
            // Its last process here is root's, whom an ordinary user cannot signal. Without a supervisor the init ends.
            match rustix::net::shutdown(line, rustix::net::Shutdown::Both) {
                // ENOTCONN: it has.
                Ok(()) | Err(_) => {}
            }
        }
        match rustix::process::pidfd_send_signal(&self.init, Signal::KILL) {
            // ESRCH: it has ended already.
            Ok(()) | Err(_) => {}
        }
    }

    /// The workers. A panic of another thread leaves them whole: each change is one step.
    pub(crate) fn flock(&self) -> MutexGuard<'_, Flock> {
        self.flock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls that run, for the watcher.
#[derive(Debug, Default)]
struct Calls {
    next: AtomicU64,
    running: Mutex<HashMap<CallNumber, Weak<Line>>>,
}

impl Calls {
    fn add(&self, line: &Arc<Line>) -> CallNumber {
        let id = CallNumber(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, line| line.strong_count() > 0);
        running.insert(id, Arc::downgrade(line));
        id
    }

    fn end(&self, id: CallNumber, hit: LimitHit) {
        let line = self.running.lock().unwrap_or_else(PoisonError::into_inner).get(&id).and_then(Weak::upgrade);
        if let Some(line) = line {
            line.kill(Some(hit));
        }
    }
}

impl Sandbox {
    /// Starts a sandbox and carries out the plan's host and session steps.
    ///
    /// # Errors
    /// What the machine refused, what the plan names and is not there, or [`ErrorKind::SandboxLost`] when it took
    /// longer than `options.start_limit`. Nothing is left behind.
    pub fn start(plan: &Plan, options: &Options) -> Result<Self, JailError> {
        Self::start_in(Helper::begin()?, plan, options)
    }

    /// The same in a helper that was started earlier.
    ///
    /// # Errors
    /// As [`Sandbox::start`].
    pub fn start_in(helper: Helper, plan: &Plan, options: &Options) -> Result<Self, JailError> {
        let deadline = Instant::now() + options.start_limit;
        let limits = Bounds::of(plan).limits;
        let (control, helper) = helper.wait()?;
        let id = helper.id();
        let starting = Starting::new(Parent::Helper(helper), plan.wall);
        control.send(&Message::Setup(plan.whole_bytes()), &[])?;
        // While the helper comes up and opens what the plan names; it makes no init before it is told to.
        let ours = plan.record().threads_of_the_init();
        let counted = Limits { pids: limits.pids.map(|guests| guests.saturating_add(ours)), ..limits };
        let (group, layers) = Group::create(&counted, &options.name);
        let group = group.map(Arc::new);
        let tasks = group.as_ref().map_or(Ok(Vec::new()), |group| group.admit(id))?;
        match control.send(&Message::Enter, &tasks.iter().map(OwnedFd::as_fd).collect::<Vec<_>>()) {
            // A helper that ended has said why, and that is what is heard next.
            Ok(()) | Err(_) => drop(tasks),
        }
        let (lines, nursery) = (Vec::new(), None);
        let around = Around { group, layers, watched: limits, kernel: Kernel::Host, lines, nursery };
        Self::begin(control, starting, plan, around, deadline)
    }

    /// Carries out the plan's session steps in a container that waits for them, which an engine bounds. `outer` is what
    /// that engine enforces.
    ///
    /// # Errors
    /// As [`Sandbox::start`].
    pub fn start_inside(
        inside: Inside,
        plan: &Plan,
        options: &Options,
        outer: Vec<LayerState>,
    ) -> Result<Self, JailError> {
        let deadline = Instant::now() + options.start_limit;
        let Inside { control, first, first_process, owner, kernel } = inside;
        let parent = match kernel {
            Kernel::Host => Parent::Container(first),
            Kernel::Gvisor => {
                let line = control.as_fd().try_clone_to_owned();
                Parent::Gvisor(first, first_process, line.map_err(|e| JailError::io("hold", "a channel", &e))?)
            }
        };
        let starting = Starting::new(parent, plan.wall);
        control.send(&Message::Umask(umask()?), &[])?;
        let lines = match kernel {
            Kernel::Host => Vec::new(),
            Kernel::Gvisor => inside::send_lines(&control, plan)?,
        };
        control.send(&Message::Setup(plan.whole_bytes()), &[])?;
        let limits = Bounds::of(plan).limits;
        let (group, bounds, watched) = match kernel {
            Kernel::Host => {
                let (group, layers) = Group::of_container(first_process, &limits);
                (group, layers, limits)
            }
            Kernel::Gvisor => Group::of_gvisor(first_process, &limits),
        };
        let (nursery, theirs) = match kernel {
            Kernel::Host => (None, None),
            Kernel::Gvisor => Channel::pair().map(|(nursery, theirs)| (Some(nursery), Some(theirs)))?,
        };
        match control.send(&Message::Enter, &theirs.iter().map(OwnedFd::as_fd).collect::<Vec<_>>()) {
            // As above.
            Ok(()) | Err(_) => drop(theirs),
        }
        let own_kernel = (kernel == Kernel::Gvisor).then(|| LayerState::active(Layer::Gvisor));
        let layers = outer.into_iter().chain(own_kernel).chain(bounds).collect();
        let around = Around { group: group.map(Arc::new), layers, watched, kernel, lines, nursery };
        let mut sandbox = Self::begin(control, starting, plan, around, deadline)?;
        sandbox.owner = owner.unwrap_or(sandbox.owner);
        Ok(sandbox)
    }

    /// What follows once the init may be made.
    fn begin(
        control: Channel,
        mut starting: Starting,
        plan: &Plan,
        around: Around,
        deadline: Instant,
    ) -> Result<Self, JailError> {
        let bounds = Bounds::of(plan);
        let Around { group, mut layers, watched: limits, kernel, lines, nursery } = around;
        let init_pid = starting.until_forked(&control, deadline)?;
        let calls = Arc::new(Calls::default());
        let scope =
            Scope { limits, init_pid, group: group.clone(), disk: layer_directories(plan), private: private(plan) };
        let watched = Arc::clone(&calls);
        // While the init sets itself up.
        let watch = Watch::start(scope, move |call, hit| watched.end(call, hit))?;
        let (ready, mut descriptors) = starting.until_ready(&control, deadline)?;
        let recorder = inside::of_the_recorder(ready.recorder, &mut descriptors)?;
        let outlet = inside::in_plan_order(plan, &ready.outlet, descriptors, lines)?;
        layers.splice(0..0, ready.layers);
        layers.extend_from_slice(watch.layers());
        let handle = Arc::new(starting.finish()?);
        let enforced = Enforced::new(layers);
        let owner = (ready.uid, ready.gid);
        let (watch, workers) = (Arc::new(watch), (plan.wall, Task::beside(plan)));
        Ok(Self {
            control,
            enforced,
            bounds,
            handle,
            calls,
            watch,
            group,
            owner,
            kernel,
            workers,
            nursery,
            outlet,
            recorder,
        })
    }

    /// What was really enforced.
    pub fn enforced(&self) -> &Enforced {
        &self.enforced
    }

    /// Starts a call. It returns before the program was executed; that there is no such program is what
    /// [`Running::wait`] says.
    ///
    /// # Errors
    /// A command that cannot be passed on, no terminal, or a sandbox that is gone.
    pub fn spawn(&self, command: &Command, stdio: Stdio) -> Result<Running, JailError> {
        self.spawn_announced(command, stdio, |_| ())
    }

    /// The same for whoever records: `announce` hears the call's number before anything of the call can happen.
    ///
    /// # Errors
    /// As [`Sandbox::spawn`].
    pub fn spawn_announced(
        &self,
        command: &Command,
        stdio: Stdio,
        announce: impl FnOnce(CallNumber),
    ) -> Result<Running, JailError> {
        let (channel, theirs) = Channel::pair()?;
        let (streams, inner) = Streams::open(stdio, self.owner, self.kernel)?;
        let mut request = request(command, inner.request())?;
        let mut descriptors = vec![theirs.as_fd()];
        descriptors.extend(inner.descriptors().iter().map(OwnedFd::as_fd));
        let line = Arc::new(Line::new(channel));
        let id = self.calls.add(&line);
        request.number = id;
        announce(id);
        let began = Instant::now();
        self.watch.call_began(id);
        self.control.send(&Message::Spawn(request), &descriptors)?;
        drop(descriptors);
        drop((theirs, inner));
        let program = command.argv.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut running = Running::new(line, id, program, streams, began, self.bounds);
        running.bind(Arc::clone(&self.watch), Arc::clone(&self.handle));
        running.take_terminal()?;
        Ok(running)
    }

    /// The recorder's events, once; `None` also where nothing is recorded, which [`Sandbox::enforced`] says. From then
    /// on they have to be drained: until it is taken, what finds no room is counted and lost.
    ///
    /// # Errors
    /// The kernel refused to map the memory that they come in.
    pub fn take_recorder(&mut self) -> Result<Option<Events>, JailError> {
        self.recorder.take().map(Events::attach).transpose()
    }

    /// The session's control group, where there is one.
    pub fn group(&self) -> Option<&Group> {
        self.group.as_deref()
    }

    /// Kills everything in the sandbox, its init included, and does not wait: dropping it does.
    pub fn end(&self) {
        self.handle.kill();
    }

    /// Kills everything in the sandbox, its init included, and waits until it is gone. Calls that wait are told that the
    /// sandbox is lost.
    ///
    /// # Errors
    /// It did not end within ten seconds: a process of it waits for a disk.
    pub fn kill(&self) -> Result<(), JailError> {
        self.handle.kill();
        self.handle.await_workers()?;
        wait_readable(self.handle.init.as_fd(), Some(Instant::now() + KILL_GRACE))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.handle.kill();
        match self.handle.await_workers() {
            // Dead all the same: it waits for a disk, and its owner for it.
            Ok(()) | Err(_) => {}
        }
        reap(&self.handle.init);
    }
}

/// Waits for a killed child and releases its process id.
fn reap(handle: &OwnedFd) {
    match rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::PidFd(handle.as_fd()), WaitIdOptions::EXITED)) {
        // ECHILD: somebody else of this process waits for every child; then it is reaped as well.
        Ok(_) | Err(_) => {}
    }
}

fn request(command: &Command, streams: wire::Streams) -> Result<SpawnRequest, JailError> {
    let refused = |object: &str, why: &str| JailError::host("start a call with", object).fault(Fault::Guest).hint(why);
    if command.argv.is_empty() {
        return Err(refused("no arguments", "the first argument names the program"));
    }
    let cwd = command.cwd.as_os_str().as_bytes().to_vec();
    if cwd.contains(&0) {
        return Err(refused("a working directory that holds a NUL", "no path can"));
    }
    let mut env = Vec::with_capacity(command.env.len());
    for (name, value) in &command.env {
        if name.is_empty() || name.as_bytes().contains(&b'=') {
            return Err(refused(&name.to_string_lossy(), "a variable's name is not empty and holds no \"=\""));
        }
        env.push([name.as_bytes(), b"=", value.as_bytes()].concat());
    }
    let argv = command.argv.iter().map(|argument| argument.as_bytes().to_vec()).collect();
    Ok(SpawnRequest { number: CallNumber(0), streams, argv, env, cwd })
}

/// Directories that hold what the session writes to the host's disk.
fn layer_directories(plan: &Plan) -> Vec<PathBuf> {
    let layer = |step: &SessionStep| {
        if let SessionStep::Overlay { layer, .. } = step { Some(layer.join("upper")) } else { None }
    };
    plan.session.iter().filter_map(layer).collect()
}

/// The mask of this process, which umask(2) tells only to who changes it: other threads make files meanwhile.
fn umask() -> Result<u32, JailError> {
    const STATUS: &str = "/proc/self/status";
    let text = std::fs::read_to_string(STATUS).map_err(|error| JailError::io("read", STATUS, &error))?;
    let octal = text.lines().find_map(|line| line.strip_prefix("Umask:"));
    let mask = octal.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok());
    mask.ok_or_else(|| JailError::host("find the umask in", STATUS))
}

/// Paths inside of the session's private tmpfs. (The root itself is one, too small to count and not the guest's to fill.)
fn private(plan: &Plan) -> Vec<PathBuf> {
    let path = |step: &SessionStep| {
        if let SessionStep::Tmpfs { path, .. } = step {
            return Some(path.clone());
        }
        matches!(step, SessionStep::Dev { .. }).then(|| "/dev/shm".into())
    };
    plan.session.iter().filter_map(path).collect()
}

pub(crate) fn open_handle(pid: u32) -> Result<OwnedFd, JailError> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| protocol("a process id that is none"))?;
    rustix::process::pidfd_open(raw, PidfdFlags::empty())
        .map_err(|errno| JailError::os("open a handle of", "a process of the sandbox", errno.raw_os_error()))
}

pub(crate) fn lost(why: &str) -> JailError {
    JailError::host("reach", "the init of the sandbox").kind(ErrorKind::SandboxLost).hint(why)
}

/// Waits until the descriptor is readable or the other end closed; an error when the deadline passes first.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, deadline: Option<Instant>) -> Result<(), JailError> {
    match is_readable_by(fd, deadline)? {
        true => Ok(()),
        false => Err(lost("it did not answer in time")),
    }
}

/// The same; `false` when the deadline passes first.
fn is_readable_by(fd: BorrowedFd<'_>, deadline: Option<Instant>) -> Result<bool, JailError> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let limit = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, limit.as_ref()) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(JailError::os("wait for", "the sandbox", errno.raw_os_error())),
        }
    }
}
