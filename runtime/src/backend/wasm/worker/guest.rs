//! What one guest holds in its host: its handles, its grant, and everything of WASI that is not files or the network.
//! It never gives what was not granted: a clock stands still, a variable is not there.

use crate::backend::wasm::call::{CallGrant, Progress, Use, What};
use crate::backend::wasm::command::{Handed, STREAM_BYTES_MAX};
use crate::backend::wasm::wire::{self, FromWorker};
use crate::backend::wasm::worker::files::FileState;
use crate::backend::wasm::worker::http::Requests;
use crate::backend::wasm::worker::input::Input;
use crate::backend::wasm::worker::ledger::Ledger;
use crate::backend::wasm::worker::limits::Limiter;
use crate::backend::wasm::worker::outgoing::Out;
use crate::backend::wasm::worker::output::Output;
use crate::backend::wasm::worker::resolve::Tree;
use crate::backend::wasm::worker::sockets::Sockets;
use rustix::time::{ClockId, clock_gettime};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stockade_audit::Machine;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr, terminal_stdin,
    terminal_stdout,
};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, Pollable, subscribe};
use wasmtime_wasi::sockets::WasiSocketsCtx;
use wasmtime_wasi_http::WasiHttpCtx;

/// What stands for the name that a command was called by, which is no file's.
const PROGRAM: &str = "tool";
/// Handles of one call at most.
const HANDLES_MAX: usize = 8192;
/// Random bytes that are drawn at once, at most.
const RANDOM_BYTES_MAX: u64 = 1 << 20;
/// Between two words about how far a call is.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Where the sequence begins that stands for randomness without the grant: a number without a meaning.
const SAME_EACH_TIME: u64 = 0x5eed_5eed_5eed_5eed;

/// One guest.
pub(super) struct Guest {
    pub(super) table: ResourceTable,
    pub(super) files: FileState,
    pub(super) requests: Requests,
    pub(super) http: WasiHttpCtx,
    pub(super) sockets: Sockets,
    /// Of what nobody gets: no handle of it is ever made.
    pub(super) unused: WasiSocketsCtx,
    pub(super) limiter: Limiter,
    pub(super) ledger: Arc<Ledger>,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
    stdin: Input,
    /// What a command has as its arguments, its own name first; empty without the grant.
    arguments: Vec<String>,
    directory: String,
    grant: CallGrant,
    began: Instant,
    sequence: u64,
    said: Said,
}

/// How far the call is, for its caller.
struct Said {
    call: u64,
    out: Out,
    last: Option<Instant>,
    /// That it said to be done, which it does once.
    complete: bool,
}

/// What ends a guest because it was not given what it asked for: our own words, not what it broke of.
#[derive(Debug)]
pub(super) struct NotGiven(String);

impl std::fmt::Display for NotGiven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotGiven {}

impl NotGiven {
    pub(super) fn because(why: impl Into<String>) -> wasmtime::Error {
        wasmtime::Error::from(Self(why.into()))
    }
}

impl Guest {
    pub(super) fn new(
        call: u64,
        grant: CallGrant,
        tree: Arc<Tree>,
        requests: Requests,
        sockets: Sockets,
        ledger: Arc<Ledger>,
        out: Out,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let directory = grant.directory.as_os_str().as_bytes().to_vec();
        Self {
            table,
            directory: String::from_utf8_lossy(&directory).into_owned(),
            files: FileState::new(tree, grant.files, directory, Arc::clone(&ledger)),
            requests,
            http: WasiHttpCtx::new(),
            sockets,
            unused: WasiSocketsCtx::default(),
            limiter: Limiter::new(grant.limits.memory_bytes),
            ledger,
            stdout: Output::new(grant.limits.output_bytes),
            stderr: Output::new(grant.limits.output_bytes),
            stdin: Input::default(),
            arguments: Vec::new(),
            began: Instant::now(),
            sequence: SAME_EACH_TIME,
            said: Said { call, out, last: None, complete: false },
            grant,
        }
    }

