//! A call's own process, between its creation and exec: the plan's call steps, in order.
//! It never allocates after it was made, and never returns into the init: it executes or ends.
//!
//! One step is not taken here: the list of system calls. The init takes it on itself before its first call, and every
//! call is born with it. Installing it costs the kernel some 180 µs (it compiles the program and tries it on every
//! number), a quarter of a call; and an init that is bound by the list is one less way round it. Hence each step here
//! has to be on the list, and so has whatever the init does.

use crate::channel::protocol;
use crate::enforced::{Layer, LayerState};
use crate::error::JailError;
use crate::kernel::{Kernel, NOTHING_LEAVES};
use crate::plan::{CallStep, Plan, Record, Rlimit, SessionStep, Sockets, Wall};
use crate::recorder::{self, Gate, Installed, Waiting};
use crate::rlimit::Raised;
use crate::seccomp::{self, Filter};
use crate::wire::{SpawnRequest, Stage};
use crate::{landlock, rlimit, sys};
use rustix::io::Errno;
use std::ffi::{CString, c_char, c_int, c_void};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering};

mod traced;

pub(crate) use traced::Traced;

/// Search path of a guest that has no `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";
/// Stack of the child until exec. Only the pages that it touches exist.
const STACK_BYTES: usize = 256 * 1024;

/// The call steps, ready to be carried out many times.
#[derive(Debug)]
pub(crate) struct Steps {
    steps: Vec<Step>,
    list: Option<(Filter, Sockets, Record)>,
    wall: Wall,
    stack: Vec<u8>,
    lifetime: Lifetime,
    /// The limit of open files, which the init raised for itself.
    raised: Option<Raised>,
    /// Where the recorder traces.
    traced: Option<Traced>,
}

/// How a call's process is kept from outliving the init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    /// By the pid namespace.
    PidNamespace,
    /// By a death signal.
    DeathSignal,
}

/// A call step with everything computed that can be.
#[derive(Debug)]
enum Step {
    OwnSession,
    Rlimit(Rlimit, u64),
    CloseDescriptors,
    Landlock(Vec<crate::plan::LandlockRule>, crate::plan::Tcp),
}

impl Steps {
    /// Compiles the plan's call steps.
    pub(crate) fn compile(plan: &Plan) -> Result<Self, JailError> {
        let mut steps = Vec::new();
        let mut list = None;
        for step in &plan.call {
            match step {
                CallStep::OwnSession => steps.push(Step::OwnSession),
                CallStep::Rlimit { resource, value } => steps.push(Step::Rlimit(*resource, *value)),
                CallStep::CloseDescriptors => steps.push(Step::CloseDescriptors),
                CallStep::Seccomp { sockets } => {
                    if plan.wall == Wall::Landlock {
                        steps.extend(plan.session.iter().filter_map(own_landlock));
                    }
                    list = Some((seccomp::compile(*sockets, plan.record())?, *sockets, plan.record()));
                }
            }
        }
        let lifetime = match plan.wall {
            Wall::Namespaces => Lifetime::PidNamespace,
            Wall::Landlock => Lifetime::DeathSignal,
        };
        Ok(Self { steps, list, wall: plan.wall, stack: vec![0; STACK_BYTES], lifetime, raised: None, traced: None })
    }

