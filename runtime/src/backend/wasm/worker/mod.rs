//! A worker: one process, one thread, that runs calls of tools for one session, or compiles one component.
//! It never compiles what it runs, never runs what it compiles, and decides nothing.

mod engine;
mod files;
mod guest;
mod http;
mod input;
mod ledger;
mod limits;
mod linker;
mod outgoing;
mod output;
mod ready;
mod resolve;
mod run;
mod sockets;
mod streams;
mod tcp;
mod view;
mod words;

pub use engine::{CALLS_MAX, compatibility, compiler};

use crate::backend::wasm::cache::CODE_BYTES_MAX;
use crate::backend::wasm::channel::{self, Inbox, Incoming};
use crate::backend::wasm::component::COMPONENT_BYTES_MAX;
use crate::backend::wasm::wire::{CallRequest, Ended, Ending, Flaw, FromWorker, ToWorker, cut};
use crate::error::{Error, Result};
use engine::Ticker;
use http::Streams;
use outgoing::Out;
use ready::{Place, Room};
use resolve::Tree;
use run::{Entrance, Loaded, Shared};
use rustix::fs::Mode;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stockade_jail::worker::{Kind, Unconfined};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use wasmtime::Engine;
use wasmtime::component::Linker;

/// Components that a worker holds.
const COMPONENTS_MAX: usize = 256;
/// Polls of tasks between two looks at channel and clock: a guest that computes takes the thread for a tick each time.
const EVENT_INTERVAL: u32 = 8;

/// What a worker makes before it is confined, because it could not afterwards.
pub struct Prepared {
    engine: Engine,
    runtime: Runtime,
    ticker: Option<Ticker>,
    /// How long the next message is looked for, once the last call has ended: whoever calls without a pause finds this
    /// process awake.
    look_for: Duration,
}

/// What a process does that the jail started as a worker; what comes back is its exit code.
pub fn main(unconfined: Unconfined) -> i32 {
    let ran = match unconfined.kind() {
        Kind::Compile => unconfined
            .irrevocably_confine_with(engine::start_compiling)
            .map_err(|error| crate::backend::process::failed(&error))
            .and_then(|confined| compile(confined.channel)),
        Kind::Read | Kind::Write => run_tools(unconfined),
    };
    match ran {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(%error, "a worker ends");
            1
        }
    }
}

fn run_tools(unconfined: Unconfined) -> Result<()> {
    let mut prepared = Prepared::new()?;
    let mut umask = Mode::empty();
    let confined = unconfined
        .irrevocably_confine_with(|| {
            umask = own_umask();
            prepared.start_ticking()
        })
        .map_err(|error| crate::backend::process::failed(&error))?;
    let files = confined.files.ok_or_else(|| Error::bug("a worker that runs tools was given no files"))?;
    let surroundings = Surroundings { root: files.root, own_descriptors: files.proc_fds, umask };
    prepared.serve(confined.channel, surroundings)
}

/// What files that this process makes have not. There is one thread yet: no other makes a file between the two calls.
fn own_umask() -> Mode {
    let umask = rustix::process::umask(Mode::empty());
    rustix::process::umask(umask);
    umask
}

/// Where a worker that runs tools lives.
#[derive(Debug)]
pub struct Surroundings {
    /// What is `/` for its guests.
    pub root: OwnedFd,
    /// The directory `/proc/self/fd` of this process.
    pub own_descriptors: OwnedFd,
    /// What files have not that it makes.
    pub umask: Mode,
}

impl Surroundings {
    /// Directories of this process's own view: for workers without a view of their own, as in tests.
    ///
    /// # Errors
    /// Operator: there is no such directory.
    pub fn open_ambient(root: &Path) -> Result<Self> {
        let open = |path: &Path| {
            resolve::open_ambient_directory(path)
                .map_err(|errno| Error::io("open the directory", path, &io::Error::from(errno)))
        };
        // Other threads make files: it is not taken away for a moment to see what it is (proc_pid_status(5)).
        let status = Path::new("/proc/self/status");
        let text = std::fs::read_to_string(status).map_err(|error| Error::io("read", status, &error))?;
        let umask = text.lines().find_map(|line| line.strip_prefix("Umask:"));
        let umask = umask.and_then(|digits| u32::from_str_radix(digits.trim(), 8).ok());
        let umask = umask.ok_or_else(|| Error::host("\"/proc/self/status\" does not tell the mask of new files"))?;
        let umask = Mode::from_raw_mode(umask);
        Ok(Self { root: open(root)?, own_descriptors: open(Path::new("/proc/self/fd"))?, umask })
    }
}

