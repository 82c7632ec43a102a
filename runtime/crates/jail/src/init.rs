//! The init of a session: the first process inside, which starts calls, reaps everything and ends what outlives its call.
//! It never talks to a guest, and never runs on when the supervisor is gone.

use crate::cgroup::victims::Victims;
use crate::channel::{Channel, protocol};
use crate::child::{Prepared, Steps, Terminal};
use crate::enforced::{Layer, LayerState};
use crate::error::JailError;
use crate::idmap::Ids;
use crate::kernel::Kernel;
use crate::outlet::relay::{self, Relaying};
use crate::plan::{Plan, Wall};
use crate::probe;
use crate::pty;
use crate::recorder::{Desk, Installed, LOOK_FIRST, ProcessId, Shared};
use crate::setup::{self, Built};
use crate::sys::{self};
use crate::tree;
use crate::wire::{Family, Message, ProcessExit, Ready, SpawnRequest, Stage, Streams};
use crate::{container, heap, staged};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod accounts;
mod answers;
mod begin;
mod entrance;
mod keeper;
mod nursery;
mod terminals;

use answers::{make_socket, refuse, report, tell};
use begin::{Next, set_up};
pub(crate) use begin::{take_control, take_streams};
use entrance::Entrance;
use terminals::Relay;

/// `argv[0]` of a process that is to be an init.
pub(crate) const NAME: &str = "stockade-init";
/// Exit code of a helper that was not started by a supervisor, or could not even report.
const NOT_AN_INIT: i32 = 125;
/// How often a tree that does not die at once is looked at again.
const SWEEP: Duration = Duration::from_millis(5);

/// Becomes the init of a session if this process was started as one; else returns. Must come first in `main`, before
/// any thread is started.
pub fn run_as_init_if_asked() {
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    if name.as_ref().is_some_and(|name| name == NAME) {
        sys::exit_now(helper());
    }
    if let Some(name) = &name {
        staged::run_if_asked(name);
    }
    if name.as_ref().is_some_and(|name| name == container::PROGRAM) {
        sys::exit_now(keeper::run());
    }
    if name.is_some_and(|name| name == probe::helper::NAME) {
        sys::exit_now(probe::helper::run(arguments.next().as_deref()));
    }
}

/// The helper's life; its exit code.
fn helper() -> i32 {
    heap::keep_one_heap();
    let Ok(control) = take_control(c"stockade-init") else { return NOT_AN_INIT };
    match set_up(&control) {
        Ok(Next::Helper | Next::Keeper(_)) => 0,
        // It is made in containers alone.
        Ok(Next::Nursery(_)) => NOT_AN_INIT,
        Ok(Next::Init(init)) => match init.serve(&control) {
            Ok(()) => 0,
            Err(_) => NOT_AN_INIT,
        },
        // Where even this cannot be said, the supervisor sees the channel close.
        Err(error) => i32::from(control.send(&Message::Failed(error), &[]).is_err()) + 1,
    }
}

/// A running call.
#[derive(Debug)]
struct Call {
    channel: Channel,
    /// Its main process, by the number that is never used again.
    process: ProcessId,
    /// The same, whose id is that of its session too.
    main: i32,
    began: Instant,
    /// Kept to find the foreground group; the supervisor has the one that carries data.
    master: Option<OwnedFd>,
    phase: Phase,
    exits: Vec<ProcessExit>,
    exits_unlisted: u64,
    cpu_us: u64,
    max_rss_kib: u64,
}

/// Where a call stands.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Its main process runs.
    Running,
    /// Its main process ended so; the rest of its tree is being killed.
    Ending(ProcessExit),
}

/// The state of the init, touched by its main thread only.
#[derive(Debug)]
struct Init {
    wall: Wall,
    /// By which workers come in.
    entrance: Entrance,
    steps: Steps,
    /// Readable when a child has ended.
    children: OwnedFd,
    /// Where the recorder traces: it alone waits for children.
    desk: Option<Arc<Desk>>,
    calls: Vec<Call>,
    victims: Option<Victims>,
    /// The processes, which the recorder's thread has a hand in too.
    shared: Arc<Shared>,
    /// Readable when a process has ended that somebody else reaped; with a recorder only.
    exits: Option<OwnedFd>,
    /// How long to wait until a look at what nothing told of.
    look: Option<Duration>,
    kernel: Kernel,
    /// The terminals, where they cannot be handed out.
    relay: Relay,
    /// The same for sockets, from when there is one.
    relaying: Option<Relaying>,
}