    /// Takes the list of system calls on, for this process and every call, and reports the layers of the call steps:
    /// the list's because it holds from here on, Landlock's, which each call takes on by itself, after a rehearsal.
    pub(crate) fn irrevocably_confine(
        &mut self,
        recorder: Option<Waiting>,
        kernel: Kernel,
    ) -> Result<(Vec<LayerState>, Installed), JailError> {
        let mut layers = Vec::new();
        if self.steps.iter().any(|step| matches!(step, Step::Landlock(..))) {
            layers = self.rehearse()?;
        }
        let closes = self.steps.iter().any(|step| matches!(step, Step::CloseDescriptors));
        layers.extend(closes.then(|| LayerState::active(Layer::Descriptors)));
        if recorder.is_some() {
            self.raised = Some(rlimit::raise_open_files()?);
        }
        let mut installed = match self.list.take() {
            Some((list, sockets, record)) => match kernel {
                Kernel::Host => recorder::install(&list, (sockets, record), self.wall, recorder)?,
                Kernel::Gvisor => recorder::install_without(&seccomp::compile_for_gvisor(sockets)?, NOTHING_LEAVES)?,
            },
            None => Installed::without_a_list(),
        };
        self.traced = installed.traced.take();
        layers.extend_from_slice(&installed.layers);
        Ok((layers, installed))
    }

    /// Tries Landlock in a child that then ends: what every call will do, or not start.
    fn rehearse(&mut self) -> Result<Vec<LayerState>, JailError> {
        let mut rehearsal = Rehearsal { steps: &self.steps, outcome: Vec::new() };
        let pid = start(&mut self.stack, rehearse, (&raw mut rehearsal).cast(), &AtomicI32::new(0))
            .map_err(|errno| JailError::os("make", "a process", errno.raw_os_error()))?;
        sys::reap(Some(pid), 0).map_err(|errno| JailError::os("wait for", "a process", errno.raw_os_error()))?;
        rehearsal.outcome.into_iter().collect()
    }

    /// Starts a call; the process id, or what could not be done and the kernel's answer. The id is in `child` before
    /// the process runs.
    pub(crate) fn start(
        &mut self,
        call: &Prepared,
        streams: [BorrowedFd<'_>; 3],
        child: &AtomicI32,
        gate: &Gate,
    ) -> Result<i32, (Stage, i32)> {
        let order = Order {
            gate,
            passed: AtomicBool::new(false),
            steps: &self.steps,
            lifetime: self.lifetime,
            raised: self.raised,
            call,
            streams: streams.map(|stream| stream.as_raw_fd()),
            stage: AtomicU8::new(u8::MAX),
            errno: AtomicI32::new(0),
        };
        if let Some(traced) = &self.traced {
            return traced.start(&order, child, gate);
        }
        gate.shut();
        let started = start(&mut self.stack, run, (&raw const order).cast_mut().cast(), child);
        if !order.passed.load(Ordering::Acquire) {
            // There is no child, or it was killed before its first step.
            gate.open();
        }
        let pid = started.map_err(|errno| (Stage::Fork, errno.raw_os_error()))?;
        match Stage::from_number(order.stage.load(Ordering::Relaxed)) {
            None => Ok(pid),
            Some(stage) => {
                let refused = (stage, order.errno.load(Ordering::Relaxed));
                // The child is ending: this wait is as short as its exit.
                match sys::reap(Some(pid), 0) {
                    Ok(_) | Err(_) => Err(refused),
                }
            }
        }
    }
}

fn own_landlock(step: &SessionStep) -> Option<Step> {
    if let SessionStep::Landlock { rules, tcp } = step { Some(Step::Landlock(rules.clone(), *tcp)) } else { None }
}

/// A request with every allocation done.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// What execve(2) is tried with, in order.
    candidates: Vec<CString>,
    argv: Pointers,
    env: Pointers,
    cwd: CString,
    terminal: Terminal,
}

/// Whether descriptor 0 becomes the controlling terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Terminal {
    /// It does.
    Controlling,
    /// There is none.
    None,
}