impl Prepared {
    /// Maps the pool of instances, and makes what waits.
    ///
    /// # Errors
    /// Host: the machine has no room.
    pub fn new() -> Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .event_interval(EVENT_INTERVAL)
            .build()
            .map_err(|error| Error::host(format!("make what waits: {}", crate::error::plain(&error))))?;
        Ok(Self { engine: engine::runner()?, runtime, ticker: None, look_for: channel::look_for() })
    }

    /// Starts the thread that interrupts guests: before the list of system calls, which has none to make one.
    ///
    /// # Errors
    /// The machine has no room for another thread.
    pub fn start_ticking(&mut self) -> io::Result<()> {
        self.ticker = Some(Ticker::start(&self.engine)?);
        Ok(())
    }

    /// Runs tools until the supervisor closes the channel.
    ///
    /// # Errors
    /// Host: paths cannot be resolved safely here, or the channel breaks. Bug: a message that is none of ours.
    pub fn serve(self, channel: OwnedFd, surroundings: Surroundings) -> Result<()> {
        let Self { engine, runtime, ticker, look_for } = self;
        let ticker = ticker.ok_or_else(|| Error::bug("a worker serves before it ticks"))?;
        let tree = Arc::new(Tree::new(surroundings.root, surroundings.own_descriptors, surroundings.umask)?);
        runtime.block_on(async move {
            let channel = Arc::new(registered(channel).map_err(|error| broken(&error))?);
            let linker = linker::linker(&engine).map_err(|error| engine::failed("link the interfaces", &error))?;
            let (out, room) = (Out::new(Arc::clone(&channel)), Room::default());
            let shared = Arc::new(Shared { engine, ticker, tree, look_for, out, room });
            let desk =
                Desk { shared, linker, components: HashMap::new(), calls: HashMap::new(), tasks: JoinSet::new() };
            desk.serve(&channel).await
        })
    }
}

/// The channel, to be waited for. It is a `SOCK_SEQPACKET` socket: its datagrams come as they are, and only their
/// readiness is asked of this type, whose own calls are not used.
fn registered(channel: OwnedFd) -> io::Result<UnixDatagram> {
    let channel = std::os::unix::net::UnixDatagram::from(channel);
    channel.set_nonblocking(true)?;
    UnixDatagram::from_std(channel)
}

/// Compiles the one component that comes over the channel, and ends.
///
/// # Errors
/// Host: the channel breaks. Bug: a message that is none of ours.
pub fn compile(channel: OwnedFd) -> Result<()> {
    let engine = compiler()?;
    let mut inbox = Inbox::default();
    loop {
        wait_readable(&channel)?;
        match channel::try_receive::<ToWorker>(&channel, &mut inbox)? {
            None => {}
            Some(Incoming::Closed) => return Ok(()),
            Some(Incoming::Message(ToWorker::Compile, Some(component))) => {
                let bytes = channel::handed_over(component, COMPONENT_BYTES_MAX)?;
                let (message, code) = match engine.precompile_component(&bytes) {
                    Ok(code) => (FromWorker::Compiled, Some(channel::sealed(c"stockade-code", &[&code])?)),
                    Err(error) => (FromWorker::NotCompiled { why: cut(engine::words(&error)) }, None),
                };
                let mut outgoing = channel::Outgoing::new(&message, code)?;
                return outgoing.try_send(&channel).map_err(|errno| broken(&errno.into()));
            }
            Some(Incoming::Message(_, _)) => {
                return Err(Error::bug("a worker that compiles was asked for another thing"));
            }
        }
    }
}

fn wait_readable(channel: &OwnedFd) -> Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    loop {
        match poll(&mut [PollFd::new(channel, PollFlags::IN)], None) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(broken(&errno.into())),
        }
    }
}

fn broken(error: &io::Error) -> Error {
    Error::host(format!("talk to the supervisor: {}", crate::error::plain(error)))
}

/// What a worker has at hand.
struct Desk {
    shared: Arc<Shared>,
    linker: Linker<guest::Guest>,
    components: HashMap<u32, Arc<Loaded>>,
    calls: HashMap<u64, Open>,
    /// The calls that run; each says its number when it has said its end.
    tasks: JoinSet<u64>,
}

/// A call that runs.
struct Open {
    /// Dropped or used, it ends the call.
    cancel: oneshot::Sender<()>,
    streams: Arc<Streams>,
}

