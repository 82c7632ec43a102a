//! A wall for tests: workers on threads of this process, in a directory that is their whole view.
//! It never confines them: that is the jail's, and has its own tests.

use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use stockade::backend::process::{Alone, Event, Outside};
use stockade::backend::wasm::worker::{self, Prepared, Surroundings};
use stockade::backend::wasm::{
    Cache, CallGrant, Carries, Component, Files, Kind, Life, Limits, Progress, Start, Started, ToolIo, ToolRan,
    ToolWall, Use,
};
use stockade::error::Result;

/// A directory of a test, with a state, a view and a workspace in it.
pub(crate) struct Stage {
    pub(crate) directory: PathBuf,
    pub(crate) wall: ToolWall,
    pub(crate) started: Arc<Mutex<Vec<Kind>>>,
    /// The ends of workers' channels, to break them.
    pub(crate) channels: Arc<Mutex<Vec<OwnedFd>>>,
}

static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// What a call did beside its result.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) uses: Vec<Use>,
    pub(crate) progress: Vec<Progress>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let directory = std::env::temp_dir().join(format!("stockade-wasm-{}-{number}", std::process::id()));
        std::fs::create_dir_all(directory.join("view/ws")).expect("a directory of the test's own");
        let started = Arc::new(Mutex::new(Vec::new()));
        let channels = Arc::new(Mutex::new(Vec::new()));
        let start = start(directory.join("view"), Arc::clone(&started), Arc::clone(&channels));
        let wall = ToolWall::new(start, Cache::open(&directory).expect("the cache opens"));
        Self { directory, wall, started, channels }
    }

    /// The view of the workers.
    pub(crate) fn view(&self) -> PathBuf {
        self.directory.join("view")
    }

    /// Calls a component.
    pub(crate) fn call(&self, component: &Component, arguments: &str, grant: &CallGrant) -> (ToolRan, Seen) {
        self.call_with(component, arguments, grant, &mut Alone, &mut |_| {
            Err(stockade::error::Error::host("the test has no outlet"))
        })
    }

    /// The same for a call that may never begin.
    pub(crate) fn try_call(&self, component: &Component, arguments: &str, grant: &CallGrant) -> Result<ToolRan> {
        let io = ToolIo {
            connect: &mut |_| Err(stockade::error::Error::host("the test has no outlet")),
            used: &mut |_| Ok(()),
            progress: &mut |_| {},
            outside: &mut Alone,
        };
        self.wall.run_arguments(arguments.to_owned(), component, grant, io)
    }

    pub(crate) fn call_with(
        &self,
        component: &Component,
        arguments: &str,
        grant: &CallGrant,
        outside: &mut dyn Outside,
        connect: &mut dyn FnMut(Carries) -> Result<OwnedFd>,
    ) -> (ToolRan, Seen) {
        let mut seen = Seen::default();
        let mut used = |uses: Vec<Use>| {
            seen.uses.extend(uses);
            Ok(())
        };
        let mut progress = |said: Progress| seen.progress.push(said);
        let io = ToolIo { connect, used: &mut used, progress: &mut progress, outside };
        let ran = self.wall.run_arguments(arguments.to_owned(), component, grant, io).expect("the wall runs the call");
        (ran, seen)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).expect("it is ours to remove");
    }
}

/// A grant of nothing, with limits that a test waits for.
pub(crate) fn nothing() -> CallGrant {
    CallGrant {
        files: Files::None,
        directory: PathBuf::from("/ws"),
        network: false,
        sockets: false,
        clocks: false,
        random: false,
        env: Vec::new(),
        arguments: false,
        stdin: false,
        limits: Limits {
            wall: Duration::from_secs(20),
            cpu: Duration::from_secs(20),
            memory_bytes: 64 << 20,
            output_bytes: 1 << 20,
        },
    }
}

pub(crate) fn start(view: PathBuf, started: Arc<Mutex<Vec<Kind>>>, channels: Arc<Mutex<Vec<OwnedFd>>>) -> Start {
    Box::new(move |kind| {
        started.lock().expect("no test panics with it").push(kind);
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .expect("a socket pair");
        let view = view.clone();
        let thread = std::thread::spawn(move || worker(kind, theirs, &view));
        channels.lock().expect("no test panics with it").push(ours.try_clone().expect("one more descriptor"));
        let life = Thread { channel: ours.try_clone().expect("one more descriptor"), thread: Some(thread) };
        Ok(Started { channel: ours, life: Box::new(life) })
    })
}

fn worker(kind: Kind, channel: OwnedFd, view: &Path) -> Result<()> {
    match kind {
        Kind::Compile => worker::compile(channel),
        Kind::Read | Kind::Write => {
            let mut prepared = Prepared::new()?;
            prepared.start_ticking().expect("there is room for a thread");
            prepared.serve(channel, Surroundings::open_ambient(view)?)
        }
    }
}

struct Thread {
    channel: OwnedFd,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Life for Thread {
    fn end(&mut self) -> String {
        // A worker that has ended already has closed its end.
        match rustix::net::shutdown(&self.channel, Shutdown::Both) {
            Ok(()) | Err(_) => {}
        }
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Ok(()))) => "its thread ended".to_owned(),
            Some(Ok(Err(error))) => error.to_string(),
            Some(Err(_)) => "its thread panicked".to_owned(),
            None => "it had ended".to_owned(),
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.end();
    }
}

/// Somebody who cancels, now or after a while: a pipe that becomes readable.
pub(crate) struct Canceller {
    pub(crate) end: OwnedFd,
    pub(crate) said: bool,
}

impl Outside for Canceller {
    fn descriptor(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        use std::os::fd::AsFd as _;
        (!self.said).then_some(self.end.as_fd())
    }

    fn next_event(&mut self) -> Option<Event> {
        (!std::mem::replace(&mut self.said, true)).then_some(Event::Signal(2))
    }
}