/// A null-terminated array of C strings.
#[derive(Debug)]
struct Pointers {
    /// Never read: what the pointers point to.
    _strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Prepared {
    /// Looks up the program along the guest's own `PATH` (by name only: what is there is found out by exec).
    pub(crate) fn new(request: SpawnRequest, terminal: Terminal) -> Result<Self, JailError> {
        let program = request.argv.first().map_or(&b""[..], Vec::as_slice);
        let path = request.env.iter().find_map(|variable| variable.strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
        let candidates = candidates(program, path).into_iter().map(c_string).collect::<Result<_, _>>()?;
        Ok(Self {
            candidates,
            cwd: c_string(request.cwd)?,
            argv: Pointers::new(request.argv)?,
            env: Pointers::new(request.env)?,
            terminal,
        })
    }
}

impl Pointers {
    fn new(strings: Vec<Vec<u8>>) -> Result<Self, JailError> {
        let strings = strings.into_iter().map(c_string).collect::<Result<Vec<_>, _>>()?;
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Ok(Self { _strings: strings, pointers })
    }
}

fn c_string(bytes: Vec<u8>) -> Result<CString, JailError> {
    CString::new(bytes).map_err(|_| protocol("a string with a NUL"))
}

/// Where a shell would look for a program.
fn candidates(program: &[u8], path: &[u8]) -> Vec<Vec<u8>> {
    if program.is_empty() || program.contains(&b'/') {
        return vec![program.to_vec()];
    }
    let place = |directory: &[u8]| {
        let directory = if directory.is_empty() { b"." } else { directory };
        [directory, b"/", program].concat()
    };
    path.split(|byte| *byte == b':').map(place).collect()
}

/// What the child is to do, and where it says why it could not. Lives on the init's stack while the init is suspended.
struct Order<'a> {
    /// Shut by the init, opened by the child, which then says so.
    gate: &'a Gate,
    passed: AtomicBool,
    steps: &'a [Step],
    lifetime: Lifetime,
    raised: Option<Raised>,
    call: &'a Prepared,
    streams: [c_int; 3],
    stage: AtomicU8,
    errno: AtomicI32,
}

struct Rehearsal<'a> {
    steps: &'a [Step],
    outcome: Vec<Result<LayerState, JailError>>,
}

/// Makes a child that shares our memory and runs while we wait, until it executes or ends (vfork(2), but on a stack of
/// its own, so that it cannot overwrite ours). No page table is copied: the cost does not grow with the init.
///
/// The recorder's thread runs meanwhile, and has to: it answers what the child asks the kernel for. No lock of its is in
/// the child's way: what the child does until exec takes none, or stands for this thread, which waits.
fn start(
    stack: &mut [u8],
    entry: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
    child: &AtomicI32,
) -> Result<i32, Errno> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PARENT_SETTID | libc::SIGCHLD;
    let top = stack.as_mut_ptr_range().end.map_addr(|address| address & !15);
    // SAFETY: this thread is suspended until the child executed or ended (CLONE_VFORK), so the child has what is this
    // thread's for itself, its thread-local storage included; `stack` is exclusively ours and `top` is its aligned end,
    // the stack growing down; `argument` outlives the child's use of it for the same reason; the kernel writes one
    // aligned i32 to `child`, an atomic.
    let result = unsafe { libc::clone(entry, top.cast(), flags, argument, child.as_ptr()) };
    sys::answer(i64::from(result))?;
    Ok(result)
}