impl Desk {
    async fn serve(mut self, channel: &UnixDatagram) -> Result<()> {
        let mut inbox = Inbox::default();
        loop {
            if self.calls.is_empty()
                && let Some(incoming) = soon(channel, &mut inbox, self.shared.look_for)?
            {
                match incoming {
                    Incoming::Closed => return Ok(()),
                    Incoming::Message(message, descriptor) => self.take(message, descriptor).await?,
                }
                continue;
            }
            let next =
                channel.async_io(Interest::READABLE, || match channel::try_receive::<ToWorker>(channel, &mut inbox) {
                    Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
                    Ok(Some(incoming)) => Ok(Ok(incoming)),
                    Err(error) => Ok(Err(error)),
                });
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next() => self.ended(ended)?,
                incoming = next => match incoming.map_err(|error| broken(&error))?? {
                    // Calls that still run end with their tasks.
                    Incoming::Closed => return Ok(()),
                    Incoming::Message(message, descriptor) => self.take(message, descriptor).await?,
                },
            }
        }
    }

    fn ended(&mut self, ended: std::result::Result<u64, tokio::task::JoinError>) -> Result<()> {
        // A panic in here is a bug of ours that may have left anything behind: this process ends, and the next is whole.
        let call = ended.map_err(|error| Error::bug(format!("a call broke its worker: {error}")))?;
        self.calls.remove(&call);
        Ok(())
    }

    async fn take(&mut self, message: ToWorker, descriptor: Option<OwnedFd>) -> Result<()> {
        match (message, descriptor) {
            (ToWorker::Load { component }, Some(code)) => self.load(component, code).await,
            (ToWorker::Call(request), None) => {
                self.call(*request);
                Ok(())
            }
            (ToWorker::Cancel { call }, None) => {
                if let Some(open) = self.calls.get_mut(&call) {
                    // Replaced by one that is dropped at once: the call hears either.
                    let (cancel, _) = oneshot::channel();
                    drop(std::mem::replace(&mut open.cancel, cancel));
                }
                Ok(())
            }
            (ToWorker::Stream { call, request }, Some(stream)) => {
                self.come(call, request, Ok(stream));
                Ok(())
            }
            (ToWorker::NoStream { call, request, why }, None) => {
                self.come(call, request, Err(why));
                Ok(())
            }
            (_, _) => Err(Error::bug("a worker that runs tools was asked for another thing")),
        }
    }

    fn come(&self, call: u64, request: u32, stream: http::Stream) {
        if let Some(open) = self.calls.get(&call) {
            open.streams.come(request, stream);
        }
    }

    async fn load(&mut self, component: u32, code: OwnedFd) -> Result<()> {
        let answer = if self.components.len() >= COMPONENTS_MAX {
            let why = format!("a worker holds {COMPONENTS_MAX} components");
            FromWorker::NotLoaded { component, flaw: Flaw::World, why }
        } else {
            match self.loaded(&channel::handed_over(code, CODE_BYTES_MAX)?) {
                Ok(loaded) => {
                    self.components.insert(component, Arc::new(loaded));
                    FromWorker::Loaded { component }
                }
                Err((flaw, why)) => FromWorker::NotLoaded { component, flaw, why: cut(why) },
            }
        };
        self.shared.out.send(&answer, None).await;
        Ok(())
    }

    fn loaded(&self, code: &[u8]) -> std::result::Result<Loaded, (Flaw, String)> {
        let component = engine::load(&self.shared.engine, code)
            .map_err(|error| (Flaw::Code, error.reports.into_iter().map(|report| report.what).collect()))?;
        let world = |error: &wasmtime::Error| (Flaw::World, engine::words(error));
        let entrance = Entrance::of(&component)
            .ok_or_else(|| (Flaw::World, "it exports neither `call` nor `wasi:cli/run`".to_owned()))?;
        // Made now, not while the first call waits for it.
        component.initialize_copy_on_write_image().map_err(|error| world(&error))?;
        let instance = self.linker.instantiate_pre(&component).map_err(|error| world(&error))?;
        let place = component.get_export_index(None, "prepare").map(|function| Arc::new(Place::new(function)));
        Ok(Loaded { instance, entrance, place })
    }

    fn call(&mut self, request: CallRequest) {
        let (cancel, cancelled) = oneshot::channel();
        let streams = Arc::new(Streams::default());
        let call = request.call;
        self.calls.insert(call, Open { cancel, streams: Arc::clone(&streams) });
        let loaded = self.components.get(&request.component).map(Arc::clone);
        let shared = Arc::clone(&self.shared);
        let run = async move {
            let Some(loaded) = loaded else {
                shared.out.send(&FromWorker::Ended { call, ended: Box::new(unknown()) }, None).await;
                return call;
            };
            let (ended, left) = run::run(&shared, &loaded, request, streams, cancelled).await;
            shared.out.send(&FromWorker::Ended { call, ended: Box::new(ended) }, None).await;
            let like = left.like;
            drop(left);
            ready::prepare(&shared, &loaded, like).await;
            call
        };
        self.tasks.spawn(run);
    }
}

/// A message that comes at once; nobody sleeps.
fn soon(channel: &UnixDatagram, inbox: &mut Inbox, look_for: Duration) -> Result<Option<Incoming<ToWorker>>> {
    let asked = Instant::now();
    while asked.elapsed() < look_for {
        if let Some(incoming) = channel::try_receive::<ToWorker>(channel, inbox)? {
            return Ok(Some(incoming));
        }
        std::hint::spin_loop();
    }
    Ok(None)
}

fn unknown() -> Ended {
    Ended {
        ending: Ending::Trapped { why: "its component was never loaded".to_owned() },
        uses: Vec::new(),
        usage: crate::backend::wasm::call::ToolUsage::default(),
        printed: crate::backend::wasm::call::Printed::default(),
    }
}