impl Init {
    /// The last steps before the first call; tells the supervisor.
    fn new(
        control: &Channel,
        plan: &Plan,
        ids: Option<&Ids>,
        built: Built,
        victims: Option<Victims>,
        kernel: Kernel,
    ) -> Result<Self, JailError> {
        let Built { mut layers, outlet, lines, recorder, namespaces, objects } = built;
        let fail = |act: &'static str| move |errno: Errno| JailError::os(act, "the init", errno.raw_os_error());
        match plan.wall {
            Wall::Namespaces => {
                rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
                    .map_err(fail("bind the life of"))?;
            }
            // Killed, this init would leave its guests behind: it has to see the channel close, and end them first.
            Wall::Landlock => {}
        }
        // No ptrace, and /proc/1/{mem,fd,environ,…} belong to nobody inside (prctl(2), proc(5)).
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
            .map_err(fail("close"))?;
        match plan.wall {
            Wall::Namespaces => layers.push(LayerState::active(Layer::Lifetime)),
            Wall::Landlock => {
                layers.extend(setup::without_namespaces());
                layers.push(LayerState::degraded(
                    Layer::Lifetime,
                    "no pid namespace: what leaves a call's tree is found by walking /proc",
                ));
            }
        }
        let children = sys::child_signal_descriptor().map_err(fail("prepare"))?;
        let mut steps = Steps::compile(plan)?;
        let (confined, installed) = steps.irrevocably_confine(recorder, kernel)?;
        layers.extend(confined);
        let Installed { shared, exits, handed, desk, .. } = installed;
        let children = desk.as_ref().map_or(Ok(children), |desk| desk.bell()).map_err(fail("prepare"))?;
        let own = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let (uid, gid) = ids.map_or(own, |ids| (ids.outer_uid, ids.outer_gid));
        let made = outlet.iter().map(Option::is_some).collect();
        let (outlet, relaying) = match kernel {
            Kernel::Host => (outlet, None),
            Kernel::Gvisor => (Vec::new(), answers::relay(plan, outlet, lines)?),
        };
        let mut descriptors: Vec<_> = outlet.iter().flatten().map(OwnedFd::as_fd).collect();
        if let Some(handed) = &handed {
            descriptors.extend([handed.ends.memory.as_fd(), handed.ends.wake.as_fd(), handed.executables.as_fd()]);
        }
        let recorder = handed.as_ref().map(|handed| handed.grade);
        control.send(&Message::Ready(Ready { layers, uid, gid, outlet: made, recorder }), &descriptors)?;
        let entrance = Entrance::new(namespaces, objects);
        let (wall, calls) = (plan.wall, Vec::new());
        let (look, relay) = (None, Relay::default());
        Ok(Self { wall, entrance, steps, children, desk, calls, victims, shared, exits, look, kernel, relay, relaying })
    }

    /// Serves until the supervisor closes the control channel.
    fn serve(mut self, control: &Channel) -> Result<(), JailError> {
        loop {
            let ready = self.wait(control)?;
            if ready.child {
                self.drain_child_signals()?;
                self.reap()?;
            }
            match ready.recorder {
                Due::Nothing => {}
                Due::Ends => self.processes_that_ended().reaped(),
                Due::Look if self.calls.is_empty() => self.look = None,
                Due::Look => self.look = self.look.and_then(|last| self.shared.look(last)),
            }
            self.relay.serve();
            // Backwards, so that the positions stay true while calls end.
            for position in ready.channels.into_iter().rev() {
                self.on_call(position);
            }
            self.end_calls()?;
            if ready.control && !self.on_control(control)? {
                return self.end_everything();
            }
        }
    }