extern "C" fn rehearse(argument: *mut c_void) -> c_int {
    // SAFETY: `Steps::rehearse` passes a live `Rehearsal` and touches it only after we ended.
    let rehearsal = unsafe { &mut *argument.cast::<Rehearsal<'_>>() };
    for step in rehearsal.steps {
        match step {
            Step::Landlock(rules, tcp) => rehearsal.outcome.push(landlock::restrict_self(rules, *tcp)),
            Step::OwnSession | Step::Rlimit(..) | Step::CloseDescriptors => {}
        }
    }
    sys::exit_now(0)
}

extern "C" fn run(argument: *mut c_void) -> c_int {
    // SAFETY: `Steps::start` passes a live `Order`, shared and with atomics for what we write.
    let order = unsafe { &*argument.cast::<Order<'_>>() };
    // The table of descriptors is a copy by now.
    order.passed.store(true, Ordering::Release);
    order.gate.open();
    let (stage, errno) = execute(order);
    order.errno.store(errno, Ordering::Relaxed);
    order.stage.store(stage.number(), Ordering::Relaxed);
    sys::exit_now(127)
}

/// Everything up to exec. Returns only when something failed.
fn execute(order: &Order<'_>) -> (Stage, i32) {
    match prepare(order) {
        Ok(()) => (Stage::Exec, exec(order.call)),
        Err(failed) => failed,
    }
}

fn prepare(order: &Order<'_>) -> Result<(), (Stage, i32)> {
    let at = |stage: Stage| move |errno: Errno| (stage, errno.raw_os_error());
    if order.lifetime == Lifetime::DeathSignal {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(at(Stage::OwnSession))?;
    }
    for (wanted, stream) in (0..).zip(order.streams) {
        // SAFETY: dup2(2) reads no memory; the numbers 0 to 2 are placeholders in the init (see `init::take_control`),
        // and this is our own copy of its table.
        let result = unsafe { libc::dup2(stream, wanted) };
        sys::answer(i64::from(result)).map_err(at(Stage::Descriptors))?;
    }
    rustix::process::chdir(order.call.cwd.as_c_str()).map_err(at(Stage::WorkingDirectory))?;
    sys::set_signal_mask(&sys::signal_set(None)).map_err(at(Stage::OwnSession))?;
    if let Some(raised) = order.raised {
        raised.put_back().map_err(at(Stage::Rlimit))?;
    }
    for step in order.steps {
        match step {
            Step::OwnSession => {
                rustix::process::setsid().map_err(at(Stage::OwnSession))?;
                if order.call.terminal == Terminal::Controlling {
                    // SAFETY: descriptor 0 was put in place above and stays open until exec.
                    let terminal = unsafe { BorrowedFd::borrow_raw(0) };
                    sys::ioctl_number(terminal, libc::TIOCSCTTY, 0).map_err(at(Stage::OwnSession))?;
                }
            }
            Step::Rlimit(resource, value) => {
                rlimit::set(*resource, *value).map_err(|error| (Stage::Rlimit, error.errno.unwrap_or(0)))?;
            }
            Step::CloseDescriptors => {
                sys::close_range(3, libc::CLOSE_RANGE_CLOEXEC).map_err(at(Stage::Descriptors))?;
            }
            Step::Landlock(rules, tcp) => {
                landlock::restrict_self(rules, *tcp).map_err(|error| (Stage::Landlock, error.errno.unwrap_or(0)))?;
            }
        }
    }
    Ok(())
}

/// Tries each candidate; the error of the best one, as a shell reports it.
fn exec(call: &Prepared) -> i32 {
    let mut answer = libc::ENOENT;
    for candidate in &call.candidates {
        // SAFETY: the path is NUL-terminated and lives as long as the call; access(2) only reads it. Where nothing is, an
        // attempt would be refused likewise, but the recorder would be told of it.
        if unsafe { libc::access(candidate.as_ptr(), libc::F_OK) } != 0
            && matches!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR))
        {
            continue;
        }
        // SAFETY: the path is NUL-terminated, both arrays are null-terminated arrays of such strings, and all of it
        // lives in the suspended init's memory.
        unsafe { libc::execve(candidate.as_ptr(), call.argv.pointers.as_ptr(), call.env.pointers.as_ptr()) };
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::ENOENT);
        match errno {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => answer = errno,
            _ => return errno,
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_as_a_shell_does() {
        assert_eq!(candidates(b"ls", b"/a:/b"), [b"/a/ls".to_vec(), b"/b/ls".to_vec()]);
        assert_eq!(candidates(b"ls", b":/b"), [b"./ls".to_vec(), b"/b/ls".to_vec()]);
        assert_eq!(candidates(b"./ls", b"/a"), [b"./ls".to_vec()]);
        assert_eq!(candidates(b"", b"/a"), [b"".to_vec()]);
    }
}