    /// The guest is a command: what its call has for it, as far as that is granted, and room for what a reply has of it.
    pub(super) fn hand(&mut self, handed: Handed) {
        let Handed { args, stdin } = handed;
        if self.grant.arguments {
            self.arguments = [vec![PROGRAM.to_owned()], args].concat();
        }
        if self.grant.stdin {
            self.stdin = Input::new(stdin.into_bytes());
        }
        self.files.begin_in_workspace();
        let room = self.grant.limits.output_bytes.min(STREAM_BYTES_MAX.try_into().unwrap_or(u64::MAX));
        (self.stdout, self.stderr) = (Output::new(room), Output::new(room));
    }

    /// The instance of a guest without a call becomes this call's: what it has of memory, and what it read of clocks and drew of
    /// randomness, is the call's. Its clock goes on, so that it never goes back.
    pub(super) fn take_over(&mut self, before: &Self) {
        self.limiter.take_over(&before.limiter);
        self.ledger.add_before(&before.ledger);
        self.began = before.began;
        self.sequence = before.sequence;
    }

    /// Nothing runs for it any more: what it has open is closed.
    pub(super) fn let_go(&mut self) {
        self.table = ResourceTable::new();
        self.files.let_go();
    }

    /// The guest says how far it is. Most of what comes faster than anybody reads is not passed on.
    pub(super) async fn report(&mut self, done: u64, total: Option<u64>, what: String) {
        let now = Instant::now();
        let soon = self.said.last.is_some_and(|last| now.duration_since(last) < PROGRESS_EVERY);
        let complete = total == Some(done) && !std::mem::replace(&mut self.said.complete, true);
        if soon && !complete {
            return;
        }
        self.said.last = Some(now);
        let progress = Progress { done, total, what: wire::cut(what) };
        self.said.out.send(&FromWorker::Progress { call: self.said.call, progress }, None).await;
    }

    /// Random bytes where they are granted, and `None` where not.
    fn draw(&self, count: u64) -> wasmtime::Result<Option<Vec<u8>>> {
        if count > RANDOM_BYTES_MAX {
            let why = format!("it asked for {count} random bytes at once, {RANDOM_BYTES_MAX} are given");
            return Err(NotGiven::because(why));
        }
        if !self.grant.random {
            return Ok(None);
        }
        self.ledger.random();
        let mut bytes = vec![0; usize::try_from(count)?];
        Machine::system().random.fill(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Secure randomness is there or the guest ends: nobody makes a key of a sequence that everybody knows.
    fn draw_secure(&self, count: u64) -> wasmtime::Result<Vec<u8>> {
        self.draw(count)?.ok_or_else(|| {
            NotGiven::because("it asked for secure random bytes, and randomness is not granted (ceiling.random)")
        })
    }

    /// Insecure randomness may be the same in each call (splitmix64).
    fn draw_insecure(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        if let Some(bytes) = self.draw(count)? {
            return Ok(bytes);
        }
        let count = usize::try_from(count)?;
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            self.sequence = self.sequence.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = self.sequence;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bytes.extend((word ^ (word >> 31)).to_le_bytes());
        }
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Nanoseconds since its start, where clocks are granted.
    fn elapsed_ns(&self) -> u64 {
        if !self.grant.clocks {
            return 0;
        }
        self.ledger.clock();
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn sleep(&mut self, time: Duration) -> wasmtime::Result<Resource<DynPollable>> {
        let until = tokio::time::Instant::now().checked_add(time);
        let sleep = self.table.push(Sleep { until, yielded: false })?;
        subscribe(&mut self.table, sleep)
    }
}

fn word(bytes: Vec<u8>) -> wasmtime::Result<u64> {
    let bytes = <[u8; 8]>::try_from(bytes).map_err(|_| wasmtime::format_err!("eight bytes were drawn"))?;
    Ok(u64::from_le_bytes(bytes))
}

impl random::Host for Guest {
    fn get_random_bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        self.draw_secure(count)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.draw_secure(8).and_then(word)
    }
}

impl insecure::Host for Guest {
    fn get_insecure_random_bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        self.draw_insecure(count)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.draw_insecure(8).and_then(word)
    }
}

impl insecure_seed::Host for Guest {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.draw_insecure(8).and_then(word)?, self.draw_insecure(8).and_then(word)?))
    }
}