    fn wait(&self, control: &Channel) -> Result<Woken, JailError> {
        let mut fds = Vec::with_capacity(self.calls.len() + 2);
        fds.push(PollFd::from_borrowed_fd(control.as_fd(), PollFlags::IN));
        fds.push(PollFd::from_borrowed_fd(self.children.as_fd(), PollFlags::IN));
        fds.extend(self.exits.as_ref().map(|exits| PollFd::from_borrowed_fd(exits.as_fd(), PollFlags::IN)));
        for call in &self.calls {
            // A call that ends is listened to no more: its supervisor may be gone already.
            let interest = if matches!(call.phase, Phase::Running) { PollFlags::IN } else { PollFlags::empty() };
            fds.push(PollFd::from_borrowed_fd(call.channel.as_fd(), interest));
        }
        let known = fds.len();
        self.relay.watch(&mut fds);
        let sweeping = self.calls.iter().any(|call| matches!(call.phase, Phase::Ending(_)));
        let soonest = [sweeping.then_some(SWEEP), self.look].into_iter().flatten().min();
        let limit = soonest.map(Timespec::try_from).transpose();
        let limit = limit.map_err(|_| JailError::bug("wait", "a constant time"))?;
        let count = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, limit.as_ref()))
            .map_err(|errno| JailError::os("wait for", "messages", errno.raw_os_error()))?;
        // What the relay waits for is found again by trying.
        let mut ready = fds.iter().take(known).map(|fd| !fd.revents().is_empty());
        let (control, child) = (ready.next() == Some(true), ready.next() == Some(true));
        let ends = self.exits.is_some() && ready.next() == Some(true);
        let recorder = match (ends, count) {
            (true, _) => Due::Ends,
            (false, 0) if self.look.is_some() => Due::Look,
            (false, _) => Due::Nothing,
        };
        let channels = ready
            .enumerate()
            .filter_map(|(position, ready)| ready.then_some(position))
            .filter(|position| self.calls.get(*position).is_some_and(|call| matches!(call.phase, Phase::Running)))
            .collect();
        Ok(Woken { control, child, recorder, channels })
    }

    /// `false` when the supervisor is gone.
    fn on_control(&mut self, control: &Channel) -> Result<bool, JailError> {
        let Some(received) = control.receive_any_length()? else { return Ok(false) };
        let mut descriptors = received.descriptors.into_iter();
        let channel = Channel::new(descriptors.next().ok_or_else(|| protocol("a request without a channel"))?);
        if let Message::Socket(family) = received.message {
            make_socket(&channel, self.wall, family)?;
            return Ok(true);
        }
        if let Message::Connect { family, port } = received.message {
            let stream = descriptors.next().ok_or_else(|| protocol("a connection without a stream"))?;
            self.connect(channel, stream, family, port)?;
            return Ok(true);
        }
        if matches!(received.message, Message::Enquire) {
            self.entrance.let_in(&channel)?;
            return Ok(true);
        }
        let Message::Spawn(request) = received.message else { return Err(protocol("a message that is no request")) };
        self.spawn(channel, request, descriptors.collect())?;
        Ok(true)
    }

    /// Connects to a server inside for the supervisor, which cannot be given a socket.
    fn connect(&mut self, channel: Channel, stream: OwnedFd, family: Family, port: u16) -> Result<(), JailError> {
        let relaying = match self.relaying.take() {
            Some(relaying) => relaying,
            None => relay::start(Vec::new(), Ipv4Addr::UNSPECIFIED)?,
        };
        relaying.connect(channel, stream, family, port);
        self.relaying = Some(relaying);
        Ok(())
    }

    fn spawn(&mut self, channel: Channel, request: SpawnRequest, streams: Vec<OwnedFd>) -> Result<(), JailError> {
        let (terminal, streams, stand_in) = match request.streams {
            Streams::Descriptors => (None, streams, None),
            Streams::Terminal { rows, columns } => match pty::open(rows, columns) {
                Ok(terminal) => (Some(terminal.master), vec![terminal.slave], streams.into_iter().next()),
                Err(errno) => return refuse(&channel, Stage::Terminal, errno.raw_os_error()),
            },
        };
        let streams: Vec<_> = streams.iter().map(OwnedFd::as_fd).collect();
        let streams: [BorrowedFd<'_>; 3] = match streams.as_slice() {
            [stdin, stdout, stderr] => [*stdin, *stdout, *stderr],
            [slave] if terminal.is_some() => [*slave; 3],
            _ => return Err(protocol("a call with a wrong number of descriptors")),
        };
        let controlling = if terminal.is_some() { Terminal::Controlling } else { Terminal::None };
        let process = self.shared.expect(request.number);
        let prepared = Prepared::new(request, controlling)?;
        let began = Instant::now();
        let (steps, child, gate) = (&mut self.steps, self.shared.child(), self.shared.gate());
        let started = Victims::preferring(self.victims.as_ref(), || steps.start(&prepared, streams, child, gate));
        self.shared.started(process, started.ok());
        let main = match started {
            Ok(pid) => pid,
            Err((stage, errno)) => return refuse(&channel, stage, errno),
        };
        // A tracer sees everybody.
        self.look = self.desk.is_none().then_some(LOOK_FIRST);
        if let Some(master) = &terminal {
            self.hand_out(&channel, master, stand_in, main, process)?;
        }
        self.calls.push(Call {
            channel,
            process,
            main,
            began,
            master: terminal,
            phase: Phase::Running,
            exits: Vec::new(),
            exits_unlisted: 0,
            cpu_us: 0,
            max_rss_kib: 0,
        });
        Ok(())
    }

    /// Gives the terminal's master to the supervisor, or moves its bytes where it cannot leave.
    fn hand_out(
        &mut self,
        channel: &Channel,
        master: &OwnedFd,
        stand_in: Option<OwnedFd>,
        main: i32,
        process: ProcessId,
    ) -> Result<(), JailError> {
        let started = Message::Started(main.unsigned_abs());
        match (self.kernel, stand_in) {
            (Kernel::Host, None) => tell(channel, &started, &[master.as_fd()]),
            (Kernel::Gvisor, Some(stream)) => {
                let master = master.try_clone().map_err(|error| JailError::io("hold", "a terminal", &error))?;
                let added = self.relay.add(process, master, stream);
                added.map_err(|errno| JailError::os("prepare", "a terminal", errno.raw_os_error()))?;
                tell(channel, &started, &[])
            }
            (Kernel::Host, Some(_)) | (Kernel::Gvisor, None) => {
                Err(protocol("a call with a wrong number of descriptors"))
            }
        }
    }

    /// A message from the supervisor about one call, or its end of the channel closed: which ends the call.
    fn on_call(&mut self, position: usize) {
        let Some(call) = self.calls.get(position) else { return };
        match call.channel.receive().ok().flatten().map(|received| received.message) {
            Some(Message::Signal(signal)) => signal_foreground(call, signal),
            Some(Message::Resize { rows, columns }) => {
                // A size that the kernel does not take, and one of a call without a terminal, changes nothing.
                let _resized = call.master.as_ref().map(|master| pty::resize(master, rows, columns));
            }
            // Killed is said to the main process alone; the rest of the tree follows when it is reaped.
            Some(_) | None => kill(call.main, libc::SIGKILL),
        }
    }

    /// Kills what is left of ending calls, and reports those of which nothing is.
    fn end_calls(&mut self) -> Result<(), JailError> {
        let mut position = 0;
        while let Some(call) = self.calls.get(position) {
            let Phase::Ending(main) = call.phase else {
                position += 1;
                continue;
            };
            if self.tree_is_gone(call.main, call.process)? {
                let call = self.calls.remove(position);
                // What the recorder has of this call is in the ring before its end is said.
                self.processes_that_ended().settle(call.process);
                self.relay.end(call.process);
                report(call, main);
            } else {
                position += 1;
            }
        }
        Ok(())
    }

    /// Kills the tree of a call whose main process ended. Alone, a call takes everything with it; beside others, its
    /// session and what descends from it: a process that left both ends with the last call at the latest.
    fn tree_is_gone(&mut self, main: i32, call: ProcessId) -> Result<bool, JailError> {
        if self.calls.len() == 1 {
            // Whatever lives here descends from the init: without a child of its own there is nothing to kill.
            if self.reap()? {
                return Ok(true);
            }
            match self.wall {
                Wall::Namespaces => tree::kill_namespace(),
                Wall::Landlock => tree::kill_descendants(),
            }
            return self.reap();
        }
        let killed = tree::kill_session(main);
        self.reap()?;
        Ok(killed == 0 && !self.is_behind(call))
    }

    /// The supervisor is gone: nothing may stay.
    fn end_everything(self) -> Result<(), JailError> {
        match self.wall {
            // Ending the first process of a pid namespace ends all others (pid_namespaces(7)).
            Wall::Namespaces => Ok(()),
            Wall::Landlock => loop {
                tree::kill_descendants();
                match sys::reap(None, libc::WNOHANG) {
                    Err(Errno::CHILD) => return Ok(()),
                    Ok(Some(_)) | Err(_) => {}
                    Ok(None) => std::thread::sleep(SWEEP),
                }
            },
        }
    }
}

/// What is to be done for the recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    /// Processes ended that somebody else reaped.
    Ends,
    /// It is time to look at what nothing told of.
    Look,
}

/// What woke the init.
struct Woken {
    control: bool,
    child: bool,
    recorder: Due,
    channels: Vec<usize>,
}

/// To the foreground of the call's terminal, else to the group of its main process.
fn signal_foreground(call: &Call, signal: i32) {
    if !(1..=64).contains(&signal) {
        return;
    }
    let foreground = call.master.as_ref().and_then(|master| rustix::termios::tcgetpgrp(master).ok());
    let group = foreground.map_or(call.main, |group| group.as_raw_nonzero().get());
    kill(-group, signal);
}

/// kill(2) where the target may have ended by itself.
fn kill(target: i32, signal: i32) {
    match sys::kill(target, signal) {
        // EPERM cannot be: all ids inside are one, and the init is not confined by the scope of its guests.
        Ok(()) | Err(_) => {}
    }
}