impl wall_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        if !self.grant.clocks {
            return Ok(wall_clock::Datetime { seconds: 0, nanoseconds: 0 });
        }
        self.ledger.clock();
        let now = clock_gettime(ClockId::Realtime);
        Ok(wall_clock::Datetime { seconds: u64::try_from(now.tv_sec)?, nanoseconds: u32::try_from(now.tv_nsec)? })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: 1 })
    }
}

impl monotonic_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.elapsed_ns())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let now = self.elapsed_ns();
        self.sleep(Duration::from_nanos(when.saturating_sub(now)))
    }

    fn subscribe_duration(&mut self, time: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.sleep(Duration::from_nanos(time))
    }
}

/// A wait of a guest; without an end where it is too far away to be counted.
struct Sleep {
    until: Option<tokio::time::Instant>,
    yielded: bool,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Sleep {
    async fn ready(&mut self) {
        // A guest that asks over and over whether no time has passed leaves room for others each time.
        if !std::mem::replace(&mut self.yielded, true) {
            tokio::task::yield_now().await;
        }
        match self.until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }
}

impl environment::Host for Guest {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        for (name, _) in &self.grant.env {
            self.ledger.push(Use::new(What::Env, name.as_bytes()));
        }
        Ok(self.grant.env.clone())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        if self.grant.arguments {
            self.ledger.push(Use::new(What::Args, Vec::new()));
        }
        Ok(self.arguments.clone())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(Some(self.directory.clone()))
    }
}

impl exit::Host for Guest {
    fn exit(&mut self, status: Result<(), ()>) -> wasmtime::Result<()> {
        Err(wasmtime::Error::from(I32Exit(i32::from(status.is_err()))))
    }

    fn exit_with_code(&mut self, code: u8) -> wasmtime::Result<()> {
        Err(wasmtime::Error::from(I32Exit(i32::from(code))))
    }
}

impl stdin::Host for Guest {
    fn get_stdin(&mut self) -> wasmtime::Result<Resource<DynInputStream>> {
        let ledger = self.grant.stdin.then(|| Arc::clone(&self.ledger));
        let stream: DynInputStream = Box::new(self.stdin.stream(ledger));
        Ok(self.table.push(stream)?)
    }
}

impl stdout::Host for Guest {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(self.stdout.clone());
        Ok(self.table.push(stream)?)
    }
}

impl stderr::Host for Guest {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(self.stderr.clone());
        Ok(self.table.push(stream)?)
    }
}

impl terminal_input::Host for Guest {}

impl terminal_input::HostTerminalInput for Guest {
    fn drop(&mut self, terminal: Resource<terminal_input::TerminalInput>) -> wasmtime::Result<()> {
        self.table.delete(terminal).map(drop).map_err(Into::into)
    }
}

impl terminal_output::Host for Guest {}

impl terminal_output::HostTerminalOutput for Guest {
    fn drop(&mut self, terminal: Resource<terminal_output::TerminalOutput>) -> wasmtime::Result<()> {
        self.table.delete(terminal).map(drop).map_err(Into::into)
    }
}

impl terminal_stdin::Host for Guest {
    fn get_terminal_stdin(&mut self) -> wasmtime::Result<Option<Resource<terminal_input::TerminalInput>>> {
        Ok(None)
    }
}

impl terminal_stdout::Host for Guest {
    fn get_terminal_stdout(&mut self) -> wasmtime::Result<Option<Resource<terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}

impl terminal_stderr::Host for Guest {
    fn get_terminal_stderr(&mut self) -> wasmtime::Result<Option<Resource<terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}
